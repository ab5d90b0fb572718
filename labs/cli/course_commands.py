"""`napt-lab course …`: what a teacher needs for a course of their own."""

from __future__ import annotations

import csv
import re
import sys
from pathlib import Path

import click

from napt_lab.topologies.spec.checkout import PROGRAM

secret_option = click.option(
    "--secret",
    envvar="SECRET",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The file with the course's secret (or NAPT_LAB_SECRET, the secret itself).",
)


@click.group()
def course() -> None:
    """Prepare a course of your own: docs/instructor.md leads through it."""


_ACTION = "OWNER/REPOSITORY@main"


def _action(_context: click.Context, _option: click.Parameter, action: str) -> str:
    if not re.fullmatch(r"[\w-]+/[\w.-]+@[\w./-]+", action, re.ASCII):
        raise click.BadParameter(f"{action!r}; allowed: OWNER/REPOSITORY@REF, as in {_ACTION}")
    return action


@course.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--action",
    default=_ACTION,
    callback=_action,
    show_default=True,
    metavar="OWNER/REPOSITORY@REF",
    help="Where this project is on GitHub: its action marks the students' pushes.",
)
def new(folder: Path, action: str) -> None:
    """Make FOLDER: three exercises to begin with, the course's secret, a template for students."""
    from napt_lab.labs.classroom.course_folder import (
        EXERCISES,
        SECRET,
        STUDENTS,
        TEMPLATE,
        new_course,
    )

    try:
        new_course(folder, action)
    except OSError as error:
        raise click.UsageError(str(error)) from error
    where = f"{PROGRAM} exercise {folder / EXERCISES} --test"
    click.echo(f"{folder} is a course. Next:")
    click.echo(f"  change the exercises in {folder / EXERCISES}, and test them: {where}")
    click.echo(f"  write your students into {folder / STUDENTS}")
    click.echo(f"  make what they get: {PROGRAM} course hand-out {folder}")
    click.echo(f"  keep {folder / SECRET} to yourself: all variants are drawn from it")
    if action == _ACTION:
        where = f"the README.md and the workflow in {folder / TEMPLATE}"
        click.echo(f"  write into {where} where this project is, instead of {action}")


@course.command("hand-out")
@click.argument("folder", type=click.Path(path_type=Path))
def hand_out(folder: Path) -> None:
    """Make what students get anew, from the exercises of FOLDER: template/ and hand-out/ID/."""
    from napt_lab.labs.classroom import course_folder
    from napt_lab.labs.classroom.submissions import FolderError
    from napt_lab.labs.cli.gate import refuse_file
    from napt_lab.labs.exercises.command_line import read_secret
    from napt_lab.topologies.spec.errors import TopologyError

    secret = read_secret(folder / course_folder.SECRET)
    assert secret is not None
    if not any((folder / course_folder.EXERCISES).glob("*.yaml")):
        raise click.UsageError(f"{folder / course_folder.EXERCISES} has no exercise (*.yaml)")
    try:
        number = course_folder.hand_out(folder, secret)
    except TopologyError as error:
        refuse_file(error)
    except (FolderError, ValueError, OSError) as error:
        raise click.UsageError(str(error)) from error
    click.echo(f"{folder / course_folder.TEMPLATE}: for all, without solutions")
    if number:
        click.echo(f"{folder / course_folder.HAND_OUT}: a folder for each of {number} students")
    else:
        students = folder / course_folder.STUDENTS
        click.echo(f"{students} has no students: write a line for each, as in mia,Mia Maier")


@course.command()
@click.argument("students", type=click.Path(path_type=Path), metavar="STUDENTS.csv")
@secret_option
def keys(students: Path, secret: Path | None) -> None:
    """Print what each student needs for a variant of their own: a CSV table, ID:KEY.

    STUDENTS.csv has the columns id and name.
    """
    from napt_lab.labs.classroom.mark_tables import harmless
    from napt_lab.labs.classroom.submissions import FolderError, read_names
    from napt_lab.labs.exercises.command_line import read_secret
    from napt_lab.labs.exercises.variant import Student

    known = read_secret(secret)
    if known is None:
        raise click.UsageError("no secret; give --secret FILE, or NAPT_LAB_SECRET")
    try:
        names = read_names(students)
    except FolderError as error:
        raise click.UsageError(str(error)) from error
    rows = csv.writer(sys.stdout, lineterminator="\n")
    rows.writerow(["id", "name", "student"])
    for who, name in names.items():
        try:
            code = Student.of(who, known).code
        except ValueError as error:
            raise click.UsageError(f"{students}: {error}") from error
        rows.writerow(map(harmless, (who, name, code)))


@course.command()
@click.argument("folder", type=click.Path(path_type=Path))
def similar(folder: Path) -> None:
    """Show which translators in FOLDER are alike, whatever their names and layout, and where.

    FOLDER is as for `grade --folder`. A hint for a talk, not a verdict.
    """
    from napt_lab.labs.classroom.similar import tell_similar
    from napt_lab.labs.classroom.submissions import FolderError, handed_in

    try:
        submissions, _ = handed_in(folder, {})
    except FolderError as error:
        raise click.UsageError(str(error)) from error
    sys.exit(tell_similar(submissions))
