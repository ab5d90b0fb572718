"""Level 9f: TCP hole punching, by simultaneous open."""
