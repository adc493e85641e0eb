"""Frozen values that every part of a lattice shares: no I/O, no clock, no randomness."""
