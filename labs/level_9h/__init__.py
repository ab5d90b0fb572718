"""Level 9h: a NAPT behind a NAPT (carrier-grade NAT)."""
