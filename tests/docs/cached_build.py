"""`componentize-py` for the pages: builds a guest once, and hands out the same file after that.

The key is what the build depends on: the version, the arguments, and the sources below the working
directory. Anything but a plain build is passed on.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

CACHE = Path(__file__).parents[2] / ".build" / "docs"
SUFFIXES = (".py", ".wit")


def main(arguments: list[str]) -> int:
    """Build, or copy what was built; return the status of the build."""
    program = str(Path(sysconfig.get_path("scripts")) / "componentize-py")
    if "componentize" not in arguments or "-o" not in arguments:
        return subprocess.run([program, *arguments], check=False).returncode
    target = Path(arguments[arguments.index("-o") + 1])
    built = CACHE / f"{_key(arguments)}.wasm"
    if not built.exists():
        status = subprocess.run([program, *arguments], check=False).returncode
        if status:
            return status
        CACHE.mkdir(parents=True, exist_ok=True)
        unfinished = CACHE / f"unfinished-{os.getpid()}"
        shutil.copyfile(target, unfinished)
        unfinished.replace(built)
    else:
        shutil.copyfile(built, target)
        sys.stdout.write("Component built successfully\n")
    return 0


def _key(arguments: list[str]) -> str:
    digest = hashlib.sha256(importlib.metadata.version("componentize-py").encode())
    digest.update("\0".join(arguments).encode())
    for path in sorted(Path().rglob("*")):
        if path.suffix in SUFFIXES:
            digest.update(f"{path}\0".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
