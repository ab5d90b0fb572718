"""Grading a translator by the labs' own checks: the reference, the skeleton, and one with mistakes.

The grader makes sandboxes of its own, within the test's.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from napt_lab.labs.course.registry import LABS
from napt_lab.labs.records.rundir import RunDirectory
from napt_lab.labs.translator import grade, score, trial
from napt_lab.labs.translator.claims import EARNED, earned_in

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "nat_node" / "one_page.py"
SKELETON = ROOT / "labs" / "translator" / "skeleton.py"


@pytest.fixture(autouse=True)
def own_folder(monkeypatch, tmp_path):
    monkeypatch.setattr(grade, "RunDirectory", lambda lab: RunDirectory(lab, tmp_path / "runs"))


@pytest.mark.network(timeout=120)
def test_the_reference_has_full_marks(tmp_path, capsys):
    """But for the 65,536, which take a minute: test_student_reference.py has a small pool."""
    assert (
        grade.grade_translator(REFERENCE, earned_in("9c"), tmp_path / "g.json", tmp_path / "g.xml")
        == 0
    )
    result = json.loads((tmp_path / "g.json").read_text())
    assert (result["score"], result["of"], result["faults"]) == (5, 5, [])
    assert result["engine"] == "translator one_page.py"
    suite = ET.parse(tmp_path / "g.xml").getroot()[0]
    assert (suite.get("tests"), suite.get("failures")) == ("5", "0")
    assert "Score: 5 of 5 claims." in capsys.readouterr().out
    for part in ("upload", "inbound", "rules", "idle"):
        assert_held(part, tmp_path)


def assert_held(part, folder):
    """All claims of a part of level 8 hold for the reference."""
    lab = LABS["8"].lab()
    (played,) = (p for p in lab.parts if p.name == part)
    ended = trial.await_one(
        [trial.start(lab, played, REFERENCE, folder / part, time.monotonic() + 60)]
    )
    marks = [score.mark(earned, ended) for earned in EARNED if earned.part == part]
    assert [mark.why for mark in marks] == [() for _ in marks]
    assert marks


@pytest.mark.network(timeout=120)
def test_the_skeleton_has_none_and_is_told_what_to_do_first(tmp_path, capsys):
    assert grade.grade_translator(SKELETON, earned_in("8"), tmp_path / "g.json", None) == 1
    result = json.loads((tmp_path / "g.json").read_text())
    assert (result["score"], result["of"], result["faults"]) == (0, 7, [])
    by_claim = {claim["claim"]: claim for claim in result["claims"]}
    assert "8.napt must hold first" in by_claim["8.gc-idle"]["evidence"][-1]
    assert result["dropped"][0]["text"].startswith("not-written: what happens to")
    said = capsys.readouterr().out
    assert "What it dropped in words of its own" in said
    assert "do: outbound: write (napt.external, a port) into packet.source" in said
    assert "read: RFC 3022" in said


#: Two mistakes that no step of a lab notices, put below the reference.
SHARED_TABLE = """
_outgoing, _incoming = outgoing, incoming
def outgoing(_, *ends):
    return next(filter(None, (_outgoing(name, *ends) for name in ("tcp", "udp", "icmp"))), None)
def incoming(_, *ends):
    return next(filter(None, (_incoming(name, *ends) for name in ("tcp", "udp", "icmp"))), None)
"""
NO_FILTER = """
def admits(mapping, remote, now):
    return True
"""


@pytest.mark.network(timeout=60)
@pytest.mark.parametrize(
    ("mistake", "failed"),
    [
        (SHARED_TABLE, "a datagram to that TCP port is dropped, too: UDP has ports of its own"),
        (NO_FILTER, "another server's SYN to that port is dropped at the NAPT"),
        ("", None),
    ],
)
def test_who_else_comes_in(tmp_path, mistake, failed):
    mine = tmp_path / "mine.py"
    mine.write_text(REFERENCE.read_text() + mistake)
    lab = LABS["8"].lab()
    (played,) = (part for part in lab.parts if part.name == "inbound")
    ended = trial.await_one([trial.start(lab, played, mine, tmp_path / "p", time.monotonic() + 40)])
    (mark,) = [score.mark(earned, ended) for earned in EARNED if earned.claim == "8.inbound"]
    assert (mark.why[0] if mark.why else None) == failed
    assert not mistake or mark.why[-1].endswith("it was translated")


#: It says that a closed connection's rule has ended, and translates its packets for ever.
LIES = """
_admits, _remove = admits, remove_rule
def in_use(mapping, remote, now):
    return remote in mapping.sessions
def admits(mapping, remote, now):
    return remote in mapping.sessions or _admits(mapping, remote, now)
def remove_rule(mapping):
    if not any(session.over for session in mapping.sessions.values()):
        _remove(mapping)
"""


@pytest.mark.network(timeout=60)
def test_a_rule_that_ends_only_in_words(tmp_path):
    mine = tmp_path / "mine.py"
    mine.write_text(REFERENCE.read_text() + LIES)
    lab = LABS["8"].lab()
    (played,) = (part for part in lab.parts if part.name == "rules")
    ended = trial.await_one([trial.start(lab, played, mine, tmp_path / "p", time.monotonic() + 50)])
    (mark,) = [score.mark(earned, ended) for earned in EARNED if earned.claim == "8.gc-close"]
    assert mark.why[-1].endswith("it was translated")


PASSED = "".join(
    json.dumps({"event": "check", "claim": earned.claim, "text": "x", "passed": True,
                "evidence": []}) + "\n"
    for earned in EARNED
).encode()  # fmt: skip
#: Once its mark was 5 of 5: it finds the grader, and writes passed checks where it listens.
FORGER = f"""
import os, signal

