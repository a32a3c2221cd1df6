"""What a network is: its description, its cost and, with torch, the module."""
