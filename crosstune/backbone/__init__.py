"""The frozen backbone: loading it, and the hidden states of texts."""
