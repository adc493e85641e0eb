"""What a component binary says about itself, read without compiling or running anything."""
