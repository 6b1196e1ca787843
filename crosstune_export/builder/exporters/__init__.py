"""Where the graph comes from: torch, optimum, or an ONNX file that is there already."""
