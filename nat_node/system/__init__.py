"""How the translator talks to the machine: waiting, TUN devices, routing, netlink, stdout."""
