"""docs/reference/cli.md out of the verbs themselves: `lattice reference > FILE`.

A test holds the file to this text, so that the page cannot tell of options that do not exist.
"""

from __future__ import annotations

import re

from lattice.cli import exits
from lattice.cli.app import build

_SHARED = re.compile(r"\*\*(?:Connection|Output)\*\*:\n\n(?:\*.*\n)+\n?")
_BODY = re.compile(r"^## lattice ", re.MULTILINE)

OPENING = """\
# The command line

Every verb takes the options of [connection and output](#options-of-every-verb), but `lattice run`
and `lattice serve`, which need no lattice and take those of output only. Settings come from
options, then variables, then the file of `--config`, then the named or current context.

A word in capitals is an argument. An option that takes a value is written `--option VALUE` or
`--option=VALUE`. Tables are for people and may change; `--output json` is for programs and only
gains fields. What goes wrong is one message on the standard error output, with `--output json` as
the `err` map of the protocol.
"""

VARIABLES = """\
## Variables

| variable | meaning |
|---|---|
| `LATTICE_NAME`, `LATTICE_NATS`, `LATTICE_CREDS`, `LATTICE_NKEY`, `LATTICE_TLS_CA`, \
`LATTICE_TLS_CERT`, `LATTICE_TLS_KEY` | as the options |
| `LATTICE_CONTEXT` | the context in use |
| `LATTICE_CONFIG_HOME` | where contexts are kept, in place of `~/.config/lattice` |
| `LATTICE_NATS_CLIENT` | `nats-py` takes that client in place of the lattice's own (`muxed`), \
to compare them |
| `LATTICE_LOG` | the least level that processes log: `debug`, `info`, `warning`, `error` |
| `LATTICE_DEBUG` | `1` shows where in the program an error came from |
| `OTEL_TRACES_EXPORTER` | where `lattice serve` and `lattice host` send spans: `console`, or what \
is installed; the hosts of `lattice up` heed it, too |
| `NOTIFY_SOCKET` | set by systemd: where `lattice host` says that it has joined, and \
`lattice serve` that it answers (`Type=notify`) |
"""


def markdown() -> str:
    """Return the whole page."""
    full = build(None).generate_docs(output_format="markdown")
    first = _BODY.search(full)
    assert first is not None, "the generated page has a section for each verb"
    verbs = full[first.start() :]
    shared = "\n".join(found.group().strip() + "\n" for found in _first_two(verbs))
    parts = [
        OPENING,
        _exit_statuses(),
        f"## Options of every verb\n\n{shared}",
        VARIABLES,
        _SHARED.sub("", verbs),
    ]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(parts)).rstrip() + "\n"


def _first_two(verbs: str) -> list[re.Match[str]]:
    return [found for found, _ in zip(_SHARED.finditer(verbs), range(2), strict=False)]


def _exit_statuses() -> str:
    rows = [f"| {status} | {meaning} |" for status, meaning in exits.MEANINGS.items()]
    return "\n".join(["## Exit statuses", "", "| status | meaning |", "|---|---|", *rows, ""])


def reference_() -> None:
    """Print docs/reference/cli.md."""
    print(markdown(), end="")
