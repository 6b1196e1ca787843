"""Runs a bundle with numpy, onnxruntime and tokenizers only."""
