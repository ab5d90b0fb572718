"""Level 9b: P2P networking via public proxy/relay/TURN."""
