"""Fuzzing of everything that reads what others wrote: `make fuzz`. docs/fuzzing.md says how to use it."""
