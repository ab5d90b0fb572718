"""What runs before anything is installed: it installs what is missing."""
