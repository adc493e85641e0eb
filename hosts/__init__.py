"""A process that joins a lattice and runs components."""
