"""A TURN server: a relay that a host behind a NAPT rents by the minute.

Theory of operation (RFC 8656, RFC 6062, RFC 8489)
--------------------------------------------------
A client sends the server an Allocate request. The server opens a *relayed transport address*
on itself and keeps it for the client's *5-tuple*: that pair is an *allocation*. Peers send to
the relayed transport address, and what they send arrives at the client through the
connection the client itself opened, which is why it works through any NAPT:

     client ---- 5-tuple ---- server [relayed transport address] ---- peer

Nothing is relayed for a peer address without a *permission*. Data travels in Send and Data
indications, or behind four bytes of header once a *channel* is bound to the peer. With a TCP
allocation (RFC 6062) every peer gets a TCP connection of its own, to which the client joins
a *data connection*; from then on the server only passes bytes.

    stun.py          messages as bytes and back           framing.py      messages in a stream
    attributes.py    values inside messages               refusal.py      error responses
    credentials.py   who may ask                          policy.py       to whom we relay
    quota.py         how much, and for whom               deadlines.py    what ends when
    allocation.py    relayed transport addresses          reservation.py  ports held back
    permission.py    which peers may                      channel.py      4 bytes instead of 36
    indications.py   data without a channel               connection.py   TCP (RFC 6062)
    request.py       a request on its way                 actions.py      what is to be done
    server.py        the state machine: all of the above
    relays.py, streams.py, node.py                        sockets: the only files with I/O
    client/          the other half of the conversation

The state machine does no I/O and reads no clock: each call brings the time `now` (seconds on
any monotonic clock) and leaves *actions* to perform.

Not here: TLS and DTLS, relaying IPv6 (440), DONT-FRAGMENT (420), ICMP in Data indications
(RFC 8656, section 11.5), mobility (RFC 8016), and the SOFTWARE attribute.
"""
