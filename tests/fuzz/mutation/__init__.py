"""Mutations that keep the structure of an input, where changes of single bytes would only ever meet the first check."""
