"""Programs that run before anything is installed, and install what is missing."""
