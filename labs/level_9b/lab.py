"""Level 9b: two PCs behind NAPTs dial a public relay, which passes their bytes on.

    alice 10.0.0.7 ── napt_a 24.9.3.7 ──┐          ┌── napt_b 203.0.113.77 ── bob 10.0.0.9
                                        └─ internet ┘
                                             │
                                    relay 198.51.100.11

Each step runs the programs that a person would run. held.py looks for what the relay keeps, on
another network.
"""

from __future__ import annotations

import secrets

from napt_lab.labs.capture.packets import RST, SYN
from napt_lab.labs.capture.turn_message import CHANNEL_DATA, DATA_INDICATION, SEND_INDICATION
from napt_lab.labs.level_9b.held import held
from napt_lab.labs.level_9b.who import (
    ALICES,
    BOBS,
    PLAIN,
    SIZE,
    TURN,
    TURN_PORT,
    WORD,
    answer_datagrams,
    dial,
    relayed_address,
    rent,
    turn_datagrams,
)
from napt_lab.labs.shared_steps.commands import require_success, shell
from napt_lab.labs.shared_steps.evidence import (
    WAIT,
    answer_where_it_ends,
    find_handshake,
    is_syn_to,
)
from napt_lab.labs.shared_steps.two_sites import (
    NAPT_A,
    NAPT_B,
    RELAY,
    RELAY_PORT,
    make_file,
    nothing_between_napts,
    only_outbound,
    require_path,
    require_same,
)
from napt_lab.labs.stage.prediction import Choice, choose, number
from napt_lab.labs.stage.stage import Stage
from napt_lab.labs.stage.steps import Claim, Lab, Part

meeting = Part("meeting", topology="two-sites-relay.yaml")


# ── 1 ──────────────────────────────────────────────────────────────────────────────────────


@meeting.step(
    "Both dial out, and meet",
    say="alice and bob have agreed on a secret word. Each dials the relay, sends the word, and "
    "then a file. The relay joins two connections with the same word: what one side sends, the "
    "other receives.",
    ask="How many TCP connections are there between the relay and the two homes?",
    predict=number(
        2,
        {
            1: "A relay forwards packets, so the PCs have one connection, with each other.",
            3: "When the relay has joined two parties, they get a connection of their own.",
            4: "A NAPT makes a second connection, as a proxy does.",
        },
        exercise="9b/relay",
    ),
    proves=[PLAIN],
)
def both_dial_out(stage: Stage) -> None:
    sent = {"alice": make_file(stage, "alice", ALICES, SIZE)}
    sent["bob"] = make_file(stage, "bob", BOBS, SIZE)
    since, log_since = stage.wire.mark(), stage.log.mark()
    word = secrets.token_hex(16)
    first = stage.start("alice", *dial(word, send=ALICES, receive=BOBS))
    waiting = stage.wait_for_event("relay", "waiting", since=log_since)
    second = stage.start("bob", *dial(word, send=BOBS, receive=ALICES))
    with stage.claim(PLAIN, "both connections are outbound, and the relay joins them") as claim:
        joined = stage.wait_for_event("relay", "joined", since=log_since)
        peers = str(joined.fields["first"]), str(joined.fields["second"])
        claim.require(waiting.fields["peer"] == peers[0], f"relay: {peers[0]} came and waited")
        claim.require(peers[0].startswith(f"{NAPT_A}:"), f"relay: joined {' and '.join(peers)}")
        claim.require(peers[1].startswith(f"{NAPT_B}:"), "the two NAPTs' addresses")
        for napt in ("napt_a", "napt_b"):
            only_outbound(stage, claim, napt, since)
        nothing_between_napts(stage, claim, since)
    calls = stage.wire.packets("relay:eth0", lambda p: p.is_tcp(flags=SYN), since=since)
    opened = {captured.packet.from_ for captured in calls}
    words = f"relay:eth0: SYNs from {' and '.join(sorted(opened)) or 'no one'}"
    stage.answer(len(opened), words)
    with stage.claim(PLAIN, "both files arrive, byte for byte") as claim:
        for command in (first, second):
            require_success(claim, command.finish(), "nc")
        require_same(claim, sent["alice"], stage.net["bob"].home / ALICES)
        require_same(claim, sent["bob"], stage.net["alice"].home / BOBS)
    with stage.claim(PLAIN, "every byte of them crossed the relay") as claim:
        ended = stage.wait_for_event("relay", "ended", since=log_since)
        for way in ("bytes_forth", "bytes_back"):
            claim.require(ended.fields[way] >= SIZE, f"relay: {way} {ended.fields[way]}")
        passes_the_relay(stage, claim, RELAY_PORT, RELAY_PORT, since)


