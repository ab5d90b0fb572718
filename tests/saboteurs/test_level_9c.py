"""Saboteurs of lab 9c: for each claim, the faults that would make it untrue.

Rows are as saboteur.py describes them.
"""

from __future__ import annotations

import pytest

from tests.saboteurs.faults import FILE_DAMAGED_ON_THE_WAY, FILE_SERVER_REPORTS_ITSELF_AS_THE_PEER
from tests.saboteurs.saboteur import Edit, Saboteur, assert_turns_red, run_lab, shared

PRIVATE, NO_RULE, RULE = "9c.private", "9c.no-rule", "9c.rule"
DIRECT, BOTH_WAYS = "9c.direct", "9c.both-ways"

LAB = "labs/level_9c/lab.py"
WAYS = "labs/level_9c/ways.py"
TRANSLATOR = "nat_node/core/translator.py"
TABLE = "nat_node/core/table.py"
PLAN = "topologies/network/plan.py"
TWO_SITES = "topologies/two-sites.yaml"

# What several faults replace.
NOBODY_COMES_IN = "            if rule is None or not self.table.admits"
STEP_5_FETCH = '    fetched = stage.run("bob", *fetch_file(NAPT_A))\n'
TAKE_OUT = (
    '        """Take out an explicit rule whose sessions have been closed."""\n'
    "        self._take_out(mapping)\n"
)

AT_NAPT_A = "self.settings.external == 0x18090307"

# Where what is awaited does not come, the test need not wait as long as a student would.
IMPATIENT = (
    Edit("labs/stage/commands.py", '"-m", "5"', '"-m", "2"'),
    Edit("labs/stage/evidence.py", "WAIT = 5.0", "WAIT = 1.0"),
    Edit("labs/stage/stage.py", "deadline: float = 3.0", "deadline: float = 1.0"),
    Edit(LAB, '"-w", "2"', '"-w", "1"'),
)

# What several faults need: a proxy on the relay's node, and curl told to use it.
RELAY = "198.51.100.11"
PROXY = f"""\
    stage.serve("relay", "proxy", name="proxy")
    stage.wait_for_event("relay", "ready", lambda event: event.program == "proxy")
    VIA = ("curl", "-x", "http://{RELAY}:3128")
"""

