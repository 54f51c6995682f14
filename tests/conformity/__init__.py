"""Holds the project's own source against NVIDIA's real bindings, without a GPU."""
