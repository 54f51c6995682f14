"""Exporting PyTorch modules to ONNX and checking what came out."""
