"""Runs a bundle: sessions and executors, the window of a source, presence, predictions, and runs over files."""
