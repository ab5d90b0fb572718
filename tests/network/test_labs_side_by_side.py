"""Four labs at the same time: the same node names and addresses, in one checkout.

Each makes its own sandbox, as it does for a user, so this is not marked `network`.
"""

from __future__ import annotations

import json
import subprocess
import sys

from tests import installed

DEADLINE = 120.0  # seconds for all four


def test_four_labs_do_not_notice_each_other(tmp_path):
    installed.lay_out(tmp_path)
    labs = [
        subprocess.Popen(
            [sys.executable, "-m", "napt_lab.labs", "lab", "9a"],
            cwd=tmp_path,
            env=installed.environment(tmp_path),
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
    results = json.loads((tmp_path / "runs/9a/results.json").read_text(encoding="utf-8"))
    assert results["passed"]
    assert (tmp_path / "runs/latest").resolve() == (tmp_path / "runs/9a").resolve()
