"""How deep plain data is nested: what code that recurses asks before it looks at foreign data."""

from __future__ import annotations

_NESTING = (dict, list)


def is_deeper(plain: object, levels: int) -> bool:
    """Tell whether mappings and lists are nested in more than `levels` levels; does not recurse."""
    if type(plain) is list and levels > 0:
        for child in plain:  # mostly they are plain arguments
            if isinstance(child, _NESTING):
                break
        else:
            return False
    level = [plain]
    for _ in range(levels):
        level = [
            child
            for value in level
            if isinstance(value, _NESTING)
            for child in (value.values() if isinstance(value, dict) else value)
        ]
        if not level:
            return False
    return True
