"""Four labs at the same time: the same node names and addresses, in one checkout.

Each makes its own sandbox, as it does for a user, so this is not marked `network`.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DEADLINE = 120.0  # seconds for all four


def test_four_labs_do_not_notice_each_other(tmp_path):
    for package in ("nat_node", "servers", "topologies", "labs"):
        shutil.copytree(ROOT / package, tmp_path / package)
    labs = [
        subprocess.Popen(
            [sys.executable, "-m", "napt_lab.labs", "lab", "9c"],
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for _ in range(4)
    ]
    try:
        stories = [lab.communicate(timeout=DEADLINE)[0] for lab in labs]
    finally:
        for lab in labs:
            lab.kill()
    assert [lab.returncode for lab in labs] == [0] * 4, "\n".join(stories)
    results = json.loads((tmp_path / "runs/9c/results.json").read_text(encoding="utf-8"))
    assert results["passed"]
    assert (tmp_path / "runs/latest").resolve() == (tmp_path / "runs/9c").resolve()
