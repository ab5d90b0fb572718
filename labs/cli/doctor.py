"""`make doctor`: the preflight checks as a table, and below it what to do, ready to copy."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from napt_lab.topologies.sandbox.finding import Finding


def show(findings: list[Finding]) -> None:
    """Print the table; commands go below it, where no column breaks their lines."""
    console = Console()
    table = Table(title="What the labs need of this machine", title_justify="left")
    for heading in ("check", "", "found"):
        table.add_column(heading, overflow="fold")
    for finding in findings:
        mark = Text("ok", "green") if finding.ok else Text("missing", "bold red")
        table.add_row(Text(finding.name), mark, Text(finding.found))
    console.print(table)
    for fix, bad in _by_fix(findings).items():
        causes = dict.fromkeys(finding.cause for finding in bad)
        console.print(Text.assemble("\n", ("; ".join(causes), "bold")))
        console.print(Text(f"    {fix}"), soft_wrap=True)
    if all(finding.ok for finding in findings):
        console.print("This machine can run the labs.")


def _by_fix(findings: list[Finding]) -> dict[str, list[Finding]]:
    """The findings that are not ok, together if the same command fixes them."""
    groups: dict[str, list[Finding]] = {}
    for finding in findings:
        if not finding.ok:
            groups.setdefault(finding.fix, []).append(finding)
    return groups
