"""What guests reach of a network: granted, bounded, and a loopback of their own (wasi:sockets)."""
