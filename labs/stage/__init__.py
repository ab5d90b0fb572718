"""What a lab is made of, and how it is played."""
