"""The servers and clients of the labs: each is a program that a node runs."""
