"""How the kernel is told to bring packets up to the translator, and to take them on from there.

The kernel stays what it is, a router: ARP, time to live, fragmentation and ICMP errors are its
business. Policy rules put the translator between its two sides:

    from lan0, to the LAN's own network      -> the kernel itself (our inside address)
    from lan0                                -> nat-in   ─┐
    from wan0, whatever the destination      -> nat-out  ─┤  the translator's two devices
    our own packets to the LAN               -> lan0      │
    our own packets to our external address  -> nat-out  ─┤  (ICMP errors about what we sent on)
    our own packets to anywhere else         -> nat-in   ─┘  (the NAPT itself is an inside host)
    all the rest: what the translator gives back -> the ordinary tables

For that the table of local addresses, which Linux asks before all others, moves behind these.
An external address is an ordinary address of wan0, but its packets are routed to nat-out, so
the kernel would not answer ARP for it: a proxy entry makes it. It answers at once, where a proxy
usually waits to let the owner speak first.
"""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

NAT_IN, NAT_OUT = "nat-in", "nat-out"
_TABLE_IN, _TABLE_OUT, _TABLE_OWN = 100, 101, 102
_RULES = range(10, 17)
_LOCAL = 100
_STALE_RULE, _STALE_ROUTES = "rule del pref", "route flush table"  # may not be there
_FAILED = re.compile(r"^(.*)\nCommand failed -:(\d+)$", re.MULTILINE)  # why, and which line
_LAST_RESORT = 0xFFFFFFFF  # the metric that every other route is preferred to


class RoutingError(OSError):
    """The kernel refused a setting; the text is its own."""


@dataclass(frozen=True, slots=True)
class Interfaces:
    """The node's own interfaces and addresses, as text for `ip`."""

    inside: str
    outside: str
    external: tuple[str, ...]
    internal: str
    network: str


def set_up(interfaces: Interfaces) -> None:
    """Route everything that must be translated through the two devices. Raises RoutingError."""
    inside, outside = interfaces.inside, interfaces.outside
    sysctl = Path("/proc/sys/net/ipv4")
    # Nothing passes before all is in place: a router without its translator would let private
    # addresses out. For the same reason the two tables stay closed when the devices have gone.
    _write(sysctl / "ip_forward", "0")
    for name in (NAT_IN, NAT_OUT):
        # IPv6 would greet the devices with router solicitations.
        ipv6 = Path("/proc/sys/net/ipv6/conf") / name / "disable_ipv6"
        if ipv6.exists():
            _write(ipv6, "1")
    _ip(
        [
            # A translator that was killed has left its rules; they are replaced.
            *(f"{_STALE_RULE} {pref}" for pref in (*_RULES, _LOCAL)),
            f"{_STALE_ROUTES} {_TABLE_OWN}",
            *(f"link set {name} mtu 65535 txqueuelen 4096 up" for name in (NAT_IN, NAT_OUT)),
            # The source hint makes our own packets come from the inside address.
            f"route replace default dev {NAT_IN} src {interfaces.internal} table {_TABLE_IN}",
            f"route replace default dev {NAT_OUT} src {interfaces.internal} table {_TABLE_OUT}",
            *(
                f"route replace unreachable default metric {_LAST_RESORT} table {table}"
                for table in (_TABLE_IN, _TABLE_OUT)
            ),
            *(
                f"route add {way} table {_TABLE_OWN}"
                for address in interfaces.external
                for way in (
                    f"{address} dev {NAT_OUT} src {interfaces.internal}",
                    f"unreachable {address} metric {_LAST_RESORT}",
                )
            ),
            f"rule add pref {_LOCAL} lookup local",
            f"rule add pref 10 iif {inside} to {interfaces.network} lookup local",
            f"rule add pref 11 iif {inside} lookup {_TABLE_IN}",
            f"rule add pref 12 iif {outside} lookup {_TABLE_OUT}",
            f"rule add pref 13 iif lo to {interfaces.network} lookup local",
            f"rule add pref 14 iif lo to {interfaces.network} lookup main",
            f"rule add pref 15 iif lo lookup {_TABLE_OWN}",
            f"rule add pref 16 iif lo lookup {_TABLE_IN}",
            *(f"neigh replace proxy {address} dev {outside}" for address in interfaces.external),
            # Permanent entries do not count in the neighbor table, which a machine has once.
            *(f"neigh replace 0.0.0.0 dev {name} nud permanent" for name in (NAT_IN, NAT_OUT)),
            f"{_STALE_RULE} 0",
        ]
    )
    _write(sysctl / "neigh" / outside / "proxy_delay", "0")
    for name in ("all", inside, outside, NAT_IN, NAT_OUT):
        # What comes back from the translator looks misrouted to a reverse-path check.
        _write(sysctl / "conf" / name / "rp_filter", "0")
        _write(sysctl / "conf" / name / "send_redirects", "0")
    for name in (NAT_IN, NAT_OUT):
        # Translated packets come from our own external address.
        _write(sysctl / "conf" / name / "accept_local", "1")
    _write(sysctl / "ip_forward", "1")


def _write(setting: Path, value: str) -> None:
    try:
        setting.write_text(value)
    except OSError as error:
        raise RoutingError(f"cannot set {setting}: {error.strerror}") from None


def _ip(commands: list[str]) -> None:
    """Run `ip` once for all commands. A rule or table that is not there need not be deleted."""
    try:
        result = subprocess.run(
            ["ip", "-force", "-batch", "-"],
            input="\n".join(commands),
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        raise RoutingError("the program `ip` is missing: sudo apt-get install iproute2") from None
    failures = {commands[int(number) - 1]: why for why, number in _FAILED.findall(result.stderr)}
    for command, why in failures.items():
        if not command.startswith((_STALE_RULE, _STALE_ROUTES)):
            raise RoutingError(f"ip {command}: {why}")
    last = result.stderr.rstrip().rpartition("\n")[2]
    if result.returncode and not last.startswith("Command failed"):  # it went no further
        raise RoutingError(f"ip: {last}")
