"""Synthetic data for TAEMI: drawn faces, espeak-ng voices, and features with known structure."""
