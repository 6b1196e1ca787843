"""Work with labels: which labels look wrong, and which texts to label next."""
