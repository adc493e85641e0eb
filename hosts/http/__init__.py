"""HTTP in and out of guests: the server, the road into a guest, and the road out."""
