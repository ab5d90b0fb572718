"""What a node says of commands and names that are wrong, to who writes a test."""

from __future__ import annotations

import re
from typing import Any

import pytest

from napt_lab.topologies.network.builder import Network
from napt_lab.topologies.network.processes import KEPT_OUTPUT
from napt_lab.topologies.spec.checkout import TOPOLOGIES
from napt_lab.topologies.spec.loader import load

pytestmark = pytest.mark.network(timeout=30)
WRONG: dict[str, tuple[Any, type[Exception], str]] = {
    "a text": (
        "ping bob",
        TypeError,
        "alice: a command is a list of words: ['ping', 'bob'] instead of 'ping bob'",
    ),
    "bytes": (b"ping", TypeError, "alice: a command is a list of words, not b'ping'"),
    "a set": ({"ping"}, TypeError, "alice: a command is a list of words, not {'ping'}"),
    "nothing": ([], ValueError, "alice: a command is a list of words; this list is empty"),
    "a number": (["sleep", 1], TypeError, "alice: 1 in ['sleep', 1] is not a text; write '1'"),
    "no program": (["no-such"], FileNotFoundError, "alice cannot run 'no-such': no such file"),
    "no file": (["./no-such"], FileNotFoundError, "alice cannot run './no-such': no such file"),
    "a closed file": (["./closed"], PermissionError, "alice cannot run './closed': permission"),
    "a folder": (["/tmp"], PermissionError, "alice cannot run '/tmp': permission denied"),
}


def test_what_is_wrong_with_a_command_or_a_name():
    with Network(load(TOPOLOGIES / "two-sites.yaml")) as net:
        alice = net["alice"]
        text: Any = "5"
        number: Any = 7
        (alice.home / "closed").write_text("#!/bin/sh\n")
        for wrong, kind, words in WRONG.values():
            for call in (alice.run, alice.start):
                with pytest.raises(kind, match=re.escape(words)):
                    call(wrong)
        (alice.home / "closed").chmod(0o755)
        assert alice.run(["./closed"]).status == 0  # the control
        with pytest.raises(TypeError, match="alice: timeout='5' is not a number of seconds"):
            alice.run(["true"], timeout=text)
        with pytest.raises(KeyError, match=r"no node 'alcie'; allowed: .*did you mean 'alice'\?"):
            net["alcie"]
        with pytest.raises(KeyError, match="there is no node 7; allowed: internet, "):
            net[number]
        with pytest.raises(KeyError, match=r"alice is not a NAPT; allowed: napt_a, napt_b"):
            net.napt("alice")
        with pytest.raises(KeyError, match=r"no node 'napt_c'; .*did you mean 'napt_[ab]'\?"):
            net.napt("napt_c")


def test_curl_shows_its_errors_but_no_progress():
    with Network(load(TOPOLOGIES / "two-sites.yaml")) as net:
        fetch = ["curl", "-o", "got", "-m", "5"]
        fetched = net["alice"].run([*fetch, "http://198.51.100.10:8080/"])
        assert (fetched.status, fetched.stderr) == (0, "")
        refused = net["alice"].run([*fetch, "http://198.51.100.10:81/"])
        assert refused.stderr.startswith("curl: (7) Failed to connect")
        metered = net["alice"].run([*fetch, "--progress-meter", "http://198.51.100.10:8080/"])
        assert "% Total" in metered.stderr  # the control


def test_output_that_is_cut_says_so():
    with Network(load(TOPOLOGIES / "two-sites.yaml")) as net:
        script = f"head -c {KEPT_OUTPUT} /dev/zero; printf '12345'"
        done = net["alice"].run(["sh", "-c", f"({script}); ({script}) >&2"])
        half = KEPT_OUTPUT // 2
        cut = "\0" * half + "\n[cut here: 5 bytes]\n" + "\0" * (half - 5) + "12345"
        assert (done.stdout, done.stderr) == (cut, cut)
        whole = net["alice"].run(["head", "-c", str(KEPT_OUTPUT), "/dev/zero"])
        assert whole.stdout == "\0" * KEPT_OUTPUT
