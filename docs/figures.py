"""Makes figures.md of figures.in.md and bench.json: `make bench`, `python -m docs.figures`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from napt_lab.labs.bench.figure_table import number

DOCS = Path(__file__).resolve().parent


def main() -> None:
    bench = json.loads((DOCS.parent / "bench.json").read_text(encoding="utf-8"))
    rows = "\n".join(_row(row) for row in bench["rows"])
    page = (
        (DOCS / "figures.in.md")
        .read_text(encoding="utf-8")
        .format(command=bench["command"], machine=bench["machine"]["summary"], rows=rows)
    )
    (DOCS / "figures.md").write_text(page, encoding="utf-8")


def _row(row: dict[str, Any]) -> str:
    less = "" if row["more_is_better"] else " (less is better)"
    lines = [f"## {row['title']}", "", f"| | {row['unit']}{less} | | python to it | |",
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
