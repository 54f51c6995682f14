"""Live runs: sources that fail and come back, predictions on time, and the outputs that they go to."""
