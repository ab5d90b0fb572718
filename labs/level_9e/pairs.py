"""Level 9e, second part: which pairs of NAPTs can be punched, predicted and tried (labs/matrix)."""

from __future__ import annotations

from napt_lab.labs.check.ground import Ground
from napt_lab.labs.check.outcome import CannotTell
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
    "restricted-cone, port-restricted-cone, symmetric. Each PC on the left tries to punch a hole "
    "with each PC on the right. Whether that works can be predicted without a packet, from how "
    "the two NAPTs map and filter. Then all of them try.",
    ask="How many of the 16 pairs fail?",
    predict=number(
        3,
        {
            7: "A symmetric NAPT cannot be punched, whatever the other one is.",
            1: "Only two symmetric NAPTs fail with each other.",
            0: "The side that sends first opens the way for the other.",
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
    if not any(result.observed is None for result in results):
        stage.answer(len(fails), ", ".join(map(names, fails)))
    with stage.claim("9e.matrix", "every pair does what was predicted") as claim:
        for result in results:
            if result.observed is None:
                raise CannotTell(f"{names(result)}: {result.trouble}")
            predicted = result.cell.predicted
            claim.require(
                result.observed is predicted.way,
                f"{names(result)}: {result.observed}",
                f"predicted: {predicted.way}, for {predicted.why}",
            )
    with stage.claim("9e.matrix", "where a pair fails, a NAPT says which packet it drops") as claim:
        for result in fails:
            dropped = [line for line in result.evidence if " dropped " in line]
            claim.require(bool(dropped), f"{names(result)}: {'; '.join(dropped) or 'no drop'}")


def names(result: Result) -> str:
    """The types of a pair, as in `full-cone with symmetric`."""
    return f"{result.cell.a.name} with {result.cell.b.name}"


def grid(results: list[Result]) -> list[str]:
    """A line for each type on the left, a column for each on the right."""
    table = {(short(r.cell.a), short(r.cell.b)): r.observed or "?" for r in results}
    rights = list(dict.fromkeys(right for _, right in table))
    widths = [max(len(right), *map(len, Way)) for right in rights]
    first = max(len(left) for left, _ in table)
    rows = [("", rights)]
    for left in dict.fromkeys(left for left, _ in table):
        rows.append((left, [table[left, right] for right in rights]))
    return [
        "  ".join(
            [left.ljust(first), *(c.ljust(width) for c, width in zip(cells, widths, strict=True))]
        ).rstrip()
        for left, cells in rows
    ]


def short(type_: NaptType) -> str:
    """Its name without `cone`, so that the grid is narrow enough."""
    return type_.name.removesuffix("-cone")
