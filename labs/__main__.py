"""`napt-lab`: the command line."""

from napt_lab.labs.cli.main import run

run()
