"""When a TCP connection is over: the state machine of RFC 7857, section 2.1.

A translator sees the segments of both directions but is no endpoint. It follows just enough of
the connection to know how long silence may last:

               SYN              SYN back               FIN one way         FIN other way
    (nothing) ─────▶ OPENING ─────────────▶ ESTABLISHED ──────────▶ HALF_CLOSED ─────────▶ CLOSED
                   transitory time         established time        established time     closing hold

A connection from outside is ANSWERED between the inside's SYN-ACK and the caller's ACK, and no
more than opening for so long (RFC 5382, section 5): else one forged SYN, which a server inside
answers, would be an established connection for hours.

A RST goes to RESET. That is not the end yet: a RST can be forged, or be refused by the endpoints
for its sequence number, so a connection on which data still flows comes back to life (RFC 7857,
section 2.2). One that was never established is REFUSED by a RST, and comes to life only if the
inside goes on as if there had been none. CLOSED, RESET and REFUSED last for the closing hold, so
that the last ACK and repeated FINs still get through. A SYN in any of them begins a new
connection.
"""

from __future__ import annotations

from enum import IntEnum

FIN, SYN, RST, ACK = 0x01, 0x02, 0x04, 0x10
CONTROL = FIN | SYN | RST
"""What a segment carries that begins or ends a connection."""


class TcpState(IntEnum):
    """Named from the translator's point of view; the direction that opened is kept apart."""

    OPENING_OUT = 0
    OPENING_IN = 1
    ESTABLISHED = 2
    HALF_CLOSED_OUT = 3
    HALF_CLOSED_IN = 4
    CLOSED = 5
    RESET = 6
    REFUSED = 7
    ANSWERED = 8


# Plain names, and tuples instead of sets: a look-up on an enum class, or the hash of a member, for
# every segment would be felt.
_OPENING_OUT, _OPENING_IN, _ESTABLISHED, _FIN_OUT, _FIN_IN, _CLOSED, _RESET, _REFUSED, \
    _ANSWERED = TcpState  # fmt: skip

#: In these states a segment without SYN, FIN or RST changes nothing: the fast path may take it.
STEADY = (TcpState.ESTABLISHED, TcpState.HALF_CLOSED_OUT, TcpState.HALF_CLOSED_IN)
OVER = (TcpState.CLOSED, TcpState.RESET, TcpState.REFUSED)
#: In these, what comes from outside keeps nothing alive: anyone could send it for ever.
NOT_KEPT_FROM_OUTSIDE = (*OVER, TcpState.OPENING_OUT, TcpState.OPENING_IN, TcpState.ANSWERED)


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
    elif flags & FIN:
        if state is (_FIN_IN if outbound else _FIN_OUT):
            return _CLOSED
        if state in (_ESTABLISHED, _RESET, _ANSWERED):
            return _FIN_OUT if outbound else _FIN_IN
    elif state is _RESET or (state is _REFUSED and outbound):
        return _ESTABLISHED
    if state is _ANSWERED and flags & ACK and not outbound:
        return _ESTABLISHED
    return state
