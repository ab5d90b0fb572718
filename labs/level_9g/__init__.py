"""Level 9g: a program finds the best way to another by itself (ICE)."""
