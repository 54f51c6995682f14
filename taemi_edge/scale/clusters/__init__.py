"""What stands behind `RayWorkers`: reaching a cluster, the actors there, and what each of their nodes must have."""
