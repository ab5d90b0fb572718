"""Saboteurs of lab 9c: for each claim, the faults that would make it untrue.

Rows are as saboteur.py describes them.
"""

from __future__ import annotations

import pytest

from tests.saboteurs.common import (
    CORE,
    FILE_DAMAGED_ON_THE_WAY,
    IP_COMMANDS,
    PLANS,
    REMOVE_EXPLICIT,
    RULE_OF_PORT,
    SERVERS_TAKE_THEMSELVES_FOR_THE_CLIENT,
    STAGE,
    TABLE,
    TRANSLATOR,
    impatient,
)
from tests.saboteurs.planted import anything, labs, network, translator
from tests.saboteurs.saboteur import (
    Patch,
    Saboteur,
    Setting,
    assert_turns_red,
    run_lab,
    shared,
)

PRIVATE, NO_RULE, RULE = "9c.private", "9c.no-rule", "9c.rule"
DIRECT, BOTH_WAYS = "9c.direct", "9c.both-ways"
FILTERED = ": filtered; the reason should be no-rule"

RELAY = "198.51.100.11"
LAB = "napt_lab.labs.level_9c.lab"
STEPS = f"{LAB}:direct"
STEP_6 = "no_server_in_between"

SABOTEURS = (
    Saboteur(
        # The server's log does not have the other side's address:
        # the control of the first step, and both exchanges.
        "server-reports-its-own-address-as-the-peer",
        (SERVERS_TAKE_THEMSELVES_FOR_THE_CLIENT,),
        red={
            PRIVATE: "waiting for `request` from files",
            RULE: "the request came from 10.0.0.7:8080",
            BOTH_WAYS: "the request came from 10.0.0.9:8080",
        },
    ),
    # ── 9c.private: where the packet died and why, on each side ────────────────────────────────
    Saboteur(
        "router-swallows-private-destinations",
        (Patch(IP_COMMANDS, network.silent_about_private_space),),
        red={PRIVATE: "the router has no route to 10.0.0.7 and says so: exit status 28"},
    ),
    Saboteur(
        "router-has-a-route-to-private-space",
        (Patch(IP_COMMANDS, network.at_the_router, "route add 10.0.0.0/24 via 24.9.3.7"),),
        red={PRIVATE: "the router has no route to 10.0.0.7 and says so: exit status 28"},
    ),
    Saboteur(
        # It refuses the connection, so for curl all is as before.
        "a-neighbor-has-the-same-address",
        (Setting("two-sites.yaml", "sites.b.hosts.printer", "10.0.0.7"),),
        red={PRIVATE: "1 answers"},
    ),
    Saboteur(
        "end-of-a-connection-leaves-untranslated-as-well",
        (Patch(f"{TRANSLATOR}.translate", translator.leaking_fins),),
        red={PRIVATE: "in all these steps no private address left a NAPT"},
    ),
    Saboteur(
        "probe-cannot-be-run",
        (Patch(STEPS, labs.in_step, "private_addresses", labs.with_wrong_usage_at_files.__name__),),
        red={PRIVATE: "could not be checked: OSError: curl: exit status 2"},
        broken=frozenset({PRIVATE}),
    ),
    # ── 9c.no-rule: the SYN reaches 24.9.3.7 and is dropped there ──────────────────────────────
    # 9c.both-ways looks at the same again when the rules are gone, so it sees these faults as well.
    Saboteur(
        "lookup-ignores-the-port",
        (
            Patch(RULE_OF_PORT, translator.any_rule_will_do),
            Patch(f"{TABLE}.admits", translator.everyone),
            *impatient(2),
        ),
        red={
            NO_RULE: "waiting for `drop` from napt_a",
            BOTH_WAYS: "waiting for `drop` from napt_a",
        },
    ),
    Saboteur(
        "drop-is-reported-but-the-packet-goes-in",
        (Patch(f"{TRANSLATOR}.translate", translator.letting_in_what_it_drops),),
        red={NO_RULE: "napt_a:lan0: 1 SYN from", BOTH_WAYS: "napt_a:lan0: 1 SYN from"},
    ),
    Saboteur(
        "drop-has-another-reason",
        (Patch(f"{TRANSLATOR}._deliver", translator.another_reason),),
        red={NO_RULE: FILTERED, BOTH_WAYS: FILTERED},
    ),
    Saboteur(
        # The same time-out for curl. With a rule the SYN does not arrive either.
        "syn-dies-on-the-way",
        (
            Patch(
                IP_COMMANDS,
                network.at_the_router,
                "rule add to 24.9.3.7 ipproto tcp dport 8080 blackhole",
            ),
            *impatient(2),
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
        (Setting("two-sites.yaml", "sites.a.gateway.rules", ["tcp 8080 -> 10.0.0.7:8080"]),),
        red={NO_RULE: "waiting for `drop` from napt_a"},
    ),
    Saboteur(
        "lab-forgets-to-check",
        (Patch(f"{LAB}:knock_at_both", anything.doing_nothing_for, NO_RULE),),
        red={NO_RULE: "the step ended without a check of it"},
        broken=frozenset({NO_RULE}),
    ),
    # ── 9c.rule: in the table before the SYN, end to end, byte-identical, as the other NAPT ────
    # The exchange of 9c.both-ways is the same the other way round.
    Saboteur(
        # TCP tries again after a second, and then all goes well.
        "rule-is-added-after-the-connection-began",
        (Patch(f"{STAGE}.run", labs.late_rules),),
        red={RULE: "ms before the table was read", BOTH_WAYS: "ms before the table was read"},
    ),
    Saboteur(
        # Likewise: the table says so, but the first SYN is dropped.
        "rule-takes-effect-late",
        (Patch(RULE_OF_PORT, translator.late_rules),),
        red={RULE: "dropped 1 of its SYNs", BOTH_WAYS: "dropped 1 of its SYNs"},
    ),
    Saboteur(
        # 9c.direct needs the rule for its exchange.
        "rule-is-listed-but-not-in-force",
        (
            Patch(RULE_OF_PORT, translator.no_explicit_rules),
            *impatient(2),
        ),
        red={RULE: "its SYN-ACK", DIRECT: "Connection timed out"},
    ),
    Saboteur(
        # 9c.direct needs the rule for its exchange.
        "checksum-is-wrong-where-an-explicit-rule-applies",
        (
            Patch(f"{TRANSLATOR}._deliver", translator.wrong_checksum_by_explicit_rules),
            *impatient(2),
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
        (Patch(f"{LAB}:exchange", labs.by_a_proxy),),
        red={RULE: f"the request came from {RELAY}", BOTH_WAYS: f"the request came from {RELAY}"},
    ),
    # ── 9c.direct: no server in between ────────────────────────────────────────────────────────
    Saboteur(
        "fetch-goes-through-a-proxy",
        (Patch(STEPS, labs.in_step, STEP_6, labs.with_a_proxy.__name__),),
        red={DIRECT: "relay:eth0: 2 new connections"},
    ),
    Saboteur(
        "data-is-routed-through-the-relay",
        (
            Patch(
                IP_COMMANDS,
                network.at_the_router,
                f"route add default via {RELAY} table 5",
                "rule add iif isp2 to 203.0.113.77 lookup 5",
            ),
            Patch(PLANS, network.forwarding, "relay"),
        ),
        red={DIRECT: "napt_a → internet → relay → "},
    ),
    Saboteur(
        "server-holds-a-copy-and-gives-it",
        (Patch(STEPS, labs.in_step, STEP_6, labs.with_a_copy_at_the_file_server.__name__),),
        red={DIRECT: "files:eth0: 1 new connection,"},
    ),
    Saboteur(
        "direct-time-is-that-of-the-file-server",
        (
            Patch(
                "napt_lab.labs.level_9c.ways:WAYS", labs.the_direct_way_is_that_of_the_file_server
            ),
        ),
        red={DIRECT: "files:eth0: 2 connections"},
    ),
    Saboteur(
        "less-than-the-file-is-fetched",
        (Patch(STEPS, labs.in_step, STEP_6, labs.with_the_first_page_only.__name__),),
        red={DIRECT: "bytes of data from 24.9.3.7"},
    ),
    Saboteur(
        "capture-at-the-relay-is-blind",
        (Patch("napt_lab.labs.capture.ring:Ring", network.blind_at_the_relay),),
        red={DIRECT: "relay:eth0: 0 packets"},
    ),
    Saboteur(
        "napt-gives-two-hops-back",
        (Patch(f"{CORE}.packet:give_back_hop", anything.twice),),
        red={DIRECT: "traceroute lists the same hops"},
    ),
    Saboteur(
        "napt-gives-no-hop-back",
        (Patch(f"{CORE}.packet:give_back_hop", anything.nothing),),
        red={DIRECT: "10.0.0.1 → 10.0.0.1 → 203.0.113.1"},
    ),
    # ── 9c.both-ways: and without the rule again after its removal ─────────────────────────────
    Saboteur(
        "removal-is-answered-but-not-done",
        (Patch(REMOVE_EXPLICIT, anything.nothing),),
        red={BOTH_WAYS: "1 rule for 24.9.3.7:8080 in napt_a's table"},
    ),
    Saboteur(
        "removed-rule-is-not-listed-but-still-in-force",
        (
            Patch(REMOVE_EXPLICIT, translator.unlisting_only),
            *impatient(2),
        ),
        red={BOTH_WAYS: "waiting for `drop` from napt_a"},
    ),
    Saboteur(
        "other-way-round-is-the-same-way",
        (Patch(f"{LAB}:exchange", labs.always_at, "napt_a"),),
        red={BOTH_WAYS: "napt_b:wan0: 203.0.113.77"},
    ),
)


@pytest.mark.parametrize("saboteur", shared(SABOTEURS), ids=lambda saboteur: saboteur.name)
def test_saboteur_turns_its_claims_red(saboteur, pristine, tmp_path):
    assert_turns_red(saboteur, run_lab("9c", pristine, tmp_path, saboteur))