SABOTEURS = (
    Saboteur(
        # Whoever looks into a server's log for the other side's address does not find it there:
        # the control of the first step, and both exchanges.
        "server-reports-its-own-address-as-the-peer",
        (FILE_SERVER_REPORTS_ITSELF_AS_THE_PEER,),
        red={
            PRIVATE: "waiting for `request` from files",
            RULE: "the request came from 10.0.0.7:8080",
            BOTH_WAYS: "the request came from 10.0.0.9:8080",
        },
    ),
    # ── 9c.private: where the packet died and why, on each side ────────────────────────────────
    Saboteur(
        "router-swallows-private-destinations",
        (Edit(PLAN, "route add unreachable {prefix}", "route add blackhole {prefix}"),),
        red={PRIVATE: "the router knows no way to 10.0.0.7 and says so: exit status 28"},
    ),
    Saboteur(
        "router-has-a-route-to-private-space",
        (
            Edit(
                PLAN,
                'commands.append("route add unreachable default")',
                'commands.append("route add 10.0.0.0/24 via 24.9.3.7")',
            ),
        ),
        red={PRIVATE: "the router knows no way to 10.0.0.7 and says so: exit status 28"},
    ),
    Saboteur(
        # It refuses the connection, so for curl all is as before.
        "a-neighbor-has-the-same-address",
        (Edit(TWO_SITES, "{bob: 10.0.0.9}", "{bob: 10.0.0.9, printer: 10.0.0.7}"),),
        red={PRIVATE: "1 answers"},
    ),
    Saboteur(
        "end-of-a-connection-leaves-untranslated-as-well",
        (
            Edit(
                TRANSLATOR,
                "        packet.rewrite_source((settings.external, mapping.external_port))\n",
                "        leak = Packet(bytearray(packet.data))\n"
                "        packet.rewrite_source((settings.external, mapping.external_port))\n"
                "        if packet.tcp_flags & 1 and not hairpin:\n"
                "            return [packet, leak]\n",
            ),
        ),
        red={PRIVATE: "in all this time no private address left a NAPT"},
    ),
    Saboteur(
        "probe-cannot-be-run",
        (Edit(LAB, 'stage.start("files", *curl(pc))', 'stage.start("files", "no-curl")'),),
        red={PRIVATE: "could not be checked: OSError: no-curl: exit status 1"},
        broken=frozenset({PRIVATE}),
    ),
    # ── 9c.no-rule: the SYN reaches 24.9.3.7 and is dropped there ──────────────────────────────
    # 9c.both-ways looks at the same again when the rules are gone, so it sees these faults as well.
    Saboteur(
        "lookup-ignores-the-port",
        (
            Edit(
                TABLE,
                "            (protocol, port, self._sharing.project(remote))\n        )\n",
                "            (protocol, port, self._sharing.project(remote))\n        ) or next(\n"
                "            (m for m in self if m.protocol == protocol), None\n"
                "        )\n",
            ),
            Edit(
                TABLE,
                "        if mapping.explicit:\n            return mapping.lease is None or",
                "        if True:\n            return True or",
            ),
            *IMPATIENT,
        ),
        red={
            NO_RULE: "waiting for `drop` from napt_a",
            BOTH_WAYS: "waiting for `drop` from napt_a",
        },
    ),
    Saboteur(
        "drop-is-reported-but-the-packet-goes-in",
        (
            Edit(
                TRANSLATOR,
                "        if result in _TOLD and",
                "        if result is Drop.NO_RULE and packet.protocol == TCP:\n"
                "            packet.rewrite_destination((0x0A000007, 9))\n"
                "            return Verdict([packet], result)\n"
                "        if result in _TOLD and",
            ),
        ),
        red={NO_RULE: "napt_a:lan0: 1 SYN from", BOTH_WAYS: "napt_a:lan0: 1 SYN from"},
    ),
    Saboteur(
        "drop-has-another-reason",
        (Edit(TRANSLATOR, "Drop.NO_RULE if rule is None", "Drop.FILTERED if rule is None"),),
        red={NO_RULE: "dropped it, reason filtered", BOTH_WAYS: "dropped it, reason filtered"},
    ),
    Saboteur(
        # The same time-out for curl. With a rule the SYN does not arrive either.
        "syn-dies-on-the-way",
        (
            Edit(
                PLAN,
                'commands.append("route add unreachable default")',
                'commands.append("rule add to 24.9.3.7 ipproto tcp dport 8080 blackhole")',
            ),
            *IMPATIENT,
        ),
        red={
            NO_RULE: "waiting for a SYN at napt_a:wan0",
            RULE: "waiting for a SYN at napt_a:wan0",
            DIRECT: "Connection timed out",
            BOTH_WAYS: "waiting for a SYN at napt_a:wan0",
        },
    ),
    Saboteur(
        # … so it cannot be added either.
        "rule-is-there-from-the-start",
        (
            Edit(
                TWO_SITES,
                "public: 24.9.3.7, private: 10.0.0.1/24}",
                'public: 24.9.3.7, private: 10.0.0.1/24, rules: ["tcp 8080 -> 10.0.0.7:8080"]}',
            ),
        ),
        red={NO_RULE: "waiting for `drop` from napt_a"},
    ),
    Saboteur(
        "lab-forgets-to-check",
        (Edit(LAB, 'knock_at_both(stage, "9c.no-rule")', "pass"),),
        red={NO_RULE: "the step ended without a check of it"},
        broken=frozenset({NO_RULE}),
    ),
    # ── 9c.rule: in the table before the SYN, end to end, byte-identical, as the other NAPT ────
    # The exchange of 9c.both-ways is the same the other way round.
    Saboteur(
        # TCP tries again after a second, and then all goes well.
        "rule-is-added-after-the-connection-began",
        (
            Edit(
                LAB,
                "    added = None\n",
                "    added = None\n"
                "    started = stage.start(site.visitor, *fetch_file(site.public))\n"
                "    stage.wire.wait_for(\n"
                '        f"{napt}:wan0", is_syn_to(PORT), deadline=WAIT, what="SYN", since=since\n'
                "    )\n",
            ),
            Edit(
                LAB,
                "fetched = stage.run(site.visitor, *fetch_file(site.public))",
                "fetched = started.finish()",
            ),
        ),
        red={RULE: "the SYN came -", BOTH_WAYS: "the SYN came -"},
    ),
    Saboteur(
        # Likewise: the table says so, but the first SYN is dropped.
        "rule-takes-effect-late",
        (
            Edit(
                TRANSLATOR,
                NOBODY_COMES_IN,
                NOBODY_COMES_IN.replace(
                    "is None", "is None or (rule.explicit and now < rule.created + 0.5)"
                ),
            ),
        ),
        red={RULE: "dropped 1 of its SYNs", BOTH_WAYS: "dropped 1 of its SYNs"},
    ),
    Saboteur(
        # 9c.direct needs the rule for its exchange.
        "rule-is-listed-but-not-in-force",
        (
            Edit(
                TRANSLATOR,
                NOBODY_COMES_IN,
                NOBODY_COMES_IN.replace("is None", f"is None or rule.explicit and {AT_NAPT_A}"),
            ),
            *IMPATIENT,
        ),
        red={RULE: "its SYN-ACK", DIRECT: "Connection timed out"},
    ),
    Saboteur(
        # 9c.direct needs the rule for its exchange.
        "checksum-is-wrong-where-an-explicit-rule-applies",
        (
            Edit(
                TRANSLATOR,
                "        packet.rewrite_destination(mapping.internal)\n",
                "        packet.rewrite_destination(mapping.internal)\n"
                f"        if mapping.explicit and {AT_NAPT_A}:\n"
                "            packet.data[packet.header_length + 17] ^= 1\n",
            ),
            *IMPATIENT,
        ),
        red={RULE: "its SYN-ACK", DIRECT: "Connection timed out"},
    ),
    Saboteur(
        "file-is-damaged-on-the-way",
        # Each of these claims is also that a file arrived, and none arrives whole any more.
        (FILE_DAMAGED_ON_THE_WAY,),
        red={RULE: "SHA-256", DIRECT: "SHA-256", BOTH_WAYS: "SHA-256"},
    ),
    Saboteur(
        "exchange-goes-through-a-proxy",
        (
            Edit(
                LAB,
                "    fetched = stage.run(site.visitor, *fetch_file(site.public))\n",
                PROXY
                + "    fetched = stage.run(site.visitor, *VIA, *fetch_file(site.public)[1:])\n",
            ),
        ),
        red={RULE: f"the request came from {RELAY}", BOTH_WAYS: f"the request came from {RELAY}"},
    ),
    # ── 9c.direct: no server in between ────────────────────────────────────────────────────────
    Saboteur(
        "fetch-goes-through-a-proxy",
        (
            Edit(
                LAB,
                STEP_5_FETCH,
                PROXY + '    fetched = stage.run("bob", *VIA, *fetch_file(NAPT_A)[1:])\n',
            ),
        ),
        red={DIRECT: "relay:eth0: 2 new connections"},
    ),
    Saboteur(
        "data-is-routed-through-the-relay",
        (
            Edit(
                PLAN,
                'commands.append("route add unreachable default")',
                'commands.append("route add default via 198.51.100.11 table 5")\n'
                '            commands.append("rule add iif isp2 to 203.0.113.77 lookup 5")',
            ),
            Edit(PLAN, "(port,), router, forwards=False", '(port,), router, host.name == "relay"'),
        ),
        red={DIRECT: "napt_a → internet → relay → "},
    ),
    Saboteur(
        "server-holds-a-copy-and-gives-it",
        (
            Edit(
                LAB,
                STEP_5_FETCH,
                '    original = stage.net["alice"].home / "shared" / FILE\n'
                '    copy = stage.net["files"].home / "files" / FILE\n'
                "    copy.write_bytes(original.read_bytes())\n"
                '    fetched = stage.run("bob", *fetch_file(FILES))\n',
            ),
        ),
        red={DIRECT: "files:eth0: 1 new connection,"},
    ),
    Saboteur(
        "direct-time-is-that-of-the-file-server",
        (
            Edit(
                WAYS,
                'yield stage.run("bob", *curl(NAPT_A, "-o", copy, path=f"/{FILM}"))',
                "yield from by_file_server(stage, copy)",
            ),
            Edit(WAYS, 'directly, "bob:eth0")', 'directly, "alice:eth0")'),
        ),
        red={DIRECT: "files:eth0: 2 connections"},
    ),
    Saboteur(
        "less-than-the-file-is-fetched",
        (Edit(LAB, STEP_5_FETCH, STEP_5_FETCH.replace("fetch_file", "curl")),),
        red={DIRECT: "bytes of data from 24.9.3.7"},
    ),
    Saboteur(
        "capture-at-the-relay-is-blind",
        (
            Edit(
                "labs/capture/wire.py",
                "partial(Ring, interface)",
                'partial(Ring, "lo" if node.name == "relay" else interface)',
            ),
        ),
        red={DIRECT: "relay:eth0: 0 packets"},
    ),
    Saboteur(
        "napt-gives-two-hops-back",
        (
            Edit("nat_node/core/packet.py", "data[8] = ttl + 1", "data[8] = ttl + 2"),
            Edit("nat_node/core/packet.py", "0x0100", "0x0200"),
        ),
        red={DIRECT: "traceroute lists the same hops"},
    ),
    Saboteur(
        "napt-gives-no-hop-back",
        (Edit("nat_node/core/packet.py", "if ttl < 255:", "if ttl > 255:"),),
        red={DIRECT: "10.0.0.1 → 10.0.0.1 → 203.0.113.1"},
    ),
    # ── 9c.both-ways: and without the rule again after its removal ─────────────────────────────
    Saboteur(
        "removal-is-answered-but-not-done",
        (Edit(TABLE, TAKE_OUT, TAKE_OUT.replace("self._take_out(mapping)", "pass")),),
        red={BOTH_WAYS: "1 explicit rules in napt_a's table"},
    ),
    Saboteur(
        "removed-rule-is-not-listed-but-still-in-force",
        (
            Edit(
                TABLE,
                TAKE_OUT,
                TAKE_OUT.replace(
                    "self._take_out(mapping)",
                    "del self._by_internal[(mapping.protocol, mapping.internal, ANY)]",
                ),
            ),
            *IMPATIENT,
        ),
        red={BOTH_WAYS: "waiting for `drop` from napt_a"},
    ),
    Saboteur(
        "other-way-round-is-the-same-way",
        (
            Edit(
                LAB,
                'exchange(stage, "9c.both-ways", "napt_b")',
                'exchange(stage, "9c.both-ways", "napt_a")',
            ),
        ),
        red={BOTH_WAYS: "napt_b:wan0: 203.0.113.77"},
    ),
)


@pytest.mark.parametrize("saboteur", shared(SABOTEURS), ids=lambda saboteur: saboteur.name)
def test_saboteur_turns_its_claims_red(saboteur, pristine, tmp_path):
    assert_turns_red(saboteur, run_lab("9c", pristine, tmp_path, saboteur))
