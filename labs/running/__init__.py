"""Run a lab, a check, a prompt or one command from beginning to end."""
