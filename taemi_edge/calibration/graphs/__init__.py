"""Rewriting ONNX graphs: ranges, SmoothQuant, Q/DQ and FP16."""
