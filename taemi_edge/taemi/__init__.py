"""The TAEMI model (arXiv 2603.14976): its network, checkpoints, data, training and ablations."""
