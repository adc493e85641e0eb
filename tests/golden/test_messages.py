"""Messages keep their bytes: a change of a vector is a change of the protocol.

To add a message, add an example and run `python -m tests.golden.test_messages`; a vector that is
there already may only change when its message got a new field.
"""

from __future__ import annotations

import inspect
import json
from pathlib import Path

import msgspec
import pytest

from lattice.wire import durable, http, messages, requests
from lattice.wire.codec import convert, decode, decode_as, encode
from tests.golden.vectors import EXAMPLES

FILE = Path(__file__).with_name("messages.json")
VECTORS = json.loads(FILE.read_text()) if FILE.exists() else {}


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_message_has_the_bytes_of_its_vector_and_comes_back(name):
    example = EXAMPLES[name]
    body = bytes.fromhex(VECTORS[name]["msgpack"])
    assert encode(example).hex() == body.hex()
    assert decode_as(type(example), body) == example


@pytest.mark.parametrize("name", EXAMPLES)
def test_unknown_fields_are_ignored_and_bytes_are_not_needed_in_json(name):
    example = EXAMPLES[name]
    plain = decode(encode(example)) | {"from-the-future": [1, 2]}
    assert convert(plain, type(example)) == example
    assert json.loads(encode(example, as_json=True))


def test_every_message_has_a_vector():
    parts = {
        messages.Leg, messages.TargetItem, messages.DeviceGrant, messages.RouteGeneration
    }  # fmt: skip
    classes = {
        cls
        for module in (messages, requests, http, durable)
        for _, cls in inspect.getmembers(module, inspect.isclass)
        if cls.__module__ == module.__name__
    }  # fmt: skip
    assert classes - {type(example) for example in EXAMPLES.values()} == parts
    assert set(VECTORS) == set(EXAMPLES)


def _write() -> None:
    vectors = {
        name: {"msgpack": encode(example).hex(), "readable": msgspec.to_builtins(example)}
        for name, example in EXAMPLES.items()
    }
    FILE.write_text(json.dumps(vectors, indent=1, default=lambda value: value.hex()) + "\n")


if __name__ == "__main__":
    _write()
