"""A topology as a picture: the Internet on top, private networks at the bottom.

               ┌─────────── internet ───────────┐
               │.1                              │.1
        ═══════╪═══ 198.51.100.0/24       ══════╪═══ 24.9.3.0/24
            files                            napt_a         (a gateway: two worlds meet)
                                        ╌╌╌╌╌╌╌╌╪╌╌╌╌ 10.0.0.0/24, private
                                              alice

A site behind another site hangs below it, in the same way.

Units are those of the SVG: pixels.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from napt_lab.topologies.spec.model import Gateway, Host, Site, Topology
from napt_lab.topologies.spec.scalars import ROUTER_NAME

COLUMN, BOX, MARGIN = 138, 126, 12
ROUTER_Y, ISP_Y, PUBLIC_Y, SITE_Y, HOST_Y = 12, 116, 152, 276, 312
BOX_HEIGHT = 58
LEVEL = HOST_Y - PUBLIC_Y  # from a gateway to those behind it


@dataclass(frozen=True, slots=True)
class Box:
    """A node; `lines` stand under its name."""

    kind: str
    name: str
    x: float
    y: int
    width: float
    lines: tuple[str, ...]

    @property
    def middle(self) -> float:
        return self.x + self.width / 2

    @property
    def height(self) -> int:
        return max(BOX_HEIGHT, 28 + 16 * len(self.lines))


@dataclass(frozen=True, slots=True)
class Bus:
    """A network, as a horizontal line with its name."""

    kind: str
    x1: float
    x2: float
    y: int
    text: str


@dataclass(frozen=True, slots=True)
class Leg:
    """A node's connection with a network, and a word beside it."""

    x: float
    y1: int
    y2: int
    text: str = ""


@dataclass(slots=True)
class Picture:
    """The whole drawing. `homes` are the frames around private sites: x, y, width, height."""

    width: float
    height: int
    boxes: list[Box] = field(default_factory=list)
    buses: list[Bus] = field(default_factory=list)
    legs: list[Leg] = field(default_factory=list)
    homes: list[tuple[float, int, float, int]] = field(default_factory=list)


def draw_topology(topology: Topology) -> Picture:
    """Every node, every network, every address."""
    picture = Picture(0, 0)
    left: float = MARGIN
    for isp in topology.isps:
        start = left
        taps: list[float] = []
        for host in topology.internet:
            if topology.isp_of(host.address) == isp:
                box = _host(host, left, PUBLIC_Y)
                picture.boxes.append(box)
                taps.append(box.middle)
                left += COLUMN
        for site in topology.behind(None):
            if topology.isp_of(site.gateway.public) == isp:
                taps.append(_add_site(picture, topology, site, left))
                left += _width(topology, site)
        picture.legs += [Leg(x, ISP_Y, PUBLIC_Y) for x in taps]
        end = left - (COLUMN - BOX)
        picture.buses.append(Bus("isp", start, end, ISP_Y, str(isp.network)))
        picture.legs.append(Leg(start + 14, ROUTER_Y + BOX_HEIGHT, ISP_Y, str(isp.router)))
    picture.width = left - (COLUMN - BOX) + MARGIN
    words = ("no route to private addresses",)
    router = Box("router", ROUTER_NAME, MARGIN, ROUTER_Y, picture.width - 2 * MARGIN, words)
    picture.boxes.append(router)
    tallest = max(box.y + box.height for box in picture.boxes)
    picture.homes = [(x, y, width, tallest + 8 - y) for x, y, width, _ in picture.homes]
    picture.height = tallest + 20
    return picture


def _width(topology: Topology, site: Site) -> float:
    """The width of a site, with the space to its right, and of all that is behind it."""
    behind = sum(_width(topology, each) for each in topology.behind(site))
    return max(COLUMN, COLUMN * len(site.hosts) + behind)


def _add_site(
    picture: Picture, topology: Topology, site: Site, left: float, down: int = 0
) -> float:
    """Returns where its gateway is connected with the network above, `down` below an ISP's."""
    width = _width(topology, site) - (COLUMN - BOX)
    gateway = _gateway(site.gateway, left + (width - BOX) / 2, PUBLIC_Y + down)
    picture.boxes.append(gateway)
    picture.homes.append((left - 5, gateway.y + gateway.height // 2, width + 10, 0))
    picture.legs.append(Leg(gateway.middle, gateway.y + gateway.height, SITE_Y + down))
    picture.buses.append(Bus("site", left, left + width, SITE_Y + down, str(site.network)))
    taps = []
    for host in site.hosts:
        box = _host(host, left, HOST_Y + down)
        picture.boxes.append(box)
        taps.append(box.middle)
        left += COLUMN
    for behind in topology.behind(site):
        taps.append(_add_site(picture, topology, behind, left, down + LEVEL))
        left += _width(topology, behind)
    picture.legs += [Leg(x, SITE_Y + down, HOST_Y + down) for x in taps]
    return gateway.middle


def kind_of(gateway: Gateway) -> str:
    """What a gateway is, in a word."""
    return "NAPT" if gateway.napt is not None else gateway.kind.value.replace("-", " ")


def _gateway(gateway: Gateway, x: float, y: int) -> Box:
    lines = (*gateway.outside.split(", "), kind_of(gateway), str(gateway.private.ip))
    return Box("gateway", gateway.name, x, y, BOX, lines)


def _host(host: Host, x: float, y: int) -> Box:
    addresses = (str(address.ip) for address in host.addresses)
    return Box("host", host.name, x, y, BOX, (*addresses, *host.labels))
