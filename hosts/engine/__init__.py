"""Compiles and runs components: the only package that knows wasmtime."""
