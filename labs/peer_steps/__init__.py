"""What levels share about two peers that pass a file: how they start, and the way it takes."""
