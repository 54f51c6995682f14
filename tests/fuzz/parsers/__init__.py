"""The parsers that are fuzzed: each module has a tuple HARNESSES."""
