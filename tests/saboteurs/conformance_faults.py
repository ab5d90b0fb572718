"""The faults of the conformance report: what is wrong, and the rows that must turn red for it.

A fault is a setting that violates a requirement, or one that is planted in the translator. Faults
that have nothing to do with each other share an examination, for one takes a dozen seconds of
waiting: its red rows must then be exactly those of all its faults together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from napt_lab.labs.capture.packets import ACK, ECHO, FIN, SYN
from napt_lab.nat_node.core.tcp_state import TcpState
from tests.saboteurs.planted import anything, gateway, headers, icmp, rules, translator
from tests.saboteurs.saboteur import Patch


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong, and each row that must fail, with words that its reason must have.

    If it names several rows, a comment says why the fault honestly breaks them all.
    """

    name: str
    red: Mapping[str, str]
    keys: Mapping[str, object] | None = None
    planted: Patch | None = None
    also: Patch | None = None  # where two guard against the same, the other one

    @property
    def patches(self) -> list[Patch]:
        """All that is planted."""
        return [patch for patch in (self.planted, self.also) if patch is not None]


Faults = tuple[Fault, ...]

SETTINGS: tuple[Faults, ...] = (
    (
        Fault(
            # With a mapping for each remote endpoint, a peer inside knows an external endpoint by
            # which it is not addressed: so hairpinned packets seem to come from elsewhere, and an
            # error about them is about nothing that went through the other's mapping.
            "mapping-is-endpoint-dependent",
            {
                "4787.REQ-1": "at first, but",
                "4787.REQ-9a": "it comes from",
                "5382.REQ-1": "at first, but",
                "5382.REQ-8a": "it comes from",
                "5508.REQ-1a": "towards one and",
                "5508.REQ-7": "icmp-unrelated",
                "5508.REQ-7a": "icmp-unrelated",
            },
            {"mapping": "address-and-port-dependent"},
        ),
    ),
    (
        Fault(
            # All that is hairpinned: UDP, TCP to both kinds of rules, and errors about it.
            "no-hairpinning",
            {
                "4787.REQ-9": "hairpinning-off",
                "4787.REQ-9a": "hairpinning-off",
                "5382.REQ-8": "hairpinning-off",
                "5382.REQ-8-rule": "hairpinning-off",
                "5382.REQ-8a": "hairpinning-off",
                "5508.REQ-7": "hairpinning-off",
                "5508.REQ-7a": "hairpinning-off",
            },
            {"hairpinning": "false"},
        ),
        Fault(
            # Two RFCs ask for the same.
            "ports-one-after-the-other",
            {"7857.9": "steps are up by", "6888.REQ-15": "steps are up by"},
            {"port-assignment": "sequential"},
        ),
        Fault(
            # Two RFCs ask for the same.
            "any-address-of-the-pool",
            {
                "4787.REQ-2": "comes from several addresses",
                "6888.REQ-2": "comes from several addresses",
            },
            {"address-pooling": "arbitrary"},
        ),
        Fault(
            # One setting for both ways to close a connection.
            "closed-connections-forgotten",
            {"7857.2.1-default": "30 s instead of 240 s", "7857.2.2-default": "30 s instead"},
            {"closing-hold": "30s"},
        ),
    ),
    (
        Fault(
            # Each is a time-out that a row has a lower bound for; UDP's has two.
            "time-outs-too-short",
            {
                "4787.REQ-5": "60 s instead of 120 s",
                "4787.REQ-5c": "60 s instead of 300 s",
                "5382.REQ-5": "600 s instead of 7440 s",
                "5382.REQ-5-transitory": "30 s instead of 240 s",
                "5508.REQ-2": "10 s instead of 60 s",
            },
            {"idle": {"tcp": "10m", "tcp-transitory": "30s", "udp": "1m", "icmp": "10s"}},
        ),
    ),
)

