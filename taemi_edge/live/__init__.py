"""Live video: sources that die and come back, hops on one session clock, and where their predictions go."""
