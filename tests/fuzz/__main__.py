"""Tell stories on all processors: `python -m tests.fuzz`, or `make fuzz`.

What goes wrong is told by its seed and number, with the shortest part of the story that still
does, as lines for a test. Exit status: 0 all held; 1 something did not, or was never reached;
2 wrong usage.
"""

from __future__ import annotations

import argparse
import os
import secrets
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field

from napt_lab.nat_node.core.verdict import Drop
from tests.fuzz.replay import shortest
from tests.fuzz.stories import Story

PACKETS = 1_000_000
CHUNK = 40  # stories
ENOUGH = 1_000_000
"""Packets, in which everything that can be reached is."""
#: Only a device refuses, and 4096 calls are more than a story has.
BEYOND = {Drop.OVERLOAD, Drop.REFUSED_BY_KERNEL, Drop.UNANSWERED}
REACHED = {drop.label for drop in Drop if drop not in BEYOND} | {
    "fast", "told", "waits", "sibling", "later fragment", "answered", "hairpin", "error",
    "out 1", "out 6", "out 17", "in 1", "in 6", "in 17",
}  # fmt: skip


@dataclass(slots=True)
class Result:
    """What came of some stories."""

    packets: int = 0
    seen: Counter[str] = field(default_factory=Counter)
    failure: str | None = None


def tell(seed: int, numbers: range) -> Result:
    """The stories with these numbers, up to the first that goes wrong."""
    result = Result()
    for number in numbers:
        story = Story(seed, number)
        try:
            story.tell()
        except Exception as error:  # noqa: BLE001  # any fault of the core is the find; reported
            result.failure = _describe(seed, number, story, error)
        result.packets += story.bench.packets
        result.seen += story.bench.seen
        if result.failure:
            break
    return result


def _describe(seed: int, number: int, story: Story, error: Exception) -> str:
    where = "".join(traceback.format_exception(error)[-4:])
    part = shortest(story.settings, story.chance, story.with_twin, story.steps)
    lines = "\n".join(f"    {step}" for step in part)
    return (
        f"story {number} of seed {seed} goes wrong:\n{where}\nwith {story.settings}\n"
        f"The shortest part that does:\n{lines}\n\n"
        f"Once more: make fuzz SEED={seed} STORY={number}"
    )


def _results(seed: int, packets: int, jobs: int) -> Iterator[Result]:
    """Results until there are enough packets. No more are begun than there are processors for."""
    told, begun = 0, 0
    with ProcessPoolExecutor(jobs) as pool:
        running: set[Future[Result]] = set()
        while told < packets:
            while len(running) < jobs + 1:
                running.add(pool.submit(tell, seed, range(begun, begun + CHUNK)))
                begun += CHUNK
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                result = future.result()
                told += result.packets
                yield result
        for future in running:
            future.cancel()


def run(seed: int, packets: int, jobs: int) -> int:
    """Tell stories until so many packets have been judged. Returns the exit status."""
    print(f"{packets:,} packets on {jobs} processors, SEED={seed}", flush=True)
    total, begin, shown = Result(), time.monotonic(), 0
    for result in _results(seed, packets, jobs):
        if result.failure:
            print(f"\n{result.failure}", flush=True)
            return 1
        total.packets += result.packets
        total.seen += result.seen
        share = min(100, 100 * total.packets // packets)
        if sys.stdout.isatty() or share >= shown + 10:
            shown = share
            rate = total.packets / (time.monotonic() - begin)
            end = "\r" if sys.stdout.isatty() else "\n"
            print(f"{share:3} %  {total.packets:,} packets, {rate:,.0f}/s", end=end, flush=True)
    print(f"\n{time.monotonic() - begin:.0f} s. What became of them:")
    for what, count in total.seen.most_common():
        print(f"{count:>9,}  {what}")
    missing = REACHED - set(total.seen)
    if missing and total.packets >= ENOUGH:
        print(f"never reached, so not tested: {', '.join(sorted(missing))}")
        return 1
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--packets", type=int, default=PACKETS, metavar="N")
    parser.add_argument("--seed", type=int, default=None, help="to have the same packets again")
    parser.add_argument("--story", type=int, default=None, help="only this one of the seed's")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)), metavar="N")
    given = parser.parse_args(argv)
    if min(given.packets, given.jobs) < 1:
        parser.error("--packets and --jobs: at least 1")
    seed = secrets.randbelow(10**9) if given.seed is None else given.seed
    if given.story is None:
        return run(seed, given.packets, given.jobs)
    failure = tell(seed, range(given.story, given.story + 1)).failure
    print(failure or f"story {given.story} of seed {seed} holds")
    return 1 if failure else 0


if __name__ == "__main__":
    sys.exit(main())
