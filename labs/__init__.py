"""The labs: levels, exercises, checks, and the programs that run and show them."""
