"""When a TCP connection is over: the state machine of RFC 7857, section 2.1.

A translator sees the segments of both directions but is no endpoint. It follows just enough of
the connection to know how long silence may last:

               SYN              SYN back               FIN one way         FIN other way
    (nothing) ─────▶ OPENING ─────────────▶ ESTABLISHED ──────────▶ HALF_CLOSED ─────────▶ CLOSED
                   transitory time         established time        established time     closing hold

A connection from outside is ANSWERED between the inside's SYN-ACK and the other side's ACK, and
has the transitory time as long (RFC 5382, section 5). Otherwise one forged SYN, which a server
inside answers, would make a connection that is established for hours.

A RST leads to RESET. That is not the end yet: a RST can be forged, or the endpoints refuse it for
its sequence number, so a connection on which data still flows becomes established again (RFC 7857,
section 2.2). A connection that was never established is REFUSED by a RST, and becomes established
only if the inside goes on as if there had been none. CLOSED, RESET and REFUSED last for the
closing hold, so that the last ACK and repeated FINs still get through.

A new connection may use the ports of an old one. A SYN begins it in CLOSED, RESET and REFUSED. In
HALF_CLOSED, when a host lost power and uses its port again, a SYN leads to REOPENING and the
SYN-ACK to ESTABLISHED. A forged SYN changes nothing there: the old connection keeps its time, and
the FIN of the side that had not ended closes it.
"""

from __future__ import annotations

from enum import IntEnum

FIN, SYN, RST, ACK = 0x01, 0x02, 0x04, 0x10
CONTROL = FIN | SYN | RST
"""What a segment carries that begins or ends a connection."""


class TcpState(IntEnum):
    """OUT and IN: the direction of the SYN or FIN that led to the state, seen from inside.

    REOPENING is named after the FIN that came before its SYN.
    """

    OPENING_OUT = 0
    OPENING_IN = 1
    ESTABLISHED = 2
    HALF_CLOSED_OUT = 3
    HALF_CLOSED_IN = 4
    CLOSED = 5
    RESET = 6
    REFUSED = 7
    ANSWERED = 8
    REOPENING_OUT = 9
    REOPENING_IN = 10


# Plain names, and tuples instead of sets: a look-up on an enum class, or the hash of a member, for
# every segment would be felt.
_OPENING_OUT, _OPENING_IN, _ESTABLISHED, _FIN_OUT, _FIN_IN, _CLOSED, _RESET, _REFUSED, \
    _ANSWERED, _REOPENING_OUT, _REOPENING_IN = TcpState  # fmt: skip

_HALF_CLOSED = (_FIN_OUT, _FIN_IN)
_REOPENING = (_REOPENING_OUT, _REOPENING_IN)
_CLOSED_BY_OUT = (_FIN_IN, _REOPENING_IN)
_CLOSED_BY_IN = (_FIN_OUT, _REOPENING_OUT)
#: In these states a segment without SYN, FIN or RST changes nothing: the fast path may take it.
STEADY = (_ESTABLISHED, *_HALF_CLOSED, *_REOPENING)
OVER = (_CLOSED, _RESET, _REFUSED)
#: In these, packets from outside do not keep a session: any host could send them without end.
NOT_KEPT_FROM_OUTSIDE = (*OVER, _OPENING_OUT, _OPENING_IN, _ANSWERED)


def follow(state: TcpState, flags: int, outbound: bool) -> TcpState:
    """The state after a segment with these flags has passed in this direction."""
    if flags & RST:
        if state in (_OPENING_OUT, _OPENING_IN, _ANSWERED):
            return _REFUSED
        return state if state in (_CLOSED, _REFUSED) else _RESET
    if flags & SYN:
        if state in OVER and not flags & ACK:
            return _OPENING_OUT if outbound else _OPENING_IN
        if state is _OPENING_OUT and not outbound:
            return _ESTABLISHED
        if state is _OPENING_IN and outbound:
            return _ANSWERED
        if state in _HALF_CLOSED and not flags & ACK:
            return _REOPENING_OUT if state is _FIN_OUT else _REOPENING_IN
        if state in _REOPENING and flags & ACK:
            return _ESTABLISHED
    elif flags & FIN:
        if state in (_CLOSED_BY_OUT if outbound else _CLOSED_BY_IN):
            return _CLOSED
        if state in (_ESTABLISHED, _RESET, _ANSWERED):
            return _FIN_OUT if outbound else _FIN_IN
    elif state is _RESET or (state is _REFUSED and outbound):
        return _ESTABLISHED
    if state is _ANSWERED and flags & ACK and not outbound:
        return _ESTABLISHED
    return state
