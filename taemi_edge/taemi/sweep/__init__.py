"""Sweeps: a recipe is trained with many settings and seeds, and the validation split says which setting is best."""
