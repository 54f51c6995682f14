"""Exporting PyTorch modules to ONNX, and checking the graphs."""
