"""Fuzzing of everything that reads what others wrote: `make fuzz`. docs/evidence/fuzzing.md says how to use it."""
