"""What a program printed, as a person reads it: our own programs print events as JSON in a pipe."""

from __future__ import annotations

from napt_lab.servers.shared.events import in_words
from napt_lab.topologies.network.processes import parse_line


def output_in_words(output: str) -> str:
    """The output with events in words, as the programs print them at a terminal."""
    told = [settled(line) for line in output.split("\n")]
    lines = [(line, parse_line(line.encode())) for line in told]
    return "\n".join(
        in_words(fields) if fields and "event" in fields else line for line, fields in lines
    ).removesuffix("\n")


def settled(line: str) -> str:
    """What a terminal shows of a line at its end: a carriage return begins it anew."""
    return line.rstrip("\r").rpartition("\r")[2]
