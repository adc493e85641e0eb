"""`lattice label host`: change the labels of a running host."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from cyclopts import Parameter

from lattice.cli.options import DEFAULT, Options, client_of, label_pairs
from lattice.cli.output import print_json, text_of
from lattice.model.labels import key_fault


def split_changes(words: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Return labels to set (`zone=eu`) and keys to remove (`zone-`).

    Raises:
        ValueError: a word is neither, or its key is malformed.
    """
    removed = [word[:-1] for word in words if word.endswith("-") and "=" not in word]
    for key in removed:
        if fault := key_fault(key):
            raise ValueError(fault)
    return label_pairs([w for w in words if "=" in w or not w.endswith("-")]), removed


def _check(_: object, words: str | Sequence[str]) -> None:
    split_changes((words,) if isinstance(words, str) else words)


async def host_(
    host: str,
    /,
    change: Annotated[str, Parameter(validator=_check)],
    *changes: Annotated[str, Parameter(validator=_check)],
    options: Options = DEFAULT,
) -> None:
    """Change the labels of a running host.

    The scheduler looks again at all replicas that the change concerns.

    Parameters
    ----------
    host
        Name or id of the host.
    change
        zone=eu sets a label, zone- removes it.
    changes
        Further ones.
    """
    set_labels, removed = split_changes((change, *changes))
    async with client_of(options) as client:
        labels = await client.label_host(
            await client.find_host(host), set_labels=set_labels, remove=removed
        )
    if options.is_json:
        print_json({"host": host, "labels": labels})
    else:
        print(f"{host}: {text_of(labels)}")
