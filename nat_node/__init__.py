"""A NAPT (network address and port translator), RFC 3022, written to be read.

Four words
----------
    endpoint  an address and a port. Internal: of a PC inside. External: ours, outside. Remote: of
              the host that the PC talks to.
    mapping   "while it lives, the internal endpoint 10.0.0.7:40000 is known outside as
              24.9.3.7:1025". The course calls it a NAPT rule; on screen it is a rule.
    session   one remote endpoint's use of a mapping. Where mapping is address-and-port-dependent,
              a mapping has one session, else it may have many.
    flow      one direction of a session, ready to be applied to the next packet.

Read first: one page
--------------------
    one_page.py    a whole NAPT: two dictionaries, and what happens to one packet

Read then: the core
-------------------
The same NAPT, as the RFCs want it. `core/` does no I/O, reads no clock (the time comes in as
`now`) and takes its random numbers from outside. Each file adds one thing to the page before:

    behavior.py        the three mapping and filtering behaviors, as one small function
    mapping.py         a rule and its sessions, which were one thing on the page
    translator.py      what happens to one packet: `_outbound`, `_inbound`, `_deliver`
    table.py           the two dictionaries, and one more for the sessions
    external_ports.py  which external port leads to which rule, and which is free; ports.py chooses
    pooling.py         several external addresses, and blocks of ports for each inside host
    sessions.py        how sessions begin, go on and end, and their limits; half_open.py
    tcp_state.py       when a TCP connection is over; deadlines.py, when an unused session ends
    explicit_rules.py  port forwarding; lease.py, a rule that a program asked for, for a time
    settings.py        what one NAPT's owner can choose
    verdict.py         why a packet was dropped; events.py and watchers.py, who is told
    packet.py          the headers; checksum.py, how a field changes together with its checksums
    icmp_errors.py     errors about translated packets; icmp.py, pings to us, and refusals
    unsolicited.py     SYNs that no rule admits, and what their senders are told
    fragments.py       packets in pieces; identification.py, how the pieces are kept apart

Read last: the rest
-------------------
    fast_path/         packets of known flows, without asking the translator again
    persistence/       what is left of the table when the translator is killed, and its restart
    offload/           flows that the kernel carries, where speed is asked for
    port_control/      programs ask for rules: PCP and NAT-PMP
    control/           the control socket: one protocol for all engines, its client, the reports
    system/            waiting, TUN devices, routing, netlink, standard output
    engines/           the loops: our translator's, the kernel's NAT (nftables), a student's file
    student/           what a student's file imports
    startup.py, __main__.py    the command line

Follow one packet
-----------------
The PC 10.0.0.7 sends a SYN to 151.101.1.69:80. The NAPT's kernel receives it on lan0, and a
policy rule (system/routing.py) sends it to the device nat-in.

1. `python_engine.Node._drain` reads it. `flow_cache.Flows.forward` does not know its flow and
   takes no SYN, so `Node._slow_path` hands it to `translator.Translator.receive`.
2. `packet.Packet` reads the headers. `Translator._outbound` looks for its session: there is none.
   `sessions.Sessions.begin` makes a mapping on a port that `external_ports.ExternalPorts.choose`
   finds free, and a session; `deadlines.Deadlines.schedule` notes when to look again.
3. `Packet.rewrite_source` writes 24.9.3.7 and the new port, and carries the difference into every
   checksum (`checksum.update`).
4. `Node._send` gives one hop back and writes the packet to nat-in. The kernel sends it on.
5. The answer comes up through nat-out. `Translator._inbound` and `_deliver` find the rule by
   `ExternalPorts.rule` and its session by `table.Table.session`, and put 10.0.0.7:40000 back;
   `tcp_state.follow` sees it established.
6. After the handshake `flow_cache.FlowCache.learn` keeps both directions: 12 bytes to find, 12 to
   write.

docs/one-packet.md tells the same from the command line to the wire and back.
"""
