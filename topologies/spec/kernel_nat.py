"""The kernel's own NAT as a NAPT's engine (`engine: nftables`), to compare the translator with.

In RFC 4787's words: the kernel's connection tracking knows *sessions*, not mappings, so mapping and
filtering are always address-and-port-dependent. Ports are preserved if that gives no conflict, or
chosen at random. Hairpinning works only to explicit rules, which name the inside host. Times are
sysctls of the namespace's connection tracking, in whole seconds. The ruleset counts and logs
drops, and nat_node/engines/nftables/ answers on a control socket, so that labs and checks work the
same with both engines.

The kernel can keep only some of a NAPT's settings. A topology file with another value for one of
the rest is refused: otherwise a lab would test another behavior than the file says.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil

from napt_lab.topologies.spec.model import Engine, Gateway
from napt_lab.topologies.spec.napt_settings import SETTINGS, Behavior, NaptSettings, PortAssignment
from napt_lab.topologies.spec.presets import USUAL
from napt_lab.topologies.spec.scalars import not_beyond

#: The settings that the kernel can keep. It refuses all others, also ones that are added later.
_TIMES = {"tcp_idle", "tcp_transitory_idle", "udp_idle", "icmp_idle", "closing_hold"}
_KEPT = _TIMES | {"mapping", "filtering", "hairpinning", "port_assignment", "ports"}
LOG = 7  # where nat_node/engines/nftables/packet_log.py listens
_ASSIGNED = {PortAssignment.PRESERVE: "", PortAssignment.RANDOM: " fully-random"}


def cannot(settings: NaptSettings) -> Iterator[tuple[str, str]]:
    """The keys with values that the kernel cannot keep, each with its error message."""
    kernel, python = "is not possible with engine nftables", "or engine python"
    for key, behavior in (("mapping", settings.mapping), ("filtering", settings.filtering)):
        if behavior is not Behavior.ADDRESS_AND_PORT_DEPENDENT:
            only = Behavior.ADDRESS_AND_PORT_DEPENDENT.value
            yield key, f"{key} {behavior.value} {kernel}; allowed: {only}, {python}"
    if settings.port_assignment not in _ASSIGNED:
        word = settings.port_assignment.value
        yield "port-assignment", f"{word} {kernel}; allowed: preserve, random, {python}"
    usual = USUAL[Engine.NFTABLES]
    for setting in SETTINGS:
        value = getattr(settings, setting.name)
        if setting.name not in _KEPT and value != getattr(usual, setting.name):
            yield setting.key, f"{setting.key} {kernel}; allowed: no {setting.key}, {python}"
        if setting.name in _TIMES and value != ceil(value):
            yield setting.key, f"a part of a second {kernel}; allowed: whole seconds, {python}"
    if settings.port_control:
        yield "port-control", f"port-control {kernel}; allowed: off, {python}"


def ruleset(gateway: Gateway, settings: NaptSettings) -> str:
    """The tables for `nft -f`. Explicit rules are in a map for each protocol."""
    external, network = gateway.public.ip, gateway.private.network
    pool = f"{settings.ports.start}-{settings.ports.stop - 1}"
    how = _ASSIGNED.get(settings.port_assignment, "")
    from_where = "" if settings.hairpinning else 'iifname "wan0" '
    return f"""table ip napt {{
  map tcp_rules {{
    type inet_service : ipv4_addr . inet_service
    {_elements("tcp", settings)}
  }}
  map udp_rules {{
    type inet_service : ipv4_addr . inet_service
    {_elements("udp", settings)}
  }}
  counter no-rule {{ }}
  counter not-for-us {{ }}
  counter no-connection {{ }}
  counter private-destination {{ }}
  chain inbound {{
    type nat hook prerouting priority dstnat;
    {from_where}ip daddr {external} dnat ip to tcp dport map @tcp_rules
    {from_where}ip daddr {external} dnat ip to udp dport map @udp_rules
  }}
  chain outbound {{
    type nat hook postrouting priority srcnat;
    oifname "wan0" meta l4proto {{ tcp, udp }} masquerade to :{pool}{how}
    oifname "wan0" masquerade
    oifname "lan0" ip saddr {network} ct status dnat meta l4proto {{ tcp, udp }} \
      snat to {external}:{pool}
  }}
  chain to_ourselves {{
    type filter hook input priority filter;
    iifname {{ "lan0", "wan0" }} ip daddr {external} meta l4proto {{ tcp, udp }} \
      ct state new,invalid {_drop("no-rule")}
  }}
  chain through {{
    type filter hook forward priority filter;
    ct state established,related accept
    ct state invalid {_drop("no-connection")}
    iifname "wan0" ct status ! dnat {_drop("not-for-us")}
    {_private_destination(gateway)}
  }}
}}
"""


def _private_destination(gateway: Gateway) -> str:
    if not (networks := not_beyond(gateway.public.ip)):
        return ""
    reject = _drop("private-destination", "reject with icmp admin-prohibited")
    return f'oifname "wan0" ip daddr {{ {", ".join(map(str, networks))} }} {reject}'


def _drop(reason: str, how: str = "drop") -> str:
    """The statements that count, log and drop a packet."""
    return f'counter name "{reason}" log prefix "{reason}" group {LOG} {how}'


def _elements(protocol: str, settings: NaptSettings) -> str:
    rules = [
        f"{rule.external_port} : {rule.internal_address} . {rule.internal_port}"
        for rule in settings.rules
        if rule.protocol == protocol
    ]
    return f"elements = {{ {', '.join(rules)} }}" if rules else ""


def sysctls(settings: NaptSettings) -> dict[str, str]:
    """The sysctls below /proc/sys/net: connection tracking's times (seconds), then forwarding."""
    times = {
        # RFC 5382, section 5: until both sides have sent a FIN, a connection is established.
        **dict.fromkeys(("established", "fin_wait", "close_wait"), settings.tcp_idle),
        **dict.fromkeys(("unacknowledged", "max_retrans"), settings.tcp_idle),
        **dict.fromkeys(("syn_sent", "syn_recv"), settings.tcp_transitory_idle),
        **dict.fromkeys(("last_ack", "time_wait", "close"), settings.closing_hold),
    }
    tracking = {f"tcp_timeout_{state}": seconds for state, seconds in times.items()} | {
        "udp_timeout": settings.udp_idle,
        "udp_timeout_stream": settings.udp_idle,
        "icmp_timeout": settings.icmp_idle,
        "tcp_loose": 0,  # only a SYN makes a TCP session
    }
    return {
        **{f"netfilter/nf_conntrack_{name}": str(ceil(value)) for name, value in tracking.items()},
        "ipv4/ip_forward": "1",
    }
