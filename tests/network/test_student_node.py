"""A translator that somebody else wrote, in the place of ours, on real packets."""

from __future__ import annotations

from functools import partial

import pytest

from napt_lab.nat_node.engines.student import channel
from napt_lab.topologies.network.builder import Network
from napt_lab.topologies.network.napt_control import ControlError
from napt_lab.topologies.spec.loader import load

pytestmark = pytest.mark.network(timeout=60)

TOPOLOGY = """
internet:
  stackoverflow: {address: 151.101.1.69, runs: [web]}
sites:
  home:
    gateway: {name: napt, kind: napt, public: 24.9.3.7, private: 10.0.0.1/24, translator: mine.py}
    hosts: {pc: 10.0.0.7}
"""

#: No more than this is needed for one PC and one port at a time.
SHORT = """
from napt_lab.student import Rule, napt

inside = {}

def translate(packet, now):
    if packet.side == "inside":
        inside[packet.protocol] = packet.source
        packet.source = (napt.external, packet.source.port)
    elif packet.protocol in inside:
        packet.destination = inside[packet.protocol]
    else:
        return "no-rule: nobody has sent anything yet"
    return packet
"""


def test_a_few_lines_are_a_napt(tmp_path):
    (tmp_path / "mine.py").write_text(SHORT)
    (tmp_path / "home.yaml").write_text(TOPOLOGY)
    with Network(load(tmp_path / "home.yaml")) as net:
        since = net.log.mark()
        knock = ["curl", "-sS", "--connect-timeout", "0.3", "http://24.9.3.7:8080/"]
        assert net["stackoverflow"].run(knock).status == 28
        drop = net.log.wait_for(
            lambda event: event.name == "drop", deadline=3, what="a drop", since=since
        )
        assert drop.fields["reason"] == "no-rule"
        assert drop.fields["meaning"] == "nobody has sent anything yet"
        page = net["pc"].run(["curl", "-sS", "-m", "5", "http://151.101.1.69/"])
        assert "You are 24.9.3.7:" in page.stdout
        assert net["pc"].run(["ping", "-c", "1", "-W", "2", "151.101.1.69"]).status == 0
        assert net["stackoverflow"].run(["ping", "-c", "1", "-W", "2", "24.9.3.7"]).status == 0


def test_explicit_rules_lead_to_a_host_as_soon_as_it_is_plugged_in(tmp_path):
    with_rules = SHORT + "def add_rule(rule, now):\n    pass\n"
    (tmp_path / "mine.py").write_text(with_rules)
    (tmp_path / "home.yaml").write_text(TOPOLOGY)
    with Network(load(tmp_path / "home.yaml")) as net:
        with pytest.raises(ControlError, match=r"no host 10\.0\.0\.20"):
            net.napt("napt").add("tcp 8080 -> 10.0.0.20:80")
        net.unplug("pc")
        net.plug("pc", "home", "10.0.0.20")
        net.napt("napt").add("tcp 8080 -> 10.0.0.20:80")
        with pytest.raises(ControlError, match="cannot change filtering"):
            net.napt("napt").ask({"do": "set", "settings": {"filtering": "none"}})


#: The same, but one packet is its end.
MORTAL = """
import os

print("here I am")
inside = {}

def translate(packet, now):
    if packet.destination.port == 81:
        os._exit(9)
    if packet.side == "inside":
        inside[packet.protocol] = packet.source
        packet.source = ("24.9.3.7", packet.source.port)
    else:
        packet.destination = inside[packet.protocol]
    return packet

def add_rule(rule, now):
    print(f"a rule for port {rule.external.port}")
"""
ENDED = "mine.py: its process has ended with status 9 (os._exit?)"


#: Once inside hosts have sent, it takes a moment for each packet.
SLOW = "import time\n" + SHORT.replace(
    "    return packet", "    time.sleep(0.001)\n    return packet"
)
BURST = """
import socket
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for _ in range(10_000):
    sock.sendto(b"x", ("151.101.1.69", 9))
"""


