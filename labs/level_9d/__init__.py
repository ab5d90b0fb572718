"""Level 9d: P2P networking via rules that a program asks for (PCP, NAT-PMP)."""
