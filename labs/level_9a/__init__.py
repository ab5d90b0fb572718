"""Level 9a: P2P networking via public server."""
