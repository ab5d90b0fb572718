"""A course of one's own: what is made, and that students get neither solutions nor the secret."""

from __future__ import annotations

import re
import shutil
import stat
from unittest.mock import Mock

import pytest
import yaml
from click.testing import CliRunner

from napt_lab.labs.classroom.course_folder import FIRST, without_answers
from napt_lab.labs.cli.course_commands import course
from napt_lab.labs.exercises.answers import load_answers
from napt_lab.labs.exercises.command_line import chosen, read_secret, read_tasks
from napt_lab.labs.exercises.exercise import FOLDER, LEVELS, cases, load, series
from napt_lab.labs.exercises.variant import Student
from tests.unit.labs.test_action import ACTION
from tests.unit.labs.test_variants import answers_in, plain

EXERCISES = [exercise for level in LEVELS for exercise in series(level)]


def run(*arguments, status=0):
    done = CliRunner().invoke(course, [str(argument) for argument in arguments])
    assert done.exit_code == status, done.output
    return done.output


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "networks"
    said = run("new", folder, "--action", "me/napt-lab@v1")
    assert "Next:" in said
    assert "where this project is" not in said
    (folder / "students.csv").write_text("id,name\nmia,Mia\nnoah,=1+1\n")
    assert "2 students" in run("hand-out", folder)
    return folder


def test_what_students_get(folder):
    secret = folder / "course.secret"
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    mia = Student.of("mia", read_secret(secret))
    place = folder / "hand-out" / "mia"
    assert (place / "student.txt").read_text() == f"{mia.code}\n"
    exercises, _ = chosen(str(place / "exercises"), student=mia)
    assert [exercise.name for exercise in exercises] == list(FIRST)
    assert [exercise.number for exercise in exercises] == [1, 2, 3]
    teachers, _ = chosen(str(folder / "exercises"), student=mia)
    tasks = (place / "TASKS.md").read_text()
    assert all(teacher.task in tasks for teacher in teachers)
    handed = [path for place in (folder / "hand-out", folder / "template")
              for path in place.rglob("*") if path.is_file()]  # fmt: skip
    for path in handed:
        text = path.read_text()
        assert secret.read_text().strip() not in text
        for teacher in (*teachers, *chosen(str(folder / "exercises"))[0]):
            rules = [line for line in teacher.solution if line.startswith("rule ")]
            assert not [line for line in rules if line in text]
    assert load_answers(place / "answers.yaml", list(FIRST)).lines == dict.fromkeys(FIRST, ())
    tasks, others = read_tasks(str(place / "exercises"), place / "answers.yaml", mia)
    assert (len(tasks), others) == (len(FIRST), [])
    rows = run("keys", folder / "students.csv", "--secret", secret).splitlines()
    assert rows[1] == f"mia,Mia,{mia.code}"
    assert rows[2].startswith("noah,'=1+1,noah:")


def test_the_table_of_keys_has_the_line_ends_of_a_terminal(folder):
    """A shell that reads it would take a CR into the key."""
    arguments = ["keys", f"{folder / 'students.csv'}", "--secret", f"{folder / 'course.secret'}"]
    assert CliRunner().invoke(course, arguments).stdout_bytes.count(b"\r") == 0


def test_handing_out_again_keeps_what_a_student_has_done(folder):
    mia, noah = (folder / "hand-out" / who for who in ("mia", "noah"))
    for repository in (mia, folder / "template"):
        (repository / ".git").mkdir()
        (repository / ".git" / "HEAD").write_text(f"{repository.name}\n")
    (mia / "answers.yaml").write_text("1-door: [rule add x]\n")
    (mia / "mine.py").write_text("def translate(packet, now): ...\n")
    (folder / "exercises" / "1-door.yaml").rename(folder / "exercises" / "1-window.yaml")
    run("hand-out", folder)
    assert (mia / "answers.yaml").read_text() == "1-door: [rule add x]\n"
    assert (mia / "mine.py").read_text() == "def translate(packet, now): ...\n"
    assert "1-window: []" in (noah / "answers.yaml").read_text()
    assert (mia / ".git" / "HEAD").read_text() == "mia\n"
    assert not (noah / ".git").exists()
    for place in (mia, noah):
        there = sorted(path.name for path in (place / "exercises").iterdir())
        assert there == ["1-window.yaml", "2-two-servers.yaml", "3-repair.yaml"]


