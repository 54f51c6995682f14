"""Timing a bundle beside PyTorch and ONNX Runtime, each contender in a process of its own."""
