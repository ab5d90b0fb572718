"""The pytest plugin."""

SENDER = "napt_lab_sender"  # the plugin that pytest has only in a test's sandbox
