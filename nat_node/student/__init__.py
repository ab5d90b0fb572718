"""A translator of your own, in the place of this project's (`--translator mine.py`).

    from napt_lab.student import Rule, napt

    def translate(packet, now):
        if packet.side == "inside":
            packet.source = (napt.external, 1025)     # written, with every checksum
            return packet                             # send it
        return "no-rule: no PC has asked for this"     # drop it, and say why

What a file may define
----------------------
    translate(packet, now)    required: the packet (or a list of packets) to send, or the reason
                              to drop it: text, or packet.refused(text), which tells the sender
    expire(now)               called ten times a second: take away rules that are over
    add_rule(rule, now)       an explicit rule is wanted (port forwarding); ValueError refuses it
    remove_rule(rule)         it is to be removed

`now` is in seconds, on a clock that does not run backwards. A reason begins with a word that
labs know (`no-rule`, `filtered`, `no-connection`, `ports-exhausted`, …: nat_node/core/verdict.py)
and may go on after a colon in words of your own.
"""

from __future__ import annotations

from napt_lab.student.napt import Rule, napt
from napt_lab.student.packet import Endpoint, Packet, Refusal

__all__ = ["Endpoint", "Packet", "Refusal", "Rule", "napt"]
