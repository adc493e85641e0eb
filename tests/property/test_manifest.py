"""Any deployment survives writing and reading; any garbage is refused with its faults."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lattice.errors import InvalidError
from lattice.model.deployment import Deployment
from lattice.model.manifest import parse_deployment, to_document
from lattice.model.manifest_fields import DEPLOYMENT
from tests.unit.model.builders import deployments, minimal


@settings(max_examples=60)
@given(deployments())
def test_every_deployment_is_written_and_read_back(deployment: Deployment) -> None:
    document = to_document(deployment)
    assert parse_deployment(document) == deployment
    assert to_document(parse_deployment(document)) == document


SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=6),
    st.sampled_from(["a:b/c", "a", "d", "1s", "64Mi", "durable", "sha256:", "x in (y)", "v1"]),
)  # fmt: skip
KNOWN = sorted(
    {field.name for field in DEPLOYMENT.fields}
    | set(DEPLOYMENT.later)
    | {"image", "limits", "memory", "env", "import", "to", "component", "require", "restart", "max"}
)
GARBAGE = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(KNOWN) | SCALARS, inner, max_size=4)
    ),
    max_leaves=20,
)


@settings(max_examples=100)
@given(st.dictionaries(st.sampled_from(KNOWN) | st.text(max_size=5), GARBAGE, max_size=6))
def test_garbage_is_refused_with_invalid_error_and_nothing_else(
    document: dict[str, object],
) -> None:
    with pytest.raises(InvalidError) as caught:
        parse_deployment({**document, "name": "Not A Name"})
    assert caught.value.faults


@settings(max_examples=100)
@given(st.sampled_from(KNOWN), GARBAGE)
def test_one_garbage_field_in_a_good_document_is_accepted_or_refused(
    name: str, value: object
) -> None:
    document = minimal(**{name: value})
    try:
        deployment = parse_deployment(document)
    except InvalidError:
        with pytest.raises(InvalidError) as caught:
            parse_deployment(document)
        assert caught.value.faults
        assert all(len(fault) < 1000 for fault in caught.value.faults)
    else:
        assert parse_deployment(to_document(deployment)) == deployment
