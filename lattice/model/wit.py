"""Names of WIT interfaces and functions, and when one version stands for another.

`ns:pkg/iface@1.2.3` names an interface; a function at the root of a component has the interface
name `""`. Versions match by *semver track* (component model, canonical interface names): `1.x`
is one track, `0.2.x` is one, and every pre-release stands alone.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

ROOT = ""
"""The interface name of functions that a component exports at its root."""

_NAME = re.compile(
    r"(?P<base>[a-z0-9-]+(?::[a-z0-9-]+)+(?:/[a-z0-9-]+)+)(?:@(?P<version>[0-9A-Za-z.+-]+))?"
)
_VERSION = re.compile(r"(\d+)(?:\.(\d+))?(?:\.(\d+))?(?P<rest>[-+].*)?")


@dataclass(frozen=True, slots=True)
class InterfaceName:
    """An interface `base` (`ns:pkg/iface`) with its version, `""` when it has none."""

    base: str
    version: str = ""

    def __str__(self) -> str:
        return f"{self.base}@{self.version}" if self.version else self.base

    @property
    def track(self) -> str:
        """Return the semver track: versions of one track are compatible; `""` without a version.

        `1.4.2` -> `1`, `0.2.12` -> `0.2`, `0.0.3` -> `0.0.3`, `0.2.0-rc.1` -> itself.
        """
        return track(self.version)

    @property
    def key(self) -> str:
        """Return the name by which compatible interfaces are equal: base and track."""
        return f"{self.base}@{self.track}" if self.version else self.base


def track(version: str) -> str:
    """Return the semver track of a version (see `InterfaceName.track`)."""
    match = _VERSION.fullmatch(version)
    if match is None or match["rest"]:
        return version
    major, minor, patch = (match[i] for i in (1, 2, 3))
    if major != "0" or minor is None:
        return major
    if minor != "0" or patch is None:
        return f"0.{minor}"
    return f"0.0.{patch}"


def interface_key(name: str) -> str:
    """Return base and track of an import or export name as a component writes it.

    Names that are no interface names (plain root functions) stand for themselves.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        return name
    return InterfaceName(match["base"], match["version"] or "").key


def wanted_matches(wanted: str, offered: str) -> bool:
    """Tell whether an interface that a person wrote names an offered one.

    A wanted name without a version matches any version; with one, the tracks must be equal.
    """
    if wanted == offered:
        return True
    if "@" not in wanted:
        return interface_key(offered).partition("@")[0] == wanted
    return interface_key(wanted) == interface_key(offered)


def interface_fits(wanted: str | None, offered: str) -> bool:
    """Tell whether an interface means an offered one; None means any.

    It may be written without its version, and without its package.
    """
    if wanted is None:
        return True
    if ROOT in (wanted, offered):
        return wanted == offered
    if wanted_matches(wanted, offered):
        return True
    # `query` or `query@0.1.0` stands for `docs:search/query@0.1.0`.
    short = offered.rpartition("/")[2]
    return ":" not in wanted and wanted in (short, short.partition("@")[0])


def split_operation(text: str) -> tuple[str | None, str]:
    """Split `iface#func` or `func` into interface (None when not given) and function."""
    interface, hash_mark, function = text.rpartition("#")
    return (interface if hash_mark else None), function
