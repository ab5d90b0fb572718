"""Saboteurs of lab 8. Each plays only the part of the lab in which its fault must be seen."""

from __future__ import annotations

import pytest

from tests.saboteurs.common import (
    CORE,
    FILE_DAMAGED_ON_THE_WAY,
    IP_COMMANDS,
    PLANS,
    SERVERS_TAKE_THEMSELVES_FOR_THE_CLIENT,
    STAGE,
    TABLE,
    TRANSLATOR,
    impatient,
)
from tests.saboteurs.planted import anything, labs, network, servers, translator
from tests.saboteurs.saboteur import (
    Patch,
    Saboteur,
    Setting,
    assert_holds,
    assert_turns_red,
    run_lab,
    shared,
)

PROXY, TRANSPARENT, NAPT = "8.proxy", "8.transparent-proxy", "8.napt"
PER_CONNECTION, GC_CLOSE, GC_IDLE = "8.rule-per-connection", "8.gc-close", "8.gc-idle"
EVERY_PORT, INBOUND, UPLOAD = "8.65536", "8.inbound", "8.upload"

MANY = "napt_lab.labs.level_8.many"
RULES, PORTS = "level-8-rules.yaml", "level-8-65536.yaml"

NOTHING_EXPIRES = (
    Patch(f"{TRANSLATOR}.expire", translator.nothing_to_send),
    Patch(f"{TRANSLATOR}.next_deadline", anything.nothing),
)

# 999 ports do as well as 65,535 where the fault is one of counting.
FEWER_PORTS = (
    Setting(PORTS, "sites.home.gateway.ports", "1-999"),
    Patch(f"{MANY}:POOL", labs.fewer, 1, 1_000),
    Patch(f"{MANY}:WANTED", anything.instead, 1_000),
    Patch(f"{MANY}:SHARE", anything.instead, 250),
    Patch(f"{MANY}:SAMPLE", anything.instead, 100),
)

