"""Exercises without a network: their files, the language of answers, patterns, progress, marks."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from napt_lab.labs.exercises import progress, session
from napt_lab.labs.exercises.answers import check_line, load_answers, parse_line
from napt_lab.labs.exercises.command_line import read_tasks
from napt_lab.labs.exercises.exercise import (
    FOLDER,
    LEVELS,
    VARIANT_KEYS,
    Setting,
    load,
    names,
    series,
)
from napt_lab.labs.exercises.exercise_cli import CarriedOver, ExerciseCLI
from napt_lab.labs.exercises.grade import Graded, as_json, grade, summary
from napt_lab.labs.exercises.grade import suite as suite_of
from napt_lab.labs.exercises.key_rows import fact_rows, key_rows
from napt_lab.labs.exercises.keys import DONE, EXERCISE, MISTAKE
from napt_lab.labs.exercises.marking import Mark, Marks, unanswered
from napt_lab.labs.exercises.patterns import Pattern
from napt_lab.labs.exercises.progress import Result, read_progress, save_result
from napt_lab.labs.exercises.tasks import Task, as_far_as_possible
from napt_lab.labs.prompt.lab_cli import LabCLI
from napt_lab.labs.verdict.junit import write_junit
from napt_lab.labs.verdict.verdicts import Verdict
from napt_lab.topologies.network.programs import ProgramError
from napt_lab.topologies.spec.errors import TopologyError

ROOT = Path(__file__).parents[3]
SOURCE = (FOLDER / "exercise.py").read_text()
EXERCISES = [exercise for level in LEVELS for exercise in series(level)]


@pytest.fixture(autouse=True)
def state(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "napt-lab"


# ── the files ──────────────────────────────────────────────────────────────────────────────


def test_every_level_has_exercises_and_every_file_is_one_of_them():
    without = [level for level in LEVELS if not names(level)]
    assert not without, f"write an exercise for {without}: labs/exercises/LEVEL-NUMBER-NAME.yaml"
    assert sorted(FOLDER.glob("*.yaml")) == sorted(exercise.path for exercise in EXERCISES)


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.id)
def test_an_exercise_is_whole(exercise, tmp_path):
    assert exercise.hints
    name, number = exercise.path.name, len(exercise.mistakes)
    assert number >= 3, f"{name} has {number} of `mistakes`: think of 3 or more"
    says = [mistake.says for mistake in exercise.mistakes]
    assert len(set(says)) == len(says)
    topology = exercise.topology()
    assert sum(d.points for d in exercise.done) + sum(e.points for e in topology.expect) > 0
    page = (FOLDER / "README.md").read_text()
    assert name in page or f"`{exercise.name}`" in page, (
        f"put {exercise.name} into the table of exercises in labs/exercises/README.md"
    )
    for answer in (exercise.solution, *(mistake.answer for mistake in exercise.mistakes)):
        file = tmp_path / "answers.yaml"
        file.write_text(json.dumps({exercise.name: answer}))
        answers = load_answers(file, names(exercise.level))
        [task] = as_far_as_possible([exercise], answers)
        assert answers.problems.lines() == []
        assert [line.text for line in task.lines] == list(answer)


def test_what_is_wrong_with_an_exercise_is_told_with_its_line(tmp_path):
    file = tmp_path / "9c-1-bad.yaml"
    file.write_text(
        "title: x\n"
        "task: y\n"
        "network:\n"
        "  sites: {a: {gateway: {kind: napt, public: 24.9.3.7, private: 10.0.0.1/24, maping: x}}}\n"
        "files: {'bob:../x': 64K, 'bob:x': 2000K}\n"
        "done: [{check: c, fact: 'shape square'}, {check: d, fact: 'has bob:../../x'}]\n"
        "hint: []\n"
        "solution: [bob rm -rf /]\n"
    )
    with pytest.raises(TopologyError) as caught:
        load(file)
    told = [problem.removeprefix(f"{file}:") for problem in caught.value.problems]
    told[0] = told[0].partition(";")[0]  # all settings of a gateway are allowed
    assert told == [
        "4: network.sites.a.gateway.maping: unknown key",
        "5: files.'bob:../x': not a place; allowed: NODE:FILE or NODE:FOLDER/FILE",
        "5: files.'bob:x': '2000K' is not a size; allowed: 1K to 1024K",
        "6: done[0].fact: 'shape' is not a fact; allowed: typed, told, rule, first, late, only, "
        "same, has, drop, dropped, event, last, set (did you mean 'same'?)",
        "6: done[1].fact: 'bob:../../x' is not a place; allowed: NODE:FILE",
        "7: hint: unknown key; allowed: title, task, network, hints, solution, files, may-set, "
        "done, mistakes, learned, vary, cases (did you mean 'hints'?)",
        "8: solution[0]: 'rm' cannot be run from a file of answers; allowed: curl, ping, stun, "
        "punch, tcp-punch, pcp, turn-client, dial, ice",
    ]


def test_the_page_has_the_tables_of_the_code_that_reads_them():
    """To renew them: python -m napt_lab.labs.exercises.key_rows."""
    page = (FOLDER / "README.md").read_text()
    for heading, rows in (("Keys", key_rows()), ("Facts", fact_rows())):
        section = page.partition(f"\n### {heading}\n")[2].partition("\n#")[0]
        assert [line for line in section.splitlines() if line.startswith("| `")] == rows
    read = set(re.findall(r'section(?:\[|\.value(?:_or)?\(|, )"([a-z-]+)"', SOURCE))
    assert {key.name for key in (*EXERCISE, *DONE, *MISTAKE)} == read | {"network", *VARIANT_KEYS}


def test_an_exercise_of_ones_own_is_called_as_its_file(tmp_path):
    file, answers = tmp_path / "my-own.yaml", tmp_path / "answers.yaml"
    file.write_text((FOLDER / "9c-1-door.yaml").read_text())
    answers.write_text("my-own: [bob ping 24.9.3.7]\n")
    (task,), _ = read_tasks(str(file), answers)
    assert (task.exercise.id, task.exercise.number) == ("my-own", 1)
    (line,) = task.lines
    assert line.text == "bob ping 24.9.3.7"


def test_settings_are_read_as_if_they_stood_in_the_file():
    hairpin = next(exercise for exercise in EXERCISES if exercise.name == "hairpin")
    (before, _), (after, _) = (
        hairpin.topology(settings).sites
        for settings in ((), (Setting("napt_a", "hairpinning", "true"),))
    )
    assert not before.gateway.napt.hairpinning
    assert after.gateway.napt.hairpinning
    for setting, problem in (
        (("napt_a", "engine", "nftables"), "'engine' cannot be set in this exercise"),
        (("napt_a", "hairpinning", "maybe"), "'maybe' is neither true nor false"),
        (("napt_c", "hairpinning", "true"), "'napt_c' is not a gateway"),
    ):
        with pytest.raises(TopologyError, match=problem):
            hairpin.topology((Setting(*setting),))


# ── answers ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "line",
    [
        "rule add napt_a tcp 8080 -> 10.0.0.7:8080 -> 10.0.0.8:8080",
        "rule add napt_a tcp 8080 10.0.0.7",
        "alice rm -rf /",
        "alice sh -c id",
        "alice curl -K x http://24.9.3.7/",
        "alice curl -o ../x http://24.9.3.7/",
        "alice curl -o /etc/passwd http://24.9.3.7/",
        "alice curl -o .curlrc http://24.9.3.7/",
        "alice curl -O http://24.9.3.7/.curlrc",
        "alice curl -O http://24.9.3.7/a/../../x",
        "alice curl file:///etc/passwd",
        "alice curl -T /etc/passwd http://24.9.3.7/",
        "alice curl -sSo ../x http://24.9.3.7/",
        "alice curl -sSo http://24.9.3.7/",
        "alice curl -sSo -f http://24.9.3.7/",
        "alice curl -os x http://24.9.3.7/",
        "alice curl -sK x http://24.9.3.7/",
        "alice curl -ssK x http://24.9.3.7/",
        "alice curl --output /etc/passwd http://24.9.3.7/",
        "alice curl --upload-file ../x http://24.9.3.7/",
        "alice curl --output-dir /tmp -O http://24.9.3.7/x",
        "alice curl -o",
        "alice python -c 'import os'",
        "alice dial 24.9.3.7:1 --receive /tmp/x",
        "alice file-server",
        "alice ping -c 1 10.0.0.9 &",
        "alice ping -c 1 10.0.0.9 ; id",
        "alice &",
        "rule add napt_a",
        "rule add napt_a sctp 24.9.3.7:1 10.0.0.7:1",
        "rule add napt_a tcp 24.9.3.7 10.0.0.7:1",
        "set napt_a mapping",
        "check",
    ],
)
def test_lines_that_no_file_may_have(line):
    with pytest.raises(ValueError):
        check_line(parse_line(line))


@pytest.mark.parametrize(
    "options",
    ["-sSf -m 5 -o x", "-sO", "-fsS", "-sSo x", "-sS --output x", "--silent --fail -sT x"],
)
def test_options_of_curl_as_they_are_typed_at_the_prompt(options):
    check_line(parse_line(f"bob curl {options} http://24.9.3.7:8000/holiday.jpg"))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("shell bob", "'shell bob': what is typed in a shell cannot be marked; allowed: each"),
        ("reset", "'reset': a file has no such command; allowed: only the lines that count"),
        ("packets napt_a while bob ping 10.0.0.1", "allowed: the words after `while`"),
        ("bob ping -c 100000 24.9.3.7", "ping -c: '100000' cannot stand here; allowed: 1 to 5"),
        ("bob stun --port many files", "'many' cannot stand here; allowed: a number, as in 8000"),
    ],
)
def test_what_is_wrong_with_a_line_is_told(line, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        check_line(parse_line(line))


def test_what_only_looks_is_left_out_of_a_file_without_a_word(tmp_path):
    file = tmp_path / "answers.yaml"
    looks = ["why", "why all", "check", "hint", "rules napt_a", "packets", "task", "help", "?"]
    file.write_text(json.dumps({"door": [*looks, "bob ping 24.9.3.7", "transcript"]}))
    answers = load_answers(file, ["door"])
    assert [line.text for line in answers.lines["door"]] == ["bob ping 24.9.3.7"]
    assert answers.problems.lines() == []


def test_the_transcript_has_what_was_done(monkeypatch):
    monkeypatch.setattr(LabCLI, "onecmd", lambda _prompt, _line: False)
    prompt = object.__new__(ExerciseCLI)
    prompt.kept = CarriedOver()
    for line in ("why", "bob  ping 24.9.3.7", "check", "reset", "packets while bob ping 24.9.3.7"):
        prompt.onecmd(line)
    done = ["bob ping 24.9.3.7", "reset", "packets while bob ping 24.9.3.7"]
    assert list(prompt.kept.transcript) == done


@pytest.mark.parametrize("external", ["8080", "24.9.3.7:8080"])
@pytest.mark.parametrize("arrow", ["-> ", "→ ", ""])
def test_a_rule_may_be_written_as_it_is_shown(external, arrow):
    line = parse_line(f"rule add napt_a tcp {external} {arrow}10.0.0.7:8080")
    check_line(line)
    assert line.words == ("rule", "add", "napt_a", "tcp", external, "10.0.0.7:8080")


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("fact: has pc:page.html", "fact: has pcc:page.html", "'pcc' is not a node"),
        ('"typed pc curl *"', '"typed pcc curl *"', "'pcc' is not a node"),
        ('"typed pc curl *"', '"told rule add napt_z *"', "'napt_z' is not a NAPT"),
        ('"typed pc curl *"', '"typed * | typed rule del napt_z"', "'napt_z' is not a NAPT"),
        ('"typed pc curl *"', '"not typed set prox *"', "'prox' is not a gateway"),
        ("  - pc curl -m 2 -x", "  - pcc curl -m 2 -x", "'pcc' is not a node"),
        ("event stackoverflow", "event stackoverflo", "'stackoverflo' is not a node"),
        ("fact: has pc:page.html", "fact: rule proxy *", "'proxy' is not a NAPT"),
        ("fact: has pc:page.html", "fact: has pc:page.html | hass x", "'hass' is not a fact"),
        ("done:", "files: {'pcc:a': 1K}\ndone:", "'pcc' is not a node"),
    ],
)
def test_a_node_that_an_exercise_does_not_have_is_told(old, new, problem, tmp_path):
    text = (FOLDER / "8-1-proxy.yaml").read_text()
    assert old in text
    file = tmp_path / "mine.yaml"
    file.write_text(text.replace(old, new))
    with pytest.raises(TopologyError, match=problem):
        load(file)


def test_what_is_wrong_with_a_file_of_answers_is_told_with_its_line(tmp_path):
    file = tmp_path / "answers.yaml"
    file.write_text(
        "door:\n"
        "  - rule add napt_a tcp 24.9.3.7:8080 10.0.0.7:8080\n"
        "  - rul add napt_a tcp 24.9.3.7:8080 10.0.0.7:8080\n"
        "  - set napt_a hairpinning true\n"
        "dor: []\n"
        "both-ways:\n"
        "  - rule add napt_x tcp 24.9.3.7:8080 10.0.0.7:8080\n"
        "hairpin:\n"
        "  - set napt_x hairpinning true\n"
        "  - nobody ping 10.0.0.1\n"
    )
    tasks, others = read_tasks("9c", file)
    assert {task.exercise.name: list(task.refused) for task in tasks} == {
        "door": [
            "line 3: 'add' cannot be run from a file of answers; allowed: curl, ping, stun, "
            "punch, tcp-punch, pcp, turn-client, dial, ice",
            "line 4: 'hairpinning' cannot be set in this exercise; allowed: only rules, and "
            "commands on nodes",
            "line 4: `set` builds the network anew, without what was done before; "
            "allowed: set first",
        ],
        "both-ways": [
            "line 7: 'napt_x' is not a NAPT; allowed: napt_a, napt_b (did you mean 'napt_b'?)"
        ],
        "two-servers": [],
        "hairpin": [
            "line 9: 'napt_x' is not a gateway; allowed: napt_a, napt_b (did you mean 'napt_b'?)",
            "line 10: 'nobody' is not a node; allowed: files, alice, carol, bob, napt_a, "
            "napt_b, internet",
        ],
        "repair": [],
    }
    assert [line.text for line in tasks[0].lines] == [
        "rule add napt_a tcp 24.9.3.7:8080 10.0.0.7:8080"
    ]
    assert others == [
        f"{file}:5: dor: there is no exercise 'dor' here; allowed: door, both-ways, two-servers, "
        "hairpin, repair (did you mean 'door'?)"
    ]


@pytest.mark.parametrize("text", ["dor: []", "- rule add x", "door: [", ""])
def test_a_file_with_nothing_to_mark_is_refused(text, tmp_path):
    file = tmp_path / "answers.yaml"
    file.write_text(text)
    with pytest.raises(TopologyError):
        read_tasks("9c", file)


def test_names_that_the_exercise_does_not_have_are_told_with_their_line(tmp_path):
    file = tmp_path / "answers.yaml"
    file.write_text("door: [rule del alice tcp 24.9.3.7:8080, nobody ping 10.0.0.1]\n")
    answers = load_answers(file, names("9c"))
    as_far_as_possible(series("9c")[:1], answers)
    assert [problem.removeprefix(f"{file}:") for problem in answers.problems.lines()] == [
        "1: door[0]: 'alice' is not a NAPT; allowed: napt_a, napt_b",
        "1: door[1]: 'nobody' is not a node; allowed: files, alice, carol, bob, napt_a, napt_b, "
        "internet",
    ]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["grade", "9c", "--rules", "/nowhere.yaml"], "/nowhere.yaml: no such file"),
        (["grade", "9z", "--rules", "/nowhere.yaml"], "there are no exercises '9z'"),
        (["exercise", "9c/dor"], "level 9c has no exercise 'dor'; there are: door"),
        (["exercise", "9c"], "an exercise needs a terminal to type at"),
    ],
)
def test_wrong_usage_is_status_2(arguments, said):
    command = [sys.executable, "-m", "napt_lab.labs", *arguments]
    run = subprocess.run(
        command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60
    )
    assert run.returncode == 2
    assert said in run.stderr
    assert "Traceback" not in run.stderr


# ── facts ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("pattern", "facts", "holds"),
    [
        ("rule napt_a *", ["rule napt_a tcp 24.9.3.7:8080 10.0.0.7:8080"], True),
        ("rule napt_a *", ["rule napt_b tcp 203.0.113.77:8080 10.0.0.9:8080"], False),
        ("not rule *", [], True),
        ("not rule *", ["rule napt_a udp 24.9.3.7:1 10.0.0.7:1"], False),
        ("event a x | event a y", ["event a y"], True),
        ("not event a x | event a y", ["event a y"], False),
        ("event a peer=[::1]:1", ["event a peer=[::1]:1"], True),
        ("late napt_a tcp 24.9.3.7:80", ["late napt_a tcp 24.9.3.7:8080"], False),
    ],
)
def test_patterns(pattern, facts, holds):
    assert Pattern.parse(pattern).holds(facts) == holds


# ── marks ──────────────────────────────────────────────────────────────────────────────────


def graded():
    door = next(exercise for exercise in EXERCISES if exercise.name == "door")
    marks = Marks(
        (
            Mark("one", 2, Verdict.PASSED, "never shown", ("seen\x1b",)),
            Mark("two", 1, Verdict.FAILED, "try again", ("not seen",)),
            Mark("three", 3, Verdict.ERROR, "", ("it broke",)),
        ),
        ("on the other NAPT",),
    )
    return Graded(Task(door, door.topology(), ()), marks, ("rule add …: no",), 1.5)


def test_what_gives_no_points_costs_one_if_it_does_not_hold():
    def marks(last):
        return Marks((Mark("a page", 3, Verdict.PASSED), Mark("no rule", 0, last)))

    kept, broken = marks(Verdict.PASSED), marks(Verdict.FAILED)
    assert (kept.full, kept.got, kept.of) == (True, 3, 3)
    assert (broken.full, broken.got, broken.of) == (False, 2, 3)


def test_marks_as_json():
    told = as_json([graded()])
    assert (told["points"], told["of"], told["passed"]) == (2, 6, False)
    (exercise,) = told["exercises"]
    assert exercise["advice"] == ["on the other NAPT"]
    assert [c["verdict"] for c in exercise["checks"]] == ["passed", "failed", "error"]
    assert [c["message"] for c in exercise["checks"]] == ["", "try again", ""]


def test_marks_as_junit(tmp_path):
    write_junit(tmp_path / "marks.xml", [suite_of(graded())])
    (suite,) = ET.parse(tmp_path / "marks.xml").getroot()
    assert {key: suite.get(key) for key in ("tests", "failures", "errors")} == {
        "tests": "3",
        "failures": "1",
        "errors": "1",
    }
    passed, failed, broken = suite
    assert passed.find("failure") is passed.find("error") is None
    assert failed.find("failure").get("message") == "try again"
    assert "on the other NAPT" in failed.find("failure").text
    assert broken.find("error").get("message") == "it broke"


def test_what_could_not_be_marked_is_an_error_and_no_failure(monkeypatch):
    def broken(_topology):
        raise ProgramError("the translator has gone")

    monkeypatch.setattr("napt_lab.labs.exercises.grade.fresh_network", broken)
    (made,) = grade([graded().task], lambda _: None)
    assert made.marks.unknown
    assert made.marks.got == 0
    assert {mark.verdict for mark in made.marks.marks} == {Verdict.ERROR}
    assert "the translator has gone" in "\n".join(summary(made))


def test_no_answer_gives_no_points_even_where_nothing_is_asked_for():
    for exercise in EXERCISES:
        marks = unanswered(exercise, exercise.topology())
        assert marks.got == 0
        assert marks.of > 0
        assert not marks.full


# ── progress ───────────────────────────────────────────────────────────────────────────────


def test_the_best_result_stays():
    assert read_progress() == {}
    save_result("9c/door", Result(2, 4, hints=1))
    save_result("9c/door", Result(1, 4, hints=2))
    assert read_progress()["9c/door"].points == 2
    save_result("9c/door", Result(4, 4))
    save_result("9c/door", Result(0, 4))
    save_result("9c/door", Result(4, 4, shown=True))
    assert read_progress() == {"9c/door": Result(4, 4)}


def test_a_solution_that_is_shown_solves_nothing():
    door, *_ = exercises = series("9c")
    save_result("9c/door", Result(2, 4))
    save_result("9c/door", Result(4, 4, shown=True))
    assert read_progress() == {"9c/door": Result(2, 4, shown=True)}
    assert session._first(exercises, None) is door
    assert session._score([door]) == "0 of 1 solved (1 solution shown)"
    save_result("9c/door", Result(3, 4))
    assert read_progress() == {"9c/door": Result(3, 4, shown=True)}
    save_result("9c/door", Result(4, 4))  # done without it
    assert read_progress() == {"9c/door": Result(4, 4)}
    assert session._first(exercises, None) is exercises[1]
    assert session._score([door]) == "1 of 1 solved"


def test_a_file_of_before_that_counts_what_was_shown_as_solved_is_read(state):
    save_result("9c/door", Result(4, 4))
    file = state / progress.NAME
    file.write_text(file.read_text().replace("false", "true"))
    assert not read_progress()["9c/door"].solved


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"a": 1}', '{"a": {"points": "many"}}', "x" * 10**6]
)
def test_a_file_that_makes_no_sense_is_no_progress(text, state):
    state.mkdir(parents=True)
    (state / progress.NAME).write_text(text)
    assert read_progress() == {}
    save_result("8/proxy", Result(1, 3))
    assert read_progress() == {"8/proxy": Result(1, 3)}


def test_two_at_once_lose_nothing():
    threads = [
        threading.Thread(target=save_result, args=(f"9c/{n}", Result(n, 9))) for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(read_progress()) == 8
