"""Level 9e: STUN and UDP hole punching."""
