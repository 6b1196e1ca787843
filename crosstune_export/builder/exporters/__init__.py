"""Exporters of the backbone: torch, optimum, or an existing ONNX file."""
