"""Runs a translator that a student wrote."""