CORE, NODE = "napt_lab.nat_node.core", "napt_lab.nat_node.engines.python_engine"
TRANSLATOR, PACKET = f"{CORE}.translator:Translator", f"{CORE}.packet:Packet"
DECIDE = f"{TRANSLATOR}._decide"
ERRORS, SESSIONS = f"{CORE}.icmp_errors:IcmpErrors", f"{CORE}.sessions:Sessions"
ADMITS, SET_UP = f"{CORE}.table:Table.admits", f"{NODE}:set_up"
FORWARD = "napt_lab.nat_node.fast_path.flow_cache:Flows.forward"
NEW_FLOW = "napt_lab.nat_node.fast_path.flow_cache:Flow.__init__"
OPENING, ESTABLISHED = TcpState.OPENING_OUT, TcpState.ESTABLISHED
HALF_CLOSED = TcpState.HALF_CLOSED_OUT, TcpState.HALF_CLOSED_IN

#: What does not come need not be awaited for as long as a user would.
IMPATIENT = (
    Patch("napt_lab.labs.conformance.exam:WAIT", anything.instead, 2.0),
    Patch("napt_lab.labs.conformance.exam:Exam.await_at", anything.default, "wait", 2.0),
    Patch("napt_lab.labs.conformance.exam:Exam.error_about", anything.default, "wait", 2.0),
)


def chosen_otherwise(setting: str, value: object) -> Patch:
    """The translator has another setting than its owner, and the examiner, believe."""
    return Patch(f"{TRANSLATOR}.__init__", translator.set_otherwise, setting, value)


