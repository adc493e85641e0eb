"""The JSON Schema is current, and accepts what the reader accepts."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import given, settings

from lattice.errors import InvalidError
from lattice.model.deployment import Deployment
from lattice.model.manifest import json_schema, load_documents, parse_deployment, to_document
from tests.unit.model.builders import FULL, deployments, minimal

COMMITTED = Path(__file__).parents[3] / "docs" / "reference" / "manifest.schema.json"
TYPES = {
    "string": str,
    "integer": int,
    "number": (int, float),
    "object": dict,
    "array": list,
    "boolean": bool,
}


def accepts(schema: dict, value: object) -> bool:
    """Tell whether a value satisfies a schema, for the keywords that ours uses."""
    known = {
        "$schema", "title", "description", "default", "type", "enum", "anyOf", "pattern", "minimum",
        "maximum", "maxLength", "items", "minItems", "maxItems", "properties", "required",
        "additionalProperties", "propertyNames", "maxProperties",
    }  # fmt: skip
    assert set(schema) <= known, "teach this validator the new keyword"
    if "type" in schema and (
        not isinstance(value, TYPES[schema["type"]])
        or (isinstance(value, bool) and schema["type"] != "boolean")
    ):
        return False
    if "enum" in schema and value not in schema["enum"]:
        return False
    if "anyOf" in schema and not any(accepts(option, value) for option in schema["anyOf"]):
        return False
    match value:
        case str():
            return len(value) <= schema.get("maxLength", len(value)) and bool(
                re.search(schema.get("pattern", ""), value)
            )
        case int() | float():
            return schema.get("minimum", value) <= value <= schema.get("maximum", value)
        case list():
            bounds = schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value))
            return bounds and all(accepts(schema.get("items", {}), entry) for entry in value)
        case dict():
            return _accepts_object(schema, value)
    return True


def _accepts_object(schema: dict, value: dict) -> bool:
    if not set(schema.get("required", ())) <= set(value):
        return False
    if len(value) > schema.get("maxProperties", len(value)):
        return False
    if not all(accepts(schema.get("propertyNames", {}), key) for key in value):
        return False
    others = schema.get("additionalProperties", {})
    properties = schema.get("properties", {})
    return all(
        accepts(properties[key], entry)
        if key in properties
        else others is not False and accepts(others, entry)
        for key, entry in value.items()
    )


def test_the_committed_schema_is_current() -> None:
    wanted = json.dumps(json_schema(), indent=2) + "\n"
    assert COMMITTED.read_text() == wanted, (
        "write it again: python -c 'import json; from lattice.model.manifest import json_schema; "
        f"print(json.dumps(json_schema(), indent=2))' > docs/reference/{COMMITTED.name}"
    )


def test_the_full_example_satisfies_the_schema() -> None:
    (document,) = load_documents(FULL)
    assert accepts(json_schema(), document.body)


@settings(max_examples=20)
@given(deployments())
def test_every_written_deployment_satisfies_the_schema(deployment: Deployment) -> None:
    assert accepts(json_schema(), to_document(deployment))


def test_the_defaults_of_the_schema_are_those_of_the_reader() -> None:
    schema = json_schema()
    defaults = {
        name: field["default"]
        for name, field in schema["properties"].items()
        if "default" in field and name != "components"
    }
    assert parse_deployment(minimal(**defaults)) == parse_deployment(minimal())


@pytest.mark.parametrize(
    "document",
    [
        minimal(replica=1), minimal(replicas="1"), minimal(replicas=-1), minimal(name="A"),
        minimal(lattice="v2"), minimal(expose=["abc"]), minimal(singleton=1),
        minimal(daemon={"perHost": 0}), minimal(scale={}), minimal(ready={"http": "healthz"}),
        minimal(update={"autoRevert": "no"}), minimal(placement={"prefer": [{"labels": []}]}),
        minimal(labels={"a b": ""}),
        minimal(components=[{"name": "a"}]),
        minimal(components=[{"name": "a", "image": "oci://x"}]),
        minimal(components=[{"name": "a", "image": "a", "limits": {"deadline": 2}}]),
        minimal(components=[{"name": "a", "image": "a", "limits": {"memory": "64MB"}}]),
        minimal(components=[{"name": "a", "image": "a", "env": {"A-B": ""}}]),
        minimal(links=[{"import": "a:b/c", "to": "e", "route": "fast"}]),
        minimal(placement={"require": {"cpu": "1 core"}}),
    ],
)  # fmt: skip
def test_reader_and_schema_refuse_the_same_shapes(document: dict[str, object]) -> None:
    assert not accepts(json_schema(), document)
    with pytest.raises(InvalidError):
        parse_deployment(document)
