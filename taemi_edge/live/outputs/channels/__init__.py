"""The channels of a run: recorded as MCAP, and served to Foxglove."""
