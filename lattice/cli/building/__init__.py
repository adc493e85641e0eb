"""From the sources of a project to components: what `lattice build` and `lattice dev` share."""
