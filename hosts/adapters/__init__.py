"""Components that the engine puts around guests, with their sources."""
