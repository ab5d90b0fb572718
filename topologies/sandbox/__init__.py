"""The namespaces in which a run lives, and what a machine needs for them."""
