"""Level 9a: two PCs behind NAPTs exchange files through one public server.

alice 10.0.0.7 ── napt_a 24.9.3.7 ──┐          ┌── napt_b 203.0.113.77 ── bob 10.0.0.9
                                    └─ internet ┘
                                         │
                                files 198.51.100.10
"""

from __future__ import annotations

from napt_lab.labs.capture.packets import ECHO, SYN
from napt_lab.labs.capture.wire import Captured
from napt_lab.labs.shared_steps.commands import PORT, curl, require_success
from napt_lab.labs.shared_steps.evidence import WAIT, sha256
from napt_lab.labs.shared_steps.two_sites import (
    BOB,
    FILES,
    NAPT_A,
    NAPT_B,
    PUBLIC,
    make_file,
    nothing_between_napts,
    only_outbound,
    require_path,
    require_same,
)
from napt_lab.labs.stage.prediction import Choice, choose
from napt_lab.labs.stage.rule_lines import count
from napt_lab.labs.stage.stage import Stage
from napt_lab.labs.stage.steps import Claim, Lab, Part

SIZE = 1 << 18  # bytes: some two hundred packets
SENT = {"alice": "holiday.jpg", "bob": "song.mp3"}
RECEIVED = {"bob": "holiday.jpg", "alice": "song.mp3"}
NAPT_OF = {"alice": "napt_a", "bob": "napt_b"}
EXCHANGE, HOLDS = "9a.exchange", "9a.server-holds"

public_server = Part("public-server", topology="two-sites.yaml")


# ── 1 ──────────────────────────────────────────────────────────────────────────────────────


@public_server.step(
    "Both upload",
    say="alice has a photograph for bob, and bob has a song for alice. No host outside can dial "
    "either PC, but both PCs can dial the public server `files`. So each uploads its file there.",
    ask="Who opens the connections over which the files go to the server?",
    predict=choose(
        Choice(
            "files",
            "the server: it fetches what it is to keep",
            "A server opens connections to its clients.",
        ),
        Choice(
            "napt_a and napt_b",
            "the two NAPTs, each with a connection of its own",
            "A NAPT makes a second connection, as a proxy does.",
        ),
        Choice("alice and bob", "both PCs, each from inside its home"),
        exercise="9a/exchange",
    ),
    proves=[EXCHANGE],
)
def both_upload(stage: Stage) -> None:
    for pc, name in SENT.items():
        make_file(stage, pc, name, SIZE)
    since, log_since = stage.wire.mark(), stage.log.mark()
    uploads = {
        pc: stage.start(pc, *curl(FILES, "-T", name, path=f"/{name}")) for pc, name in SENT.items()
    }
    for pc, name in SENT.items():
        napt = NAPT_OF[pc]
        with stage.claim(EXCHANGE, f"{pc} uploads {name}; the server sees {napt}") as claim:
            require_success(claim, uploads[pc].finish(), "curl -T")
            asked_by(stage, claim, napt, "PUT", name, log_since)
            only_outbound(stage, claim, napt, since)
    with stage.claim(EXCHANGE, "the files go to the server, and no further") as claim:
        for pc in SENT:
            first = stage.wire.wait_for(
                f"{pc}:eth0",
                lambda p: p.destination_port == PORT and p.payload > 0,
                deadline=WAIT,
                what=f"data from {pc}",
                since=since,
            )
            require_path(stage, claim, first, PORT, since, [pc, NAPT_OF[pc], "internet", "files"])
    opened = {syn.packet.sequence: syn for syn in reversed(syns(stage, since))}
    openers = sorted({syn.where.partition(":")[0] for syn in opened.values()})
    told = "; ".join(f"{syn.where}: {syn.packet}" for syn in opened.values())
    stage.answer(" and ".join(openers), f"where each SYN was seen first: {told or 'nowhere'}")


def syns(stage: Stage, since: int) -> list[Captured]:
    """All SYNs, wherever they were seen, in order."""
    return stage.wire.everywhere(lambda c: c.packet.is_tcp(flags=SYN), since=since)


def asked_by(stage: Stage, claim: Claim, napt: str, method: str, name: str, log_since: int) -> None:
    """The server got this request, from the address of the NAPT."""
    request = stage.wait_for_event(
        "files",
        "request",
        lambda e: (e.fields["method"], e.fields["path"]) == (method, f"/{name}"),
        since=log_since,
    )
    peer = str(request.fields["peer"])
    claim.require(
        peer.startswith(f"{PUBLIC[napt]}:"),
        f"files: {method} /{name} from {peer}, {request.fields['bytes']} bytes",
    )


# ── 2 ──────────────────────────────────────────────────────────────────────────────────────


