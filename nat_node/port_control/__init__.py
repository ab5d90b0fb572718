"""A program asks for its own explicit rule: PCP (RFC 6887) and NAT-PMP (RFC 6886).

Theory of operation
-------------------
A NAPT admits no connection from outside without a rule. The owner can write rules by hand. With
these protocols a PC asks for its own rule, with one datagram to the NAPT's inside address:

    10.0.0.7 ── "TCP, my port 8080, for 3600 s, nonce 51f0…" ──▶ 10.0.0.1:5351
    10.0.0.7 ◀── "24.9.3.7:8080, for 3600 s; I have run for 17 s" ── 10.0.0.1:5351

The internal address is the source of the datagram, so no host can ask for a rule to another one.
The *nonce*, which only the two know, keeps other programs from changing the rule later. The
*lifetime* ends the rule when its program has crashed; a program that needs it longer asks again in
time. The *epoch*, seconds since the NAPT began, jumps back when the NAPT has lost its rules.

Both protocols come to one port; the first byte of a message tells which it is. In reading order:

    pcp.py            PCP's messages: bytes to requests, results to bytes
    nat_pmp.py        those of its older and simpler brother
    leases.py         what a request does to the translator's table: grant, renew, delete, expire
    server.py         one datagram in, one or none out; limits; announcements
    listener.py       the socket (the only file here that does I/O)

Not done, on purpose: PEER (UNSUPP_OPCODE is the answer), THIRD_PARTY (which RFC 6887, section
13.1, forbids where the network is not fully trusted), mappings for all ports or all protocols.
A filter keeps newcomers out; connections that there are when it comes go on. Where a port is held
back after its rule (`port-hold`), it is so for its last owner as well.
"""
