"""What outlives a killed translator: its rules and sessions, kept in a file."""
