"""The adapter that gives guests `wasi:http` besides WASI, and the driver around both: in C."""
