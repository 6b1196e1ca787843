"""From hidden states to the features that a head reads, and the cache that keeps them."""
