"""Which labs there are."""
