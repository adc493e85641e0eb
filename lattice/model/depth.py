"""How deep plain data is nested: what code that recurses asks before it looks at foreign data."""

from __future__ import annotations


def is_deeper(plain: object, levels: int) -> bool:
    """Tell whether mappings and lists are nested in more than `levels` levels; does not recurse."""
    level = [plain]
    for _ in range(levels):
        level = [
            child
            for value in level
            if isinstance(value, dict | list)
            for child in (value.values() if isinstance(value, dict) else value)
        ]
        if not level:
            return False
    return True
