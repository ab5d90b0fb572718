"""Where each node, network and interface lies in the picture.

A gateway is wide, because the rows of its NAPT's table stand inside it. Packets cross it in a
channel at its left, beside these rows:

        ═══════╪═════════════ 24.9.3.0/24
        ┌──────┴─────────────────────────────────┐
        │ ┆  napt_a                     24.9.3.7 │
        │ ┆  tcp 10.0.0.7:4711 ⇄ 24.9.3.7:40001  │
        │ ┆  NAPT                       10.0.0.1 │
        └──────┬─────────────────────────────────┘
        ╌╌╌╌╌╌╌╪╌╌╌╌╌╌╌╌╌╌╌╌╌ 10.0.0.0/24

A site behind another site hangs below it, in the same way.

Units are those of the SVG: pixels.
"""

from __future__ import annotations

from typing import Any

from napt_lab.labs.report.topology_drawing import kind_of
from napt_lab.topologies.spec.model import Host, Site, Topology
from napt_lab.topologies.spec.scalars import ROUTER_NAME

HOST_WIDTH, GATEWAY_WIDTH, GAP, MARGIN = 126, 316, 26, 16
ROUTER_Y, ROUTER_HEIGHT, ISP_Y, PUBLIC_Y = 10, 50, 112, 146
HOST_HEIGHT, GATEWAY_HEIGHT = 62, 132
SITE_Y, SITE_HOST_Y = PUBLIC_Y + GATEWAY_HEIGHT + 36, PUBLIC_Y + GATEWAY_HEIGHT + 68
CHANNEL = 24  # from a gateway's left edge to where packets cross it
ROUTER_LEG = 24  # as CHANNEL: to a gateway it goes straight down

Picture = dict[str, Any]


def picture_of(topology: Topology) -> Picture:
    """The whole picture: `nodes`, `buses`, `homes`, and of each interface where it is.

    `ports` gives for each `node:interface` its x, its y, and the y of the network's line.
    """
    picture: Picture = {"nodes": [], "buses": [], "homes": [], "ports": {}}
    left = MARGIN
    for number, isp in enumerate(topology.isps, start=1):
        start = left
        picture["ports"][f"{ROUTER_NAME}:isp{number}"] = [
            start + ROUTER_LEG, ROUTER_Y + ROUTER_HEIGHT, ISP_Y,
        ]  # fmt: skip
        for host in topology.internet:
            if topology.isp_of(host.address) == isp:
                _add_host(picture, host, left, PUBLIC_Y, ISP_Y)
                left += HOST_WIDTH + GAP
        for site in topology.behind(None):
            if topology.isp_of(site.gateway.public) == isp:
                left = _add_site(picture, topology, site, left, PUBLIC_Y) + GAP
        picture["buses"].append(
            [start, left - GAP, ISP_Y, str(isp.network), "isp", str(isp.router)]
        )
    picture["width"] = left - GAP + MARGIN
    width = picture["width"] - 2 * MARGIN
    words = ["the Internet's router: no route to private addresses"]
    router = _box("router", ROUTER_NAME, MARGIN, ROUTER_Y, width, ROUTER_HEIGHT, words)
    picture["nodes"].insert(0, router)
    picture["height"] = max(node["y"] + node["h"] for node in picture["nodes"]) + 24
    return picture


def _box(
    kind: str, name: str, x: float, y: float, width: float, height: float, lines: list[str]
) -> Picture:
    return {"kind": kind, "name": name, "x": x, "y": y, "w": width, "h": height, "lines": lines}


def _add_host(picture: Picture, host: Host, x: float, y: float, bus: float) -> None:
    lines = [*(str(address.ip) for address in host.addresses), *host.labels]
    height = max(HOST_HEIGHT, 28 + 16 * len(lines))
    picture["nodes"].append(_box("host", host.name, x, y, HOST_WIDTH, height, lines))
    picture["ports"][f"{host.name}:eth0"] = [x + HOST_WIDTH / 2, y, bus]


def _add_site(picture: Picture, topology: Topology, site: Site, left: int, top: int) -> int:
    """Add a site whose gateway's upper edge is at `top`; returns its right edge.

    The outside network of the gateway is the line above it.
    """
    gateway = site.gateway
    above = top - (PUBLIC_Y - ISP_Y)
    bottom = top + GATEWAY_HEIGHT
    line = top + SITE_Y - PUBLIC_Y
    hosts_y = line + SITE_HOST_Y - SITE_Y
    lines = [gateway.outside, kind_of(gateway), str(gateway.private.ip)]
    kind = "napt" if gateway.napt is not None else "gateway"
    box = _box(kind, gateway.name, left, top, GATEWAY_WIDTH, GATEWAY_HEIGHT, lines)
    picture["nodes"].append(box)
    picture["ports"][f"{gateway.name}:wan0"] = [left + CHANNEL, top, above]
    picture["ports"][f"{gateway.name}:lan0"] = [left + CHANNEL, bottom, line]
    right = left - GAP
    for host in site.hosts:
        _add_host(picture, host, right + GAP, hosts_y, line)
        right += GAP + HOST_WIDTH
    for behind in topology.behind(site):
        right = _add_site(picture, topology, behind, right + GAP, line + PUBLIC_Y - ISP_Y)
    right = max(right, left + GATEWAY_WIDTH)
    box["w"] = right - left
    whose = "public" if gateway.is_router else "private"
    picture["buses"].append([left, right, line, f"{site.network}, {whose}", "site", ""])
    tallest = max(node["y"] + node["h"] for node in picture["nodes"])
    picture["homes"].append([left - 6, bottom + 10, right - left + 12, tallest - bottom + 2])
    return right