def passes_the_relay(stage: Stage, claim: Claim, port: int, far_port: int, since: int) -> None:
    """Data goes from alice to `port` of the relay, and in another connection on to bob."""
    sent = stage.wire.wait_for(
        "alice:eth0",
        lambda p: p.destination_port == port and p.payload > 1000,
        deadline=WAIT,
        what="data from alice",
        since=since,
    )
    received = stage.wire.wait_for(
        "relay:eth0",
        lambda p: p.source_port == far_port and p.destination == NAPT_B and p.payload > 1000,
        deadline=WAIT,
        what="data to bob",
        since=since,
    )
    require_path(stage, claim, sent, port, since, ["alice", "napt_a", "internet", "relay"])
    require_path(stage, claim, received, far_port, since, ["relay", "internet", "napt_b", "bob"])
    near = find_handshake(stage.wire, "alice:eth0", port, since)
    far = find_handshake(stage.wire, "bob:eth0", far_port, since)
    claim.require(near.numbers != far.numbers, f"two connections: {near.told}; {far.told}")


# ── 2 ──────────────────────────────────────────────────────────────────────────────────────


@meeting.step(
    "An address for rent",
    say="With TURN, bob needs no secret word and no TURN program. alice asks the relay for a "
    "public address (an allocation). The relay passes every connection to this address on to "
    "alice. She permits the address of bob's NAPT, and no other.",
    ask="The host `files`, a stranger, dials the rented address. What happens to its connection?",
    predict=choose(
        Choice("accepted", "it leads to alice", "A public address is open to every host."),
        Choice(
            "no answer",
            "the relay drops its SYN without an answer",
            "A relay treats strangers as a NAPT without a rule does.",
        ),
        Choice("reset", "the relay resets it"),
        exercise="9b/turn",
    ),
    proves=[TURN],
)
def an_address_for_rent(stage: Stage) -> None:
    since, log_since = stage.wire.mark(), stage.log.mark()
    rent(stage, ALICES)
    with stage.claim(TURN, "the relay gives alice a relayed address: an allocation") as claim:
        told = stage.wait_for_event("alice", "allocated", since=log_since).fields
        given = stage.wait_for_event("relay", "allocated", since=log_since).fields
        claim.require(
            given["transport"] == "tcp" and given["client"].startswith(f"{NAPT_A}:"),
            f"allocation: {given['client']}, user {given['user']}, {given['lifetime']} s",
        )
        claim.require(
            told["relayed"] == given["relayed"] and told["relayed"].startswith(f"{RELAY}:"),
            f"relayed address: {given['relayed']}; alice was told {told['relayed']}",
        )
        only_outbound(stage, claim, "napt_a", since)
    with stage.claim(TURN, "alice permits the address of bob's NAPT") as claim:
        stage.wait_for_event("alice", "permission", since=log_since)
        allowed = stage.wait_for_event("relay", "permission", since=log_since).fields
        claim.require(
            (allowed["peer"], allowed["relayed"]) == (NAPT_B, given["relayed"]),
            f"permission: {allowed['peer']} may use {allowed['relayed']}, {allowed['lifetime']} s",
        )
    address, port = relayed_address(stage)
    stranger = stage.run("files", *shell(f"nc -w 5 {address} {port} > found"))
    heard = [e for e in stage.log.since(log_since) if (e.node, e.name) == ("alice", "connection")]
    came = stage.wire.packets("files:eth0", lambda p: p.source_port == port, since=since)
    resets = [captured for captured in came if captured.packet.flags & RST]
    for last in (resets or came)[-1:]:
        became = "accepted" if heard else "reset" if resets else "no answer"
        stage.answer(
            became, f"files:eth0: {last.packet}; alice was told of {len(heard)} connections"
        )
    with stage.claim(
        TURN, "a stranger has no permission: the relay resets its connection"
    ) as claim:
        refused = stage.wait_for_event("relay", "connection-refused", since=log_since).fields
        claim.require(
            refused["reason"] == "no permission",
            f"relay: refused {refused['peer']}, {refused['reason']}",
        )
        syn = stage.wire.wait_for(
            "relay:eth0",
            is_syn_to(port, RELAY),
            deadline=WAIT,
            what="the stranger's SYN",
            since=since,
        )
        claim.require(syn.packet.from_ == refused["peer"], f"relay:eth0: {syn.packet}")
        reset = stage.wire.wait_for(
            "files:eth0",
            lambda p: bool(p.flags & RST) and p.source_port == port,
            deadline=WAIT,
            what="the relay's RST",
            since=since,
        )
        claim.require(True, f"files:eth0: {reset.packet}")
        found = (stage.net["files"].home / "found").stat().st_size
        claim.require(
            found == 0, f"nc on files: exit status {stranger.status}, {found} bytes received"
        )
        claim.require(not heard, f"alice was told of {len(heard)} connections")


