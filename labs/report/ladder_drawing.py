"""A flow as a picture: where its lines and words go. Units are those of the SVG: pixels.

    time   packet        alice        lan0 napt_a wan0        isp2 internet isp3   …
    0.0    SYN             ●───10.0.0.7:4711──▶●━━━●──24.9.3.7:4711──▶●━━━●──▶

Each node is a band with one rung line for each of its interfaces. Addresses are written where a
packet starts, and again where they have changed.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from napt_lab.labs.report.journey import Journey, Sighting
from napt_lab.labs.report.ladder import Flow

LEFT, GAP, LANE, BAND = 222, 166, 42, 48  # to the first node; between nodes, rungs; least width
TOP, ROW = 34, 50  # height of the heads, of a packet
LETTER = 6.1  # width of the small monospaced letters
ARROW, TURN, MARGIN = 7, 8, 12


@dataclass(frozen=True, slots=True)
class Band:
    """A node, with its interfaces' names and places."""

    name: str
    left: int
    width: int
    rungs: tuple[tuple[str, int], ...]

    @property
    def middle(self) -> float:
        return self.left + self.width / 2


@dataclass(frozen=True, slots=True)
class Arrow:
    """From one interface to the next. `kind`: wire, inside (a node), rewrote (a node did)."""

    x1: int
    x2: int
    y: int
    kind: str

    @property
    def head(self) -> str:
        """The points of its tip."""
        back = self.x2 - ARROW if self.x2 > self.x1 else self.x2 + ARROW
        return f"{self.x2},{self.y} {back},{self.y - 4} {back},{self.y + 4}"


@dataclass(frozen=True, slots=True)
class Words:
    """A short text; `x` is its middle. `marked`: it was rewritten here."""

    x: float
    y: int
    text: str
    marked: bool = False

    @property
    def width(self) -> float:
        return len(self.text) * LETTER


@dataclass(frozen=True, slots=True)
class End:
    """Where a packet was dropped, and why; the words stand under the way it came."""

    x: int
    y: int
    text: str
    came_from_left: bool


@dataclass(slots=True)
class Row:
    """One packet."""

    y: int
    time: str
    title: str
    detail: str
    dots: list[tuple[int, int]] = field(default_factory=list)
    arrows: list[Arrow] = field(default_factory=list)
    words: list[Words] = field(default_factory=list)
    end: End | None = None


@dataclass(slots=True)
class Picture:
    """One flow: the nodes that its packets pass, and the packets one below the other."""

    width: int
    height: int
    bands: list[Band]
    rows: list[Row]


def draw_flow(
    flow: Flow, order: Sequence[str], began: float, slow: Collection[str] = ()
) -> Picture:
    """One flow; `order`: all `node:interface` from left to right, `slow`: those with a slow link.

    `began`: the step, in seconds since 1970.
    """
    bands = _bands(_in_order(flow, order))
    xs = {f"{band.name}:{rung}": x for band in bands for rung, x in band.rungs}
    rows = [_row(j, TOP + 34 + ROW * n, xs, began, slow) for n, j in enumerate(flow.journeys)]
    rights = [words.x + words.width / 2 for row in rows for words in row.words]
    width = int(max(bands[-1].left + bands[-1].width, *rights, 0))
    return Picture(width + MARGIN, TOP + ROW * len(rows) + MARGIN, bands, rows)


def _in_order(flow: Flow, order: Sequence[str]) -> list[str]:
    """The places of a flow from left to right, so that its arrows do not double back.

    The usual order, unless the way goes back and forth in it: then that of the way itself.
    """
    places = {sighting.where for journey in flow.journeys for sighting in journey.sightings}
    usual = [where for where in order if where in places]
    longest = max(flow.journeys, key=lambda journey: len(journey.sightings))
    way = list(dict.fromkeys(sighting.where for sighting in longest.sightings))
    at = [usual.index(where) for where in way]
    if len(way) < len(usual) or at in (sorted(at), sorted(at, reverse=True)):
        return usual
    return way if at[0] < len(usual) / 2 else way[::-1]


def _bands(places: Sequence[str]) -> list[Band]:
    nodes: dict[str, list[str]] = {}
    for where in places:
        node, _, interface = where.partition(":")
        nodes.setdefault(node, []).append(interface)
    bands, left = [], LEFT
    for node, interfaces in nodes.items():
        width = max(BAND, LANE * (len(interfaces) - 1) + 28, int(len(node) * 8) + 8)
        first = left + (width - LANE * (len(interfaces) - 1)) // 2
        rungs = tuple((name, first + LANE * n) for n, name in enumerate(interfaces))
        bands.append(Band(node, left, width, rungs))
        left += width + GAP - 28
    return bands


def hops(sightings: Sequence[Sighting]) -> list[tuple[Sighting, Sighting]]:
    """From where to where: in a node from its entry to its exit, outside from exit to entry."""
    found = []
    for number, here in enumerate(sightings):
        for earlier in reversed(sightings[:number]):
            if earlier.outgoing != here.outgoing and ((earlier.node == here.node) is here.outgoing):
                found.append((earlier, here))
                break
    return found


def _row(journey: Journey, y: int, xs: dict[str, int], began: float, slow: Collection[str]) -> Row:
    time = f"{(journey.began / 1e9 - began) * 1000:,.1f} ms"
    row = Row(y, time, journey.title, journey.detail)
    start = journey.sightings[0]
    row.dots = [(xs[start.where], y)]
    changed = {id(sighting): (a, b) for sighting, a, b in journey.changes}
    level, to_the_right = y, None
    for earlier, later in hops(journey.sightings):
        x1, x2 = xs[earlier.where], xs[later.where]
        if to_the_right is (x2 < x1) and len(row.arrows) > 0 and level == y:
            level += TURN  # it turns back: not on the line on which it came
            row.dots.append((x1, level))
        to_the_right = x2 > x1
        row.dots.append((x2, level))
        if earlier.node == later.node:
            rewrote = (earlier.source, earlier.destination) != (later.source, later.destination)
            row.arrows.append(Arrow(x1, x2, level, "rewrote" if rewrote else "inside"))
            continue
        row.arrows.append(Arrow(x1, x2, level, "wire"))
        if earlier.where in slow or later.where in slow:
            on_the_wire = (later.nanoseconds - earlier.nanoseconds) / 1e6
            row.words.append(Words((x1 + x2) / 2, level + 12, f"{on_the_wire:.1f} ms", False))
        if id(earlier) in changed:
            row.words += _endpoints(earlier, changed.pop(id(earlier)), x1, x2, y)
    if not row.arrows:  # no node was seen to receive it
        row.words += _endpoints(start, (False, False), xs[start.where], None, y)
    if journey.dropped is not None:
        x, last = row.dots[-1]
        words = f"dropped: {journey.dropped.reason}"
        row.end = End(x, last, words, came_from_left=x > row.dots[0][0])
    return row


def _endpoints(
    sighting: Sighting, marks: tuple[bool, bool], x1: int, x2: int | None, y: int
) -> list[Words]:
    """Source and destination above an arrow, on the side where it starts."""
    reach = GAP / 2 - 14
    middle: float = x1 + reach if x2 is None or x2 > x1 else x1 - reach
    if x2 is not None and abs(x2 - x1) < 2 * GAP:
        middle = (x1 + x2) / 2
    texts = (sighting.source, f"→ {sighting.destination}")
    return [
        Words(middle, y - 19 + 12 * n, text, mark)
        for n, (text, mark) in enumerate(zip(texts, marks, strict=True))
    ]
