"""Assertions about a running topology: what its `expect:` says, found out on its wires.

run.py                all assertions of a topology, side by side where they may be
outcome.py            what came of one assertion
surroundings.py       a topology as checks see it: who has an address, who is whose neighbor
ground.py             the same network while it runs, with its wires
listeners.py          what answers where the topology runs no service of its own
stun_binding.py       a question and an answer: "which address do I have?"
probes.py             one try to reach a node: sockets, ping, curl, on the node itself
trail.py              one packet, wherever it passed; and by which kind of path it came
drops.py              what translators report
diagnosis.py          where a packet ended, and why
place.py              who is to be reached, and who answers there
reaching.py           `reaches` and `cannot reach`
round_trip.py         `within`
losing.py             `loses at most`
keeping.py            `keeps its connection to`
transfer.py           `gets a file from`
relayed.py            … `through` a relay or TURN
vantage.py            where a NAPT is measured from
mapping_filtering.py  `maps`, `filters`, `is`
hairpin.py            `hairpins`
punch_side.py         two hosts that punch a hole: what they are told, and their turns
udp_side.py           … with datagrams
tcp_side.py           … with connections
punching.py           `punches`, `cannot punch`
ice.py                `connects to … by ice`
check_command.py      `napt-lab check`
telling.py            what it says to a person …
reports.py            … to CI systems: JUnit, JSON …
github.py             … and to GitHub: annotations
"""
