"""A class without a network: what was handed in, what is kept, and the tables of marks."""

from __future__ import annotations

import csv
import html
import json
import os
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from click.testing import CliRunner

from napt_lab.labs.classroom import mark_many, marked
from napt_lab.labs.classroom.assignment import Assignment, for_class
from napt_lab.labs.classroom.mark_page import write_mark_page
from napt_lab.labs.classroom.mark_tables import (
    as_lines,
    gradescope,
    write_csv,
    write_gradescope,
    write_marks_json,
    write_marks_junit,
)
from napt_lab.labs.classroom.marked import KeptMarks, Marked, PartMarks, as_text, from_text, key_of
from napt_lab.labs.classroom.one_submission import could_not_be_marked
from napt_lab.labs.classroom.submissions import (
    MOST_BYTES,
    FolderError,
    Submission,
    handed_in,
    read_names,
)
from napt_lab.labs.classroom.workers import Piece, side_by_side
from napt_lab.labs.cli import exercise_commands
from napt_lab.labs.exercises.answers import load_answers
from napt_lab.labs.exercises.exercise import load, series
from napt_lab.labs.exercises.tasks import as_far_as_possible
from napt_lab.labs.exercises.variant import Student
from napt_lab.labs.report.page import policy
from napt_lab.labs.translator.claims import claimed_in
from napt_lab.topologies.sandbox import sandbox
from napt_lab.topologies.spec.errors import TopologyError

SCHEMA = json.loads((Path(__file__).parent / "schemas" / "gradescope.schema.json").read_text())
DOOR, *_ = series("9c")
MIA = Student.of("mia", b"a secret of some length")


# ── what was handed in ─────────────────────────────────────────────────────────────────────


