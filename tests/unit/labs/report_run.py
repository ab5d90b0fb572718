"""A small run for tests of the report: events as a lab emits them, and packets made by scapy."""

from __future__ import annotations

import functools

from scapy.layers.inet import IP
from scapy.layers.l2 import ARP, Ether

from napt_lab.labs.capture.pcapng import write_pcapng
from napt_lab.labs.records.stream import Stream
from napt_lab.labs.report.capture import Frame
from napt_lab.labs.report.story import Story
from napt_lab.topologies.network.plan import node_plans
from napt_lab.topologies.spec.checkout import TOPOLOGIES
from napt_lab.topologies.spec.loader import load
from tests.packets import tcp

TOPOLOGY = TOPOLOGIES / "two-sites.yaml"
PORTS = {
    f"{plan.name}:{port.interface}": port
    for plan in node_plans(load(TOPOLOGY))
    for port in plan.ports
}
BEGAN = 1_800_000_000.0  # of the step, in seconds since 1970
ALICE, NAPT_A, BOB, NAPT_B = "10.0.0.7", "24.9.3.7", "10.0.0.9", "203.0.113.77"
OUT, IN = True, False

# The way from bob to alice's server: each interface, and how the packet is addressed there.
INSIDE_B = ((BOB, 4711), (NAPT_A, 8080))
BETWEEN = ((NAPT_B, 40001), (NAPT_A, 8080))
INSIDE_A = ((NAPT_B, 40001), (ALICE, 8080))
BOB_TO_ALICE = [
    ("bob:eth0", OUT, INSIDE_B), ("napt_b:lan0", IN, INSIDE_B), ("napt_b:wan0", OUT, BETWEEN),
    ("internet:isp3", IN, BETWEEN), ("internet:isp2", OUT, BETWEEN), ("napt_a:wan0", IN, BETWEEN),
    ("napt_a:lan0", OUT, INSIDE_A), ("alice:eth0", IN, INSIDE_A),
]  # fmt: skip
ALICE_TO_BOB = [(w, not out, (d, s)) for w, out, (s, d) in reversed(BOB_TO_ALICE)]


def frame(where, outgoing, layers, ms, broadcast=False):
    """One sighting; `ms` after the step began."""
    to = "ff:ff:ff:ff:ff:ff" if broadcast else PORTS[where].mac
    data = bytes(Ether(dst=to, src="02:00:00:00:00:01") / layers)
    return Frame(where, round(BEGAN * 1e9 + ms * 1e6), outgoing, data)


def segment(way, ms, flags="S", seq=1000, ack=0, identification=7, data=0, stop=None):
    """A TCP segment at all places of its way, or as far as `stop`."""
    frames = []
    for number, (where, outgoing, ends) in enumerate(way):
        (source, source_port), (destination, destination_port) = ends
        layers = IP(tcp(
            f"{source}:{source_port}", f"{destination}:{destination_port}", flags, bytes(data),
            seq=seq, ack=ack, id=identification, ttl=64 - number // 2,
        ))  # fmt: skip
        frames.append(frame(where, outgoing, layers, ms + number * 0.01))
        if where == stop:
            break
    return frames


def question(places, asker, wanted, ms):
    """An ARP question, heard at `places`, of which the first is the asker's."""
    layers = ARP(op=1, psrc=asker, pdst=wanted)
    return [frame(w, w == places[0], layers, ms, broadcast=True) for w in places]


def answer(places, owner, asker, ms):
    layers = ARP(op=2, psrc=owner, pdst=asker)
    return [frame(w, w == places[0], layers, ms) for w in places]


@functools.cache  # scapy takes half a second for it
def connection(ms=10.0, segments=100):
    """bob opens a connection to alice's server, which sends him `segments`; FIN both ways."""
    frames = segment(BOB_TO_ALICE, ms)
    frames += segment(ALICE_TO_BOB, ms + 1, "SA", seq=5000, ack=1001, identification=0)
    frames += segment(BOB_TO_ALICE, ms + 2, "A", seq=1001, ack=5001, identification=8)
    for n in range(segments):
        frames += segment(
            ALICE_TO_BOB, ms + 3 + n / 10, "PA", 5001 + 100 * n, 1001, 100 + n, data=100
        )
    end = ms + 4 + segments / 10
    frames += segment(ALICE_TO_BOB, end, "FA", 5001 + 100 * segments, 1001, 99)
    frames += segment(BOB_TO_ALICE, end + 1, "FA", 1001, 5002 + 100 * segments, 9)
    return tuple(frames)


