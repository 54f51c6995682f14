"""Comparing what runs anywhere with the PyTorch outputs recorded at export."""
