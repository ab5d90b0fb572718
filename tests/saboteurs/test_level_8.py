"""Saboteurs of lab 8. Each plays only the part of the lab in which its fault must be seen."""

from __future__ import annotations

import pytest

from tests.saboteurs.faults import FILE_DAMAGED_ON_THE_WAY
from tests.saboteurs.saboteur import Edit, Saboteur, assert_holds, assert_turns_red, run_lab, shared

PROXY, TRANSPARENT, NAPT = "8.proxy", "8.transparent-proxy", "8.napt"
PER_CONNECTION, GC_CLOSE, GC_IDLE = "8.rule-per-connection", "8.gc-close", "8.gc-idle"
EVERY_PORT, INBOUND, UPLOAD = "8.65536", "8.inbound", "8.upload"

TRANSLATOR = "nat_node/core/translator.py"
TABLE = "nat_node/core/table.py"
PACKET = "nat_node/core/packet.py"
PLAN = "topologies/network/plan.py"
ONE_SITE = "topologies/one-site.yaml"

NOTHING_EXPIRES = Edit(TRANSLATOR, "in self.table.deadlines.due(now):", "in ():")

# 999 ports do as well as 65,535 where the fault is one of counting.
FEWER_PORTS = (
    Edit("topologies/level-8-65536.yaml", "ports: 1-65535", "ports: 1-999"),
    Edit("labs/level_8/many.py", "POOL = range(1, 65_536)", "POOL = range(1, 1_000)"),
    Edit("labs/level_8/many.py", "WANTED = 65_536", "WANTED = 1_000"),
    Edit("labs/level_8/many.py", "SAMPLE = 250", "SAMPLE = 100"),
)

# Where what is awaited does not come, the test need not wait as long as a student would.
IMPATIENT = (
    Edit("labs/level_8/checks.py", '"-m", "5"', '"-m", "1"'),
    Edit("labs/stage/evidence.py", "WAIT = 5.0", "WAIT = 1.0"),
    Edit("labs/stage/stage.py", "deadline: float = 3.0", "deadline: float = 1.0"),
)

# What a gateway without a proxy has instead: it passes the PC's packets on, translated.
NFT_INSTEAD_OF_A_PROXY = (
    "add table ip napt",
    "add chain ip napt in { type nat hook prerouting priority dstnat; }",
    "add chain ip napt out { type nat hook postrouting priority srcnat; }",
    "add rule ip napt in tcp dport 3128 dnat to 151.101.1.69:80",
    "add rule ip napt out oifname wan0 masquerade",
)

