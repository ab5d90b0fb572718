"""STUN: a server that tells a host which endpoint it has outside, and the messages for it.

Theory of operation (RFC 8489, RFC 5780)
----------------------------------------
A host behind a NAPT sends a Binding request. The server answers with the endpoint from which the
request came: that of the NAPT's mapping.

    10.0.0.7:5000 ── napt_a ── 24.9.3.7:40001 ──▶ "who am I?"            198.51.100.2:3478
    10.0.0.7:5000 ◀── napt_a ── 24.9.3.7:40001 ── "24.9.3.7:40001"       198.51.100.2:3478

A server with two addresses answers two more questions. Towards another address, do I have the same
endpoint (mapping)? Can a host to which I have sent nothing reach me there (filtering)? For that a
client asks the server to answer from its other address or port.

    stun_message.py      STUN messages as bytes, and back; servers/turn uses them as well
    attributes.py        the values inside messages
    reply_budget.py      how much is sent to addresses that may be forged
    binding.py           the answer to a Binding request: no sockets, no clock
    __main__.py          the sockets (UDP and TCP), and the command line

Not here: TLS, DTLS, and credentials (a Binding request needs none).
"""
