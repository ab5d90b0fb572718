"""Level 8: proxy, transparent proxy, NAPT, the life of its rules, and how many there can be."""
