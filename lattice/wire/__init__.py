"""How values become bytes and names become subjects. No I/O."""
