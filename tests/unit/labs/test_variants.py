"""A variant for each student: drawn by ID, always solvable, equally hard, and nobody else's."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from itertools import combinations
from pathlib import Path

import click
import pytest

from napt_lab.labs.classroom.assignment import for_class
from napt_lab.labs.classroom.submissions import Submission
from napt_lab.labs.classroom.whose import whose, words_of_variants
from napt_lab.labs.exercises import rehearsal
from napt_lab.labs.exercises.answers import parse_line
from napt_lab.labs.exercises.command_line import read_student
from napt_lab.labs.exercises.exercise import (
    FOLDER,
    LEVELS,
    cases,
    distinctive,
    load,
    series,
    unnamed,
    variant_values,
)
from napt_lab.labs.exercises.exercise_cli import OWN_VARIANT, ExerciseCLI, buttons
from napt_lab.labs.exercises.variant import Student, Varied, draw, draw_values, replaced, words_of
from napt_lab.labs.prompt.examples import suited
from napt_lab.labs.prompt.lab_cli import LabCLI
from napt_lab.labs.view.go_on import GoOn
from napt_lab.topologies.spec.errors import TopologyError

ROOT = Path(__file__).parents[3]
EXERCISES = [exercise for level in LEVELS for exercise in series(level)]
SECRET = b"a secret of sixteen or more"
STUDENTS = [Student.of(f"student-{number}", SECRET) for number in range(1000)]
each_exercise = pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.id)


# ── what is drawn ──────────────────────────────────────────────────────────────────────────


@each_exercise
def test_a_thousand_variants_have_hardly_anything_in_common(exercise):
    there = words_of(re.sub(r"^vary:.*(?:\n .*)*", "", exercise.path.read_text(), flags=re.M))
    drawn = [variant_values(exercise.path, student) for student in STUDENTS]
    varied = list(drawn[0])
    name = exercise.path.name
    assert distinctive(exercise.path), f"{name}: put addresses or ports into `vary`"
    for values in drawn:
        assert list(values) == varied
        assert len({*values.values()} | there) == len(values) + len(there), values
        networks = {(old.rpartition(".")[0], new.rpartition(".")[0])
                    for old, new in values.items() if re.fullmatch(r"[\d.]{7,}", old)}  # fmt: skip
        assert networks, f"{name}: put an address into `vary`"
        olds, news = zip(*networks, strict=True)
        assert len(set(olds)) == len(set(news)) == len(networks)
    own = set(distinctive(exercise.path))
    lines = [line for line in exercise.solution if words_of(line) & own]
    answers = [frozenset(replaced(line, values) for line in lines) for values in [{}, *drawn]]
    assert len(set(answers)) == len(answers)
    assert repeated(line for answer in answers for line in answer) <= 2
    words = [sorted(values[word] for word in own) for values in drawn]
    assert repeated(pair for each in words for pair in combinations(each, 2)) <= 1
    assert not repeated(three for each in words for three in combinations(each, 3))


def repeated(things):
    """How many of these are there once more. (Of a thousand students, few share a port.)"""
    counted = Counter(things)
    return counted.total() - len(counted)


@each_exercise
def test_a_variant_is_whole_and_as_hard_as_the_exercise(exercise):
    which = EXERCISES.index(exercise)
    for student in STUDENTS[which :: len(EXERCISES) * 40]:
        variant = load(exercise.path, student)
        case = cases(exercise)[variant.case]
        assert variant.case < len(cases(exercise))
        values = variant_values(exercise.path, student)
        assert variant.solution == tuple(replaced(line, values) for line in case.solution)
        assert replaced(case.task, values) == variant.task
        assert variant.task != case.task, f"{exercise.path.name}: put a word of `task` into `vary`"
        assert len(variant.mistakes) == len(case.mistakes)
        assert str(variant.topology().sites) == replaced(str(case.topology().sites), values)
        assert variant.id == exercise.id
        assert variant.known_as == f"{exercise.id} of {student.id}"


def test_every_case_is_somebodys():
    repair = next(exercise for exercise in EXERCISES if exercise.name == "repair")
    number = len(cases(repair))
    drawn = [draw(student, repair.path.stem, "case", number) for student in STUDENTS]
    assert min(Counter(drawn).values()) > len(STUDENTS) / 5
    assert load(repair.path, STUDENTS[0]).case == drawn[0]
    assert len({case.solution for case in cases(repair)}) == 3  # one fault shows elsewhere


def test_words_are_replaced_as_a_whole():
    values = {"80": "81", "10.0.0.7": "10.9.9.9", "bob": "tom", "a.jpg": "b.jpg"}
    text = "bob's 10.0.0.7:80, bobby 8080 10.0.0.77 10.0.0.7.1 x10.0.0.7 (10.0.0.7). a.jpg aa.jpg"
    assert replaced(text, values) == (
        "tom's 10.9.9.9:81, bobby 8080 10.0.0.77 10.0.0.7.1 x10.0.0.7 (10.9.9.9). b.jpg aa.jpg"
    )


def test_kinds_of_addresses_stay():
    student = STUDENTS[0]
    varied = [Varied("10.0.0.1"), Varied("10.0.0.0"), Varied("100.64.0.3"), Varied("192.168.1.9")]
    values = draw_values([], varied, student, "x")
    assert values["10.0.0.0"].endswith(".0")
    assert values["10.0.0.1"].rpartition(".")[0] == values["10.0.0.0"].rpartition(".")[0]
    assert re.match(r"100\.(6[4-9]|[7-9]\d|1[01]\d|12[0-7])\.", values["100.64.0.3"])
    assert re.match(r"10\.|192\.168\.|172\.(1[6-9]|2\d|3[01])\.", values["192.168.1.9"])
    with pytest.raises(ValueError, match="all that could take its place"):
        draw_values(["desk"], [Varied("pc", ("desk",))], student, "x")


def test_a_key_that_the_secret_has_not_made_is_refused_where_the_secret_is_known():
    mia, forged = Student.of("mia", SECRET), Student.of("mia", SECRET + b".")
    assert read_student(mia.code, SECRET) == mia
    assert read_student(forged.code, None) == forged  # nothing to compare it with
    with pytest.raises(click.UsageError, match="not made from the course's secret"):
        read_student(forged.code, SECRET)


def test_keys_of_students():
    mia = Student.of("mia", SECRET)
    assert mia == Student.from_code(mia.code) == Student.from_code(mia.code.lower())
    assert mia.key != Student.of("mia", SECRET + b".").key != Student.of("noah", SECRET).key
    wrong = mia.code[:-9] + ("A" if mia.code[-9] != "A" else "B") + mia.code[-8:]
    for code, told in (
        (wrong, "a letter is wrong"),
        (mia.code.replace("mia", "noah"), "a letter is wrong"),
        (mia.code[:-1], "the key is too short (19 characters; allowed: 20)"),
        (f"{mia.code}A", "the key is too long (21 characters; allowed: 20)"),
        ("mia:", "too short (0 characters"),
        ("", "too short"),
    ):
        with pytest.raises(ValueError, match=re.escape(told)):
            Student.from_code(code)
    for line in (f"{mia.code}\r", f" {mia.code}\r\n"):  # as a file of Windows has it
        assert Student.from_code(line) == mia
        assert read_student(line, SECRET) == mia
    assert read_student("mia\r", SECRET) == mia
    for who in ("", " mia", "mia:x", "a\nb", "x" * 65):
        with pytest.raises(ValueError, match="not a student's ID"):
            Student.of(who, SECRET)
    decomposed = unicodedata.normalize("NFD", "zoë")
    assert Student.of(decomposed, SECRET) == Student.of("zoë", SECRET)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("vary: [", "vary: [nowhere.jpg, ", "'nowhere.jpg' is not a word of this exercise"),
        ("vary: [", "vary: [web, ", "what could take its place"),
        ("vary: [", "vary: [{pc: [a, b], pc2: [c]}, ", "one word and its choices"),
        ("vary: [", "vary: [{pc: [a b]}, ", "'a b' is not a word"),
        ("done:", "cases: [{hintz: [x]}]\ndone:", "unknown key"),
        ("done:", "cases: [{solution: [pcc ping 1.1.1.1]}]\ndone:", "'pcc' is not a node"),
        ("done:", "cases: [{hints: [x]}, {solution: [pc ping 1.1.1.1, pc ping 1.1.1.1]}]\ndone:",
         "cases.1. has 0 rules, 0 settings, 2 commands"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_variants_is_told(tmp_path, old, new, problem):
    file = tmp_path / "mine.yaml"
    file.write_text((FOLDER / "8-1-proxy.yaml").read_text().replace(old, new))
    with pytest.raises(TopologyError, match=problem):
        cases(load(file))


# ── whose it is ────────────────────────────────────────────────────────────────────────────


def window(tmp_path, old="", new=""):
    """The exercise of docs/instructor.md, with a change."""
    page = (ROOT / "docs" / "instructor.md").read_text()
    text = page.partition("```yaml window.yaml\n")[2].partition("```")[0]
    assert old in text
    file = tmp_path / ("other.yaml" if old else "window.yaml")
    file.write_text(text.replace(old, new))
    return file


@each_exercise
def test_what_is_asked_for_is_told(exercise):
    assert [problem for case in cases(exercise) for problem in unnamed(case)] == []


@pytest.mark.parametrize("student", [None, STUDENTS[0]])
def test_what_is_asked_for_and_not_told_is_a_mistake_of_the_exercise(tmp_path, student):
    assert unnamed(load(window(tmp_path), student)) == []
    file = window(tmp_path, " and save it as page.html")
    where = 1 + file.read_text()[: file.read_text().index("has visitor:page")].count("\n")
    variant_of = {"page.html": "page.html"} if student is None else variant_values(file, student)
    assert unnamed(load(file, student)) == [
        f"{file}:{where}: done[0].fact: the task does not name '{variant_of['page.html']}'; "
        "allowed: name it there"
    ]


def test_a_rehearsal_tells_what_is_asked_for_and_not_told(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(rehearsal, "rehearse", lambda _exercise: [])
    monkeypatch.setattr(rehearsal, "rehearse_variants", lambda _exercise: [])
    assert rehearsal.run_rehearsal([load(window(tmp_path))]) == 0
    file = window(tmp_path, " and save it as page.html")
    capsys.readouterr()
    assert rehearsal.run_rehearsal([load(file)]) == 1
    assert "the task does not name 'page.html'; allowed: name it" in capsys.readouterr().out


def test_an_address_that_stays_where_others_of_its_network_vary_is_told(tmp_path):
    file = window(tmp_path, "10.0.0.7, 8080, page", "8080, page")
    line = 1 + file.read_text().partition("pc: {address")[0].count("\n")
    with pytest.raises(TopologyError) as told:
        load(file)
    assert told.value.problems == [
        f"{file}:{line}: network: 10.0.0.7 stays as it is, but 10.0.0.1 of the same network "
        "varies; allowed: list 10.0.0.7 in vary, too"
    ]


def test_whose_variant_answers_fit(tmp_path):
    exercises = series("9c")
    students = STUDENTS[:50]
    words = words_of_variants(exercises, students)
    file = tmp_path / "answers.yaml"
    for handed_in_by, written_by, said in (
        (0, 0, None),
        (0, 7, "the variant of student-7"),
        (0, None, "the exercises as they are written"),
    ):
        student = None if written_by is None else students[written_by]
        file.write_text("\n".join(load(exercises[1].path, student).solution))
        told = whose(file, students[handed_in_by].id, words)
        assert (said in told) if said else not told
        if told:  # one's own addresses beside them do not make the others one's own
            file.write_text(f"{file.read_text()}\n# {' '.join(words[students[0].id])}")
            assert said in whose(file, students[handed_in_by].id, words)
    file.write_text("rubbish 1 2 3")
    assert not whose(file, students[0].id, words)
    [assignment] = for_class(exercises, [Submission("student-0")], SECRET).values()
    assert assignment.variants()[0] == load(exercises[0].path, students[0])
    with pytest.raises(ValueError, match="not a student's ID"):
        for_class(exercises, [Submission("a:b")], SECRET)


def test_the_page_of_a_variant_has_no_button_for_its_solution():
    exercise = EXERCISES[0]
    assert buttons(exercise) == ["why", "check", "hint", "reset", "solve", "next"]
    assert buttons(load(exercise.path, STUDENTS[0])) == ["why", "check", "hint", "reset", "next"]
    for student in (None, STUDENTS[0]):
        prompt = object.__new__(ExerciseCLI)
        prompt._exercise = load(exercise.path, student)
        if student is None:
            with pytest.raises(GoOn, match="solve"):
                prompt.from_page("solve")
        else:
            assert prompt.from_page(" solve") == (False, OWN_VARIANT)


# ── nobody's solution ──────────────────────────────────────────────────────────────────────


def plain(text):
    """Without arrows, marks of code and more than one space in a row."""
    return " ".join(re.sub(r"->|→|[`|$\"']", " ", text).split())


def answers_in(exercise, text):
    """Lines of its solution that a text gives away: what the exercise itself does not say."""
    task = plain(exercise.task)
    for line in map(parse_line, exercise.solution):
        forms = [" ".join(line.words)]
        if line.words[:2] == ("rule", "add"):
            _, _, _, protocol, external, internal = line.words
            forms = [
                f"{protocol} {outside} {internal}"
                for outside in (external, external.rpartition(":")[2])
            ]
        elif line.words[0] == "set":
            forms = [" ".join(line.words[1:])]
        for form in forms:
            if form in text and form not in task:
                yield form


PAGES = [ROOT / "README.md", *(page for folder in ("docs", "labs", "nat_node", "topologies")
                               for page in (ROOT / folder).rglob("*.md"))]  # fmt: skip
HELP = [command.__doc__ for kind in (LabCLI, ExerciseCLI) for command in vars(kind).values()]
TEXTS = {page.relative_to(ROOT).as_posix(): plain(page.read_text("utf-8")) for page in PAGES}


@each_exercise
def test_no_document_and_no_help_has_the_answer(exercise):
    for case in [*cases(exercise), load(exercise.path, STUDENTS[0])]:
        topology = case.topology()
        shown = [suited(line, topology) for line, _ in ExerciseCLI.examples]
        texts = TEXTS | {"?": plain("\n".join([*shown, *filter(None, HELP)]))}
        found = {name: list(answers_in(case, text)) for name, text in texts.items()}
        assert not {name: forms for name, forms in found.items() if forms}


def test_that_test_can_fail():
    door, visitor, *_ = (e for e in EXERCISES if e.name in ("door", "visitor"))
    for exercise in (door, visitor):
        rule = exercise.solution[0].split()
        for text in (f"`{' '.join(rule)}`", f"tcp {rule[4].split(':')[1]} -> {rule[5]}"):
            assert list(answers_in(exercise, plain(text)))
