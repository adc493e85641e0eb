"""The plain documents that a text holds, YAML 1.2 (core schema) or JSON, with each field's line.

Values are only strings, integers, floats, booleans, None, lists and maps with string keys. The
text may come from anybody, so sizes, depth and the growth through aliases are limited. This module
gives no meaning to any field.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ruamel.yaml import YAML
from ruamel.yaml import events as yaml_events
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from lattice.errors import InvalidError
from lattice.model.depth import is_deeper
from lattice.model.scalar import SHOWN_LENGTH_MAX, found
from lattice.model.schema import child

TEXT_BYTES_MAX = 1 << 20
"""Bytes of one text: a manifest of every supported part is far smaller."""

DOCUMENTS_MAX = 256
"""Documents in one text."""

DEPTH_MAX = 32
"""Levels of lists and maps: three times what a manifest needs."""

VALUES_MAX = 100_000
"""Values in one text with every alias written out, so that a few lines cannot become gigabytes."""

_INTEGER_DIGITS_MAX = 100

# The core schema (YAML 1.2.2, section 10.3.2); what matches none of these is a string.
_NULL = re.compile(r"null|Null|NULL|~|")
_TRUE = re.compile(r"true|True|TRUE")
_FALSE = re.compile(r"false|False|FALSE")
_INTEGER = re.compile(r"(?P<dec>[-+]?[0-9]+)|0o(?P<oct>[0-7]+)|0x(?P<hex>[0-9a-fA-F]+)")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_SPECIAL = re.compile(r"(?P<sign>[-+]?)\.(inf|Inf|INF)|\.(nan|NaN|NAN)")

_STRING_TAGS = frozenset({"tag:yaml.org,2002:str", "!"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One document: its fields, and where they stand.

    `lines` maps the path of a field (`components[0].name`) to its line, counted from 1; it is
    empty for JSON.
    """

    body: Mapping[str, object]
    source: str = ""
    lines: Mapping[str, int] = field(default_factory=dict[str, int])

    def place(self, path: str) -> str:
        """Return `source:line` of a field or of the nearest field around it, as far as known."""
        while path and path not in self.lines:
            path = path[: max(path.rfind("."), path.rfind("["), 0)]
        line = self.lines.get(path)
        return ":".join(part for part in (self.source, str(line or "")) if part)


def load_documents(text: str, *, source: str = "") -> tuple[Document, ...]:
    """Return the documents of a text in their order, at least one; empty ones are left out.

    A text that begins as JSON does and is JSON is read as such, anything else as YAML. `source`
    names the text in messages.

    Raises:
        InvalidError: the text is neither, a key is given twice, a document is no map, or a limit
            of this module is exceeded. The message has line and column.
    """
    name = source or "manifest"
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > TEXT_BYTES_MAX:
        raise InvalidError(f"{name} has {size} bytes, at most {TEXT_BYTES_MAX}")
    documents = _load_json(text, source) if text.lstrip()[:1] == "{" else None
    if documents is None:
        documents = _load_yaml(text, source)
    if not documents:
        raise InvalidError(f"{name} holds no document, expected for example a Deployment")
    return documents


def _load_json(text: str, source: str) -> tuple[Document, ...] | None:
    try:
        body = json.loads(text, object_pairs_hook=_without_duplicates, parse_int=_integer)
    except _DuplicateKeyError as exc:
        raise InvalidError(
            f"{source or 'manifest'}: key {found(exc.args[0])} is given twice"
        ) from None
    except json.JSONDecodeError as exc:
        if not source.endswith(".json"):
            return None  # Perhaps a flow map of YAML, whose reader has the better message.
        raise InvalidError(f"{source}:{exc.lineno}:{exc.colno}: {exc.msg}") from None
    except (RecursionError, ValueError):
        return None  # The YAML reader refuses it with line and column.
    if is_deeper(body, DEPTH_MAX):
        raise InvalidError(f"{source or 'manifest'}: nests deeper than {DEPTH_MAX} levels")
    return (Document(body=body, source=source),)


def _load_yaml(text: str, source: str) -> tuple[Document, ...]:
    name = source or "manifest"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Warnings of the parser have no reader here.
            return tuple(_build(YAML(typ="safe", pure=True).parse(text), source))
    except _PlacedError as exc:
        raise InvalidError(f"{name}:{exc.line}:{exc.column}: {exc.message}") from None
    except MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        place = f":{mark.line + 1}:{mark.column + 1}" if mark is not None else ""
        context = f", {exc.context}" if exc.context else ""
        raise InvalidError(
            f"{name}{place}: {(exc.problem or 'not YAML')[:200]}{context[:200]}"
        ) from None
    except (YAMLError, ValueError, OverflowError, AssertionError, LookupError) as exc:
        # The parser lets plain Python errors through for some escapes and directives.
        reason = str(exc).partition("\n")[0][:200] or type(exc).__name__
        raise InvalidError(f"{name} is not YAML: {reason}") from None


def _build(events: Iterable[yaml_events.Event], source: str) -> Iterable[Document]:
    count = 0
    budget = _Budget()
    builder = _Builder(budget)
    for event in events:
        if isinstance(event, yaml_events.DocumentStartEvent):
            builder = _Builder(budget)
        elif isinstance(event, yaml_events.DocumentEndEvent):
            if builder.root is None:
                continue
            count += 1
            if count > DOCUMENTS_MAX:
                raise _PlacedError(event, f"more than {DOCUMENTS_MAX} documents")
            yield Document(body=builder.root, source=source, lines=builder.lines)
        else:
            builder.add(event)


class _PlacedError(Exception):
    """A fault at an event of the parser."""

    def __init__(self, event: yaml_events.Event, message: str) -> None:
        super().__init__(message)
        self.message = message
        self.line = event.start_mark.line + 1
        self.column = event.start_mark.column + 1


