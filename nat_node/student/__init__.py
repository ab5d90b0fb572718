"""A translator of your own, in the place of this project's (`--translator mine.py`).

    from napt_lab.student import Rule, napt

    def translate(packet, now):
        if packet.side == "inside":
            packet.source = (napt.external, 1025)     # written, with every checksum
            return packet                             # send it
        return "no-rule: nobody inside asked for this"  # drop it, and say why

What a file may define
----------------------
    translate(packet, now)    required: the packet (or a list of packets) to send, or the reason
                              to drop it: text, or packet.refused(text), which tells the sender
    expire(now)               called ten times a second: take away rules that are over
    add_rule(rule, now)       an explicit rule is wanted (port forwarding); ValueError refuses it
    remove_rule(rule)         it shall go again

`now` is in seconds, on a clock that does not run backwards. A reason begins with a word that
labs know (`no-rule`, `filtered`, `no-connection`, `ports-exhausted`, …: nat_node/core/verdict.py)
and may go on after a colon in words of your own.

How it is run
-------------
    node.py        reads the two devices and has the control socket, as python_engine.py does
      └─ worker.py a process of its own, with your file in it: one packet in, an answer out
           packet.py, napt.py   what your file sees
           bounds.py            what it may take: time, memory, words
           host.py              pings to the NAPT itself, which are no matter of yours
           inspection.py        what is wrong with a packet that you return
           faults.py            what is wrong with your program, by your own lines
           listing.py           your rules, as the control socket tells them
    process.py     starts the worker, asks it, and ends it when it does not answer
    channel.py     what the two say to each other

So an endless loop, `exit()` or a full memory ends a process that the node can start anew, and
never the lab. This guards against mistakes. It does not guard against malice: your file runs
with the rights of whoever runs the lab, within the lab's sandbox.
"""

from __future__ import annotations

from napt_lab.student.napt import Rule, napt
from napt_lab.student.packet import Endpoint, Packet, Refusal

__all__ = ["Endpoint", "Packet", "Refusal", "Rule", "napt"]