def test_a_file_or_a_folder_for_each_student(tmp_path):
    for name in ("mia.yaml", "mia.py", "ada/answers.yaml", "noah/mine.py", "eve/homework.yaml"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    (tmp_path / ".DS_Store").touch()
    (tmp_path / "README.txt").touch()
    (tmp_path / "\x1b[2J.yaml").touch()
    (tmp_path / os.fsdecode(b"\xff.yaml")).touch()
    (tmp_path / "link.yaml").symlink_to("/etc/passwd")
    (tmp_path / "big.py").write_bytes(b"#" * (MOST_BYTES + 1))
    os.mkfifo(tmp_path / "pipe.yaml")
    submissions, left_out = handed_in(tmp_path, {"mia": "Mia M.", "zoe": "Zoë"})
    by_id = {submission.id: submission for submission in submissions}
    assert left_out == ["README.txt"]
    assert by_id["mia"] == Submission("mia", "Mia M.", tmp_path / "mia.yaml", tmp_path / "mia.py")
    assert by_id["ada"].answers == tmp_path / "ada" / "answers.yaml"
    assert by_id["noah"].translator == tmp_path / "noah" / "mine.py"
    assert {who: one.problem for who, one in by_id.items() if one.problem} == {
        "eve": "neither answers.yaml nor mine.py is in this folder; there is: homework.yaml",
        "zoe": "nothing was handed in",
        "link": "link.yaml is a link, a folder or a pipe; allowed: a file",
        "pipe": "pipe.yaml is a link, a folder or a pipe; allowed: a file",
        "big": "big.py is too large; allowed: at most 1,048,576 bytes",
    }
    assert {"\\x1b[2J", "\\xff"} < by_id.keys()
    (tmp_path / "mia").mkdir()
    (tmp_path / "mia" / "answers.yaml").touch()
    with pytest.raises(FolderError, match="remove the one that does not count"):
        handed_in(tmp_path, {})


def test_files_under_another_name_than_expected_are_told_in_their_row(tmp_path):
    for name in ("uma.yml", "ida.YAML", "leo.txt", "eve.yaml", "ada/answers.yml"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    names = dict.fromkeys(("uma", "ida", "leo", "ada", "mia"), "")
    submissions, left_out = handed_in(tmp_path, names)
    by_id = {submission.id: submission for submission in submissions}
    answered = {who: one.answers.name for who, one in by_id.items() if one.answers}
    assert answered == {
        "ada": "answers.yml", "eve": "eve.yaml", "ida": "ida.YAML", "uma": "uma.yml",
    }  # fmt: skip
    assert left_out == ["leo.txt"]
    assert by_id["leo"].problem == (
        "nothing was handed in but leo.txt; allowed: leo.yaml or leo.py"
    )
    assert by_id["mia"].problem == "nothing was handed in"
    notes = {who: one.note for who, one in by_id.items() if one.note}
    assert notes == {"eve": "this ID is not in the list of students"}
    assert not any(one.note for one in handed_in(tmp_path, {})[0])


def test_names_as_a_mac_writes_them_and_a_folder_that_cannot_be_read(tmp_path, monkeypatch):
    decomposed, composed = "jo\u0308rg", "j\u00f6rg"
    (tmp_path / f"{decomposed}.yaml").touch()
    (tmp_path / "mia").mkdir()
    listing = Path.iterdir

    def refuse(folder):
        if folder.name == "mia":
            raise PermissionError(13, "Permission denied")
        return listing(folder)

    monkeypatch.setattr(Path, "iterdir", refuse)
    (tmp_path / "students.csv").write_text(f"id,name\n{decomposed},J\n")
    names = read_names(tmp_path / "students.csv")
    submissions, _ = handed_in(tmp_path, names)
    mark = {one.id: (one.name, one.problem) for one in submissions}
    refused = "the folder cannot be read: Permission denied"
    assert mark == {composed: ("J", ""), "mia": ("", refused)}


def test_names_of_students(tmp_path):
    file = tmp_path / "students.csv"
    file.write_text("﻿Name,ID,Group\nMia M.,mia,1\n,noah,\n\n")
    assert read_names(file) == {"mia": "Mia M.", "noah": ""}
    file.write_text("surname;number\n")
    with pytest.raises(FolderError, match="no column id"):
        read_names(file)
    with pytest.raises(FolderError, match="No such file"):
        read_names(tmp_path / "none.csv")
    file.write_text("id,name\nmia,Mia\n\nnoah,Noah\nmia,Mia M.\n")
    with pytest.raises(FolderError, match=r"csv:5: 'mia' is also on line 2; allowed: once"):
        read_names(file)
    file.write_bytes("id,name\nmia,Mia\nzoe,Zoë\n".encode("latin-1"))
    with pytest.raises(FolderError, match=r"csv:3: the byte 0xeb is not UTF-8; allowed: UTF-8"):
        read_names(file)
    for who in ("../mia", "a/b", ".mia", ".."):
        file.write_text(f"id\nnoah\n{who}\n")
        with pytest.raises(FolderError, match=r"csv:3: '.*' cannot be the name of a file"):
            read_names(file)
    file.write_text('id,name\n"no\nah",Noah\n')
    with pytest.raises(FolderError, match=r"csv:3: 'no\\nah' cannot be the name of a file"):
        read_names(file)


def test_rubbish_is_read_once(tmp_path):
    """Not once for each of its lines, which would take minutes."""
    file = tmp_path / "essay.yaml"
    file.write_text("Dear teacher: I do not know: sorry\n" * 4000)
    with pytest.raises(TopologyError) as told:
        load_answers(file, ["door"], in_pieces=True)
    assert len(str(told.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (
            b"a: &a [x, x, x, x, x, x, x, x, x, x]\n"
            b"b: &b [*a, *a, *a, *a, *a, *a, *a, *a, *a, *a]\n"
            b"c: &c [*b, *b, *b, *b, *b, *b, *b, *b, *b, *b]\n"
            b"d: &d [*c, *c, *c, *c, *c, *c, *c, *c, *c, *c]\n"
            b"door: [*d, *d, *d]\n",
            ":1: too many values, or an alias (*name) inside the value that it names; allowed: "
            "20,000 values, those of aliases included",
        ),
        (
            b"door:\n  - \xff\nhairpin:\n  - \xfe\n",
            ":2: the byte 0xff is not UTF-8; allowed: UTF-8",
        ),
    ],
)
def test_what_is_wrong_with_a_file_as_a_whole_is_told_once(tmp_path, data, told):
    file = tmp_path / "answers.yaml"
    file.write_bytes(data)
    with pytest.raises(TopologyError) as refused:
        load_answers(file, ["door", "hairpin"], in_pieces=True)
    assert refused.value.problems == [f"{file}{told}"]


def test_half_a_file_is_read_as_far_as_it_can_be(tmp_path):
    file = tmp_path / "answers.yaml"
    file.write_text(
        "# mine\n"
        "door:\n"
        "  - rule add napt_a tcp 24.9.3.7:8080 10.0.0.7:8080\n"
        "  - bob rm -rf /\n"
        "  - nobody ping 10.0.0.1\n"
        "both-ways: [never closed\n"
        "hairpin:\n"
        "  - set napt_a hairpinning maybe\n"
        "  - set napt_a hairpinning true\n"
        "  - carol ping 10.0.0.7\n"
        "  - set napt_a mapping endpoint-independent\n"
        "dor: []\n"
    )
    exercises = series("9c")
    answers = load_answers(file, [exercise.name for exercise in exercises], in_pieces=True)
    tasks = {t.exercise.name: t for t in as_far_as_possible(exercises, answers)}
    texts = {name: t.lines and [line.text for line in t.lines] for name, t in tasks.items()}
    assert texts == {
        "door": ["rule add napt_a tcp 24.9.3.7:8080 10.0.0.7:8080"],
        "both-ways": None,
        "two-servers": None,
        "hairpin": ["set napt_a hairpinning true", "carol ping 10.0.0.7"],
        "repair": None,
    }
    assert [line.split(":")[0] for line in tasks["door"].refused] == ["line 4", "line 5"]
    assert [line.split(":")[0] for line in tasks["hairpin"].refused] == ["line 8", "line 11"]
    places = [line.removeprefix(f"{file}:").split(": ")[:2] for line in answers.problems.lines()]
    assert [f"{line} {where[:12]}" for line, where in places] == [
        "4 door[1]", "5 door[2]", "6 '[' in colum", "8 hairpin[0]", "11 hairpin[3]", "12 dor",
    ]  # fmt: skip
    outside = answers.problems.outside([exercise.name for exercise in exercises])
    assert [line.split(": ")[0] for line in outside] == ["line 6", "line 12"]
    assert outside[1].startswith("line 12: dor: there is no exercise 'dor' here")
    assert tasks["hairpin"].topology.sites[0].gateway.napt.hairpinning


# ── marks ──────────────────────────────────────────────────────────────────────────────────


def check(text, points, of, verdict="passed", message="", evidence=()):
    return {
        "text": text, "points": points, "of": of, "verdict": verdict, "message": message,
        "evidence": list(evidence),
    }  # fmt: skip


def of_mia(**changes):
    part = PartMarks(
        "9c/door",
        "A rule for bob",
        2,
        4,
        ("line 3: no\x1b",),
        (check("bob gets in", 2, 2), check("the file", 0, 2, "failed", "no <file>", ["seen"])),
        1.5,
    )
    return Marked("mia", "=HYPERLINK(1)", (replace(part, **changes),), ("line 9: what?",))


ADA = could_not_be_marked(Submission("@ada"), Assignment((DOOR,), ()), "no more processes")


def test_marks_are_kept_as_they_were(tmp_path):
    kept = KeptMarks(tmp_path / "kept")
    assert kept.get("key") is None
    kept.put("key", of_mia())
    assert kept.get("key") == of_mia() == from_text(as_text(of_mia()))
    (tmp_path / "kept" / "half.json").write_text(as_text(of_mia())[:-9])
    assert kept.get("half") is None
    (tmp_path / "mine.py").write_text("a")
    before = key_of([tmp_path / "mine.py", None], ["9c/door"])
    assert before == key_of([tmp_path / "mine.py", None], ["9c/door"])
    assert before != key_of([tmp_path / "mine.py", None], ["9c/hairpin"])
    (tmp_path / "mine.py").write_text("b")
    assert before != key_of([tmp_path / "mine.py", None], ["9c/door"])


def test_marks_of_another_network_or_another_source_do_not_count(tmp_path, monkeypatch):
    """Translators are marked on the levels' networks, which are in topologies/."""
    monkeypatch.setattr(marked, "ROOT", tmp_path)
    (tmp_path / "topologies").mkdir()
    keys = []
    for name, text in (("two-sites.yaml", "a"), ("two-sites.yaml", "b"), ("one.py", "c")):
        for _ in range(2):
            (tmp_path / "topologies" / name).write_text(text)
            marked._source.cache_clear()
            keys.append(key_of([], []))
    marked._source.cache_clear()
    assert keys[::2] == keys[1::2]
    assert len(set(keys)) == 3


def test_a_table_that_no_spreadsheet_takes_for_formulas(tmp_path):
    write_csv(tmp_path / "m.csv", [of_mia(), ADA])
    with (tmp_path / "m.csv").open(encoding="utf-8-sig", newline="") as file:
        header, mia, ada = csv.reader(file)
    assert header == ["name", "id", "9c/door", "points", "of", "messages"]
    assert mia == [
        "'=HYPERLINK(1)",
        "mia",
        "2",
        "2",
        "4",
        "line 9: what? | 9c/door: line 3: no\x1b",
    ]
    assert ada[:5] == ["", "'@ada", "error", "error", "4"]
    assert ada[5] == "9c/door: could not be marked: no more processes"


def test_a_table_for_a_terminal():
    marked = [of_mia(), ADA, replace(of_mia(), id="a-long-name", parts=of_mia(points=4).parts)]
    assert as_lines(marked) == [
        "student      9c/door  points  of",
        "mia          2        2       4",
        "@ada         error    error   4",
        "a-long-name  4        4       4",
    ]


def test_variables_of_make_reach_the_options(tmp_path, monkeypatch):
    (tmp_path / "mia.yaml").write_text("door: []\n")
    (tmp_path / "students.csv").write_text("id,name\nmia,Mia\n")
    (tmp_path / "secret").write_text("a secret of some length\n")
    given: list[Any] = []

    def mark_all(*arguments, fresh):
        given.append(arguments)
        return int(fresh)

    monkeypatch.setattr(mark_many, "mark_many", mark_all)
    monkeypatch.setattr(exercise_commands, "stop_unless_ready", lambda: None)
    monkeypatch.chdir(tmp_path)
    variables = {
        "LEVEL": "9c/door", "FOLDER": ".", "STUDENTS": "students.csv", "SECRET": "secret",
        "CSV": "m.csv", "HTML": "m.html", "GRADESCOPE": "m.json",
    }  # fmt: skip
    done = CliRunner().invoke(exercise_commands.grade, [], env=variables)
    assert done.exit_code == 0, done.output
    ((_, submissions, wanted, outputs),) = given
    assert submissions[0].name == "Mia"
    assert wanted["mia"].student == MIA
    files = (outputs.csv, outputs.html, outputs.gradescope)
    assert files == (Path("m.csv"), Path("m.html"), Path("m.json"))


def test_gradescope_has_its_published_form_and_no_marks_for_an_error(tmp_path):
    jsonschema.validate(gradescope(of_mia()), SCHEMA)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(gradescope(of_mia()) | {"points": 1}, SCHEMA)
    told = gradescope(of_mia())
    assert told["score"] == sum(test["score"] for test in told["tests"]) == 2
    assert told["tests"][1]["output"] == "no <file>\nseen"
    results = tmp_path / "results.json"
    assert write_gradescope(results, [of_mia()]) == [results]
    assert json.loads(results.read_text()) == told
    assert write_gradescope(tmp_path / "many.json", [of_mia(), ADA]) == [
        tmp_path / "many" / "mia.json"
    ]


def test_points_in_junit_and_json(tmp_path):
    write_marks_junit(tmp_path / "m.xml", [of_mia(), ADA])
    mia, ada = ET.parse(tmp_path / "m.xml").getroot()
    assert (mia.get("failures"), ada.get("failures")) == ("1", "0")
    assert ada.get("errors") == ada.get("tests")
    points = [
        {p.get("name"): p.get("value") for p in case.find("properties")}
        for case in mia.iter("testcase")
    ]
    assert points == [{"points": "2", "of": "2"}, {"points": "0", "of": "2"}]
    write_marks_json(tmp_path / "m.json", [of_mia()])
    assert json.loads((tmp_path / "m.json").read_text())[0]["points"] == 2


def test_a_page_that_students_cannot_write_to(tmp_path):
    write_mark_page(tmp_path / "m.html", "9c", [of_mia(title="<script>"), ADA])
    page = (tmp_path / "m.html").read_text()
    assert "no &lt;file&gt;" in page
    table, _, below = page.partition("</table>")
    assert table.count("⚠ note</a>") == 1  # mia's, not @ada's
    assert 'href="#of-1" title="line 9: what?">⚠ note</a>' in table
    assert "<p>line 9: what?</p>" in below
    assert "\x1b" not in page
    assert "<script" not in page
    assert "1 could not be marked: @ada" in page
    [allowed] = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    [style] = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    assert html.unescape(allowed) == policy([style], [])
    assert "script-src 'none'" in policy([style], [])


def test_what_is_marked_is_not_marked_again(tmp_path, monkeypatch, capsys):
    asked = []

    def marks_of_all(pieces, _at_a_time, _is_error):
        for piece in pieces:
            asked.append(piece.name)
            if piece.name == "stop" and "again" not in asked:
                raise KeyboardInterrupt
            yield piece, as_text(replace(of_mia(), id=piece.name)), "killed" * (piece.name == "odd")

    monkeypatch.setattr(mark_many, "side_by_side", marks_of_all)
    monkeypatch.setattr(mark_many, "RUNS", tmp_path)
    submissions = [Submission(who) for who in ("mia", "odd", "stop")]

    wanted = Assignment((DOOR,), claimed_in("9c"))

    def run():
        return mark_many.mark_many(
            "9c",
            submissions,
            dict.fromkeys(("mia", "odd", "stop"), wanted),
            mark_many.Outputs(tmp_path / "m.csv"),
        )

    assert run() == 130
    asked.append("again")
    assert run() == 3  # an error of the machine is neither kept nor a mark
    assert asked == ["mia", "odd", "stop", "again", "odd", "stop"]
    said = capsys.readouterr().out
    assert "All have the same exercises (no --secret)." in said
    assert "1 of them marked before" in said
    assert "\nmia      2        " in said
    assert "odd could not be marked: killed" in said
    submissions[0] = Submission("mia", "Mia M.")  # a name is no reason to mark anew
    assert run() == 3
    assert asked[6:] == ["odd"]
    assert (tmp_path / "m.csv").read_text("utf-8-sig").splitlines()[1].startswith("Mia M.,mia,")


@pytest.mark.parametrize("marked_with", ["the secret", "another", "none"])
def test_a_class_that_is_marked_with_another_secret_is_told(
    marked_with, tmp_path, monkeypatch, capsys
):
    def no_points(pieces, _at_a_time, _is_error):
        for piece in pieces:
            yield piece, as_text(replace(of_mia(), id=piece.name)), ""

    monkeypatch.setattr(mark_many, "side_by_side", no_points)
    monkeypatch.setattr(mark_many, "RUNS", tmp_path / "runs")
    secret, other = b"a secret of some length", b"another secret of some length"
    folder = tmp_path / "submissions"
    for who in ("mia", "noah", "zoe"):
        student = Student.of(who, secret)
        place = folder / who
        place.mkdir(parents=True)
        lines = load(DOOR.path, student).solution
        (place / "answers.yaml").write_text(json.dumps({"door": lines}))
        (place / "student.txt").write_text(f"{student.code}\r\n")
    (folder / "zoe" / "student.txt").write_text(f"{Student.of('noah', secret).code}\n")
    (folder / "late").mkdir()
    (folder / "late" / "answers.yaml").write_text("door: []\n")
    (folder / "late" / "student.txt").write_text("ID:KEY\n")
    submissions, _ = handed_in(folder, dict.fromkeys(("mia", "noah", "zoe"), ""))
    given = {"the secret": secret, "another": other, "none": None}[marked_with]
    wanted = for_class([DOOR], submissions, given)
    assert mark_many.mark_many("9c", submissions, wanted, mark_many.Outputs()) == 0
    said = capsys.readouterr().out.splitlines()
    warnings = [line for line in said if line.startswith("WARNING: ")]
    hints = [line.strip() for line in said if "student.txt" in line]
    assert "  late: this ID is not in the list of students" in said
    noahs = "zoe: student.txt has the key of noah"
    if marked_with == "the secret":
        assert (warnings, hints) == ([], [noahs])
    elif marked_with == "another":
        which = "is this the right secret?"
        assert warnings == [f"WARNING: 3 of 3 answers do not fit anybody's variant: {which}"]
        told = f"the key in student.txt is not of this secret: {which}"
        assert hints == [f"mia: {told}", f"noah: {told}", noahs]
    else:
        which = "are these variants? Then give the course's secret (--secret FILE)"
        exercises = "the exercises as they are written"
        assert warnings == [f"WARNING: 3 of 3 answers do not fit {exercises}: {which}"]
        assert hints[0] == f"mia: student.txt has a key of mia: {which}"


def test_a_class_without_exercises_is_not_told_of_variants(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(mark_many, "side_by_side", lambda *_: ())
    monkeypatch.setattr(mark_many, "RUNS", tmp_path)
    for exercises, told in (((DOOR,), True), ((), False)):
        wanted = {"mia": Assignment(exercises, claimed_in("9c"))}
        with pytest.raises(KeyError, match="mia"):  # no process has marked anything
            mark_many.mark_many("9c", [Submission("mia")], wanted, mark_many.Outputs())
        assert ("no --secret" in capsys.readouterr().out) == told


def test_what_the_machine_refuses_costs_only_what_needed_it(tmp_path, monkeypatch, capsys):
    forked: list[object] = []
    refused: set[int] = set()

    def fork(work):
        forked.append(work)
        if len(forked) in refused:
            raise BlockingIOError(11, "Resource temporarily unavailable")
        child = os.fork()
        if not child:
            os._exit(work())
        return child

    monkeypatch.setattr(sandbox, "fork_into", fork)
    names = ("mia", "noah", "ada")
    pieces = [Piece(name, lambda alone: "alone" if alone else "done", 60.0) for name in names]
    usual, not_started = ("done", ""), ("", "no process could be started for it")
    for which, ended in (
        (set(), (usual, usual, usual)),
        ({1}, (("alone", ""), usual, usual)),  # it is tried once more
        ({1, 4}, (not_started, usual, usual)),
        ({2, 4}, (usual, usual, usual)),  # another runs: it waits for that
    ):
        forked.clear()
        refused.clear()
        refused |= which
        done = side_by_side(pieces, 2, lambda text: not text)
        told = {piece.name: (text, problem.split(":")[0]) for piece, text, problem in done}
        assert told == dict(zip(names, ended, strict=True))
    monkeypatch.setattr(mark_many, "RUNS", tmp_path / "runs")
    (tmp_path / "runs").touch()
    wanted = {"mia": Assignment((DOOR,))}
    assert mark_many.mark_many("9c", [Submission("mia")], wanted, mark_many.Outputs()) == 3
    assert "the marks" in capsys.readouterr().err


# ── the command ────────────────────────────────────────────────────────────────────────────


def test_translators_where_none_is_marked_are_told(tmp_path, monkeypatch):
    monkeypatch.setattr(exercise_commands, "stop_unless_ready", lambda: None)
    monkeypatch.setattr(mark_many, "mark_many", lambda *_, **__: 0)
    (tmp_path / "mia.py").touch()

    def run(level, status):
        done = CliRunner().invoke(exercise_commands.grade, [level, "--folder", str(tmp_path)])
        assert done.exit_code == status, done.output
        return done.output

    assert "nothing to grade: a translator earns nothing in level 9a, but in the" in run("9a", 2)
    assert not run("9c", 0)
    (tmp_path / "noah.yaml").touch()
    assert run("9a", 0) == (
        "1 translator not marked: a translator earns nothing in level 9a, but in the levels 8, 9c\n"
    )
    assert not run("9c", 0)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["9c", "--rules", "a.yaml", "--fresh"], "--fresh is for a class: give --folder FOLDER"),
        (["9c", "--rules", "a.yaml", "--students", "s.csv"], "--students is for a class: give"),
        (["--translator", "a.py", "--students", "s.csv"], "--students is for a class: give"),
        (["9c", "--rules", "a.yaml", "--students", "s.csv", "--student", MIA.code],
         "--student ID and --secret FILE"),
    ],
)  # fmt: skip
def test_options_of_a_class_need_one(arguments, said, monkeypatch):
    monkeypatch.delenv("NAPT_LAB_SECRET", raising=False)
    done = CliRunner().invoke(exercise_commands.grade, arguments)
    assert done.exit_code == 2
    assert said in " ".join(done.output.split())