@public_server.step(
    "Each fetches the other's file",
    say="Now bob fetches the photograph, and alice the song.",
    ask="From which address do the bytes of the photograph come to bob?",
    predict=choose(
        Choice(FILES, "198.51.100.10: the server"),
        Choice(
            NAPT_A,
            "24.9.3.7: alice's NAPT",
            "A server only brings two PCs together; the file then goes from one to the other.",
        ),
        Choice(
            "10.0.0.7",
            "10.0.0.7: alice's PC",
            "Who has sent a file in the first place is the source of its packets everywhere.",
        ),
        exercise="9a/exchange",
    ),
    proves=[EXCHANGE],
)
def each_fetches(stage: Stage) -> None:
    since, log_since = stage.wire.mark(), stage.log.mark()
    fetches = {
        pc: stage.start(pc, *curl(FILES, "-o", name, path=f"/{name}"))
        for pc, name in RECEIVED.items()
    }
    for pc, name in RECEIVED.items():
        sender = next(other for other, sent in SENT.items() if sent == name)
        with stage.claim(EXCHANGE, f"{sender}'s {name} is at {pc}, byte for byte") as claim:
            require_success(claim, fetches[pc].finish(), "curl")
            asked_by(stage, claim, NAPT_OF[pc], "GET", name, log_since)
            require_same(claim, stage.net[sender].home / name, stage.net[pc].home / name)
            only_outbound(stage, claim, NAPT_OF[pc], since)
    data = stage.wire.packets(
        "bob:eth0", lambda p: p.payload > 0 and p.destination == BOB, since=since
    )
    for source in {str(captured.packet.source) for captured in data}:
        total = sum(c.packet.payload for c in data if str(c.packet.source) == source)
        stage.answer(source, f"bob:eth0: {total} bytes in TCP segments from {source}")
    with stage.claim(EXCHANGE, "no packet went between the two NAPTs") as claim:
        nothing_between_napts(stage, claim, since=0)
    ping = stage.run("bob", "ping", "-q", "-c", "1", "-W", "2", NAPT_A)
    with stage.claim(EXCHANGE, "the same captures do see such a packet (control)") as claim:
        require_success(claim, ping, "ping")
        for leg in ("internet:isp2", "internet:isp3"):
            seen = stage.wire.packets(
                leg,
                lambda p: {p.source, p.destination} == {NAPT_A, NAPT_B} and p.icmp == (ECHO, 0),
                since=since,
            )
            claim.require(len(seen) == 1, f"{leg}: {len(seen)} × {seen[0].packet if seen else ''}")


# ── 3 ──────────────────────────────────────────────────────────────────────────────────────


@public_server.step(
    "What stays behind",
    say="Both have their files. Now they delete every copy on their PCs and unplug the PCs.",
    ask="alice has deleted her photograph. Where is it now?",
    predict=choose(
        Choice("nowhere", "nowhere", "A file that its owner deletes is gone."),
        Choice("for all", "on the server, where every host can fetch it"),
        Choice(
            "kept",
            "on the server, which gives it to alice and bob only",
            "A server knows for whom a file was meant.",
        ),
        exercise="9a/stranger",
    ),
    proves=[HOLDS],
)
def what_stays_behind(stage: Stage) -> None:
    digests = {name: sha256(stage.net[pc].home / name) for pc, name in SENT.items()}
    since = stage.wire.mark()
    cleared = [
        command
        for pc in SENT
        for command in (
            stage.run(pc, "rm", *SENT.values()),
            stage.run(pc, "ip", "link", "set", "eth0", "down"),
        )
    ]
    listed = stage.run("files", "sha256sum", *(f"files/{name}" for name in digests))
    with stage.claim(HOLDS, "on both PCs no copy is left, and their links are down") as claim:
        for completed in cleared:
            require_success(claim, completed, f"{completed.argv[0]} {completed.argv[-1]}")
        for pc in SENT:
            left = [name for name in digests if (stage.net[pc].home / name).exists()]
            claim.require(not left, f"{pc} has {len(left)} of the files")
    with stage.claim(HOLDS, "the server's disk holds both files, byte for byte") as claim:
        require_success(claim, listed, "sha256sum")
        for name, digest in digests.items():
            held = stage.net["files"].home / "files" / name
            size = held.stat().st_size if held.exists() else 0
            claim.require(size == SIZE, f"{held}: {size} bytes")
            claim.require(
                digest in listed.stdout, f"SHA-256 {digest[:16]}…, as alice and bob had it"
            )
    fetched = stage.run("relay", *curl(FILES, "-o", "copy", path=f"/{SENT['alice']}"))
    kept = digests[SENT["alice"]] in listed.stdout
    where = "nowhere" if not kept else "for all" if fetched.status == 0 else "kept"
    words = f"sha256sum on files {'lists' if kept else 'does not list'} it"
    stage.answer(where, f"{words}; curl on relay, a stranger: exit status {fetched.status}")
    with stage.claim(HOLDS, "any host can fetch alice's photograph from the server") as claim:
        require_success(claim, fetched, "curl, on a host that is a stranger here")
        copied = sha256(stage.net["relay"].home / "copy")
        claim.require(copied == digests[SENT["alice"]], f"SHA-256 {copied[:16]}… on relay")
        for napt in PUBLIC:
            calls = stage.wire.packets(f"{napt}:wan0", lambda p: p.is_tcp(flags=SYN), since=since)
            claim.require(not calls, f"{napt}:wan0: {count(len(calls), 'SYN')} meanwhile")


LAB = Lab(
    id="9a",
    title="P2P networking via public server",
    intro="Use one public server to hold the files between PCs behind NAPTs.",
    parts=(public_server,),
    learned=(
        "Two PCs behind NAPTs can exchange files through a public server, for both can dial it; no "
        "packet goes from one NAPT to the other.",
        "Each NAPT passes connections that were opened from inside, so neither needs an explicit "
        "rule.",
        "The cost: the server keeps every file on its disk, and any host that can dial the server "
        "can read it, even when both PCs are gone.",
    ),
)
