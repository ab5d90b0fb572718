"""Saboteurs of the conformance report: each fault turns its rows red, and no other row.

A fault is a setting that violates a requirement, or one that is planted in the translator. Faults
that have nothing to do with each other share an examination, for one takes a dozen seconds of
waiting: its red rows must then be exactly those of all its faults together.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from napt_lab.labs.conformance.chapters import REQUIREMENTS
from napt_lab.labs.conformance.requirement import WORDS
from napt_lab.labs.conformance.side_by_side import examine_all
from napt_lab.labs.conformance.topology import Candidate, read_setup
from tests import installed
from tests.saboteurs.planted import anything, translator
from tests.saboteurs.saboteur import Patch, copy

DEADLINE = 150.0  # seconds


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong, and each row that must fail, with words that its reason must have.

    If it names several rows, a comment says why the fault honestly breaks them all.
    """

    name: str
    red: Mapping[str, str]
    keys: Mapping[str, object] | None = None
    planted: Patch | None = None


SETTINGS = (
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

CORE = "napt_lab.nat_node.core"
TRANSLATOR, PACKET = f"{CORE}.translator:Translator", f"{CORE}.packet:Packet"
ECHO_REQUEST = 8

PLANTED = (
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
            planted=Patch(
                "napt_lab.nat_node.engines.python_engine:give_back_hop", anything.nothing
            ),
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
            planted=Patch(f"{CORE}.translator:ICMP_QUERIES", anything.instead, [ECHO_REQUEST]),
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
            planted=Patch(
                "napt_lab.nat_node.fast_path.flow_cache:Flows.forward",
                translator.losing_congestion_marks,
            ),
        ),
        Fault(
            "syns-that-cross-are-dropped",
            # Whoever sent the first of the two.
            {"5382.REQ-2a": "died there: no-connection", "5382.REQ-2a-late": "died there"},
            planted=Patch(f"{TRANSLATOR}._deliver", translator.dropping_crossed_syns),
        ),
        Fault(
            "fins-that-cross-are-dropped",
            {"5382.REQ-2-closing": "died there"},
            planted=Patch(f"{TRANSLATOR}.translate", translator.dropping_crossed_fins),
        ),
        Fault(
            "a-restarted-host-is-not-heard",
            {"5382.REQ-2-again": "died there: no-connection"},
            planted=Patch(f"{TRANSLATOR}._outbound", translator.dropping_syns_of_connections),
        ),
        Fault(
            # What must not be told is told; so the declared deviation is not there either.
            "strangers-are-told-against-the-policy",
            {
                "5382.REQ-4a": "was answered after 6.",
                "5382.REQ-4-then": "declared as a deviation, but not observed",
            },
            {"refuse-syn": "false"},
            Patch(f"{TRANSLATOR}.__init__", translator.set_otherwise, "refuse_syn", True),
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
            planted=Patch(
                f"{CORE}.sessions:Sessions.begin", translator.ending_the_oldest_for_nothing
            ),
        ),
    ),
)


def assert_red(faults, rows):
    """Exactly the rows of these faults are red, each for the expected reason."""
    failed = {row["id"]: row for row in rows if row["verdict"] == "fail"}
    errors = [row for row in rows if row["verdict"] == "error"]
    assert not errors, errors
    expected = {row: words for fault in faults for row, words in fault.red.items()}
    story = "\n".join(f"{row['id']}: {row['why']} {row['evidence']}" for row in failed.values())
    assert set(failed) == set(expected), f"expected {sorted(expected)}:\n{story}"
    for row, words in expected.items():
        assert words in failed[row]["why"], f"{row} not for the expected reason:\n{story}"


def test_settings_that_violate_a_requirement(tmp_path):
    setups = [
        read_setup(
            Candidate(
                faults[0].name,
                {"preset": "rfc"} | {k: v for fault in faults for k, v in fault.keys.items()},
            )
        )
        for faults in SETTINGS
    ]
    for faults, examination in zip(
        SETTINGS, examine_all(setups, REQUIREMENTS, tmp_path), strict=True
    ):
        rows = [
            {
                "id": outcome.requirement.id,
                "verdict": WORDS[outcome.verdict],
                "why": outcome.why,
                "evidence": outcome.evidence,
            }
            for outcome in examination.outcomes
        ]
        assert len(rows) == len(REQUIREMENTS)
        assert_red(faults, rows)


def examine(root, *arguments):
    """The rows of an examination that runs in a copy of the source, and must not pass."""
    done = subprocess.run(
        [sys.executable, "-m", "napt_lab.labs", "conformance", *arguments],
        cwd=root, env=installed.environment(root), stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=DEADLINE, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    text = (root / "runs" / "conformance" / "results.json").read_text(encoding="utf-8")
    (candidate,) = json.loads(text)["candidates"]
    return candidate["requirements"]


def sabotaged(source, root, *faults):
    copy(source, root)
    for fault in faults:
        fault.apply(root)
    return root


def test_faults_in_the_translator(pristine, tmp_path):
    def work(number):
        planted = [fault.planted for fault in PLANTED[number]]
        keys = [f"{k}={v}" for fault in PLANTED[number] for k, v in (fault.keys or {}).items()]
        arguments = [word for pair in keys for word in ("--set", pair)]
        return examine(sabotaged(pristine, tmp_path / str(number), *planted), *arguments)

    with ThreadPoolExecutor(len(PLANTED)) as pool:
        examined = list(pool.map(work, range(len(PLANTED))))
    for faults, rows in zip(PLANTED, examined, strict=True):
        assert_red(faults, rows)


def test_a_client_that_finds_what_is_not_set(pristine, tmp_path):
    found = "address-dependent"
    root = sabotaged(
        pristine,
        tmp_path / "copy",
        Patch(f"{TRANSLATOR}.__init__", translator.set_otherwise, "mapping", found),
        Patch(f"{CORE}.table:Table.admits", translator.strangers_by_address),
    )
    rows = examine(root, "--only", "5780")
    assert [(row["id"], row["verdict"]) for row in rows] == [
        ("5780.4.3", "fail"), ("5780.4.3-TCP", "fail"), ("5780.4.4", "fail"),
    ]  # fmt: skip
    assert all(f"set to endpoint-independent, but it is {found}" in row["why"] for row in rows)


def test_a_report_on_packets_that_were_never_sent_is_all_errors(pristine, tmp_path):
    nothing_is_sent = Patch("napt_lab.labs.conformance.testbed:Host.send", anything.nothing)
    root = sabotaged(pristine, tmp_path / "copy", nothing_is_sent)
    # What must pass, what must not, and both; as many as are tried at the same time.
    wanted = {"3022.TTL", "3022.other-protocols", "3022.spoofed"}
    wanted |= {"4787.REQ-12", "4787.REQ-12a", "4787.REQ-12b"}
    rows = examine(root, *(word for name in wanted for word in ("--only", name)))
    assert {row["id"] for row in rows} == wanted
    assert {row["verdict"] for row in rows} == {"error"}
    assert all("never reached" in row["why"] for row in rows), rows
