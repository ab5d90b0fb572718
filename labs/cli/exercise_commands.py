"""`napt-lab exercise` and `grade`: exercises at a prompt, and marks for what is handed in."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from napt_lab.labs.cli.course_commands import secret_option
from napt_lab.labs.cli.gate import (
    enter_sandbox,
    open_door,
    refuse_file,
    refuse_private_places,
    stop_unless_ready,
    web_option,
)
from napt_lab.labs.verdict.exit_status import WRONG_USAGE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napt_lab.labs.classroom.submissions import Submission
    from napt_lab.labs.exercises.variant import Student

_STUDENTS_ALONE = (
    "--students is for a class: give --folder FOLDER; or, to see whose variant the answers of one "
    "student fit, --student ID and --secret FILE"
)

student_option = click.option(
    "--student",
    envvar="STUDENT",
    metavar="ID[:KEY]",
    help="The variant of this student. Without KEY, by the course's secret.",
)


@click.command()
@click.argument("level", metavar="LEVEL[/NAME]|FILE")
@click.option("--part", envvar="PART", help="Begin with the exercise of this name.")
@click.option(
    "--test", is_flag=True, help="Test the exercise itself: its solution, no answer, each mistake."
)
@student_option
@secret_option
@web_option
def exercise(
    level: str,
    part: str | None,
    test: bool,
    student: str | None,
    secret: Path | None,
    web: int | None,
) -> None:
    """Do the exercises of LEVEL at a prompt, or the one in FILE.

    Begins with the first that is not solved yet.
    """
    from napt_lab.labs.exercises.command_line import chosen, read_secret, read_student
    from napt_lab.topologies.spec.errors import TopologyError

    try:
        exercises, name = chosen(level, part, read_student(student, read_secret(secret)))
    except TopologyError as error:
        refuse_file(error)
    if test:
        enter_sandbox()
        from napt_lab.labs.exercises.rehearsal import run_rehearsal

        try:
            sys.exit(run_rehearsal([e for e in exercises if name in (None, e.name)]))
        except TopologyError as error:
            refuse_file(error)
    if not sys.stdin.isatty():
        why = "an exercise needs a terminal to type at; `grade` does without"
        click.echo(f"napt-lab: {why}", err=True)
        sys.exit(WRONG_USAGE)
    door = open_door(web)
    enter_sandbox()
    from napt_lab.labs.exercises.session import run_session

    sys.exit(run_session(exercises, name, door))


@click.command()
@click.argument("level", metavar="[LEVEL[/NAME]|FILE]", required=False, envvar="LEVEL")
@click.option(
    "--rules",
    envvar="RULES",
    type=click.Path(path_type=Path),
    help="The file of answers: rules and commands, by the name of the exercise.",
)
@click.option(
    "--translator",
    envvar="TRANSLATOR",
    type=click.Path(path_type=Path),
    help="A Python file with a translate(packet, now) of your own.",
)
@click.option(
    "--folder",
    envvar="FOLDER",
    type=click.Path(path_type=Path),
    help="A class: a file or a folder for each student, all marked side by side.",
)
@click.option(
    "--students",
    envvar="STUDENTS",
    type=click.Path(path_type=Path),
    help="… their names: a CSV file with id,name.",
)
@student_option
@secret_option
@click.option("--fresh", is_flag=True, help="… and mark all anew, also what was marked before.")
@click.option(
    "--csv",
    "as_csv",
    envvar="CSV",
    type=click.Path(path_type=Path),
    help="… as a table, to a file.",
)
@click.option(
    "--html",
    envvar="HTML",
    type=click.Path(path_type=Path),
    help="… as a page for a browser.",
)
@click.option(
    "--gradescope",
    envvar="GRADESCOPE",
    type=click.Path(path_type=Path),
    help="… as Gradescope's results.json; of several students, in a folder of this name.",
)
@click.option("--json", "as_json", type=click.Path(path_type=Path), help="Write the marks as JSON.")
@click.option("--junit", type=click.Path(path_type=Path), help="… as JUnit's XML.")
def grade(
    level: str | None,
    rules: Path | None,
    translator: Path | None,
    folder: Path | None,
    students: Path | None,
    student: str | None,
    secret: Path | None,
    fresh: bool,
    as_csv: Path | None,
    html: Path | None,
    gradescope: Path | None,
    as_json: Path | None,
    junit: Path | None,
) -> None:
    """Grade answers to exercises, a translator that you wrote, or all that a class handed in.

    Answers to the exercises of LEVEL: labs/exercises/README.md. A translator, by the claims of the
    labs or of LEVEL: labs/translator/README.md. A class: docs/instructor.md.
    """
    outputs = {
        "--csv": as_csv, "--html": html, "--gradescope": gradescope, "--json": as_json,
        "--junit": junit,
    }  # fmt: skip
    if folder is not None:
        if level is None or (rules, translator, student) != (None, None, None):
            raise click.UsageError("with --folder say which LEVEL, and nothing else to grade")
        _grade_folder(level, folder, students, secret, outputs, fresh=fresh)
    of_a_class = {"--csv": as_csv, "--html": html, "--gradescope": gradescope, "--fresh": fresh}
    for option, given in of_a_class.items():
        if given:
            raise click.UsageError(f"{option} is for a class: give --folder FOLDER")
    if students is not None and student is None:
        raise click.UsageError(_STUDENTS_ALONE)
    if translator is not None and rules is None:
        from napt_lab.labs.translator.claims import earned_in

        wanted = earned_in(level)
        stop_unless_ready()  # each part has a sandbox of its own
        from napt_lab.labs.translator.grade import grade_translator

        sys.exit(grade_translator(translator, wanted, as_json, junit))
    if level is None or rules is None or translator is not None:
        what = "LEVEL and --rules FILE (RULES=FILE), or --translator FILE (TRANSLATOR=FILE)"
        raise click.UsageError(f"nothing to grade; give {what}")
    from napt_lab.labs.exercises.command_line import read_secret, read_student, read_tasks
    from napt_lab.topologies.spec.errors import TopologyError

    known = read_secret(secret)
    mine = read_student(student, known)
    if students is not None and known is None:
        raise click.UsageError(_STUDENTS_ALONE)
    try:
        if mine is not None:
            _tell_whose(level, rules, mine, students, known)
        tasks, unread = read_tasks(level, rules, mine)
    except TopologyError as error:
        refuse_file(error)
    refuse_private_places({"--json": as_json, "--junit": junit})
    for problem in unread:
        click.echo(problem, err=True)
    enter_sandbox()
    from napt_lab.labs.exercises.grade import run_grade

    sys.exit(run_grade(tasks, as_json, junit))


def _tell_whose(
    level: str, rules: Path, mine: Student, students: Path | None, secret: bytes | None
) -> None:
    """Print a hint if these answers fit another variant than that of the student."""
    from napt_lab.labs.classroom.submissions import FolderError, read_names
    from napt_lab.labs.classroom.whose import whose, words_of_variants
    from napt_lab.labs.exercises.command_line import chosen, read_student

    others = [mine]
    if students is not None and secret is not None:
        try:
            ids = read_names(students)
        except FolderError as error:
            raise click.UsageError(str(error)) from error
        others += filter(None, (read_student(who, secret) for who in ids if who != mine.id))
    hint = whose(rules, mine.id, words_of_variants(chosen(level)[0], others))
    if hint:
        click.echo(f"napt-lab: {hint}", err=True)


def _grade_folder(
    level: str,
    folder: Path,
    students: Path | None,
    secret_file: Path | None,
    outputs: dict[str, Path | None],
    *,
    fresh: bool,
) -> NoReturn:
    from napt_lab.labs.classroom.submissions import FolderError, handed_in, read_names
    from napt_lab.labs.exercises.command_line import chosen, read_secret
    from napt_lab.topologies.spec.errors import TopologyError

    try:
        exercises, name = chosen(level)
        names = read_names(students) if students is not None else {}
        submissions, left_out = handed_in(folder, names)
    except TopologyError as error:
        refuse_file(error)
    except FolderError as error:
        raise click.UsageError(str(error)) from error
    if not submissions:
        raise click.UsageError(f"{folder}: nothing was handed in (ID.yaml, ID.py, or folders)")
    if left_out:
        click.echo(f"Left out (neither ID.yaml, ID.py nor a folder): {', '.join(left_out)}")
    secret = read_secret(secret_file)
    wanted = tuple(exercise for exercise in exercises if name in (None, exercise.name))
    _tell_unmarked_translators(wanted[0].level, submissions)
    refuse_private_places(outputs, folder)
    stop_unless_ready()
    from napt_lab.labs.classroom.assignment import for_class
    from napt_lab.labs.classroom.mark_many import Outputs, mark_many

    try:
        assignments = for_class(wanted, submissions, secret)
        assignments[submissions[0].id].variants()  # or what keeps all from having one
    except TopologyError as error:
        refuse_file(error)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    files = Outputs(**{option.removeprefix("--"): path for option, path in outputs.items()})
    sys.exit(mark_many(level, submissions, assignments, files, fresh=fresh))


def _tell_unmarked_translators(level: str, submissions: Sequence[Submission]) -> None:
    """Say so if translators were handed in where they earn nothing; refuse if nothing else was."""
    from napt_lab.labs.stage.rule_lines import count
    from napt_lab.labs.translator.claims import levels_of_claims, nothing_earned_in

    number = sum(submission.translator is not None for submission in submissions)
    if not number or level in levels_of_claims():
        return
    if not any(submission.answers for submission in submissions):
        raise click.UsageError(f"nothing to grade: {nothing_earned_in(level)}")
    click.echo(f"{count(number, 'translator')} not marked: {nothing_earned_in(level)}")
