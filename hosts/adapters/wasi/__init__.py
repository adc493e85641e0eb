"""The standard interfaces of WASI 0.2 as a component; see `adapter.c` and `wit/host.wit`."""
