"""`lattice dev`: a project that runs while it is being written."""
