"""What a NAPT says as a host: that is no translation, so a student need not write it."""

from __future__ import annotations

import contextlib

from napt_lab.nat_node.core import icmp, icmp_errors
from napt_lab.nat_node.core.packet import ECHO_REQUEST, ICMP, ICMP_ERRORS, Malformed, Packet, Side
from napt_lab.nat_node.core.settings import Settings
from napt_lab.nat_node.core.verdict import Drop


def answer_as_host(raw: Packet, settings: Settings) -> Packet | None:
    """The packet to send, if this one is not to be translated; else None.

    Pings to the public address are answered. What the NAPT's own kernel has to say about a packet
    that was not translated yet (its time to live is over) goes out in the name of that address.
    """
    if raw.protocol != ICMP or raw.is_fragment:
        return None
    if raw.icmp_type == ECHO_REQUEST and raw.destination == settings.external:
        answer = icmp.answer_echo(raw)
        return None if isinstance(answer, Drop) else answer[0]
    if (
        raw.side is Side.INSIDE
        and raw.icmp_type in ICMP_ERRORS
        and raw.source in (settings.internal, settings.external)
        and raw.destination != settings.external
    ):
        with contextlib.suppress(Malformed):
            if icmp_errors.quotation(raw).destination == settings.external:
                raw.rewrite_source((settings.external, 0))
                return raw
    return None
