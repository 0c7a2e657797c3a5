"""Slices of counters -> e-values -> a verdict. Pure: no clock, no files, no randomness."""
