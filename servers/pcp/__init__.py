"""A PCP client (RFC 6887): ask this PC's NAPT for an explicit rule, as programs do.

    pcp map tcp 8080                a rule for this PC's TCP port 8080
    pcp map tcp 8080 --keep         … renewed in time, deleted at Ctrl-C
    pcp delete tcp 8080 --nonce …   its owner takes it back
    pcp announce                    does the NAPT listen, and since when?

Theory of operation
-------------------
The NAPT is the default gateway. One datagram asks and one answers; the answer is believed if it
comes from the NAPT and repeats our nonce, protocol and port. What is not answered is sent again
after about 3 s, 6 s, … with the same nonce, so that it does not matter which of them was lost.

The rule is for a lifetime only. `--keep` asks again after half of it, with the endpoint that was
assigned: a NAPT that has forgotten everything then gives the same one again, if it is free. Such
a NAPT says so itself, to every host on its inside: its epoch has gone back to 0.

messages.py has the bytes, client.py asks, keeping.py asks again.
"""
