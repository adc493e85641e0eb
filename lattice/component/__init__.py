"""What a component binary says about itself: imports, exports, types. Nothing is compiled or run."""
