"""A bundle as a model repository that Triton serves."""