PLANTED: tuple[Faults, ...] = (
    (
        Fault(
            # The limit, its number, and that each protocol has its own: all need a limit.
            "as-many-ports-as-one-likes",
            {"6888.REQ-4": "no end", "6888.REQ-4a": "no end", "6888.REQ-4b": "no end"},
            planted=Patch(f"{CORE}.external_ports:ExternalPorts.has_room", translator.everyone),
        ),
        Fault(
            "the-next-hosts-block",
            {"6888.REQ-14": "k1 is host 7 and has"},
            planted=Patch(f"{CORE}.pooling:block_of", translator.of_the_next_host),
        ),
        Fault(
            "a-napt-is-two-hops",
            {"3022.TTL": "at napt_main:"},
            planted=Patch(f"{NODE}:give_back_hop", anything.nothing),
        ),
        Fault(
            # The rows that send a later fragment first, from outside and from inside.
            "later-fragments-do-not-wait",
            {"4787.REQ-14-out-of-order": "in pieces", "4787.REQ-14-outbound": "in pieces"},
            planted=Patch(f"{CORE}.fragments:Fragments.later", translator.keeping_nothing_waiting),
        ),
        Fault(
            # Half a second is too soon for all: for the silence, for the answer after it, and for
            # the inside to dial.
            "unsolicited-syns-refused-soon",
            {
                "5382.REQ-4": "answered after 0.",
                "5382.REQ-4-then": "no ICMP 3/3",
                "5382.REQ-4-dialed-late": "answered after 0.",
            },
            planted=Patch(f"{CORE}.unsolicited:UnsolicitedSyns", translator.made_with, 0.5),
        ),
        Fault(
            "no-checksum-becomes-some",
            {"3022.4.1-no-checksum": "the checksum is"},
            planted=Patch(f"{PACKET}.rewrite_source", translator.summing_what_has_no_sum),
        ),
        Fault(
            "only-echo-is-a-query",
            {"5508.REQ-1-timestamp": "icmp-unsupported"},
            planted=Patch(f"{CORE}.translator:ICMP_QUERIES", anything.instead, [ECHO]),
        ),
        Fault(
            "damaged-quotations-pass",
            {"5508.REQ-3a": "was let through"},
            planted=Patch(f"{PACKET}.header_checksum_holds", anything.giving, True),
        ),
        Fault(
            "identifications-clash",
            {"7857.10": "both have identification"},
            planted=Patch(
                f"{CORE}.identification:Identifications.give", translator.keeping_the_number
            ),
        ),
        Fault(
            "well-known-ports-are-like-others",
            {"4787.REQ-3a": " became "},
            planted=Patch(f"{CORE}.ports:_WELL_KNOWN", anything.instead, 1),
        ),
        Fault(
            # Two RFCs ask for the same.
            "no-parity",
            {"4787.REQ-4": " became ", "7857.8": " became "},
            planted=chosen_otherwise("port_parity", False),
        ),
        Fault(
            "an-alg-for-sip",
            {"4787.REQ-10": "SIP was changed", "5382.REQ-6": "SIP was changed"},
            planted=Patch(f"{PACKET}.rewrite_source", headers.like_a_sip_alg),
        ),
        Fault(
            # Every row in which a router or a host prohibits something.
            "errors-get-another-code",
            {
                "4787.REQ-12b": "(3, 13) became (3, 1)",
                "5382.REQ-9": "(3, 13) became (3, 1)",
                "5508.REQ-4b": "(3, 13) became (3, 1)",
                "5508.REQ-5b": "(3, 13) became (3, 1)",
            },
            planted=Patch(f"{ERRORS}.translate", icmp.with_another_code),
        ),
        Fault(
            # Two RFCs ask for the same.
            "fragmentation-needed-without-the-mtu",
            {"4787.REQ-13": "MTU in it is 0", "5508.REQ-10a1": "MTU in it is 0"},
            planted=Patch(f"{ERRORS}.translate", icmp.without_mtu),
        ),
        Fault(
            "own-errors-come-from-the-external-address",
            {"5508.REQ-10a-source": "ICMP 3/4 comes from 24.9.3.10, not 10.0.0.1"},
            planted=Patch(f"{ERRORS}.translate", icmp.from_the_external_address),
        ),
        Fault(
            "long-packets-must-not-be-cut",
            {"4787.REQ-13a": "there came nothing"},
            planted=Patch(f"{TRANSLATOR}.translate", headers.setting_dont_fragment),
        ),
        Fault(
            # The other row has a flood before the fragments that come in order.
            "fragments-in-order-are-lost",
            {"4787.REQ-14": "in pieces", "4787.REQ-14a": "in pieces"},
            planted=Patch(
                f"{CORE}.fragments:Fragments.first",
                headers.losing_fragments_in_order,
            ),
        ),
        Fault(
            "damaged-errors-are-made-whole",
            {"5508.REQ-3": "was let through"},
            planted=Patch(f"{ERRORS}.translate", icmp.making_its_checksum_hold),
        ),
        Fault(
            "extensions-are-cleared",
            {"5508.REQ-3d": "the extension was changed"},
            planted=Patch(f"{ERRORS}.translate", icmp.clearing_what_follows_the_quotation),
        ),
        Fault(
            "errors-about-nothing-come-in",
            {"5508.REQ-4": "was let through"},
            planted=Patch(f"{ERRORS}._inbound", icmp.to_the_first_host),
        ),
        Fault(
            "quoted-identifiers-stay",
            {"5508.REQ-4a": "an error about a ping quotes"},
            planted=Patch(f"{PACKET}.rewrite_identifier", icmp.not_in_quotations),
        ),
        Fault(
            "errors-about-nothing-leave",
            {"5508.REQ-5": "was let through"},
            planted=Patch(f"{ERRORS}._outbound", icmp.out_in_any_case),
        ),
        Fault(
            "no-errors-of-routers-inside",
            {"5508.REQ-5c": "spoofed-source"},
            planted=Patch(f"{ERRORS}._outbound", icmp.only_from_the_receiver),
        ),
        Fault(
            # The gateway's kernel drops such packets as well.
            "source-routes-leave",
            {"5508.REQ-10b3": "left napt_main:wan0"},
            planted=Patch(f"{PACKET}.has_source_route", anything.giving, False),
            also=Patch(SET_UP, gateway.with_setting, "conf/all/accept_source_route", "1"),
        ),
        Fault(
            "advertisements-come-in",
            {"5508.REQ-11": "was let through"},
            planted=Patch(f"{TRANSLATOR}._inbound", icmp.letting_in_advertisements),
        ),
        Fault(
            # What must be over soon is not: with no packet, with some from outside, with errors.
            "time-outs-of-udp-cannot-be-set",
            {
                "4787.REQ-5b": "was let through",
                "4787.REQ-6a": "declared as a deviation, but not observed",
                "7857.7.1": "was let through",
            },
            planted=chosen_otherwise("udp_idle", 300.0),
        ),
        Fault(
            # The same, where segments of others do not keep it.
            "time-outs-of-tcp-cannot-be-set",
            {"5382.REQ-5a": "was let through", "7857.7-TCP": "was let through"},
            planted=chosen_otherwise("tcp_idle", 7440.0),
        ),
        Fault(
            # The same, where errors do not keep it.
            "time-outs-of-queries-cannot-be-set",
            {"5508.REQ-2a": "was let through", "5508.REQ-6": "was let through"},
            planted=chosen_otherwise("icmp_idle", 60.0),
        ),
        Fault(
            "half-closed-is-like-opening",
            {"7857.2": "died there: no-rule"},
            planted=Patch(f"{CORE}.sessions:STEADY", anything.instead, [ESTABLISHED]),
        ),
        Fault(
            "closed-is-like-opening",
            {"7857.2-closed": "was let through"},
            planted=Patch(
                f"{CORE}.sessions:OVER", anything.instead, [TcpState.RESET, TcpState.REFUSED]
            ),
        ),
        Fault(
            # The mapping and its filter: UDP is let in by what TCP has opened.
            "one-rule-for-both-protocols",
            {"7857.5": "was let through", "7857.6": "was let through"},
            planted=Patch(f"{CORE}.external_ports:ExternalPorts.rule", rules.udp_by_rules_of_tcp),
        ),
        Fault(
            # All that look at a packet for which there is no port.
            "the-oldest-gives-its-port",
            {
                "5508.REQ-8": "the ninth passed",
                "5508.REQ-10d-refusals": "the ninth passed",
                "6888.REQ-8": "the ninth passed",
                "6888.REQ-11a": "the ninth passed",
                "6888.REQ-11c": "the ninth passed",
                "6888.REQ-11d": "the ninth passed",
            },
            planted=Patch(f"{SESSIONS}.begin", translator.giving_the_oldest_port),
        ),
        Fault(
            "a-sum-of-0-is-sent",
            {"3022.4.1-sum-of-0": "the field is 0"},
            planted=Patch(f"{PACKET}.rewrite_source", headers.sending_0_for_65535),
        ),
        Fault(
            # In a packet, and in one that an error quotes.
            "sums-are-computed-anew",
            {"3022.4.1-damaged": "it was made to hold", "5508.REQ-3c": "the checksum was mended"},
            planted=Patch(f"{PACKET}.rewrite_source", headers.summing_anew),
        ),
        Fault(
            "tcp-options-are-put-in-order",
            {"3022.TCP-options": " became "},
            planted=Patch(f"{PACKET}.rewrite_source", headers.reordering_tcp_options),
        ),
        Fault(
            "ecn-is-switched-off",
            {"3022.TCP-urgent": ", arrived "},
            planted=Patch(f"{PACKET}.rewrite_source", headers.clearing_flags_of_ecn),
        ),
        Fault(
            "what-cannot-be-translated-leaves",
            {"3022.other-protocols": "packets from 10.0.0.8 left napt_main:wan0"},
            planted=Patch(DECIDE, headers.letting_out_what_it_cannot_translate),
        ),
        Fault(
            "private-sources-come-in",
            {"3022.spoofed": "was let through"},
            planted=Patch(f"{TRANSLATOR}._is_forged", anything.giving, False),
        ),
    ),
    (
        Fault(
            "a-reset-is-final",
            {"7857.2.2-revived": "died there"},
            planted=Patch(f"{CORE}.sessions:follow", translator.closing_at_a_reset),
        ),
        Fault(
            # Two rows look at what the refused one is told.
            "full-without-a-word",
            {"5508.REQ-8": "was told nothing", "5508.REQ-10d-refusals": "was told nothing"},
            planted=Patch(f"{TRANSLATOR}.translate", translator.full_without_a_word),
        ),
        Fault(
            "the-fast-path-loses-congestion-marks",
            {"3022.DSCP-and-ECN": "0x01"},
            planted=Patch(FORWARD, translator.losing_congestion_marks),
        ),
        Fault(
            "syns-that-cross-are-dropped",
            # Whoever sent the first of the two.
            {"5382.REQ-2a": "died there: no-connection", "5382.REQ-2a-late": "died there"},
            planted=Patch(DECIDE, rules.dropping, "outside", "OPENING_OUT", SYN),
        ),
        Fault(
            "fins-that-cross-are-dropped",
            {"5382.REQ-2-closing": "died there"},
            planted=Patch(f"{TRANSLATOR}.translate", translator.dropping_crossed_fins),
        ),
        Fault(
            "a-restarted-host-is-not-heard",
            {"5382.REQ-2-again": "died there: no-connection"},
            planted=Patch(DECIDE, rules.dropping, "inside", "ESTABLISHED", SYN),
        ),
        Fault(
            # What must not be told is told; so the declared deviation is not there either.
            "strangers-are-told-against-the-policy",
            {
                "5382.REQ-4a": "was answered after 6.",
                "5382.REQ-4-then": "declared as a deviation, but not observed",
            },
            {"refuse-syn": "false"},
            chosen_otherwise("refuse_syn", True),
        ),
        Fault(
            # How many sessions there may be, and that it is the number that was set.
            "as-many-sessions-as-one-likes",
            {"6888.REQ-5": "no end", "6888.REQ-5a": "no end"},
            planted=Patch(f"{CORE}.sessions:Sessions._refusal", anything.nothing),
        ),
        Fault(
            # With one address there is none to choose, so paired pooling does not apply.
            "only-the-first-address",
            {"6888.REQ-3": "only 24.9.3.11 is used"},
            planted=Patch(f"{CORE}.pooling:Pooling.places", translator.the_first_address),
        ),
        Fault(
            "the-oldest-makes-room",
            {"6888.REQ-11d": "do not work any more"},
            planted=Patch(f"{SESSIONS}.begin", translator.ending_the_oldest_for_nothing),
        ),
        Fault(
            "the-fast-path-keeps-nothing",
            {"4787.REQ-6": "died there: no-rule"},
            planted=Patch(NEW_FLOW, rules.refreshing_nothing),
        ),
        Fault(
            # All six rows ask which filter there is.
            "only-endpoints-that-were-called",
            {
                "4787.REQ-8": "filtering is address-and-port-dependent",
                "4787.REQ-8a": "but it is address-and-port-dependent",
                "5382.REQ-3": "filtering is address-and-port-dependent",
                "5382.REQ-3a": "but it is address-and-port-dependent",
                "5780.4.4": "but it is address-and-port-dependent",
                "6888.REQ-7": "filtering is address-and-port-dependent",
            },
            planted=Patch(ADMITS, rules.only_called_endpoints),
        ),
        Fault(
            # UDP, TCP and queries.
            "an-icmp-error-is-the-end",
            {
                "4787.REQ-12": "died there: no-rule",
                "5382.REQ-10": "died there: no-",
                "5508.REQ-6": "died there: no-rule",
            },
            planted=Patch(DECIDE, icmp.ending_what_they_are_about),
        ),
        Fault(
            # At once, and late.
            "that-the-inside-dials-is-overlooked",
            {
                "5382.REQ-4-dialed": "was answered after 6.",
                "5382.REQ-4-dialed-late": "was answered after 6.",
            },
            planted=Patch(f"{CORE}.unsolicited:UnsolicitedSyns.forget", anything.nothing),
        ),
        Fault(
            "opening-is-like-established",
            {"7857.2.1": "was let through"},
            planted=Patch(
                f"{CORE}.sessions:STEADY", anything.instead, [OPENING, ESTABLISHED, *HALF_CLOSED]
            ),
        ),
        Fault(
            "ports-are-free-at-once",
            {"6888.REQ-8": "was let through"},
            planted=chosen_otherwise("port_hold", 0.0),
        ),
        Fault(
            "no-word-of-a-full-pool",
            {"6888.REQ-11c": "no event tells of it"},
            planted=Patch(f"{NODE}:Node._broadcast", rules.but_not_of_full_pools),
        ),
        Fault(
            # All that come in by an explicit rule: from outside, from inside, by one asked for.
            "explicit-rules-admit-none",
            {
                "5382.REQ-2-inbound": "died there: filtered",
                "5382.REQ-8-rule": "died there: filtered",
                "6888.REQ-9": "died there: filtered",
            },
            planted=Patch(ADMITS, rules.not_by_explicit_rules),
        ),
        Fault(
            "ip-options-are-removed",
            {"3022.IP-options": " became "},
            planted=Patch(f"{PACKET}.rewrite_source", headers.without_options),
        ),
        Fault(
            "information-requests-are-answered",
            {"5508.REQ-10c": "24.9.3.7 answered it"},
            planted=Patch(f"{TRANSLATOR}._outbound", icmp.answering_information_requests),
        ),
        Fault(
            "the-fast-path-sets-dont-fragment",
            {"3022.DF": "DF was False and is True"},
            planted=Patch(FORWARD, headers.setting_dont_fragment_on_the_fast_path),
        ),
        Fault(
            "the-fast-path-forgets-the-sum",
            {"3022.4.1-checksums": "transport's wrong"},
            planted=Patch(FORWARD, headers.leaving_the_sum_of_udp),
        ),
        Fault(
            # All errors from the inside, the hairpinned ones included.
            "errors-quote-the-internal-endpoint",
            {
                "5508.REQ-5a": "it quotes",
                "5508.REQ-5b": "it quotes",
                "5508.REQ-5c": "it quotes",
                "5508.REQ-7": "died there",
                "5508.REQ-7a": "died there",
            },
            planted=Patch(f"{PACKET}.rewrite_destination", icmp.quoting_the_internal_endpoint),
        ),
        Fault(
            # All errors that a router writes, or a host that was not the receiver.
            "errors-only-from-the-server",
            {
                "4787.REQ-12a": "died there: filtered",
                "5382.REQ-9": "died there: filtered",
                "5508.REQ-4c": "died there: filtered",
                "5508.REQ-10a1": "no ICMP 3/4 came",
                "5508.REQ-10a2": "no ICMP 11/0 came",
            },
            planted=Patch(f"{ERRORS}._inbound", icmp.only_from_the_server),
        ),
        Fault(
            "the-class-of-service-is-copied",
            {"5508.REQ-10d": "declared as a deviation, but not observed"},
            planted=Patch(SET_UP, gateway.expediting_errors),
        ),
        Fault(
            "as-many-errors-as-packets",
            {"5508.REQ-10f": "400 errors about 400 packets"},
            planted=Patch(SET_UP, gateway.with_setting, "icmp_ratemask", "0"),
        ),
        Fault(
            "errors-about-errors",
            {"5508.REQ-10e": "was answered by an error"},
            planted=Patch(f"{CORE}.icmp:may_be_told", anything.giving, True),
        ),
        Fault(
            # All in which another host calls from the same port, to see whether that matters.
            "mapping-depends-on-what-others-do",
            {
                "4787.REQ-1": "at first, but",
                "4787.REQ-11": "with the port that two others have: two external ones",
                "5382.REQ-1": "at first, but",
                "5508.REQ-1a": "towards one and",
                "5780.4.3": "set to endpoint-independent, but it is",
                "5780.4.3-TCP": "set to endpoint-independent, but it is",
            },
            planted=Patch(f"{CORE}.table:Table.rule_for_internal", rules.not_where_ports_collide),
        ),
        Fault(
            "counters-are-not-shown",
            {"6888.REQ-10": "it shows [(0, 0)]"},
            planted=Patch("napt_lab.nat_node.control.report:rule", rules.without_counters),
        ),
    ),
    (
        Fault(
            # What is refused keeps UDP's mapping, and TCP's. Without a filter no UDP is refused.
            "what-is-dropped-keeps-a-rule",
            {"7857.7": "was let through", "7857.7-TCP": "was let through"},
            {"filtering": "address-dependent"},
            Patch(f"{TRANSLATOR}._deliver", rules.refreshed_by_what_is_dropped),
        ),
        Fault(
            # Of a datagram, from inside; of a query, from outside.
            "errors-keep-a-rule",
            {"7857.7.1": "was let through", "5508.REQ-6": "was let through"},
            planted=Patch(DECIDE, icmp.refreshing_what_they_are_about),
        ),
        Fault(
            # The declared deviation is not there.
            "the-outside-keeps-a-rule",
            {"4787.REQ-6a": "declared as a deviation, but not observed"},
            planted=Patch(NEW_FLOW, rules.refreshing_from_outside),
        ),
        Fault(
            # Each has data after a RST.
            "no-data-after-a-reset",
            {"7857.2.2": "died there: no-connection", "7857.2.2-revived": "died there"},
            planted=Patch(DECIDE, rules.dropping, "inside", "RESET", ACK),
        ),
        Fault(
            # All in which two hosts call one server from one port.
            "one-port-for-two-hosts",
            {
                "4787.REQ-3": "both hosts are",
                "5382.REQ-7": "both hosts are",
                "5508.REQ-4c": "did not arrive",
            },
            planted=Patch(f"{CORE}.external_ports:ExternalPorts.choose", rules.one_for_neighbors),
        ),
        Fault(
            # Both have a connection that the outside ends first.
            "the-outside-may-not-end-first",
            {"5382.REQ-2": "died there: no-connection", "5382.REQ-2-closing": "died there"},
            planted=Patch(DECIDE, rules.dropping, "outside", "ESTABLISHED", FIN | ACK),
        ),
        Fault(
            # Two RFCs ask for two codes, of which an error has one.
            "host-unreachable-instead-of-prohibited",
            {
                "5508.REQ-8": "the sender is told (3, 1)",
                "6888.REQ-11b": "declared as a deviation, but not observed",
            },
            planted=Patch(f"{CORE}.icmp:PROHIBITED", anything.instead, 1),
        ),
        Fault(
            "the-last-port-is-never-given",
            {"6888.REQ-13": "got only the ports"},
            planted=Patch(f"{CORE}.ports:PortPool.choose", rules.leaving_out, 40007),
        ),
        Fault(
            "pings-from-outside-are-not-answered",
            {"5508.REQ-10a3": "24.9.3.7 is silent to y1"},
            planted=Patch(f"{CORE}.icmp:answer_echo", icmp.refusing_pings_from_outside),
        ),
        Fault(
            "a-flood-of-fragments-stops-the-others",
            {"4787.REQ-14a": "in pieces"},
            planted=Patch(f"{CORE}.fragments:Fragments.first", headers.losing_fragments_in_a_flood),
        ),
        Fault(
            "options-in-quotations-are-not-skipped",
            {"5508.REQ-3b": "died there"},
            planted=Patch(f"{CORE}.icmp_errors:quotation", icmp.with_ports_where_they_mostly_are),
        ),
        Fault(
            "quoted-sums-are-validated",
            {"5508.REQ-3c": "died there"},
            planted=Patch(f"{CORE}.icmp_errors:quotation", icmp.validating_the_quoted_sum),
        ),
    ),
)