def write_frames(path, frames):
    places = list(PORTS)
    frames = sorted(frames, key=lambda f: f.nanoseconds)
    packets = [
        (places.index(f.where), f.nanoseconds, f.outgoing, len(f.data), f.data) for f in frames
    ]
    write_pcapng(path, places, packets)


def rule(number, **fields):
    defaults = {
        "protocol": "tcp", "internal": "10.0.0.7:8080", "external": "24.9.3.7:8080",
        "remote": "*", "explicit": True, "made_by": "hand", "created": BEGAN + 0.001,
        "packets_out": 0, "packets_in": 0,
    }  # fmt: skip
    return {"id": number, **defaults, **fields}


def table(node, *rules, drops=None, total=None):
    return {"node": node, "total": len(rules) if total is None else total, "rules": list(rules),
            "drops": drops or {}}  # fmt: skip


def tell(folder, text="plain", *, passed=True, frames=None, end=True, listener=None):
    """Tell a story of one step in which every word that comes from outside is `text`.

    `listener` hears it as well.
    """
    story, stream = Story(), Stream()
    stream.listen(story)
    if listener is not None:
        stream.listen(listener)
    stream.emit("lab", time=BEGAN - 1, lab="9c", title=f"Title {text}", intro=text)
    stream.emit(
        "part", time=BEGAN - 1, part="p", first=1, title=text, topology="two-sites",
        path=str(TOPOLOGY), engine="python", drawing=[], capture="capture.pcapng",
    )  # fmt: skip
    stream.emit("step", time=BEGAN, number=1, of=1, title=f"Step {text}", say=text, ask=text,
                choices=[text, "nowhere"], usage="a letter", proves=["9c.x"])  # fmt: skip
    stream.emit("working", time=BEGAN, what=text)
    stream.emit("tables", time=BEGAN, when="before", tables=[table("napt_a")])
    stream.emit("command", time=BEGAN, node="bob", command=f"curl {text}")
    stream.emit("output", time=BEGAN, node="bob", command=f"curl {text}", status=0, seconds=0.1,
                stdout=f"{text}\nlast line", stderr=text)  # fmt: skip
    stream.emit("observed", time=BEGAN, lines=[text])
    stream.emit("program", time=BEGAN, node="files", program="web", name="request",
                fields={"event": "request", "path": text})  # fmt: skip
    drop = {"packet": f"tcp SYN {NAPT_B}:40009 > {NAPT_A}:8080", "reason": "no-rule",
            "meaning": text}  # fmt: skip
    stream.emit("program", time=BEGAN + 0.0051, node="napt_a", program="nat_node", name="drop",
                fields=drop)  # fmt: skip
    stream.emit("check", time=BEGAN + 1, claim="9c.x", text=text, passed=passed, broken=False,
                evidence=["first", text])  # fmt: skip
    after = table("napt_a", rule(1, made_by=text), drops={"no-rule": 1})
    stream.emit("tables", time=BEGAN + 1, when="after", tables=[after])
    stream.emit("prediction", time=BEGAN + 1, step=1, ask=text, choices=[text, "nowhere"],
                beliefs=["", text], said="nowhere", seen=text, right=False, belief=text,
                evidence=text, expected=text, exercise="9c/door")  # fmt: skip
    if not passed:
        stream.emit("trouble", time=BEGAN + 1, text=text, trace="")
    if end:
        stream.emit("end", time=BEGAN + 1, passed=passed, seconds=1.0, error="", learned=[text])
    if frames is None:
        ends = ((NAPT_B, 40009), (NAPT_A, 8080))
        frames = [*connection(), *segment([("napt_a:wan0", IN, ends)], 5, seq=77)]
    write_frames(folder / "capture.pcapng", frames)
    return story
