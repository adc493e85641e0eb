"""Decides what runs where, and drives the lattice towards it."""
