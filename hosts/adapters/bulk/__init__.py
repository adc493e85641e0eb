"""The shim that carries `list<u8>` between host and guest as strings, as component text.

`hosts.engine.bulk` wraps components with it.
"""
