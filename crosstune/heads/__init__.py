"""Label attention heads and how they are fitted."""
