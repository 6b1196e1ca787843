"""What a bundle gets in addition for phones and for Triton."""
