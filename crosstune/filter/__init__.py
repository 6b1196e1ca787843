"""The noise filter (the "switch" of the paper): which generated texts to learn from."""
