"""Building engines for a target: planning, compiling, choosing precisions, verifying and caching."""
