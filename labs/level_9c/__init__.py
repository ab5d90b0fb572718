"""Level 9c: P2P networking via explicit NAPT rules (port forwarding)."""