def test_handing_out_again_never_writes_through_a_students_links(folder):
    """They come with a student's repository."""
    mia, answers = folder / "hand-out" / "mia", folder / "hand-out" / "noah" / "answers.yaml"
    own = (*(folder / "exercises").iterdir(), folder / "course.secret")
    teachers = {path: path.read_bytes() for path in own}
    wanted = {path.name: path.read_bytes() for path in mia.iterdir() if path.is_file()}
    shutil.rmtree(mia / "exercises")
    (mia / "exercises").symlink_to("../../exercises")
    (mia / ".git").symlink_to("../../exercises")
    for name in ("TASKS.md", "student.txt", "answers.yaml"):
        (mia / name).unlink()
        (mia / name).symlink_to("../../course.secret")
    (mia / "README.md").unlink()
    (mia / "README.md").symlink_to("../../exercises/1-door.yaml")
    answers.write_text("1-door: [rule add x]\n")
    run("hand-out", folder)
    assert {path: path.read_bytes() for path in teachers} == teachers
    assert not [path for path in mia.rglob("*") if path.is_symlink()]
    assert {path.name: path.read_bytes() for path in mia.iterdir() if path.is_file()} == wanted
    assert answers.read_text() == "1-door: [rule add x]\n"  # the control: this one stays


def test_a_students_folder_that_is_a_link_is_refused(folder):
    mia = folder / "hand-out" / "mia"
    mia.rename(folder / "elsewhere")
    mia.symlink_to("../elsewhere")
    (folder / "elsewhere" / "TASKS.md").write_text("kept\n")
    assert "mia is a link; allowed: a folder" in run("hand-out", folder, status=2)
    assert (folder / "elsewhere" / "TASKS.md").read_text() == "kept\n"


def test_what_is_removed_from_the_template_is_removed_for_each_student(folder):
    notes = (folder / "template" / "notes.txt", folder / "hand-out" / "mia" / "notes.txt")
    notes[0].write_text("for all\n")
    run("hand-out", folder)
    assert notes[1].read_text() == "for all\n"
    notes[0].unlink()
    run("hand-out", folder)
    assert not notes[1].exists()


@pytest.mark.parametrize("changed", ["", "# I have tried 8080", "3-repair: [rule add x]"])
def test_after_a_hand_out_that_failed_untouched_answers_get_the_new_exercise(
    folder, monkeypatch, changed
):
    """Whether the students' file was wrong, or it was stopped on its way."""
    answers = folder / "hand-out" / "mia" / "answers.yaml"
    answers.write_text(answers.read_text() + changed)
    shutil.copy(folder / "exercises" / "1-door.yaml", folder / "exercises" / "4-door.yaml")
    students = (folder / "students.csv").read_text()
    (folder / "students.csv").write_text("id,name\n../x,X\n")
    assert "cannot be the name of a file" in run("hand-out", folder, status=2)
    assert "4-door" not in (folder / "template" / "answers.yaml").read_text()
    (folder / "students.csv").write_text(students)
    with monkeypatch.context() as patched:
        patched.setattr(Student, "of", Mock(side_effect=OSError("stopped")))
        assert "stopped" in run("hand-out", folder, status=2)
    assert "4-door: []" in (folder / "template" / "answers.yaml").read_text()
    run("hand-out", folder)
    assert ("4-door: []" in answers.read_text()) is not bool(changed)
    assert changed in answers.read_text()


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.id)
def test_what_is_handed_out_has_the_same_variant_and_no_solution(exercise, tmp_path):
    copy = tmp_path / exercise.path.name
    copy.write_text(without_answers(exercise.path))
    student = Student.of("mia", b"a secret of some length")
    mine, theirs = load(exercise.path, student), load(copy, student)
    assert (theirs.title, theirs.task, theirs.case) == (mine.title, mine.task, mine.case)
    assert (theirs.done, theirs.files) == (mine.done, mine.files)
    assert str(theirs.topology().sites) == str(mine.topology().sites)
    assert not any((*case.solution, *case.mistakes) for case in cases(load(copy)))
    top = yaml.safe_load(copy.read_text())
    told = [part.pop("hints", None) for part in (top, *top.get("cases", ()))]  # they may say it
    assert told[0]
    text = plain(yaml.safe_dump(top, width=10_000))
    assert not [answer for case in cases(exercise) for answer in answers_in(case, text)]
    assert list(answers_in(exercise, plain(exercise.path.read_text())))


