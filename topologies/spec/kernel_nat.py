"""The kernel's own NAT as a NAPT's engine (`engine: nftables`): the oracle and the yardstick.

What it is, in RFC 4787's words: connection tracking knows *sessions*, not mappings, so mapping
and filtering are address-and-port-dependent, and nothing can make them otherwise. Ports are
preserved where that gives no clash, or chosen at random. Hairpinning works to explicit rules,
for only they say who inside is meant. Times are settings of the namespace's connection tracking
(sysctl), in whole seconds. What it drops it counts and logs, and nat_node/kernel_nat/ answers for
it on a control socket, so that labs and checks see no difference.

So of the keys of a NAPT some can be kept, word for word, and the others are refused: a lab must
not say that a behavior was tested when another one was.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil

from napt_lab.topologies.spec.model import Behavior, Engine, Gateway, NaptSettings, PortAssignment
from napt_lab.topologies.spec.presets import USUAL
from napt_lab.topologies.spec.scalars import PRIVATE

LOG = 7  # where nat_node/engines/nftables/packet_log.py listens
_ASSIGNED = {PortAssignment.PRESERVE: "", PortAssignment.RANDOM: " fully-random"}


def cannot(settings: NaptSettings) -> Iterator[tuple[str, str]]:
    """The keys whose values the kernel cannot keep, each with what is wrong and what is allowed."""
    kernel = "cannot be had from engine nftables"
    for key, behavior in (("mapping", settings.mapping), ("filtering", settings.filtering)):
        if behavior is not Behavior.ADDRESS_AND_PORT_DEPENDENT:
            only = Behavior.ADDRESS_AND_PORT_DEPENDENT.value
            yield key, f"{key} {behavior.value} {kernel}; allowed: {only}, or engine python"
    if settings.port_assignment not in _ASSIGNED:
        word = settings.port_assignment.value
        yield "port-assignment", f"{word} {kernel}; allowed: preserve, random, or engine python"
    usual = USUAL[Engine.NFTABLES]
    for key, value, default in (
        ("port-parity", settings.port_parity, usual.port_parity),
        ("port-hold", settings.port_hold, usual.port_hold),
        ("refuse-syn", settings.refuse_syn, usual.refuse_syn),
        ("host-limit", settings.host_limit, usual.host_limit),
        ("session-limit", settings.session_limit, usual.session_limit),
    ):
        if value != default:
            yield key, f"{key} {kernel}; allowed: leave it out, or engine python"
    if settings.port_control:
        yield "port-control", f"port-control {kernel}; allowed: off, or engine python"
    idle = settings.idle
    for key, seconds in (
        ("idle", (idle.tcp, idle.tcp_transitory, idle.udp, idle.icmp)),
        ("closing-hold", (settings.closing_hold,)),
    ):
        if any(time != ceil(time) for time in seconds):
            yield key, f"a part of a second {kernel}; allowed: whole seconds, or engine python"


def ruleset(gateway: Gateway, settings: NaptSettings) -> str:
    """The tables for `nft -f`. Explicit rules stand in a map for each protocol."""
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
    oifname "wan0" ip daddr {{ {", ".join(map(str, PRIVATE))} }} \
      {_drop("private-destination", "reject with icmp admin-prohibited")}
  }}
}}
"""


def _drop(reason: str, how: str = "drop") -> str:
    """What counts a packet, logs it, and ends it."""
    return f'counter name "{reason}" log prefix "{reason}" group {LOG} {how}'


def _elements(protocol: str, settings: NaptSettings) -> str:
    rules = [
        f"{rule.external_port} : {rule.internal_address} . {rule.internal_port}"
        for rule in settings.rules
        if rule.protocol == protocol
    ]
    return f"elements = {{ {', '.join(rules)} }}" if rules else ""


def sysctls(settings: NaptSettings) -> dict[str, str]:
    """Connection tracking's times, below /proc/sys/net, in seconds; and forwarding, at last."""
    idle, hold = settings.idle, settings.closing_hold
    times = {
        # RFC 5382, section 5: until both sides have sent a FIN, a connection is established.
        **dict.fromkeys(("established", "fin_wait", "close_wait"), idle.tcp),
        **dict.fromkeys(("unacknowledged", "max_retrans"), idle.tcp),
        **dict.fromkeys(("syn_sent", "syn_recv"), idle.tcp_transitory),
        **dict.fromkeys(("last_ack", "time_wait", "close"), hold),
    }
    tracking = {f"tcp_timeout_{state}": seconds for state, seconds in times.items()} | {
        "udp_timeout": idle.udp,
        "udp_timeout_stream": idle.udp,
        "icmp_timeout": idle.icmp,
        "tcp_loose": 0,  # a segment in the middle of nothing makes no session
    }
    return {
        **{f"netfilter/nf_conntrack_{name}": str(ceil(value)) for name, value in tracking.items()},
        "ipv4/ip_forward": "1",
    }