# ── 3 ──────────────────────────────────────────────────────────────────────────────────────


@meeting.step(
    "bob dials the rented address",
    say="alice has told bob the rented address. He dials it like any server.",
    ask="With which host does bob's PC have its TCP connection?",
    predict=choose(
        Choice("relay", "with the relay"),
        Choice(
            "alice",
            "with alice's PC: the relay forwards his packets to her",
            "An address for rent is another name of the PC that has rented it.",
        ),
        Choice(
            "napt_a",
            "with alice's NAPT, which has lent her the address",
            "A public address of a home is always one of its NAPT.",
        ),
        exercise="9b/turn",
    ),
    proves=[TURN],
)
def bob_dials(stage: Stage) -> None:
    since, log_since = stage.wire.mark(), stage.log.mark()
    address, port = relayed_address(stage)
    fetching = stage.start("bob", *shell(f"nc {address} {port} > turned.jpg"))
    with stage.claim(TURN, "bob, who is permitted, gets the file, byte for byte") as claim:
        require_success(claim, fetching.finish(), "nc")
        stage.wait_for_event("alice", "done", since=log_since)
        require_same(claim, stage.net["alice"].home / ALICES, stage.net["bob"].home / "turned.jpg")
    answer_where_it_ends(stage, "bob:eth0", port, address, since)
    with stage.claim(
        TURN, "bob dialed the relayed address; no packet went to alice's NAPT"
    ) as claim:
        syn = stage.wire.wait_for(
            "relay:eth0", is_syn_to(port, RELAY), deadline=WAIT, what="bob's SYN", since=since
        )
        claim.require(syn.packet.source == NAPT_B, f"relay:eth0: {syn.packet}")
        only_outbound(stage, claim, "napt_b", since)
        nothing_between_napts(stage, claim, since)
    with stage.claim(TURN, "every byte crossed the relay, in two connections") as claim:
        passed = stage.wait_for_event("relay", "connection-ended", since=log_since).fields
        claim.require(
            passed["bytes_to_peer"] == SIZE,
            f"relay: {passed['bytes_to_peer']} bytes to {passed['peer']}",
        )
        calls = {syn.packet.from_ for syn in only_outbound(stage, claim, "napt_a", since)}
        claim.require(len(calls) == 1, "alice's second connection to the relay: data (RFC 6062)")
        passes_the_relay(stage, claim, TURN_PORT, port, since)
    with stage.claim(TURN, "alice gives the address back") as claim:
        ended = stage.wait_for_event("relay", "ended", since=log_since).fields
        claim.require(ended["reason"] == "deleted", f"relay: {ended['relayed']} {ended['reason']}")


