"""The frozen backbone: its files, its tokenizer, and hidden states of texts."""
