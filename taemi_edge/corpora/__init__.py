"""Labelled clips: reading them, storing their features, and evaluating a model on them."""