# ── 4 ──────────────────────────────────────────────────────────────────────────────────────


@meeting.step(
    "Datagrams as well",
    say="TURN was made for calls, which send datagrams (UDP). alice rents an address for "
    "datagrams, and bob sends one of 6 bytes to it. She sends it back twice: first in a Send "
    "indication, which names bob's endpoint, then in a channel, where a number stands for his "
    "endpoint.",
    ask="A Data indication adds 38 bytes to bob's 6. How many does a channel add?",
    predict=number(
        4,
        {
            0: "A relay can tell without a header to whom a datagram belongs.",
            38: "Each message of TURN names the peer's address.",
            20: "Every message of TURN begins with a header of 20 bytes, as in STUN.",
        },
    ),
    proves=[TURN],
)
def datagrams_as_well(stage: Stage) -> None:
    since, log_since = stage.wire.mark(), stage.log.mark()
    answer_datagrams(stage)
    address, port = relayed_address(stage, log_since)
    hearing = stage.start("bob", *shell(f"echo {WORD} | nc -u -W 2 {address} {port}"))
    with stage.claim(
        TURN, "bob's datagram comes to alice and back, by the relayed address"
    ) as claim:
        heard = hearing.finish()
        require_success(claim, heard, "nc -u")
        given = stage.wait_for_event("relay", "allocated", since=log_since).fields
        claim.require(
            given["transport"] == "udp",
            f"allocation: {given['client']} ({given['client_transport']}), "
            f"relayed address: {given['relayed']} ({given['transport']})",
        )
        got = stage.wait_for_event("alice", "datagram", since=log_since).fields
        claim.require(
            got["peer"].startswith(f"{NAPT_B}:"), f"alice: {got['bytes']} bytes from {got['peer']}"
        )
        claim.require(heard.stdout.split() == [WORD] * 2, f"bob heard: {heard.stdout.split()}")
        nothing_between_napts(stage, claim, since)
    with stage.claim(TURN, "alice's side of it: indications, then a channel") as claim:
        stage.wait_for_event("relay", "ended", since=log_since)
        for channeled in turn_datagrams(stage, "napt_a:wan0", CHANNEL_DATA, since):
            size = channeled.packet.payload
            stage.answer(size - len(WORD) - 1, f"napt_a:wan0: {size} bytes of ChannelData")
        for message in (DATA_INDICATION, SEND_INDICATION, CHANNEL_DATA):
            seen = turn_datagrams(stage, "napt_a:wan0", message, since)
            claim.require(len(seen) == 1, f"napt_a:wan0: {len(seen)} × {message}")
            stage.see(f"{seen[0].packet}: {seen[0].packet.payload} bytes for bob's {len(WORD) + 1}")


LAB = Lab(
    id="9b",
    title="P2P networking via public proxy/relay/TURN",
    intro="How to achieve this without having the server to hold on to some files?",
    parts=(meeting, held),
    learned=(
        "A relay joins two connections that were both opened from inside, so no NAPT needs an "
        "explicit rule.",
        "TURN rents alice a public address on the relay: bob dials it without a TURN program, and "
        "only addresses that she permits get through.",
        "The relay sees every byte and passes it on, once in and once out, but it keeps no copy: "
        "while bob does not read, the rest of the file waits on alice's PC.",
    ),
)