class _DuplicateKeyError(Exception):
    """A JSON object gives a key twice."""


@dataclass(slots=True)
class _Budget:
    values: int = VALUES_MAX


@dataclass(slots=True)
class _Open:
    """A list or map whose end has not come yet."""

    value: list[object] | dict[str, object]
    path: str
    anchor: str | None
    size: int = 1  # values in it, itself included
    key: str | None = None  # the key whose value comes next


class _Builder:
    """Makes the value of one document from the parser's events."""

    def __init__(self, budget: _Budget) -> None:
        self.root: dict[str, object] | None = None
        self.lines: dict[str, int] = {}
        self._stack: list[_Open] = []
        self._anchors: dict[str, tuple[object, int]] = {}
        self._budget = budget

    def add(self, event: yaml_events.Event) -> None:
        """Take the next event.

        Raises:
            _PlacedError: the event breaks a rule of this module.
        """
        match event:
            case yaml_events.ScalarEvent():
                self._add_scalar(event)
            case yaml_events.SequenceStartEvent() | yaml_events.MappingStartEvent():
                self._open(event)
            case yaml_events.SequenceEndEvent() | yaml_events.MappingEndEvent():
                ended = self._stack.pop()
                self._remember(ended.anchor, ended.value, ended.size)
                self._close(ended.size)
            case yaml_events.AliasEvent():
                if event.anchor not in self._anchors:
                    raise _PlacedError(
                        event, f"alias *{event.anchor[:SHOWN_LENGTH_MAX]} names nothing before it"
                    )
                value, size = self._anchors[event.anchor]
                self._put(event, value, size)
                self._close(size)
            case _:
                pass  # Begin and end of the stream.

    def _add_scalar(self, event: yaml_events.ScalarEvent) -> None:
        top = self._stack[-1] if self._stack else None
        if top is not None and isinstance(top.value, dict) and top.key is None:
            if event.value in top.value:
                raise _PlacedError(event, f"key {found(event.value)} is given twice")
            top.key = event.value
            self._remember(event.anchor, event.value, 1)
            self.lines[child(top.path, top.key)] = event.start_mark.line + 1
            return
        value = _scalar(event)
        self._put(event, value, 1)
        self._remember(event.anchor, value, 1)
        self._close(1)

    def _open(self, event: yaml_events.SequenceStartEvent | yaml_events.MappingStartEvent) -> None:
        if len(self._stack) >= DEPTH_MAX:
            raise _PlacedError(event, f"nests deeper than {DEPTH_MAX} levels")
        if event.tag not in {None, "!"}:
            raise _PlacedError(event, f"tag {event.tag[:SHOWN_LENGTH_MAX]} is not allowed")
        path = self._path_of_next()
        value: list[object] | dict[str, object] = (
            [] if isinstance(event, yaml_events.SequenceStartEvent) else {}
        )
        self._put(event, value, 1)
        self._stack.append(_Open(value, path, event.anchor))

    def _path_of_next(self) -> str:
        if not self._stack:
            return ""
        top = self._stack[-1]
        if isinstance(top.value, list):
            return f"{top.path}[{len(top.value)}]"
        return child(top.path, top.key)

    def _put(self, event: yaml_events.Event, value: object, size: int) -> None:
        self._budget.values -= size
        if self._budget.values < 0:
            raise _PlacedError(event, f"more than {VALUES_MAX} values, aliases written out")
        if not self._stack:
            if isinstance(value, dict):
                self.root = value
            elif value is not None:
                raise _PlacedError(event, "a document is a map, expected for example 'name: ...'")
            self.lines[""] = event.start_mark.line + 1
            return
        top = self._stack[-1]
        if isinstance(top.value, list):
            self.lines[f"{top.path}[{len(top.value)}]"] = event.start_mark.line + 1
            top.value.append(value)
        elif top.key is None:
            raise _PlacedError(event, "expected a plain key, found a list, a map or an alias")
        else:
            top.value[top.key] = value
            top.key = None

    def _close(self, size: int) -> None:
        if self._stack:
            self._stack[-1].size += size

    def _remember(self, anchor: str | None, value: object, size: int) -> None:
        if anchor is not None:
            self._anchors[anchor] = (value, size)


def _scalar(event: yaml_events.ScalarEvent) -> object:
    text: str = event.value
    if event.tag is not None and event.tag not in _STRING_TAGS:
        raise _PlacedError(event, f"tag {event.tag[:SHOWN_LENGTH_MAX]} is not allowed")
    if event.tag is not None or event.style is not None:
        return text  # Quoted, a block, or said to be a string.
    if _NULL.fullmatch(text):
        return None
    if _TRUE.fullmatch(text) or _FALSE.fullmatch(text):
        return text[0] in "tT"
    if match := _INTEGER.fullmatch(text):
        if len(text) > _INTEGER_DIGITS_MAX:
            raise _PlacedError(event, f"integer of {len(text)} digits")
        bases = {"dec": 10, "oct": 8, "hex": 16}
        return next(int(match[name], base) for name, base in bases.items() if match[name])
    if match := _SPECIAL.fullmatch(text):
        return float(f"{match['sign'] or ''}{text[-3:]}")
    return float(text) if _FLOAT.fullmatch(text) else text


def _integer(text: str) -> int:
    if len(text) > _INTEGER_DIGITS_MAX:
        message = f"integer of {len(text)} digits"
        raise ValueError(message)
    return int(text)


def _without_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    result: dict[str, object] = {}
    for key, value in pairs:
        if key in result:
            raise _DuplicateKeyError(key)
        result[key] = value
    return result
