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

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address
from math import ceil

from napt_lab.topologies.spec.address_pool import AddressPool
from napt_lab.topologies.spec.model import Engine, Gateway
from napt_lab.topologies.spec.napt_settings import (
    SETTINGS,
    AddressPooling,
    Behavior,
    NaptSettings,
    PortAssignment,
)
from napt_lab.topologies.spec.presets import USUAL
from napt_lab.topologies.spec.scalars import not_beyond

#: The settings that the kernel can keep. It refuses all others, also ones that are added later.
_TIMES = {"tcp_idle", "tcp_transitory_idle", "udp_idle", "icmp_idle", "closing_hold"}
_KEPT = _TIMES | {
    *("mapping", "filtering", "hairpinning", "port_assignment", "ports"),
    *("address_pooling", "ports_per_subscriber"),
}
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


def ruleset(gateway: Gateway, settings: NaptSettings, hosts: Iterable[IPv4Address]) -> str:
    """The tables for `nft -f`. Explicit rules are in a map for each protocol.

    `hosts`: those inside. With paired pooling any other address inside has the first one outside.
    """
    network = gateway.private.network
    pool = AddressPool(gateway.addresses, gateway.private, settings)
    external = f"{{ {', '.join(str(address.ip) for address in gateway.addresses)} }}"
    from_where = "" if settings.hairpinning else 'iifname "wan0" '
    return f"""table ip napt {{
  map tcp_rules {{
    type ipv4_addr . inet_service : ipv4_addr . inet_service
    {_elements("tcp", settings, pool)}
  }}
  map udp_rules {{
    type ipv4_addr . inet_service : ipv4_addr . inet_service
    {_elements("udp", settings, pool)}
  }}
  set subscribers {{
    type ipv4_addr . inet_proto; size 65535; flags dynamic;
  }}
  counter no-rule {{ }}
  counter not-for-us {{ }}
  counter no-connection {{ }}
  counter private-destination {{ }}
  counter subscriber-limit {{ }}
  chain inbound {{
    type nat hook prerouting priority dstnat;
    {from_where}dnat ip to ip daddr . tcp dport map @tcp_rules
    {from_where}dnat ip to ip daddr . udp dport map @udp_rules
  }}
{_external_chains(gateway, settings, pool, hosts)}
  chain outbound {{
    type nat hook postrouting priority srcnat;
    oifname "wan0" goto external
    oifname "lan0" ip saddr {network} ct status dnat meta l4proto {{ tcp, udp }} goto external
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
    {_subscriber_limit(settings)}
  }}
}}
"""


def _external_chains(
    gateway: Gateway, settings: NaptSettings, pool: AddressPool, hosts: Iterable[IPv4Address]
) -> str:
    """The chain that chooses the address outside, and one for each of several."""
    ports = f"{settings.ports.start}-{settings.ports.stop - 1}"
    how = _ASSIGNED.get(settings.port_assignment, "")
    addresses = [address.ip for address in gateway.addresses]
    chains = {
        f"external_{number}": [
            f"meta l4proto {{ tcp, udp }} snat ip to {address}:{ports}{how}",
            f"snat ip to {address}",
        ]
        for number, address in enumerate(addresses)
    }
    choice = ["goto external_0"]
    if len(addresses) > 1:
        if settings.address_pooling is AddressPooling.PAIRED:
            owners = (
                f"{host} : goto external_{addresses.index(own)}"
                for host in hosts
                for own in pool.of_host(host)
            )
            choice.insert(0, f"ip saddr vmap {{ {', '.join(owners)} }}")
        else:
            ways = (f"{number} : goto {name}" for number, name in enumerate(chains))
            choice = [f"numgen random mod {len(addresses)} vmap {{ {', '.join(ways)} }}"]
    chains["external"] = choice
    return "\n".join(
        "\n".join([f"  chain {name} {{", *(f"    {line}" for line in lines), "  }"])
        for name, lines in chains.items()
    )


def _subscriber_limit(settings: NaptSettings) -> str:
    """With address-and-port-dependent mapping each session is a mapping, and has a port."""
    if not (most := settings.ports_per_subscriber):
        return ""
    over = f"add @subscribers {{ ip saddr . meta l4proto ct count over {most} }}"
    reject = _drop("subscriber-limit", "reject with icmp admin-prohibited")
    return f'iifname "lan0" ct state new {over} {reject}'


def _private_destination(gateway: Gateway) -> str:
    if not (networks := not_beyond(gateway.public.ip)):
        return ""
    reject = _drop("private-destination", "reject with icmp admin-prohibited")
    return f'oifname "wan0" ip daddr {{ {", ".join(map(str, networks))} }} {reject}'


def _drop(reason: str, how: str = "drop") -> str:
    """The statements that count, log and drop a packet."""
    return f'counter name "{reason}" log prefix "{reason}" group {LOG} {how}'


def _elements(protocol: str, settings: NaptSettings, pool: AddressPool) -> str:
    rules = [
        f"{pool.of_rule(rule)} . {rule.external_port} : "
        f"{rule.internal_address} . {rule.internal_port}"
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
