"""`napt-lab`: the command line."""

import sys
from importlib.util import find_spec

if find_spec("napt_lab") is None:  # `python -m labs` in a checkout, by a Python that is not .venv's
    typed = " ".join([".venv/bin/napt-lab", *sys.argv[1:]])
    print(
        f"This Python does not have napt_lab: type `{typed}` (`make` installs it).", file=sys.stderr
    )
    sys.exit(3)

from napt_lab.labs.cli.main import run

run()
