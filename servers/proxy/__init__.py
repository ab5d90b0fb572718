"""The explicit and the transparent proxy."""
