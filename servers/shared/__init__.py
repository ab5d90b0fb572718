"""What several servers use."""
