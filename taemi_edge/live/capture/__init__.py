"""Capturing live media: keeps connections to sources, and places what comes on the clock of the session."""