def test_the_workflow_marks_what_the_action_takes(folder):
    workflow = folder / "template" / ".github" / "workflows" / "marks.yml"
    steps = yaml.safe_load(workflow.read_text())["jobs"]["marks"]["steps"]
    assert steps[-1]["uses"] == "me/napt-lab@v1"
    assert set(steps[-1]["with"]) <= set(ACTION["inputs"])
    assert (folder / "template" / steps[-1]["with"]["exercises"]).is_dir()
    assert (folder / "template" / steps[-1]["with"]["answers"]).is_file()


def test_the_page_for_students_says_how_to_begin(folder):
    readme = (folder / "hand-out" / "mia" / "README.md").read_text()
    assert "git clone https://github.com/me/napt-lab napt-lab\n" in readme
    assert "](" not in readme  # a link or a picture would lead nowhere outside GitHub
    for name in set(re.findall(r"`([a-zA-Z]+\.[a-z]+|[a-z]+/)`", readme)):
        assert (folder / "hand-out" / "mia" / name).exists()
    assert "`TASKS.md`" in readme


def test_what_is_still_to_be_done_is_told(tmp_path):
    folder = tmp_path / "networks"
    for action in ("foo", "me/napt-lab", "me@main", "me/napt lab@main"):
        said = run("new", folder, "--action", action, status=2)
        assert f"{action!r}; allowed: OWNER/REPOSITORY@REF" in said
    assert "where this project is, instead of OWNER/REPOSITORY@main" in run("new", folder)
    said = run("hand-out", folder)
    assert f"{folder / 'students.csv'} has no students" in said
    for path in (folder / "exercises").iterdir():
        path.unlink()
    assert "has no exercise" in run("hand-out", folder, status=2)


def test_what_cannot_be_a_course(folder, tmp_path):
    assert "is not empty" in run("new", folder, status=2)
    (folder / "students.csv").write_text("id\n../mia\n")
    assert "cannot be the name of a file" in run("hand-out", folder, status=2)
    (folder / "students.csv").write_text("id\nmia\n")
    (folder / "exercises" / "4-mine.yaml").write_text(
        (FOLDER / "8-1-proxy.yaml").read_text().replace("hints:", "hintz:")
    )
    assert "4-mine.yaml:24: hintz: unknown key" in run("hand-out", folder, status=2)
    (folder / "exercises" / "4-mine.yaml").unlink()
    door = folder / "exercises" / "5-door.yaml"
    text = (FOLDER / "9c-1-door.yaml").read_text()
    door.write_text(text.replace("vary: [", "vary: [{files: [carol]}, "))
    said = run("hand-out", folder, status=2)  # there is a carol, so nobody can have a variant
    assert f"{door}:1: vary: 'files': all that could take its place" in said
    assert "No such file" in run("hand-out", tmp_path / "nowhere", status=2)
    (folder / "course.secret").write_text("short\n")
    assert "5 bytes are not a secret" in run("hand-out", folder, status=2)
