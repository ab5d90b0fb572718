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
ROUTER_LEG = 62

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
        for site in topology.sites:
            if topology.isp_of(site.gateway.public) == isp:
                left = _add_site(picture, site, left) + GAP
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
    services = [f"{service.name}:{service.port}" for service in host.runs]
    lines = [str(host.address.ip), *services]
    height = max(HOST_HEIGHT, 28 + 16 * len(lines))
    picture["nodes"].append(_box("host", host.name, x, y, HOST_WIDTH, height, lines))
    picture["ports"][f"{host.name}:eth0"] = [x + HOST_WIDTH / 2, y, bus]


def _add_site(picture: Picture, site: Site, left: int) -> int:
    """Returns where the next one may begin."""
    hosts = len(site.hosts) * (HOST_WIDTH + GAP) - GAP
    width = max(GATEWAY_WIDTH, hosts)
    gateway = site.gateway
    lines = [str(gateway.public.ip), kind_of(gateway), str(gateway.private.ip)]
    kind = "napt" if gateway.napt is not None else "gateway"
    box = _box(kind, gateway.name, left, PUBLIC_Y, width, GATEWAY_HEIGHT, lines)
    picture["nodes"].append(box)
    bottom = PUBLIC_Y + GATEWAY_HEIGHT
    picture["ports"][f"{gateway.name}:wan0"] = [left + CHANNEL, PUBLIC_Y, ISP_Y]
    picture["ports"][f"{gateway.name}:lan0"] = [left + CHANNEL, bottom, SITE_Y]
    picture["buses"].append([left, left + width, SITE_Y, f"{site.network}, private", "site", ""])
    for number, host in enumerate(site.hosts):
        _add_host(picture, host, left + number * (HOST_WIDTH + GAP), SITE_HOST_Y, SITE_Y)
    tallest = max(node["y"] + node["h"] for node in picture["nodes"])
    picture["homes"].append([left - 6, bottom + 10, width + 12, tallest - bottom + 2])
    return left + width
