"""Whatever is wrong with a student's translator is said by the student's own line, in words."""

from __future__ import annotations

import pytest

from napt_lab.nat_node.core.checksum import checksum
from napt_lab.nat_node.core.packet import Packet as RawPacket
from napt_lab.nat_node.engines.student import bounds, process
from napt_lab.nat_node.engines.student.faults import LoadError, examine
from napt_lab.nat_node.engines.student.process import WorkerLost
from napt_lab.student.packet import Packet
from tests.packets import error, tcp
from tests.unit.nat_node.nat_testing import source, wrong_checksums
from tests.unit.nat_node.student_worker import Mine

SYN = tcp("10.0.0.7:40000", "151.101.1.69:80")
SYN_TO_US = tcp("151.101.1.69:80", "24.9.3.7:8080")


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """The machine has better to do than endless loops."""
    monkeypatch.setattr(process, "PROCESSOR_SECONDS", 3 * bounds.LOOK_SECONDS)
    monkeypatch.setattr(process, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(process, "ASLEEP", 3)


@pytest.fixture
def write(tmp_path):
    def write_file(source):
        (tmp_path / "mine.py").write_text(source)
        return tmp_path / "mine.py"

    return write_file


def test_a_quotation_that_ends_before_its_flags_can_be_printed():
    about = RawPacket(bytearray(error("203.0.113.1", "24.9.3.7", SYN, quote=28)))
    assert str(Packet(about, 0).quoted) == "tcp 10.0.0.7:40000 > 151.101.1.69:80"


# -- a file that cannot be used -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "line", "words"),
    [
        ("def translate(packet, now)\n    pass\n", 1, "SyntaxError: expected ':'"),
        ("x = 1\ndef translat(packet, now): ...", 2, "no function translate(packet, now) (did you"),
        ("", 1, "there is no function translate(packet, now)"),
        ("def translate(packet): ...", 1, "translate is called as translate(packet, now)"),
        ("def translate(p, n, *, more): ...", 1, "translate is called as translate(packet, now)"),
        ("def translate(p, n): ...\ndef expire(): ...", 2, "expire is called as expire(now)"),
        ("def translate(p, n): ...\n\ndef add_rule(rule): ...", 3, "add_rule(rule, now)"),
        ("\0", 1, "null byte"),
    ],
)
def test_a_file_that_is_no_translator(write, source, line, words):
    file = write(source)
    with pytest.raises(LoadError) as caught:
        examine(source.encode(), file)
    assert str(caught.value).startswith(f"{file}:{line}: ")
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "source",
    [
        "def translate(packet, now, more=1): ...",
        "def translate(*everything): ...",
        "def make():\n    return lambda packet, now: packet\ntranslate = make()",
        "if True:\n    def translate(packet, now): ...",
        "from elsewhere import translate",
    ],
)
def test_there_are_many_ways_to_write_one(write, source):
    examine(source.encode(), write(source))


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (
            "import numpyy\ndef translate(p, n): ...",
            "mine.py:1, in <module>\nModuleNotFoundError: No module named 'numpyy': a translator",
        ),
        ("exit(3)\ndef translate(p, n): ...", "wanted to end the program (exit)"),
        ("translate = 7", "there is no function translate"),
        ("import os\nos._exit(5)\ndef translate(p, n): ...", "ended with status 5"),
        (
            "import time\ntime.sleep(99)\ndef translate(p, n): ...",
            "mine.py:2 in <module>\nit waits",
        ),
    ],
)
def test_a_file_that_cannot_be_loaded(write, source, words):
    with pytest.raises(LoadError) as caught:
        Mine(write(source))
    assert words in str(caught.value)


def test_what_a_file_prints_and_has(write):
    with Mine(write("print('hello')\ndef translate(p, n): ...\ndef expire(now): ...")) as mine:
        assert (mine.printed, mine.functions) == (["hello"], ["expire"])


