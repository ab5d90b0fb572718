"""How the translator talks to the machine: TUN devices, routing, netlink, stdout."""
