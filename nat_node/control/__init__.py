"""The control socket of a NAPT: its server, its client, and what they tell."""