# -- a call that goes wrong ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("return table[packet.source]", "mine.py:5, in translate\n    return table[packet.source]\n"
         "KeyError: Endpoint(address='10.0.0.7', port=40000)"),
        ("while True: pass", "translate has been computing for too long: an endless loop?"),
        ("exit()", "translate wanted to end the program (exit)"),
        ("return bytearray(1 << 44)", "MemoryError: translate needs more memory than it may have"),
        ("return input()", "no one types anything at a NAPT"),
        ("return translate(packet, now)", "RecursionError: "),
        ("return None", "mine.py: translate returned nothing (None) for tcp SYN 10.0.0.7:40000 > "
         "151.101.1.69:80; it returns the packet to send it, or the reason"),
        ("return 7", "translate returned 7 for tcp SYN"),
        ("return ''", "translate returned ''"),
        ("return [packet, 7]", "translate returned [<napt_lab.student"),
        ("packet.source = '24.9.3.7:1025'", "TypeError: an endpoint is (address, port), such as"),
        ("packet.source = ('24.9.3.7', '80')", "a port is a number from 0 to 65535, not '80'"),
        ("packet.source = ('24.9.3', 80)", "'24.9.3' is not an IPv4 address such as 10.0.0.7"),
        ("packet.source = (24, 80)", "TypeError: an address is text, such as '24.9.3.7', not 24"),
        ("napt.rules.add(7)", "TypeError: napt.rules.add() takes a Rule, not 7"),
        ("napt.extrenal", "AttributeError: napt has no 'extrenal'; it has rules, external"),
        ("napt.rules.remove(Rule('tcp', packet.source, packet.source), 'idle')",
         "ValueError: napt.rules does not have the rule tcp 10.0.0.7:40000 <->"),
    ],
)  # fmt: skip
def test_a_call_that_goes_wrong_costs_its_packet_only(write, body, words):
    head = "from napt_lab.student import Rule, napt\ntable = {}\n"
    with Mine(write(f"{head}\ndef translate(packet, now):\n    {body}\n")) as mine:
        mine.out(SYN)
        assert any(words in fault for fault in mine.faults), mine.faults
        assert "worker.py" not in mine.faults[0]
        assert mine.reason == "translator-error"
        again = mine.out(SYN)
        assert again.reason == "translator-error"  # and it is still there


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("import os; os._exit(4)", "mine.py: its process has ended with status 4 (os._exit?)"),
        ("import ctypes; ctypes.string_at(0)", "has ended by SIGSEGV"),
        ("import os; os.closerange(3, 64)\n    while True: pass", "has ended by SIGKILL"),
        ("import time; time.sleep(99)", "mine.py:3 in translate\nit waits for something (sleep"),
        ("sum(range(1 << 60))", "mine.py:3 in translate\nit has been computing for"),
    ],
)
def test_a_call_that_is_the_end_of_its_process(write, body, words):
    with Mine(write(f"\ndef translate(packet, now):\n    {body}\n")) as mine:
        with pytest.raises(WorkerLost) as caught:
            mine.out(SYN)
        assert words in str(caught.value)
        assert mine.worker.pid == 0


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("return packet", "a private source leaks: 10.0.0.7 -> 151.101.1.69 would be on the"),
        ("packet.data[12:16] = bytes([24, 9, 3, 7]); return packet",
         "the checksum of its IPv4 header is wrong"),
        ("packet.data[12:16] = bytes([24, 9, 3, 7]); return packet",
         "its TCP checksum is wrong: it covers the addresses as well"),
        ("packet.source = ('24.9.3.8', 99); return packet", "its source 24.9.3.8 is not ours"),
        ("packet.data[2] = 9; return packet", "(it claims 2344 bytes and has 40)"),
        ("del packet.data[30:]; return packet", "(it claims 40 bytes and has 30)"),
        ("packet.destination = ('192.168.7.7', 99); packet.source = ('24.9.3.7', 9); return packet",
         "its destination 192.168.7.7 is private"),
    ],
)  # fmt: skip
def test_a_bad_packet_is_sent_as_it_is_and_told_of(write, body, words):
    with Mine(write(f"def translate(packet, now):\n    {body}\n")) as mine:
        mine.out(SYN)
        assert any(words in fault for fault in mine.faults), mine.faults
        assert len(mine.sent) == 1


def test_a_packet_that_stays_at_the_napt(write):
    with Mine(write("def translate(packet, now): return packet")) as mine:
        (fault,) = mine.into(SYN_TO_US).faults
        assert "it is still addressed to the NAPT itself, 24.9.3.7" in fault


def test_a_good_packet_is_not_complained_of(write):
    lines = "packet.source = ('24.9.3.7', 1025); return packet"
    with Mine(write(f"def translate(packet, now):\n    {lines}\n")) as mine:
        assert len(mine.out(SYN).sent) == 1
        assert mine.faults == []


def test_a_fault_is_told_once_and_a_flood_of_words_is_cut(write):
    with Mine(
        write("def translate(packet, now):\n    print('x\\n' * 999)\n    return {}[now]")
    ) as m:
        assert len(m.out(SYN, 1.0).faults) == 1
        assert len(m.printed) == bounds.LINES + 1
        assert m.printed[-1] == "… and more, which is not shown"
        assert m.out(SYN, 2.0).faults == []


def test_words_are_a_reason_and_known_ones_have_a_meaning(write):
    source = "def translate(packet, now):\n    return 'filtered' if now else 'no-rule: go away'"
    with Mine(write(source)) as mine:
        assert (mine.out(SYN).reason, mine.drops[0]["meaning"]) == ("no-rule", "go away")
        assert (mine.out(SYN, 1.0).reason, mine.drops[0]["side"]) == ("filtered", "inside")
        assert mine.drops[0]["meaning"].startswith("there is a rule, but its filter")
        assert mine.drops[0]["packet"] == "tcp SYN 10.0.0.7:40000 > 151.101.1.69:80"