SABOTEURS = (
    # ── 8.proxy, 8.transparent-proxy: two connections ──────────────────────────────────────────
    Saboteur(
        "gateway-of-the-proxy-forwards-packets",
        (Edit(PLAN, "inside), router, forwards=False", "inside), router, forwards=True"),),
        red={PROXY: "without being told, the PC gets nowhere"},
        part="proxy",
    ),
    Saboteur(
        # For the PC all is as before, even the address that it sends to.
        "proxy-is-a-napt",
        (
            Edit(
                "labs/level_8/proxies.py",
                '    fetched = stage.run("pc", *curl(PAGE, "-x", PROXY))\n',
                '    stage.run("proxy", "sysctl", "-qw", "net.ipv4.ip_forward=1")\n'
                f'    stage.run("proxy", "nft", "{"; ".join(NFT_INSTEAD_OF_A_PROXY)}")\n'
                '    fetched = stage.run("pc", *curl(PAGE, "-x", PROXY))\n',
            ),
        ),
        red={PROXY: "there are two TCP connections: "},
        part="proxy",
    ),
    Saboteur(
        "server-takes-itself-for-the-client",
        (
            Edit(
                "servers/web.py",
                'peer = endpoint(self._transport.get_extra_info("peername"))',
                'peer = endpoint(self._transport.get_extra_info("sockname"))',
            ),
        ),
        red={PROXY: "the page says '151.101.1.69:80'"},
        part="proxy",
    ),
    Saboteur(
        # Then the PC's SYN goes to the server itself, which refuses it.
        "proxy-is-not-transparent-but-a-napt",
        (
            Edit(
                "topologies/level-8-transparent-proxy.yaml",
                "name: tproxy, kind: transparent-proxy",
                "name: tproxy, kind: napt",
            ),
        ),
        red={TRANSPARENT: "yet there are two TCP connections: "},
        part="transparent-proxy",
    ),
    # ── 8.napt: only address, port and checksums differ ────────────────────────────────────────
    Saboteur(
        "napt-numbers-the-packets-anew",
        (
            Edit(
                PACKET,
                "        if protocol not in (TCP, UDP) or self.fragment & OFFSET_MASK:\n",
                "        _put_field(data, 4, 4711)\n"
                "        self.refresh_header_checksum()\n"
                "        if protocol not in (TCP, UDP) or self.fragment & OFFSET_MASK:\n",
            ),
        ),
        red={NAPT: "identification"},
        part="napt",
    ),
    Saboteur(
        "napt-counts-as-two-hops",
        (Edit(PACKET, "if ttl < 255:", "if ttl > 255:"),),
        red={NAPT: "TTL 64 there, 61 here"},
        part="napt",
    ),
    Saboteur(
        "napt-leaves-a-wrong-checksum",
        (
            Edit(
                TRANSLATOR,
                "        packet.rewrite_source((settings.external, mapping.external_port))\n",
                "        packet.rewrite_source((settings.external, mapping.external_port))\n"
                "        packet.data[packet.header_length + 17] ^= 1\n",
            ),
            *IMPATIENT,
        ),
        red={NAPT: "stackoverflow sees the NAPT's public address"},
        broken=frozenset({NAPT}),  # no packets of a connection can be compared
        part="napt",
    ),
    # ── 8.rule-per-connection, 8.gc-close, 8.gc-idle: the life of a rule ───────────────────────
    Saboteur(
        "rules-do-not-look-at-the-remote-endpoint",
        (
            Edit(
                "topologies/level-8-rules.yaml",
                "mapping: address-and-port-dependent",
                "mapping: endpoint-independent",
            ),
        ),
        red={PER_CONNECTION: "remote *"},
        part="rules",
    ),
    Saboteur(
        "rules-of-closed-connections-are-not-collected",
        (NOTHING_EXPIRES,),
        red={GC_CLOSE: "waiting for `rule-ended` from napt"},
        part="rules",
    ),
    Saboteur(
        "reset-is-overlooked",
        (
            Edit(
                "nat_node/core/tcp_state.py",
                "return state if state in (_CLOSED, _REFUSED) else _RESET",
                "return state",
            ),
        ),
        red={GC_CLOSE: "after RST the rule goes"},
        part="rules",
    ),
    Saboteur(
        # Its end is told all the same.
        "rule-of-a-closed-connection-leaks",
        (
            Edit(
                TABLE,
                "            return None\n        self._take_out(mapping)\n        return",
                "            return None\n        return",
            ),
        ),
        red={GC_CLOSE: "it is not in the table"},
        part="rules",
    ),
    Saboteur(
        "closed-rule-is-not-held-for-late-packets",
        (Edit("topologies/level-8-rules.yaml", "closing-hold: 1s  #", "closing-hold: 0s  #"),),
        red={GC_CLOSE: "s after that packet"},
        part="rules",
    ),
    Saboteur(
        "silent-rules-are-not-collected",
        (NOTHING_EXPIRES,),
        red={GC_IDLE: "waiting for `rule-ended` from napt"},
        part="idle",
    ),
    Saboteur(
        "rules-in-use-are-collected-as-well",
        (
            Edit("nat_node/fast_path/flow_cache.py", "session.last_used = now", "pass"),
            Edit(
                TRANSLATOR,
                "    session.use(now)\n            return\n",
                "    pass\n            return\n",
            ),
        ),
        # Both rules expire at about the same time, so this one may be there at the first look.
        red={GC_IDLE: "that for the living rule comes through (control)"},
        part="idle",
    ),
    # ── 8.65536: every port, one too many, a freed one again ───────────────────────────────────
    Saboteur(
        "nobody-is-told-that-the-ports-are-exhausted",
        (
            *FEWER_PORTS,
            Edit(TRANSLATOR, "{Drop.PORTS_EXHAUSTED, Drop.HOST", "{Drop.HOST"),
            Edit("labs/level_8/connections.py", "default=5.0", "default=2.0"),
            *IMPATIENT,
        ),
        red={EVERY_PORT: "Connection timed out"},
        part="65536",
    ),
    Saboteur(
        "freed-port-is-not-given-back",
        (
            *FEWER_PORTS,
            Edit(
                TABLE,
                "_count_down(self._ports_taken, (protocol, part_of(port), shared_by))",
                "pass",
            ),
        ),
        red={EVERY_PORT: "a freed port is used again"},
        part="65536",
    ),
    Saboteur(
        "newcomer-gets-the-port-of-another",
        (
            *FEWER_PORTS,
            Edit(
                TABLE,
                "        if port is None:\n            return Drop.PORTS_EXHAUSTED\n",
                "        if port is None:\n"
                "            oldest = next(iter(self._by_internal.values()))\n"
                "            self.close(next(iter(oldest.sessions.values())))\n"
                "            port = oldest.external_port\n",
            ),
            *IMPATIENT,
        ),
        red={EVERY_PORT: "none of the living is disturbed"},
        part="65536",
    ),
    Saboteur(
        "many-rules-do-not-look-at-the-remote-endpoint",
        (
            *FEWER_PORTS,
            Edit(
                "topologies/level-8-65536.yaml",
                "mapping: address-and-port-dependent",
                "mapping: endpoint-independent",
            ),
        ),
        red={EVERY_PORT: "mapping per destination: another server has all ports anew"},
        part="65536",
    ),
    Saboteur(
        # RFC 4787, REQ-3: port overloading.
        "endpoint-independent-napt-shares-its-ports",
        (
            *FEWER_PORTS,
            Edit(TABLE, "settings.mapping.looser(settings.filtering)", "settings.filtering"),
            Edit(TABLE, "projected = self.settings.mapping.project(remote)", "projected = remote"),
        ),
        red={EVERY_PORT: "endpoint-independent: without a free port"},
        part="65536",
    ),
    Saboteur(
        "translator-wastes-memory",
        (
            *FEWER_PORTS,
            Edit(
                TABLE,
                "        self._serial = 0\n",
                "        self._serial = 0\n        self.waste = bytearray(b'x') * (120 << 20)\n",
            ),
        ),
        red={EVERY_PORT: "rules take little memory: the translator has"},
        part="65536",
    ),
    # ── 8.inbound, 8.upload: nobody gets in, so files go to somebody who can be reached ────────
    Saboteur(
        "somebody-has-opened-the-door",
        (
            Edit(
                ONE_SITE,
                "public: 24.9.3.7, private: 10.0.0.1/24}",
                'public: 24.9.3.7, private: 10.0.0.1/24, rules: ["tcp 8080 -> 10.0.0.7:8080"]}',
            ),
        ),
        red={INBOUND: "waiting for `drop` from napt"},
        part="inbound",
    ),
    Saboteur(
        "router-swallows-private-destinations",
        (Edit(PLAN, "route add unreachable {prefix}", "route add blackhole {prefix}"),),
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
        (
            Edit(
                "servers/files/storage.py",
                "        return self._stored_as(name, status)\n\n\n",
                "        os.unlink(name, dir_fd=here)\n"
                "        return self._stored_as(name, status)\n\n\n",
            ),
        ),
        red={UPLOAD: "stackoverflow's download"},
        part="upload",
    ),
)


@pytest.mark.parametrize("saboteur", shared(SABOTEURS), ids=lambda saboteur: saboteur.name)
def test_saboteur_turns_its_claims_red(saboteur, pristine, tmp_path):
    assert_turns_red(saboteur, run_lab("8", pristine, tmp_path, saboteur))


def test_with_fewer_ports_the_claim_still_holds(pristine, tmp_path):
    fewer = Saboteur("fewer-ports", FEWER_PORTS, red={}, part="65536")
    assert_holds({EVERY_PORT}, run_lab("8", pristine, tmp_path, fewer))
