"""A course of one's own: a folder with its exercises, its secret, and what students get.

exercises/        the exercises, with their solutions: the teacher's
course.secret     from which each student's variant is drawn: the teacher's alone
students.csv      id,name
template/         a repository for students, without solutions; GitHub marks it at each push
hand-out/ID/      the same for each student, with the student's key and own tasks
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from napt_lab.labs.classroom.right_secret import CODE
from napt_lab.labs.classroom.submissions import ANSWERS, TRANSLATOR, FolderError, read_names
from napt_lab.labs.exercises.exercise import FOLDER, Exercise, load
from napt_lab.labs.exercises.variant import Student
from napt_lab.labs.stage.drawing import draw
from napt_lab.labs.stage.rule_lines import count
from napt_lab.topologies.spec.loader import read_file

SECRET, STUDENTS, TASKS = "course.secret", "students.csv", "TASKS.md"
EXERCISES, TEMPLATE, HAND_OUT = "exercises", "template", "hand-out"
#: To begin with, by their names here; the teacher changes them, or writes others.
FIRST = {
    "1-door": "9c-1-door.yaml",
    "2-two-servers": "9c-3-two-servers.yaml",
    "3-repair": "9c-5-repair.yaml",
}

_IGNORED = f"/{SECRET}\n/{STUDENTS}\n/{HAND_OUT}/\n/submissions/\n/marks*\n"
_WORKFLOW = """\
name: marks
on: push
permissions:
  contents: read
jobs:
  marks:
    runs-on: ubuntu-24.04
    timeout-minutes: 15
    steps:
      - uses: actions/checkout@v4
      - id: student
        run: echo "code=$(head -n 1 {code})" >> "$GITHUB_OUTPUT"
      - uses: {action}
        with:
          answers: {answers}
          exercises: {exercises}
          student: ${{{{ steps.student.outputs.code }}}}
"""
_ANSWERS_HEAD = """\
# For each exercise what you have typed, a line each, in the same order:
# NAME:
#   - rule add …
#   - …
"""
_README = """\
# Exercises

These are exercises on address translation (NAPT) and peer-to-peer networking. They run in NAPT \
Lab, which builds a small network on your own machine: the network is up, something is missing, \
and you add it.

1. Get NAPT Lab:

       git clone {address} napt-lab
       make -C napt-lab doctor

   The second line installs what is missing, and says whether this machine can run it. Below, \
