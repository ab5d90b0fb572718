"""A NAPT (network address and port translator), RFC 3022, written to be read.

Start with `translator.py`: it says what happens to one packet. What it needs has a file each:

    packet.py      the headers, and how a field is rewritten with its checksums
    checksum.py    the Internet checksum, and how to update it without reading the payload
    behavior.py    endpoint-independent, address-dependent, address-and-port-dependent
    mapping.py     a rule (RFC 4787: a mapping) and the sessions that use it
    table.py       all rules, found from the inside and from the outside
    ports.py       which external port a new rule gets
    tcp_state.py   when a TCP connection is over
    icmp_errors.py errors about translated packets
    icmp.py        pings to the NAPT itself, and refusals
    fragments.py   packets in pieces
    deadlines.py   when an unused session must go
    verdict.py     why a packet was dropped
    settings.py    the behavior of one NAPT
    flow_cache.py  the fast path: what is already known needs no thinking

None of these does I/O or reads a clock: the time comes in as `now`. The rest does:

    tun.py         the device through which the kernel hands packets over
    routing.py     how the kernel is told to do so
    control.py     rules listed, added and removed from outside, events streamed
    node.py        the loop that joins them
"""
