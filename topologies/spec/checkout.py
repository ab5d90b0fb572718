"""Whether this is a checkout of the project, or what pip made of one.

In a checkout there is `make`, and what contributors need: tests, and a place to write to.
"""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TOPOLOGIES = ROOT / "topologies"  # the YAML files that come with the project
IN_CHECKOUT = (ROOT / "Makefile").exists()
DOCTOR = "make doctor" if IN_CHECKOUT else "napt-lab doctor"
PROGRAM = ".venv/bin/napt-lab" if IN_CHECKOUT else "napt-lab"
