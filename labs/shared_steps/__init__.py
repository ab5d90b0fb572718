"""What several levels type, and what counts as evidence there: levels share by this room."""
