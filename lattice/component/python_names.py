"""Names in Python for names of WIT: what is a keyword, or means something else there, gets a `_`.

Names of WIT that differ also differ here, since WIT tells no two names apart by upper case alone.
"""

from __future__ import annotations

import keyword

MEMBERS_TAKEN = frozenset(
    {
        "bool", "bytes", "dataclass", "dict", "enum", "float", "int", "list", "self", "str",
        "tuple", "typed",
    }
)  # fmt: skip
"""Names that a generated class refers to: a member of that name would hide them."""

CLASSES_TAKEN = frozenset({"ClassVar", "Final", "False", "Literal", "None", "True", "TypeAlias"})
"""Names that a generated module refers to or Python keeps, among those written as classes are."""


def member_name(name: str) -> str:
    """Return the name of a function, parameter or field: `content-type` is `content_type`."""
    snake = name.replace("-", "_").lower()
    return f"{snake}_" if keyword.iskeyword(snake) or snake in MEMBERS_TAKEN else snake


def constant_name(name: str) -> str:
    """Return the name of an enum's case or a flag: `read-only` is `READ_ONLY`."""
    return name.replace("-", "_").upper()


def class_name(name: str) -> str:
    """Return a name as classes are written: `form-part` is `FormPart`."""
    return "".join(word[:1].upper() + word[1:] for word in name.split("-"))


def interface_plain_name(interface: str) -> str:
    """Return the last part of an interface's name without its version, `root` for the root."""
    return interface.partition("@")[0].rpartition("/")[2].rpartition(":")[2] or "root"


def interface_class_names(interface: str) -> tuple[str, str]:
    """Return the class name wished for an interface, and a longer one with its package."""
    plain = class_name(interface_plain_name(interface))
    package = interface.partition("/")[0].rpartition(":")[2]
    return plain, f"{class_name(package)}{plain}"


class Allocator:
    """Gives each thing of a module a name of its own, in the order of asking."""

    def __init__(self, taken: frozenset[str] = frozenset()) -> None:
        self._taken = set(taken)

    def take(self, *wishes: str) -> str:
        """Return the first wish that is free, or else the last one with a number."""
        for wish in wishes:
            if wish not in self._taken:
                self._taken.add(wish)
                return wish
        number = 2
        while f"{wishes[-1]}{number}" in self._taken:
            number += 1
        return self.take(f"{wishes[-1]}{number}")
