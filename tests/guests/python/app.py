"""A guest that runs the Python it is given; built by `tests.guests.interpreter`."""

import asyncio
import encodings.idna  # noqa: F401 - `socket` looks up names with it, and finds it only if built in
import os
import socket
import sys
import time
import traceback

from componentize_py_types import Err
from wit_world import exports

GIVEN = {
    "asyncio": asyncio, "os": os, "pause": time.sleep, "socket": socket, "sys": sys, "time": time
}  # fmt: skip
"""What the code may use: modules are bound when the guest is built."""


class Interpreter(exports.Interpreter):
    """The exported interface."""

    def run(self, source: str) -> str:
        """Execute statements; what they bind to `result` comes back as text."""
        names = dict(GIVEN)
        try:
            exec(source, names)
        except Exception:  # noqa: BLE001 (whatever it is, the test is to see it)
            raise Err(traceback.format_exc()) from None
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
        return str(names.get("result"))
