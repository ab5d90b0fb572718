"""Programs of two peers behind NAPTs that have no explicit rule and want no relay.

    stun_client.py   which endpoint do I have outside? (RFC 8489)                          `stun`
    meeting.py       two peers tell each other their endpoints, at a relay
    punch.py         UDP hole punching (RFC 5128, section 3.3)                             `punch`
    hole.py          what is sent through the hole: keep-alives, a file
    tcp_punch.py     the same with TCP: simultaneous open (RFC 5128, section 3.4)      `tcp-punch`

Read them in this order. sockets.py and options.py have what they share.
"""
