"""Flows that the kernel carries (`datapath: kernel`)."""
