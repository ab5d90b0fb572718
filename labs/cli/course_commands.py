"""`napt-lab course …`: what a teacher needs for a course of their own."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import click

secret_option = click.option(
    "--secret",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The file with the course's secret (or NAPT_LAB_SECRET, the secret itself).",
)


@click.group()
def course() -> None:
    """Prepare a course of your own: docs/instructor.md leads through it."""


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
    rows = csv.writer(sys.stdout)
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
