"""Rewriting ONNX graphs: finding ranges, SmoothQuant, Q/DQ pairs and FP16."""
