"""All JavaScript is type-checked: tsconfig.json, which `make lint` uses, leaves no file out."""

from __future__ import annotations

import json

from tests.unit.house.test_house import ROOT

CONFIGURATION = json.loads((ROOT / "tsconfig.json").read_text())


def scripts():
    """Every file of JavaScript in the source."""
    hidden = {path for path in ROOT.iterdir() if path.name.startswith((".", "runs", "build"))}
    return {
        path
        for folder in ROOT.iterdir()
        if folder.is_dir() and folder not in hidden
        for path in folder.rglob("*.js")
    }


def test_no_file_is_left_out():
    assert CONFIGURATION["compilerOptions"]["checkJs"]
    assert "exclude" not in CONFIGURATION
    checked = {path for pattern in CONFIGURATION["include"] for path in ROOT.glob(pattern)}
    assert ROOT / "servers/files/page.js" in checked
    assert scripts() - checked == set()


def test_no_file_asks_not_to_be_checked():
    assert [path for path in scripts() if "@ts-nocheck" in path.read_text()] == []
