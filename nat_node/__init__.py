"""A NAPT (network address and port translator), RFC 3022, written to be read.

Four words
----------
    endpoint  an address and a port. Internal: of a PC inside. External: ours, outside. Remote:
              of whoever the PC talks to.
    mapping   "while it lives, the internal endpoint 10.0.0.7:40000 is known outside as
              24.9.3.7:1025". The course calls it a NAPT rule, and so do the screen and the
              methods of the table.
    session   one remote endpoint's use of a mapping. Where mapping is address-and-port-dependent
              there is one session to a mapping, else there may be many.
    flow      one direction of a session, ready to be applied without thinking.

Follow one packet
-----------------
The PC 10.0.0.7 sends a SYN to 151.101.1.69:80. The NAPT's kernel receives it on lan0, and a
policy rule (`routing`) sends it to the device nat-in.

1. `node.Node._drain` reads it. `flow_cache.Flows.forward` does not know its flow and would not
   take a SYN, so `Node._think` hands it to `translator.Translator.receive`.
2. `packet.Packet` reads the headers. `Translator._outbound` looks for its session: none.
   `table.Table.make_rule` makes a mapping on a port that `ports.PortPool.choose` found free,
   `Table.open` a session; `deadlines.Deadlines.schedule` remembers when to look again.
3. `Packet.rewrite_source` writes 24.9.3.7 and the new port, and carries the difference into
   every checksum (`checksum.update`).
4. `Node._think` gives one hop back and writes the packet to nat-in. The kernel sends it on.
5. The answer comes up through nat-out. `Translator._inbound` and `_deliver` find the session by
   `Table.incoming` and put 10.0.0.7:40000 back; `tcp_state.follow` sees it established.
6. After the handshake `FlowCache.learn` keeps both directions: 12 bytes to find, 12 to write.

What to read
------------
First, what a NAPT is:

    behavior.py    endpoint-independent, address-dependent, address-and-port-dependent
    mapping.py     a rule and the sessions that use it
    translator.py  what happens to one packet: `_outbound`, `_inbound`, `_deliver`

then how it is kept:

    table.py       all rules, found from the inside and from the outside
    ports.py       which external port a new rule gets
    tcp_state.py   when a TCP connection is over
    deadlines.py   when an unused session must go
    lease.py       an explicit rule that a program asked for, for a time
    settings.py    the behavior of one NAPT
    verdict.py     why a packet was dropped

and then the rest of the world:

    packet.py, checksum.py     the headers, and how a field is rewritten with its checksums
    icmp_errors.py, icmp.py    errors about translated packets; pings to ourselves, refusals
    unsolicited.py             SYNs that nobody asked for, and what their senders are told
    half_open.py               how many strangers may wait for an answer
    fragments.py               packets in pieces
    identification.py          whose numbers keep pieces apart
    flow_cache.py              the fast path
    port_control/              programs ask for rules: PCP and NAT-PMP
    events.py, report.py       what those who watch are told
    memory.py, restore.py      what is left of the table when the translator is killed

None of these does I/O or reads a clock: the time comes in as `now`. The rest does: `tun` (the
devices), `kernel_datapath`, `map_counters` and `next_hops` (flows that the kernel carries, where
speed is asked for), `netlink` (how one asks the kernel), `port_control/listener` (a socket),
`routing` (how the kernel is told to use them), `control` (rules from outside), `node` (the loop
that joins all), `keeper` (who starts it again when it dies), `state_file` (where its memory is),
`announce` (what it says), and `startup`, `client`, `__main__` (the command line). `student/` runs
somebody else's translator in this one's place, and `kernel_nat/` answers for the kernel's.
"""
