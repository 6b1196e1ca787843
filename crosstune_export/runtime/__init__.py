"""What runs a bundle: numpy, onnxruntime and tokenizers, nothing else."""
