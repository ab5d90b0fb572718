"""Level 9e, second part: which pairs of NAPTs can be punched, predicted and tried (labs/matrix)."""

from __future__ import annotations

from napt_lab.labs.check.ground import Ground
from napt_lab.labs.matrix.cell import Cell, Result
from napt_lab.labs.matrix.field import Field
from napt_lab.labs.matrix.napt_types import NaptType, chosen
from napt_lab.labs.matrix.prediction import Method, Way
from napt_lab.labs.matrix.trying import try_cells
from napt_lab.labs.stage.prediction import number
from napt_lab.labs.stage.stage import Stage
from napt_lab.labs.stage.steps import Part

TYPES = "full-cone,restricted-cone,port-restricted-cone,symmetric"

pairs = Part("pairs", topology="level-9e-pairs.yaml", title="All pairs of four types of NAPTs")


@pairs.step(
    "Which pairs?",
    say="Four homes on the left, four on the right, with four types of NAPTs: full-cone, "
    "restricted-cone, port-restricted-cone, symmetric. Each PC on the left tries to punch with "
    "each on the right. What must come of it follows from how the two NAPTs map and filter: no "
    "packet is needed to know it. Then all of them try.",
    ask="How many of the 16 pairs fail?",
    predict=number(
        3,
        {
            7: "A symmetric NAPT cannot be punched, whatever the other one is.",
            1: "Only two symmetric NAPTs fail with each other.",
            0: "Whoever sends first opens the way for the other.",
        },
        exercise="9e/symmetric",
    ),
    proves=["9e.matrix"],
)
def all_pairs(stage: Stage) -> None:
    types, _ = chosen(TYPES, None)
    field = Field(types, behind_carrier=False)
    cells = [Cell(Method.UDP, a, b) for a in types for b in types]
    known: list[Result] = []

    def progress(result: Result) -> None:
        known.append(result)
        stage.progress("pairs", len(known), len(cells))

    results = try_cells(Ground(stage.net, stage.wire), field, cells, progress)
    stage.see(*grid(results))
    fails = [result for result in results if result.observed is Way.FAILS]
    stage.answer(len(fails), ", ".join(f"{r.cell.a.name} with {r.cell.b.name}" for r in fails))
    with stage.claim("9e.matrix", "every pair does what was predicted") as claim:
        for result in results:
            if result.observed is None:
                raise OSError(result.trouble)
            pair = f"{result.cell.a.name} with {result.cell.b.name}"
            predicted = result.cell.predicted
            claim.require(
                result.observed is predicted.way,
                f"{pair}: {result.observed}",
                f"predicted: {predicted.way}, for {predicted.why}",
            )
    with stage.claim("9e.matrix", "where a pair fails, a NAPT says which packet it drops") as claim:
        for result in fails:
            dropped = [line for line in result.evidence if " dropped " in line]
            pair = f"{result.cell.a.name} with {result.cell.b.name}"
            claim.require(bool(dropped), f"{pair}: {'; '.join(dropped) or 'no drop'}")


def grid(results: list[Result]) -> list[str]:
    """A line for each type on the left, a column for each on the right."""
    table = {(short(r.cell.a), short(r.cell.b)): str(r.observed or "?") for r in results}
    rights = list(dict.fromkeys(right for _, right in table))
    first = max(map(len, rights))
    lines = ["  ".join([" " * first, *rights])]
    for left in dict.fromkeys(left for left, _ in table):
        cells = (table[left, right].ljust(len(right)) for right in rights)
        lines.append("  ".join([left.ljust(first), *cells]))
    return lines


def short(type_: NaptType) -> str:
    """Its name without `cone`, so that the grid is narrow enough."""
    return type_.name.removesuffix("-cone").ljust(len("direct"))
