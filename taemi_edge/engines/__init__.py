"""Engines: building a bundle for a target device, choosing the precision of each part, and verifying the result."""
