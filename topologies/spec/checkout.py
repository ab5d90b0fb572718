"""Whether NAPT Lab runs from a checkout of the project or was installed by pip.

Only a checkout has the Makefile and the tests. Messages name the command that works here.
"""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TOPOLOGIES = ROOT / "topologies"  # the YAML files that come with the project
IN_CHECKOUT = (ROOT / "Makefile").exists()
DOCTOR = "make doctor" if IN_CHECKOUT else "napt-lab doctor"
PROGRAM = ".venv/bin/napt-lab" if IN_CHECKOUT else "napt-lab"
