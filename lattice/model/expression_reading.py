"""Read an expression over attributes from its text: a tokenizer and a parser by descent.

Bounded in length and depth, so that no text makes it run long; what comes out is in `expression`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from lattice.errors import InvalidError
from lattice.model.expression import (
    SIZES,
    AllOf,
    AnyOf,
    Comparison,
    ComparisonOperator,
    Constant,
    Expression,
    Name,
    Node,
    Not,
    Operand,
    Truth,
)

LENGTH_MAX = 1024
"""Characters of an expression: it travels in manifests and is shown in explanations."""

DEPTH_MAX = 16
"""Parentheses and `not` within one another; people lose the thread earlier."""

INTEGER_MAX = (1 << 63) - 1
"""The largest integer, after its suffix; bytes of any memory there is stay below."""

WORD_SHOWN_MAX = 16
"""Characters of something unreadable in an error message."""

_TOKEN = re.compile(
    r"""(?P<space>[ \t\r\n]+)
    |(?P<text>"(?:[^"\\\r\n]|\\["\\])*"|'[^'\r\n]*')
    |(?P<integer>-?[0-9]+(?:[KMGT]i|[kMGT])?(?![A-Za-z0-9_.]))
    |(?P<name>[A-Za-z_][A-Za-z0-9_./-]*)
    |(?P<sign>==|!=|<=|>=|<|>|\(|\)|,)""",
    re.VERBOSE,
)
_WORDS = frozenset({"and", "or", "not", "in", "true", "false"})
_COMPARING: dict[str, ComparisonOperator] = {
    "==": "==", "!=": "!=", "<": "<", "<=": "<=", ">": ">", ">=": ">=", "in": "in",
}  # fmt: skip
_OPERAND = "an attribute, a text in quotes, an integer, true, false or a list in parentheses"


@lru_cache(maxsize=1024)
def parse_expression(text: str) -> Expression:
    """Return the condition that a text writes (see the module `expression` for an example).

    `or` binds weaker than `and`, `and` weaker than `not`, and that weaker than a comparison.

    Raises:
        InvalidError: the text is none, or too long or deep; says where (characters from 1), what
            was found there and what was expected.
    """
    if len(text) > LENGTH_MAX:
        raise InvalidError(
            f"expression of {len(text)} characters, expected at most {LENGTH_MAX}: {text[:40]!r}..."
        )
    return Expression(_Parser(text).whole())


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str  # text, integer, name, sign or end
    text: str
    at: int  # index of its first character

    def __str__(self) -> str:
        return "the end" if self.kind == "end" else repr(self.text)


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._token = self._read(0)

    def whole(self) -> Node:
        root = self._any_of(0)
        if self._token.kind != "end":
            raise self._fault("'and', 'or' or the end")
        return root

    def _fault(self, expected: str) -> InvalidError:
        return InvalidError(
            f"expression {self._text!r}, character {self._token.at + 1}: "
            f"found {self._token}, expected {expected}"
        )

    def _any_of(self, depth: int) -> Node:
        parts = [self._all_of(depth)]
        while self._takes("or"):
            parts.append(self._all_of(depth))
        return AnyOf(tuple(parts)) if len(parts) > 1 else parts[0]

    def _all_of(self, depth: int) -> Node:
        parts = [self._unary(depth)]
        while self._takes("and"):
            parts.append(self._unary(depth))
        return AllOf(tuple(parts)) if len(parts) > 1 else parts[0]

    def _unary(self, depth: int) -> Node:
        if depth > DEPTH_MAX:
            raise self._fault(f"at most {DEPTH_MAX} parentheses and 'not' within one another")
        if self._takes("not"):
            return Not(self._unary(depth + 1))
        if self._token.text == "(" and not self._opens_list():
            self._advance()
            inside = self._any_of(depth + 1)
            if not self._takes(")"):
                raise self._fault("'and', 'or' or ')'")
            return inside
        return self._comparison()

    def _comparison(self) -> Node:
        left = self._operand()
        operator = self._operator()
        if operator is not None:
            return Comparison(left, operator, self._operand())
        if isinstance(left, Name):
            return Truth(left.name)
        raise self._fault("one of == != < <= > >= in")

    def _operator(self) -> ComparisonOperator | None:
        if self._takes("not"):
            if not self._takes("in"):
                raise self._fault("'in' after 'not'")
            return "not in"
        operator = _COMPARING.get(self._token.text) if self._token.kind != "text" else None
        if operator is not None:
            self._advance()
        return operator

    def _operand(self) -> Operand:
        token = self._token
        match token.kind:
            case "name" if token.text not in _WORDS:
                self._advance()
                return Name(token.text)
            case "name" if token.text in ("true", "false"):
                self._advance()
                return Constant(token.text == "true")
            case "sign" if token.text == "(":
                return self._list()
            case "text" | "integer":
                return self._constant()
            case _:
                raise self._fault(_OPERAND)

    def _list(self) -> Constant:
        self._advance()
        items: list[str | int] = []
        while not items or self._takes(","):
            value = self._constant().value
            assert isinstance(value, str | int), "constants of one token are texts or integers"
            items.append(value)
        if not self._takes(")"):
            raise self._fault("',' or ')'")
        return Constant(tuple(items))

    def _constant(self) -> Constant:
        token = self._token
        if token.kind == "text":
            self._advance()
            body = token.text[1:-1]
            return Constant(re.sub(r"\\(.)", r"\1", body) if token.text[0] == '"' else body)
        if token.kind != "integer":
            raise self._fault("a text in quotes or an integer")
        digits = token.text.rstrip("KMGTki")
        suffix = token.text[len(digits) :]
        value = int(digits) * SIZES.get(suffix, 1)
        if abs(value) > INTEGER_MAX:
            raise self._fault(f"an integer of at most {INTEGER_MAX}")
        self._advance()
        return Constant(value, suffix)

    def _opens_list(self) -> bool:
        """Tell whether a parenthesis opens a list: a constant and then `,` or `)` follow it."""
        first = self._read(self._token.at + 1)
        if first.kind not in ("text", "integer"):
            return False
        return self._read(first.at + len(first.text)).text in (",", ")")

    def _takes(self, text: str) -> bool:
        if self._token.text != text or self._token.kind not in ("name", "sign"):
            return False
        self._advance()
        return True

    def _advance(self) -> None:
        self._token = self._read(self._token.at + len(self._token.text))

    def _read(self, at: int) -> _Token:
        while at < len(self._text):
            match = _TOKEN.match(self._text, at)
            if match is None:
                rest = self._text[at:]
                word = (rest.split() or [rest])[0][:WORD_SHOWN_MAX]  # none of it may be a word
                self._token = _Token("sign", word, at)
                raise self._fault("an attribute, an operator, a text in quotes or an integer")
            if match.lastgroup != "space":
                return _Token(match.lastgroup or "", match[0], at)
            at = match.end()
        return _Token("end", "", at)