def test_a_rule_that_cannot_be_listed_any_more(write):
    source = """
from napt_lab.student import Rule, napt
def translate(packet, now):
    rule = Rule("tcp", packet.source, ("24.9.3.7", 1025))
    napt.rules.add(rule)
    rule.expires = "soon"
    rule.remote = 7
    return "my own"
"""
    with Mine(write(source)) as mine:
        (fault,) = mine.out(SYN).faults
        assert fault.startswith("mine.py: a rule or a packet has been made unreadable: ")
        assert "'int' object has no attribute" in mine.request("rules")["error"]
        assert mine.request("stats")["ok"]


def test_a_reason_that_is_nearly_one_of_those_that_labs_know(write):
    with Mine(write("def translate(packet, now): return 'no rule: go' if now else 'my own'")) as m:
        assert m.out(SYN).faults == []
        (hint,) = m.out(SYN, 1.0).faults
        assert hint == "mine.py: the reason 'no rule' is not known to labs: did you mean 'no-rule'?"
        assert m.reason == "no rule"


def test_without_the_optional_functions_there_are_no_explicit_rules(write):
    rule = {"protocol": "tcp", "external": "24.9.3.7:80", "internal": "10.0.0.7:80"}
    with Mine(write("def translate(packet, now): ...")) as mine:
        assert mine.request("add", 0.0, **rule) == {
            "ok": False,
            "error": "mine.py has no function add_rule(rule, now), which explicit rules need",
        }
        assert mine.request("rules")["rules"] == []


#: As a student does it who wants to: every byte by hand.
BY_HAND = """
from napt_lab.student import Rule, napt

def checksum(data):
    words = int.from_bytes(data + bytes(len(data) % 2), "big")
    return (65535 - words % 65535).to_bytes(2, "big")

def translate(packet, now):
    data = bytearray(packet.data)
    napt.rules.add(Rule("tcp", packet.source, (napt.external, 1025)))
    data[12:16], data[20:22] = bytes([24, 9, 3, 7]), (1025).to_bytes(2, "big")
    data[10:12] = data[36:38] = bytes(2)
    data[10:12] = checksum(data[:20])
    length = (len(data) - 20).to_bytes(2, "big")
    data[36:38] = checksum(data[12:20] + bytes([0, 6]) + length + data[20:])
    {write}
    assert packet.source == ("24.9.3.7", 1025), packet.source
    return packet
"""


@pytest.mark.parametrize("line", ["packet.data = data", "packet.data[:] = data"])
def test_a_packet_can_be_rewritten_byte_by_byte(write, line):
    with Mine(write(BY_HAND.format(write=line))) as mine:
        mine.out(SYN)
        assert (mine.faults, mine.drops) == ([], [])
        (packet,) = mine.sent
        assert (source(packet), wrong_checksums(packet)) == ("24.9.3.7:1025", [])
        (rule,) = mine.request("rules")["rules"]
        assert rule["packets_out"] == 1  # it was noticed


def test_an_endpoint_is_rewritten_from_what_the_bytes_say_now(write):
    body = "packet.data[12:16] = bytes([9, 9, 9, 9]); packet.source = ('24.9.3.7', 1025)"
    with Mine(write(f"def translate(packet, now):\n    {body}; return packet")) as mine:
        (packet,) = mine.out(SYN).sent
        # The bytes' own change is the student's to make up for: nothing else is wrong.
        assert source(packet) == "24.9.3.7:1025"
        assert checksum(packet[:20]) == checksum(bytes(SYN[:12]) + bytes([9] * 4) + SYN[16:20])


def test_what_was_printed_before_the_end_is_told(write):
    with Mine(write("import os\ndef translate(p, n):\n    print('so far'); os._exit(1)")) as mine:
        with pytest.raises(WorkerLost):
            mine.out(SYN)
        assert mine.printed == ["so far"]


def test_the_former_name_goes_on_working_with_a_hint(write):
    with Mine(write("from nat_node.student import Rule, napt\ndef translate(p, n): ...")) as mine:
        assert "nat_node.student is called napt_lab.student now" in mine.printed[0]


def test_no_line_of_a_file_that_cannot_be_loaded_is_told(write):
    for secret in ("root:x:0:0:hunter2", "KEY = hunter2\n1/0", "import hunter2x"):
        with pytest.raises(LoadError) as caught:
            Mine(write(f"{secret}\ndef translate(p, n): ..."))
        assert secret.splitlines()[0] not in str(caught.value)


def test_words_of_its_own_are_marked_as_such(write):
    source = "def translate(p, n): return ['no-rule', 'no-rule: go', 'mine'][int(n)]"
    with Mine(write(source)) as mine:
        own = [mine.out(SYN, float(now)).drops[0]["own"] for now in range(3)]
        assert own == [False, True, True]
