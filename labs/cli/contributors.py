"""The commands for those who work on the project: test, test-fast, coverage, lint, fuzz, bench."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import NoReturn

import click

from napt_lab.labs.cli.gate import enter_sandbox, stop_unless_ready
from napt_lab.labs.verdict.exit_status import FAILED, PASSED

FAST = ("tests/unit", "tests/loopback")
CORE = "nat_node/core/*"
TYPESCRIPT = "typescript@5.9.3"
PROCESSORS = len(os.sched_getaffinity(0))
WORKERS = min(5 * PROCESSORS, 20)  # a test often waits for a packet; each worker takes 200 MB


@click.command()
@click.option(
    "--seconds",
    type=click.FloatRange(0.2, 60),
    default=1.0,
    envvar="SECONDS",
    show_default=True,
    help="How long one measurement takes.",
)
@click.option(
    "--rounds",
    type=click.IntRange(1, 100),
    default=3,
    envvar="ROUNDS",
    show_default=True,
    help="How often each is made.",
)
def bench(seconds: float, rounds: int) -> None:
    """Compare the translator with the kernel's own masquerade."""
    enter_sandbox()
    from napt_lab.labs.bench import run_bench

    sys.exit(run_bench(seconds, rounds))


@click.command(context_settings={"ignore_unknown_options": True})
@click.option(
    "--durations",
    type=click.IntRange(0),
    envvar="DURATIONS",
    help="List so many of the slowest.",
)
@click.argument("pytest_arguments", nargs=-1, type=click.UNPROCESSED)
def test(durations: int | None, pytest_arguments: tuple[str, ...]) -> NoReturn:
    """Run the tests, several at a time; PYTEST_ARGUMENTS are passed on."""
    stop_unless_ready()
    listed = [] if durations is None else [f"--durations={durations}"]
    _pytest(WORKERS, *listed, *pytest_arguments)


@click.command("test-fast")
def test_fast() -> NoReturn:
    """Run the tests that need no network of their own."""
    _pytest(2 * PROCESSORS, *FAST)  # these compute more than they wait


@click.command()
def coverage() -> NoReturn:
    """Run the unit tests, and say which lines and branches they did not reach.

    The exit status is 1 if a test failed, or if they did not reach all of the translator's core.
    """
    tests = subprocess.run(
        _pytest_command(PROCESSORS, *FAST, "--cov", "--cov-report=term:skip-covered"), check=False
    )
    print("\nThe translator's core:", flush=True)
    report = ["-m", "coverage", "report", f"--include={CORE}", "--fail-under=100", "-m"]
    core = subprocess.run([sys.executable, *report, "--skip-covered"], check=False)
    sys.exit(FAILED if tests.returncode or core.returncode else PASSED)


def _pytest(workers: int, *arguments: str) -> NoReturn:
    os.execv(sys.executable, _pytest_command(workers, *arguments))


def _pytest_command(workers: int, *arguments: str) -> list[str]:
    # One test at a time to each free worker; tests/conftest.py has their order.
    spread = ["-n", str(workers), "--dist", "load", "--maxschedchunk", "1"]
    return [sys.executable, "-m", "pytest", *spread, *arguments]


@click.command()
@click.option(
    "--packets",
    type=click.IntRange(1),
    envvar="PACKETS",
    help="How many (default: 1,000,000).",
)
@click.option("--seed", type=int, envvar="SEED", help="To have the same packets again.")
@click.option("--story", type=int, envvar="STORY", help="Only this story of the seed's.")
def fuzz(packets: int | None, seed: int | None, story: int | None) -> None:
    """Send the translator's core random packets, and judge what comes out."""
    given = {"--packets": packets, "--seed": seed, "--story": story}
    words = [word for name, n in given.items() if n is not None for word in (name, str(n))]
    os.execv(sys.executable, [sys.executable, "-m", "tests.fuzz", *words])


@click.command()
def lint() -> None:
    """Check style (ruff) and types (mypy; of JavaScript tsc)."""
    checks = [["ruff", "check"], ["ruff", "format", "--check"], ["mypy"]]
    commands = [[sys.executable, "-m", *check] for check in checks]
    if shutil.which("npm"):
        # All JavaScript, as tsconfig.json says.
        commands.append(["npm", "exec", "--yes", f"--package={TYPESCRIPT}", "--", "tsc", "-p", "."])
    else:
        click.echo(
            "JavaScript was not checked: npm is missing (sudo apt-get install npm)", err=True
        )
    results = [subprocess.run(command, check=False) for command in commands]
    sys.exit(FAILED if any(result.returncode for result in results) else PASSED)


CONTRIBUTORS = (test, test_fast, coverage, lint, fuzz, bench)
