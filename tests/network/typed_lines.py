"""The prompt on a running network, with lines that nobody types."""

from __future__ import annotations

import io
from collections import deque
from pathlib import Path

import pytest
from rich.console import Console

from napt_lab.labs.prompt.prompt import Prompt
from napt_lab.topologies.network.builder import Network
from napt_lab.topologies.spec.checkout import TOPOLOGIES
from napt_lab.topologies.spec.loader import load


def typed(
    monkeypatch: pytest.MonkeyPatch, *lines: str, topology: str | Path = "two-sites.yaml"
) -> str:
    """What the prompt shows for these lines, in a shell on a topology."""
    waiting = deque(lines)

    def read(_prompt: str) -> str:
        if not waiting:
            raise EOFError
        return waiting.popleft()

    monkeypatch.setattr("builtins.input", read)
    out = io.StringIO()
    with Network(load(TOPOLOGIES / topology)) as net:
        Prompt(Console(file=out, width=80, highlight=False)).explore(net)
    return out.getvalue()
