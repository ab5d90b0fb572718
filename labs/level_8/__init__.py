"""Level 8: proxy, transparent proxy, NAPT, how its rules begin and end, how many there can be."""
