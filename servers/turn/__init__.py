"""A TURN server: a relay on which a host behind a NAPT gets an address for some minutes.

Theory of operation (RFC 8656, RFC 6062, RFC 8489)
--------------------------------------------------
A client sends the server an Allocate request. The server opens a *relayed transport address*
on itself and keeps it for the client's *5-tuple*: that pair is an *allocation*. Peers send to
the relayed transport address. Their data arrives at the client through the mapping that the
client itself opened, so it passes any NAPT:

     client ---- 5-tuple ---- server [relayed transport address] ---- peer

Nothing is relayed for a peer address without a *permission*. Data travels in Send and Data
indications, or behind four bytes of header once a *channel* is bound to the peer. With a TCP
allocation (RFC 6062) every peer has a TCP connection of its own, and the client joins a *data
connection* to it; from then on the server only passes bytes.

STUN's messages, the values inside them and the budget for replies are in servers/stun. Each file
here imports only from files that stand above it; read it in this order:

  bytes
    framing.py           messages in a TCP stream
    opaque_string.py     usernames, realms and passwords as text that compares equal
    error_response.py    how a check refuses a request
    credentials.py       which clients are served
  model
    request.py           a request, and the responses to it
    quota.py             how much is relayed, for each user and each client
    policy.py            which peers are relayed to
    allocation.py        an allocation with its permissions, channels and connections
    expirations.py       when each of them expires
    reservation.py       ports held back
    actions.py           what the state machine wants done
  state
    turn_state.py        all that one server holds
  handlers
    allocate.py          Allocate, Refresh
    create_permission.py CreatePermission
    channel_bind.py      ChannelBind: 4 bytes of header instead of 36
    connect.py           Connect, ConnectionBind (RFC 6062)
    indications.py       Send, Data: data without a channel
    turn_server.py       the steps of every request, and what expires
  sockets
    hub.py               what the sockets share and report to
    relayed_addresses.py relayed transport addresses
    control_stream.py    TCP connections from clients
    sockets.py           the loop that performs the actions
    __main__.py          the command line

Above `sockets` nothing does I/O or reads a clock: each call brings the time `now` (seconds on
any monotonic clock) and leaves *actions* to perform. `client/` is the other half of the
conversation.

Not here: TLS and DTLS, relaying IPv6 (440), DONT-FRAGMENT (420), ICMP in Data indications
(RFC 8656, section 11.5), mobility (RFC 8016), and the SOFTWARE attribute.
"""
