"""`python -m labs`: the command line."""

from labs.cli import run

run()
