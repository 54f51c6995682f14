"""Live runs: sources that fail and come back, hops on one session clock, and where their predictions go."""
