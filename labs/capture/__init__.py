"""Packets on the wires: rings, reading, pcapng."""
