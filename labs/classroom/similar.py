"""`napt-lab course similar submissions/`: which translators are alike, under whatever names.

The work is copydetect's (an extra: pip install 'napt-lab[similar]'), by the method that MOSS uses
(Schleimer, Wilkerson, Aiken: Winnowing, 2003): names, strings and layout are taken away, and what
is left is compared by digests of short pieces. What is in the skeleton that was handed out does
not count. The translator that comes with this project stands beside the students'.

Two files can be alike for good reasons. This is a hint for a talk, not a verdict.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from napt_lab.labs.classroom.submissions import Submission
from napt_lab.labs.stage.rule_lines import count
from napt_lab.labs.verdict.exit_status import CANNOT_RUN, PASSED
from napt_lab.topologies.spec.checkout import IN_CHECKOUT, ROOT

ALIKE = 0.5  # of the smaller file, from which on a pair is told
MOST_SHOWN = 100  # pairs
MOST_BYTES = 1 << 16  # of a file that is compared
#: In characters without names and layout. What is alike for less than PIECE does not count, for any
#: two programs have such pieces in common; what is alike for CERTAIN is found, wherever it begins.
#: (The k and t of Winnowing. If they were equal, all digests would be compared, not one of six.)
PIECE, CERTAIN = 25, 30
REFERENCE = ROOT / "nat_node" / "one_page.py"
SKELETON = ROOT / "labs" / "translator" / "skeleton.py"
OURS = "nat_node/one_page.py, which comes with NAPT Lab"
INSTALL = ".venv/bin/pip install copydetect" if IN_CHECKOUT else "pip install 'napt-lab[similar]'"


@dataclass(frozen=True, slots=True)
class Side:
    """One file of a pair: how much of it is also in the other, and which lines, from and to."""

    who: str
    share: float
    lines: tuple[tuple[int, int], ...]


def tell_similar(submissions: Sequence[Submission]) -> int:
    """Print the pairs that are alike, the most alike first. Returns the exit status."""
    files = {OURS: REFERENCE}
    for one in submissions:
        if one.translator is not None:
            problem = _problem(one.translator)
            if problem:
                print(f"{one.id}: not compared: {problem}")
            else:
                files[one.id] = one.translator
    if len(files) == 1:
        print("There is no translator to compare (ID.py, or ID/mine.py).")
        return PASSED
    try:
        pairs = alike(files)
    except ImportError as error:
        wrong = f"{error}: the extra `similar` is not installed"
        print(f"napt-lab: {wrong}\n  fix: {INSTALL}", file=sys.stderr)
        return CANNOT_RUN
    print(f"Compared: {count(len(files) - 1, 'translator')}, and {OURS}.")
    for pair in pairs[:MOST_SHOWN]:
        print()
        for side in pair:
            print(f"  {side.share:4.0%} of {side.who}: {_told(side.lines)}")
    hint = "A hint for a talk, not a verdict: small programs with one task are alike."
    shown = f" The {MOST_SHOWN} most alike are shown." if len(pairs) > MOST_SHOWN else ""
    print(f"\n{count(len(pairs), 'pair')} alike.{shown} {hint if pairs else ''}")
    return PASSED


def _problem(path: Path) -> str:
    """Why a file cannot be compared, "" if it can."""
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
        data.decode("utf-8")
    except (OSError, ValueError) as error:
        return str(error)
    return f"it has more than {MOST_BYTES:,} bytes" if len(data) > MOST_BYTES else ""


def alike(files: dict[str, Path], least: float = ALIKE) -> list[tuple[Side, Side]]:
    """Pairs of these files, the most alike first. ImportError if copydetect is not installed."""
    from copydetect import CopyDetector

    detector = CopyDetector(
        noise_t=PIECE, guarantee_t=CERTAIN, autoopen=False, silent=True, force_language="python"
    )
    detector.add_file(str(SKELETON), "boilerplate")
    names = {str(path): who for who, path in files.items()}
    for path in names:
        detector.add_file(path)
    detector.run()
    order = detector.test_files
    pairs = []
    for (one, other), spans in detector.slice_matrix.items():
        shares = detector.similarity_matrix[order.index(one), order.index(other)]
        if max(shares) >= least:
            texts = [detector.file_data[path].raw_code for path in (one, other)]
            first, second = (
                Side(names[path], float(share), _lines(text, span))
                for path, share, text, span in zip((one, other), shares, texts, spans, strict=True)
            )
            pairs.append((first, second))
    pairs.sort(key=lambda pair: -max(side.share for side in pair))
    return pairs


def _lines(text: str, span: Sequence[Iterable[int]]) -> tuple[tuple[int, int], ...]:
    """The lines of some pieces of a text, from and to, those that touch joined."""
    joined: list[tuple[int, int]] = []
    for begin, end in sorted(zip(*span, strict=True)):
        first, last = (text.count("\n", 0, int(place)) + 1 for place in (begin, end))
        if joined and first <= joined[-1][1] + 1:
            first, last = joined[-1][0], max(last, joined[-1][1])
            joined.pop()
        joined.append((first, last))
    return tuple(joined)


def _told(lines: Sequence[tuple[int, int]]) -> str:
    spans = (str(first) if first == last else f"{first}-{last}" for first, last in lines)
    return f"lines {', '.join(spans)}"
