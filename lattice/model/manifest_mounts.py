"""The fields of a manifest that say which arguments and directories a part sees."""

from __future__ import annotations

from lattice.model import quantity
from lattice.model.ids import NAME_LENGTH_MAX, name_fault
from lattice.model.mounts import PATH_LENGTH_MAX, Mount, mounts_fault, path_fault
from lattice.model.scalar import Choice, Quantity, Text
from lattice.model.schema import Field, ListOf, Object

ARGUMENTS_MAX = 256
"""Arguments of one part, of 4096 characters each: a guest copies all of them into its memory."""

MOUNTS_MAX = 16
"""Granted directories of one part: a guest opens all of them when it starts."""

_SCRATCH = Quantity(
    parse=quantity.parse_size,
    format=quantity.format_size,
    pattern=quantity.SIZE_PATTERN,
    minimum=0,
    maximum=1 << 44,
    plain="integer",
)
_MOUNT = Object(
    make=Mount,
    blank=Mount(grant="", path=""),
    fields=(
        Field(
            "grant",
            Text(
                pattern=r"[a-z0-9]([a-z0-9\-]*[a-z0-9])?",
                length_max=NAME_LENGTH_MAX,
                check=name_fault,
            ),
            "name under which hosts grant the directory",
            is_required=True,
        ),
        Field(
            "path",
            Text(pattern=r"(/[^/]+)+", length_max=PATH_LENGTH_MAX, check=path_fault),
            "where the guest sees it",
            is_required=True,
        ),
        Field("access", Choice(options=("ro", "rw")), "reading only, or writing too"),
    ),
)

MOUNT_FIELDS = (
    Field(
        "args",
        ListOf(item=Text(), maximum=ARGUMENTS_MAX),
        "arguments of the guest, after its name",
    ),
    Field(
        "scratch",
        _SCRATCH,
        "size of a directory of its own at /scratch, gone with the replica; 0 for none",
        "scratch_bytes",
    ),
    Field(
        "directories",
        ListOf(item=_MOUNT, maximum=MOUNTS_MAX, check=mounts_fault),
        "directories that its host grants",
    ),
)
