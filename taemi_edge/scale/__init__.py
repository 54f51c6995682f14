"""Beyond one machine: workers on a Ray cluster, and bundles as model repositories that Triton serves."""
