"""`make fuzz` in small; and that it can fail: each fault put into the translator is found."""

import re

import pytest

from napt_lab.nat_node.core import packet
from napt_lab.nat_node.core.deadlines import Deadlines
from napt_lab.nat_node.core.packet import Packet
from napt_lab.nat_node.core.settings import Settings
from napt_lab.nat_node.core.table import Table
from napt_lab.nat_node.fast_path import flow_cache
from tests.fuzz.__main__ import REACHED, main, run, tell
from tests.fuzz.judge import Broken
from tests.fuzz.replay import Bench, shortest
from tests.fuzz.stories import Story

SEED = 4787
FEW = 60  # stories: some 10,000 packets
RARE = {"session-clash", "fragments-full"}


def test_stories_hold_and_all_but_the_rarest_is_reached():
    result = tell(SEED, range(FEW))
    assert result.failure is None, result.failure
    assert result.packets > 5000
    missing = REACHED - set(result.seen) - RARE
    assert not missing, (
        f"these stories never reach {missing}: let tests/fuzz/stories.py send what does, or put "
        "it into RARE here, or into BEYOND in tests/fuzz/__main__.py if no story can reach it"
    )


def lets_everyone_in(monkeypatch):
    monkeypatch.setattr(Table, "admits", lambda *_: True)


def lets_private_addresses_out(monkeypatch):
    monkeypatch.setattr(Settings, "is_not_routable", lambda *_: False)


def leaves_checksums_as_they_were(monkeypatch):
    monkeypatch.setattr(packet, "update", lambda field, change: field)


def is_wrong_on_the_fast_path_only(monkeypatch):
    monkeypatch.setattr(flow_cache, "_ONE_HOP_BACK", 0x0200)


def keeps_rules_for_ever(monkeypatch):
    monkeypatch.setattr(Deadlines, "due", lambda *_: iter(()))


def forgets_the_quotation(monkeypatch):
    real = Packet.rewrite_source

    def rewrite(self, endpoint):
        if not self.quoted:
            real(self, endpoint)

    monkeypatch.setattr(Packet, "rewrite_source", rewrite)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (lets_everyone_in, "was reached by it"),
        (lets_private_addresses_out, "means nothing outside"),
        (leaves_checksums_as_they_were, "checksum"),
        (is_wrong_on_the_fast_path_only, "wrong: header|do not agree"),
        (keeps_rules_for_ever, "what should have ended has not"),
        (forgets_the_quotation, "did not send what it quotes"),
    ],
)
def test_a_fault_is_found(fault, words, monkeypatch):
    fault(monkeypatch)
    # Finding the shortest part of a story takes longer than the story.
    monkeypatch.setattr("tests.fuzz.__main__.shortest", lambda *given: given[-1])
    failure = tell(SEED, range(FEW)).failure
    assert failure is not None
    assert re.search(words, failure)


def play_to_the_end(bench, step):
    bench.play(step)
    bench.end()  # an error may be due only seconds after its SYN


def test_the_shortest_part_still_goes_wrong_and_is_short(monkeypatch):
    lets_private_addresses_out(monkeypatch)
    for number in range(FEW):
        story = Story(SEED, number)
        try:
            story.tell()
        except Broken:
            break
    part = shortest(story.settings, story.chance, story.with_twin, story.steps)
    assert len(part) == 1
    bench = Bench(story.settings, story.chance, story.with_twin)
    with pytest.raises(Broken, match="means nothing outside"):
        play_to_the_end(bench, part[0])


def test_the_command_line(capsys, monkeypatch):
    monkeypatch.setattr("tests.fuzz.__main__.CHUNK", 1)
    assert main(["--packets", "300", "--seed", "1", "--jobs", "1"]) == 0
    said = capsys.readouterr().out
    assert "SEED=1" in said
    assert "100 %" in said
    assert main(["--seed", "1", "--story", "3"]) == 0
    assert "story 3 of seed 1 holds" in capsys.readouterr().out
    with pytest.raises(SystemExit) as refused:
        main(["--packets", "0"])
    assert refused.value.code == 2


def test_what_is_never_reached_is_no_success(monkeypatch, capsys):
    monkeypatch.setattr("tests.fuzz.__main__.ENOUGH", 1)
    monkeypatch.setattr("tests.fuzz.__main__.CHUNK", 1)
    assert run(1, 100, 1) == 1
    assert "never reached, so not tested: " in capsys.readouterr().out
