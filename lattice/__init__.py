"""What hosts, schedulers and clients of a lattice agree on; `lattice.connect()` is the way in.

    async with lattice.connect() as l:
        await l.apply("docsearch.yaml")
        hits = await l.call("docsearch", "search", ["event loop", 5])

Importing this package imports nothing else: a core stays cheap to load.
"""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["__version__", "connect", "sync"]

if TYPE_CHECKING:
    from lattice.client import connect, sync


def __getattr__(name: str) -> Any:
    """Load `connect` and `sync` at their first use."""
    if name == "connect":
        from lattice.client import connect

        return connect
    if name == "sync":
        from importlib import import_module

        return import_module("lattice.client.sync")
    message = f"module 'lattice' has no attribute {name!r}"
    raise AttributeError(message)