def everywhere():
    yield from (f"/proc/self/fd/{{number}}" for number in range(3, 64))
    for process in os.listdir("/proc") if os.path.exists("/proc") else []:
        yield from (f"/proc/{{process}}/fd/{{number}}" for number in range(64))

def forge():
    for number in range(3, 64):
        try:
            os.write(number, {PASSED!r})
        except OSError:
            pass
    for place in everywhere():
        try:
            with open(place, "wb") as found:
                found.write({PASSED!r})
        except OSError:
            pass

def translate(packet, now):
    forge()
    try:
        os.kill(-1, signal.SIGTERM)
    except OSError:
        pass
    return "no-rule"
"""
HANGS = "def translate(packet, now):\n    while True: print('x' * 1000)\n"
FAILS = """
print("it is being loaded")
def translate(packet, now):
    print("a packet from", packet.side)
    return {}[packet.source]
"""


@pytest.mark.network(timeout=60)
@pytest.mark.parametrize(
    ("source", "first"),
    [
        (FORGER, "it writes into the channel to its NAPT"),
        (HANGS, "translate has been computing for too long: an endless loop?"),
        (FAILS, "KeyError: Endpoint(address='10.0.0.7'"),
    ],
)
def test_a_translator_that_translates_nothing_earns_nothing(tmp_path, capsys, source, first):
    """What is wrong with it is told before all else, and nothing is waited for that cannot come."""
    mine = tmp_path / "mine.py"
    mine.write_text(source)
    assert grade.grade_translator(mine, EARNED, tmp_path / "g.json", None) == 1
    result = json.loads((tmp_path / "g.json").read_text())
    assert (result["score"], result["of"]) == (0, len(EARNED))
    assert result["seconds"] < 30  # some 5, if the machine has nothing else to do
    assert first in result["claims"][0]["evidence"][-1]
    said = " ".join(capsys.readouterr().out.split())
    assert said.index("What is wrong with the program itself") < said.index("✗ 8.napt")
    assert ("What it printed it is being loaded a packet" in said) == (source == FAILS)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["g.json", "mine.py", "runs"]


UNLISTED = """
from napt_lab.student import napt

inside = {}

def translate(packet, now):
    if packet.side == "inside":
        port = 2000 + inside.setdefault(packet.source, len(inside))
        inside[port] = packet.source
        packet.source = (napt.external, port)
    elif packet.destination.port not in inside:
        return "no-rule"
    else:
        packet.destination = inside[packet.destination.port]
    return packet
"""


@pytest.mark.network(timeout=60)
def test_no_exception_of_ours_reaches_a_student(tmp_path):
    (tmp_path / "mine.py").write_text(UNLISTED)
    lab = LABS["8"].lab()
    (played,) = (part for part in lab.parts if part.name == "rules")
    ended = trial.await_one(
        [trial.start(lab, played, tmp_path / "mine.py", tmp_path / "p", time.monotonic() + 40)]
    )
    (mark,) = [score.mark(earned, ended) for earned in EARNED if earned.claim == "8.gc-close"]
    assert mark.why[-1].startswith(
        "could not be checked: your translator lists no rule for 10.0.0."
    )


def test_a_machine_that_refuses_the_wall_is_no_mark(tmp_path):
    (tmp_path / "mine.py").write_text(UNLISTED)
    line = 'echo 0 > /proc/sys/user/max_user_namespaces; exec "$@"'
    argv = [sys.executable, "-P", "-m", "napt_lab.labs", "grade", "--translator", "mine.py"]
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "sh", "-c", line, "sh", *argv],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 3, done
    assert "mine.py: not run: the wall around a translator: the kernel refuses" in done.stderr


@pytest.mark.network(timeout=60)
@pytest.mark.parametrize(
    ("name", "source", "words"),
    [
        (
            "mine.py",
            "from napt_lab.nat_node.one_page import translate, expire\n",
            "this project's own translators are out of reach for yours",
        ),
        ("mine.py", "def translate(packet, now)\n", "mine.py:1: SyntaxError: expected ':'"),
        ("mine.py", "import nothing_of_this_name", "there is no function translate(packet, now)"),
        ("folder", None, "folder:1: is not a file"),
    ],
)
def test_what_cannot_be_graded(tmp_path, capfd, name, source, words):
    if source is None:
        (tmp_path / name).mkdir()
    else:
        (tmp_path / name).write_text(source)
    assert grade.grade_translator(tmp_path / name, EARNED, None, None) == 2
    assert words in capfd.readouterr().err


@pytest.mark.network(timeout=60)
def test_a_part_is_over_at_its_deadline(tmp_path):
    lab = LABS["9c"].lab()
    deadline = time.monotonic() + 1.0
    ended = trial.await_one([trial.start(lab, lab.parts[0], REFERENCE, tmp_path / "p", deadline)])
    assert ended.overdue
    assert ended.seconds < 20  # on a machine that has much else to do
    (mark,) = [score.mark(earned, ended) for earned in EARNED if earned.claim == "9c.both-ways"]
    assert not mark.held
    assert mark.why[-1].startswith("stopped after ")
