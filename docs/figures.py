"""Makes figures.md, and README.md's summary of it, of bench.json.

make bench, and then .venv/bin/python -m docs.figures
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from napt_lab.labs.bench.figure_table import bar, number
from napt_lab.labs.bench.figures import CARRIED, COTURN, DIRECT, KERNEL, OURS

DOCS = Path(__file__).resolve().parent
SUMMARY = re.compile("(?<=<!-- figures -->\n).*?(?=<!-- end of figures -->)", re.DOTALL)

# What the summary says: a sentence, the row that it is about, and whose bars stand below it.
# `{}`: the first engine's figure in percent of the second's.
SENTENCES = (
    ("A download moves at {} % of the speed that the Linux kernel's own NAT reaches on the same "
     "machine.", "tcp-down", (OURS, KERNEL)),
    ("Flooded with small packets, it passes {} % as many as the kernel's NAT does.",
     "udp-64", (OURS, KERNEL)),
    ("It opens {} % as many new connections a second as the kernel's NAT does.",
     "connections", (OURS, KERNEL, DIRECT)),
    ("With `datapath: kernel`, packets of a connection that Python has let in stay in the kernel, "
     "and a download moves at {} % of the speed of the kernel's own NAT.",
     "tcp-down", (CARRIED, KERNEL)),
    ("While a stranger floods the TURN server, an honest client gets {} % of what coturn, the "
     "usual server, lets through.", "turn-flood-80000", (OURS, COTURN)),
)  # fmt: skip


def main() -> None:
    bench = json.loads((DOCS.parent / "bench.json").read_text(encoding="utf-8"))
    rows = {row["key"]: row for row in bench["rows"]}
    summary = "".join(_sentence(text, rows[key], who) for text, key, who in SENTENCES)
    page = (
        (DOCS / "figures.in.md")
        .read_text(encoding="utf-8")
        .format(
            command=bench["command"],
            machine=bench["machine"]["summary"],
            peers=bench["machine"]["peers"],
            summary=summary,
            rows="\n".join(map(_row, bench["rows"])),
        )
    )
    (DOCS / "figures.md").write_text(page, encoding="utf-8")
    readme = DOCS.parent / "README.md"
    text = readme.read_text(encoding="utf-8")
    text, found = SUMMARY.subn(lambda _: f"\n{summary}", text)
    if found != 1:
        raise SystemExit("README.md has no <!-- figures --> … <!-- end of figures -->")
    readme.write_text(text, encoding="utf-8")


def _sentence(text: str, row: dict[str, Any], who: tuple[str, ...]) -> str:
    """One sentence and its bars, as Markdown."""
    medians = {engine: row["engines"][engine]["median"] for engine in who}
    longest = max(medians.values())
    lines = (
        f"{engine:16} {bar(value, longest):20} {number(value)} {row['unit']}"
        for engine, value in medians.items()
    )
    of_first, of_second, *_ = medians.values()
    return "\n".join((text.format(round(100 * of_first / of_second)), "", "```text", *lines,
                      "```", "", ""))  # fmt: skip


def _row(row: dict[str, Any]) -> str:
    less = "" if row["more_is_better"] else " (less is better)"
    lines = [f"### {row['title']}", "", f"| | {row['unit']}{less} | | python to it | |",
             "|---|---|---|---|---|"]  # fmt: skip
    for engine, figure in row["engines"].items():
        spread = f"±{figure['spread'] / 2:.0%}" if len(figure["values"]) > 1 else ""
        ratio = row["ratio_to"].get(engine)
        cells = (engine, number(figure["median"]), spread, f"{ratio:.2f}" if ratio else "",
                 row["notes"].get(engine, ""))  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    met = {True: "reached", False: "**missed**", None: "not measured"}
    lines += ["", *(f"- {target['text']}: {met[target['met']]}" for target in row["targets"]), ""]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