#: These disturb most rows, or could be disturbed by them: only their own rows are tried.
PLANTED_FOR_FEW: Faults = (
    Fault(
        # UDP and TCP.
        "a-client-finds-another-mapping",
        {
            "5780.4.3": "set to endpoint-independent, but it is address-dependent",
            "5780.4.3-TCP": "set to endpoint-independent, but it is address-dependent",
        },
        planted=chosen_otherwise("mapping", "address-dependent"),
    ),
    Fault(
        "a-client-finds-another-filter",
        {"5780.4.4": "set to endpoint-independent, but it is address-dependent"},
        planted=Patch(ADMITS, translator.strangers_by_address),
    ),
    Fault(
        "replies-keep-the-external-identifier",
        {"5508.REQ-1": "the reply was delivered as"},
        planted=Patch(f"{PACKET}.rewrite_identifier", icmp.not_in_replies),
    ),
    Fault(
        # The declared deviation is not there.
        "so-many-sessions-a-second",
        {"6888.REQ-4c": "declared as a deviation, but not observed"},
        planted=Patch(f"{SESSIONS}.begin", rules.so_many_a_second, 20.0, 60.0),
    ),
)

#: Each row that a fault turns red.
RED = {
    row
    for faults in (*SETTINGS, *PLANTED, PLANTED_FOR_FEW)
    for fault in faults
    for row in fault.red
}
