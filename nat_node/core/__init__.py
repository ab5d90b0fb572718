"""The translator itself: pure, so no I/O, no clock, no chance of its own."""
