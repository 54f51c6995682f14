"""Rewrites ONNX graphs so that ONNX Runtime computes the same values on a processor in fewer steps."""