SABOTEURS = (
    # ── 8.proxy, 8.transparent-proxy: two connections ──────────────────────────────────────────
    Saboteur(
        "gateway-of-the-proxy-forwards-packets",
        (Patch(PLANS, network.forwarding, "proxy"),),
        red={PROXY: "without the proxy, the PC's SYN ends at the gateway"},
        part="proxy",
    ),
    Saboteur(
        # For the PC all is as before, even the address that it sends to.
        "proxy-is-a-napt",
        (
            Patch(
                f"{STAGE}.start",
                labs.first,
                "pc",
                "curl",
                ["proxy", "sysctl", "-qw", "net.ipv4.ip_forward=1"],
                ["proxy", "nft", "; ".join(labs.NFT_INSTEAD_OF_A_PROXY)],
            ),
        ),
        red={PROXY: "there are two TCP connections: "},
        part="proxy",
    ),
    Saboteur(
        "server-takes-itself-for-the-client",
        (SERVERS_TAKE_THEMSELVES_FOR_THE_CLIENT,),
        red={PROXY: "the page says '151.101.1.69:80'"},
        part="proxy",
    ),
    Saboteur(
        # Then the PC's SYN goes to the server itself, which refuses it.
        "proxy-is-not-transparent-but-a-napt",
        (Setting("level-8-transparent-proxy.yaml", "sites.home.gateway.kind", "napt"),),
        red={TRANSPARENT: "yet there are two TCP connections: "},
        part="transparent-proxy",
    ),
    # ── 8.napt: only address, port and checksums differ ────────────────────────────────────────
    Saboteur(
        "napt-numbers-the-packets-anew",
        (Patch(f"{TRANSLATOR}.translate", translator.numbering_anew),),
        red={NAPT: "identification"},
        part="napt",
    ),
    Saboteur(
        "napt-counts-as-two-hops",
        (Patch(f"{CORE}.packet:give_back_hop", anything.nothing),),
        red={NAPT: "TTL 64 there, 61 here"},
        part="napt",
    ),
    Saboteur(
        "napt-leaves-a-wrong-checksum",
        (Patch(f"{CORE}.packet:Packet.rewrite_source", translator.wrong_checksum), *impatient(1)),
        red={NAPT: "stackoverflow sees the NAPT's public address"},
        broken=frozenset({NAPT}),  # no packets of a connection can be compared
        part="napt",
    ),
    # ── 8.rule-per-connection, 8.gc-close, 8.gc-idle: the life of a rule ───────────────────────
    Saboteur(
        "rules-do-not-look-at-the-remote-endpoint",
        (Setting(RULES, "sites.home.gateway.mapping", "endpoint-independent"),),
        red={PER_CONNECTION: "each rule should have remote 151.101.1.69:80"},
        part="rules",
    ),
    Saboteur(
        "filter-is-ignored",
        (Patch(f"{TABLE}.admits", translator.everyone),),
        red={PER_CONNECTION: "napt_b drops serverfault's SYN"},
        part="rules",
    ),
    Saboteur(
        "rules-of-closed-connections-are-not-collected",
        NOTHING_EXPIRES,
        red={GC_CLOSE: "waiting for `rule-ended` from napt"},
        part="rules",
    ),
    Saboteur(
        "reset-is-overlooked",
        (Patch(f"{CORE}.tcp_state:follow", translator.overlooking_resets),),
        red={GC_CLOSE: "after RST the rule ends"},
        part="rules",
    ),
    Saboteur(
        # Its end is told all the same.
        "rule-of-a-closed-connection-leaks",
        (Patch(f"{TABLE}.remove_rule", translator.keeping_rules_of_packets),),
        red={GC_CLOSE: "still listed: "},
        part="rules",
    ),
    Saboteur(
        "closed-rule-is-not-held-for-late-packets",
        (Setting(RULES, "sites.home.gateway.closing-hold", "0s"),),
        red={GC_CLOSE: "s after that packet"},
        part="rules",
    ),
    Saboteur(
        "silent-rules-are-not-collected",
        NOTHING_EXPIRES,
        red={GC_IDLE: "waiting for `rule-ended` from napt"},
        part="idle",
    ),
    Saboteur(
        "rules-in-use-are-collected-as-well",
        (
            Patch("napt_lab.nat_node.fast_path.flow_cache:FlowCache.learn", anything.nothing),
            Patch(f"{CORE}.sessions:Sessions.advance", translator.keeping_nothing_alive),
        ),
        # Both rules expire at about the same time, so this one may be there at the first look.
        red={GC_IDLE: "the packet for the other rule gets through (control)"},
        part="idle",
    ),
    # ── 8.65536: every port, one too many, a freed one again ───────────────────────────────────
    Saboteur(
        "hosts-are-not-told-that-the-ports-are-exhausted",
        (
            *FEWER_PORTS,
            Patch(f"{TRANSLATOR}.translate", translator.full_without_a_word),
            Patch(f"{STAGE}.serve", labs.impatient_connections),
            *impatient(1),
        ),
        red={EVERY_PORT: "Connection timed out"},
        part="65536",
    ),
    Saboteur(
        "freed-port-is-not-given-back",
        (*FEWER_PORTS, Patch(f"{CORE}.ports:PortPool.choose", translator.giving_no_port_twice)),
        red={EVERY_PORT: "a freed port is used again"},
        part="65536",
    ),
    Saboteur(
        "newcomer-gets-the-port-of-another",
        (
            *FEWER_PORTS,
            Patch(f"{CORE}.sessions:Sessions.begin", translator.giving_the_oldest_port),
            *impatient(1),
        ),
        red={EVERY_PORT: "no open connection is disturbed"},
        part="65536",
    ),
    Saboteur(
        "many-rules-do-not-look-at-the-remote-endpoint",
        (*FEWER_PORTS, Setting(PORTS, "sites.home.gateway.mapping", "endpoint-independent")),
        red={EVERY_PORT: "mapping per destination: for another server all ports are free"},
        part="65536",
    ),
    Saboteur(
        # It has a rule for each remote endpoint, and rules for different ones share a port.
        "endpoint-independent-napt-shares-its-ports",
        (
            *FEWER_PORTS,
            Setting(PORTS, "sites.neighbor.gateway.mapping", "address-and-port-dependent"),
        ),
        red={EVERY_PORT: "endpoint-independent: without a free port"},
        part="65536",
    ),
    Saboteur(
        "translator-wastes-memory",
        (*FEWER_PORTS, Patch(f"{TRANSLATOR}.__init__", translator.wasting_memory)),
        red={EVERY_PORT: "rules take little memory: the translator has"},
        part="65536",
    ),
    # ── 8.inbound, 8.upload: no host gets in, so the PC uploads its file to a server ───────────
    Saboteur(
        "there-is-an-explicit-rule",
        (Setting("one-site.yaml", "sites.home.gateway.rules", ["tcp 8080 -> 10.0.0.7:8080"]),),
        red={INBOUND: "waiting for `drop` from napt"},
        part="inbound",
    ),
    Saboteur(
        "router-swallows-private-destinations",
        (Patch(IP_COMMANDS, network.silent_about_private_space),),
        red={INBOUND: "the Internet has no route, and says so: exit status 28"},
        part="inbound",
    ),
    Saboteur(
        "file-is-damaged-on-the-way",
        (FILE_DAMAGED_ON_THE_WAY,),
        red={UPLOAD: "at stackoverflow"},
        part="upload",
    ),
    Saboteur(
        "server-keeps-no-copy",
        (Patch("napt_lab.servers.files.receiving:Receiver.put", servers.forgetting_what_it_got),),
        red={UPLOAD: "stackoverflow: the download"},
        part="upload",
    ),
)


@pytest.mark.parametrize("saboteur", shared(SABOTEURS), ids=lambda saboteur: saboteur.name)
def test_saboteur_turns_its_claims_red(saboteur, pristine, tmp_path):
    assert_turns_red(saboteur, run_lab("8", pristine, tmp_path, saboteur))


def test_with_fewer_ports_the_claim_still_holds(pristine, tmp_path):
    fewer = Saboteur("fewer-ports", FEWER_PORTS, red={}, part="65536")
    assert_holds({EVERY_PORT}, run_lab("8", pristine, tmp_path, fewer))