def test_what_a_burst_loses_in_the_devices_queue_is_told_unasked(tmp_path):
    (tmp_path / "mine.py").write_text(SLOW)
    (tmp_path / "home.yaml").write_text(TOPOLOGY)
    with Network(load(tmp_path / "home.yaml")) as net:
        assert net["pc"].run(["python", "-c", BURST]).status == 0
        told = net.log.wait_for(
            lambda event: event.name == "drop" and event.fields["reason"] == "overload",
            deadline=20, what="word of the overload",
        ).fields  # fmt: skip
        assert told["packet"].endswith(" packets in the queue of nat-in")
        assert (told["side"], told["meaning"]) == (
            "inside", "it arrived faster than the NAPT could read it",
        )  # fmt: skip
        assert net.napt("napt").stats()["drops"]["overload"] >= int(
            told["packet"].split()[0].replace(",", "")
        )


def test_a_translator_that_dies_is_started_anew_until_it_is_enough(tmp_path):
    (tmp_path / "mine.py").write_text(MORTAL)
    (tmp_path / "home.yaml").write_text(
        TOPOLOGY.replace("mine.py}", 'mine.py, rules: ["tcp 8080 -> 10.0.0.7:8080"]}')
    )
    with Network(load(tmp_path / "home.yaml")) as net:
        control = net.napt("napt")

        def told(name):
            return [e.fields["text"] for e in net.log.since() if e.name == name]

        for death in (1, 2, 3):
            page = net["pc"].run(["curl", "-sS", "-m", "5", "http://151.101.1.69/"])
            assert "You are 24.9.3.7:" in page.stdout
            (rule,) = control.rules()
            assert (rule["explicit"], rule["external"]) == (True, "24.9.3.7:8080")
            # The SYN that is its end is not sent again within this time.
            net["pc"].run(["curl", "-sS", "--connect-timeout", "0.4", "http://151.101.1.69:81/"])
            net.log.wait_for(
                partial(lambda n, _event: told("fault").count(ENDED) == n, death),
                deadline=10,
                what="the end of the worker",
            )
        with pytest.raises(ControlError, match=r"mine.py: stopped for good: mine.py: its process"):
            control.rules()
        since = net.log.mark()
        assert net["pc"].run(["ping", "-c", "1", "-W", "1", "151.101.1.69"]).status == 1
        drop = net.log.wait_for(
            lambda event: event.name == "drop", deadline=3, what="the ping's drop", since=since
        )
        assert drop.fields["reason"] == "translator-stopped"
        assert drop.fields["packet"] == "icmp type 8 10.0.0.7 > 151.101.1.69"
        assert told("printed")[:2] == ["here I am", "a rule for port 8080"]
        assert told("fault")[-1].endswith("from now on every packet is dropped")


#: What it writes into each of its descriptors goes to the NAPT as if it were an answer.
FORGER = """
import os

def translate(packet, now):
    if packet.source.port != 7777:
        return "no-rule"
    for number in range(3, 64):
        try:
            os.write(number, {forged!r})
        except OSError:
            pass
    return "no-rule"
"""


def frame(kind, body):
    return bytes([kind]) + len(body).to_bytes(4, "big") + body


@pytest.mark.parametrize(
    "forged",
    [
        b"\xff" * 64,
        frame(channel.EVENT, b'{"event": "ready"}'),
        frame(channel.EVENT, b'{"event": "rule-added", "rule": {"id": "x"}}'),
        frame(channel.DROP, b"[]"),
        frame(channel.FAULT, b"{}"),
        frame(channel.ANSWER, b"7"),
        frame(channel.DONE, b"") * 9,
        frame(channel.SEND, b"no packet"),
    ],
)
def test_what_a_translator_forges_ends_itself_and_not_the_napt(tmp_path, forged):
    (tmp_path / "mine.py").write_text(FORGER.format(forged=forged))
    (tmp_path / "home.yaml").write_text(TOPOLOGY)
    with Network(load(tmp_path / "home.yaml")) as net:
        since = net.log.mark()
        for port in (7777, 7778):
            line = f"import socket as s; u = s.socket(2, 2); u.bind(('', {port})); "
            line += "u.sendto(b'x', ('151.101.1.69', 9))"
            assert net["pc"].run(["python3", "-c", line]).status == 0
        net.log.wait_for(
            lambda event: event.name == "drop" and ":7778 >" in event.fields["packet"],
            deadline=10, what="the second packet's drop", since=since,
        )  # fmt: skip
        assert net.napt("napt").stats()["ok"]
        assert not [e for e in net.log.since(since) if e.name in ("ready", "rule-added")]
