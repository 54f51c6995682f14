"""Runs engines with TensorRT on a GPU, with features kept on the device and hops captured as CUDA graphs."""
