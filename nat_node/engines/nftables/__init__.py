"""Control of the kernel's own NAT: the same socket, the same words, another translator behind it.

Where a topology says `engine: nftables`, no packet comes to Python. The kernel's connection
tracking does what nat_node's table does, and tells about it:

    conntrack.py   its sessions: listed, ended, and told of as they come and go (ctnetlink)
    packet_log.py  the packets that a rule of nftables logs before it drops them (nflog)
    firewall.py    a program that reports what a gateway's firewall drops
    nftables_engine.py  the control socket's answers, made of these and of nftables' maps

A session of the kernel's is listed as a rule of its own, for its mapping is address-and-port-
dependent. Explicit rules stand in two maps of the table `napt`, which topologies/spec/kernel_nat.py
writes.
"""
