"""Decide which host runs what: pure, in integers, the same plan for the same input in any order."""
