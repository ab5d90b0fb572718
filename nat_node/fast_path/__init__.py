"""Packets of known flows, translated without going through the translator."""