`napt-lab` is the program `napt-lab/.venv/bin/napt-lab`.
2. `{code}` has one line, `ID:KEY`, as it was given to you. It makes the exercises yours: nobody \
else has these addresses, ports and names. `{tasks}`, if it was handed out to you, has your tasks.
3. Do them at a prompt: `napt-lab exercise {exercises}/ --student "$(cat {code})"`. `check` says \
what holds so far, `hint` and `why` help.
4. Write what you have typed into `{answers}`, in the same order (`transcript` shows it), and try \
it: `napt-lab grade {exercises}/ --rules {answers} --student "$(cat {code})"`
5. If this folder is your repository on GitHub, push it. GitHub does your answers again and marks \
them: the sign beside your commit is green when you have all points, and the run in the tab \
Actions says what is missing.
"""


def new_course(folder: Path, action: str) -> None:
    """Make the folder. FileExistsError if there is something in it; OSError."""
    if folder.exists() and any(folder.iterdir()):
        raise FileExistsError(f"{folder} is not empty; allowed: a new folder")
    (folder / EXERCISES).mkdir(parents=True)
    for name, source in FIRST.items():
        shutil.copyfile(FOLDER / source, folder / EXERCISES / f"{name}.yaml")
    descriptor = os.open(folder / SECRET, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(f"{secrets.token_urlsafe(24)}\n")
    (folder / STUDENTS).write_text("id,name\n", encoding="utf-8")
    (folder / ".gitignore").write_text(_IGNORED, encoding="utf-8")
    workflows = folder / TEMPLATE / ".github" / "workflows"
    workflows.mkdir(parents=True)
    words = {
        "code": CODE, "answers": ANSWERS, "exercises": EXERCISES, "tasks": TASKS, "action": action,
        "address": f"https://github.com/{action.partition('@')[0]}",
    }  # fmt: skip
    (workflows / "marks.yml").write_text(_WORKFLOW.format(**words), encoding="utf-8")
    (folder / TEMPLATE / "README.md").write_text(_README.format(**words), encoding="utf-8")
    write_template(folder)


def write_template(folder: Path) -> list[Exercise]:
    """Put the exercises into the template, without what gives them away. TopologyError, OSError."""
    exercises = [load(path.absolute()) for path in sorted((folder / EXERCISES).glob("*.yaml"))]
    place = folder / TEMPLATE / EXERCISES
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    for exercise in exercises:
        (place / exercise.path.name).write_text(without_answers(exercise.path), encoding="utf-8")
    names = "".join(f"{exercise.name}: []\n" for exercise in exercises)
    (folder / TEMPLATE / ANSWERS).write_text(_ANSWERS_HEAD + names, encoding="utf-8")
    (folder / TEMPLATE / CODE).write_text("ID:KEY\n", encoding="utf-8")
    return exercises


def hand_out(folder: Path, secret: bytes) -> int:
    """Make the template anew, and a folder for each student; returns how many there are.

    A folder that a student works in already keeps its answers, and is still its repository; all
    else in it is made anew. Links in it are removed, since writing through one could change the
    teacher's own files.

    Raises FolderError for the students' file or a link in place of a student's folder, ValueError
    for an ID, TopologyError for an exercise, OSError.
    """
    names = read_names(folder / STUDENTS)
    exercises = write_template(folder)
    for who, name in names.items():
        student = Student.of(who, secret)
        for exercise in exercises:
            load(exercise.path, student)  # what is wrong with it is told of the teacher's file
        # What the student gets must be right as well.
        handed = folder / TEMPLATE / EXERCISES
        mine = [load((handed / exercise.path.name).absolute(), student) for exercise in exercises]
        place = folder / HAND_OUT / who
        kept = _clear(place)
        left_out = shutil.ignore_patterns(".git", *kept)
        shutil.copytree(folder / TEMPLATE, place, ignore=left_out, dirs_exist_ok=True)
        (place / CODE).write_text(f"{student.code}\n", encoding="utf-8")
        (place / TASKS).write_text(_tasks(name or who, mine), encoding="utf-8")
    return len(names)


def _clear(place: Path) -> list[str]:
    """Empty a student's folder, except for what stays; returns the names of that.

    Raises FolderError if it is a link, OSError.
    """
    if place.is_symlink():
        raise FolderError(f"{place} is a link; allowed: a folder (remove the link)")
    kept = []
    for path in place.iterdir() if place.exists() else ():
        mode = path.lstat().st_mode
        if (path.name == ".git" and not stat.S_ISLNK(mode)) or (
            stat.S_ISREG(mode) and _is_students(path)
        ):
            kept.append(path.name)
        elif stat.S_ISDIR(mode):
            shutil.rmtree(path)
        else:
            path.unlink()
    return kept


def _is_students(file: Path) -> bool:
    """Whether it is a student's work: a translator, or answers with what no template has had."""
    if file.name != ANSWERS:
        return file.name == TRANSLATOR
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    given = {"", *_ANSWERS_HEAD.splitlines()}
    return any(line not in given and not re.fullmatch(r"[^#]+: \[\]", line) for line in lines)


def without_answers(path: Path) -> str:
    """The exercise in a file for students: without its solution, and without the usual mistakes.

    The facts of a mistake give the solution away.
    """
    # The file was read before, for its mistakes: libyaml takes a tenth of the time.
    loader = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
    top: dict[str, Any] = yaml.load(read_file(path), Loader=loader)
    for part in (top, *top.get("cases", ())):
        part.pop("mistakes", None)
        part |= {key: [] for key in ("solution",) if key in part}
    return yaml.safe_dump(top, sort_keys=False, allow_unicode=True, width=100)


def _tasks(name: str, exercises: Sequence[Exercise]) -> str:
    """The tasks of one student, to be read on a page."""
    parts = [f"# The exercises of {name}\n"]
    for exercise in exercises:
        topology = exercise.topology()
        wanted = [(done.text, done.points) for done in exercise.done]
        wanted += [(expected.text, expected.points) for expected in topology.expect]
        drawing = "\n".join(line.rstrip() for line in draw(topology))
        points = "\n".join(f"- {text} ({count(number, 'point')})" for text, number in wanted)
        parts.append(
            f"## {exercise.name}: {exercise.title}\n\n{exercise.task}\n\n"
            f"```\n{drawing}\n```\n\n{points}\n"
        )
    return "\n".join(parts)
