"""The codec: what bytes from anybody become, and who is answered in JSON."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lattice.errors import ConflictError, DecodeError
from lattice.model.host import ReplicaReport, Report, Revision
from lattice.model.ids import DeploymentName, HostId, ReplicaId
from lattice.wire import codec
from lattice.wire.messages import Target


@given(body=st.binary(max_size=64))
def test_any_bytes_are_a_message_or_a_decode_error(body: bytes) -> None:
    with suppress(DecodeError):
        codec.decode_as(Target, body)


@pytest.mark.parametrize("body", [b"\x81\x90\x01", b"\x81\x80\x01"])
def test_a_map_with_an_array_or_a_map_as_a_key_is_refused(body: bytes) -> None:
    with pytest.raises(DecodeError, match="3 bytes are not MessagePack: unhashable"):
        codec.decode(body)


@pytest.mark.parametrize(
    "value", ["application/json", "application/json; charset=utf-8", "Application/JSON"]
)
@pytest.mark.parametrize("name", ["Content-Type", "content-type"])
def test_json_is_asked_for_without_regard_to_case(name: str, value: str) -> None:
    assert codec.is_json({name: value})
    assert not codec.is_json({name: "application/msgpack"})


def test_an_answer_is_the_map_under_ok() -> None:
    assert codec.answer_of(codec.encode({"ok": {"a": 1}})) == {"a": 1}


def test_an_answer_with_an_error_raises_it() -> None:
    body = codec.encode({"err": ConflictError("busy", chain=["a"]).to_wire()}, as_json=True)
    with pytest.raises(ConflictError, match="busy") as caught:
        codec.answer_of(body, as_json=True)
    assert caught.value.details == {"chain": ["a"]}


@pytest.mark.parametrize("plain", [{"err": "text"}, {"ok": None}, {1: 2, "a": 3}, [], None])
def test_what_is_neither_ok_nor_err_is_a_decode_error(plain: object) -> None:
    with pytest.raises(DecodeError, match="neither"):
        codec.answer_of(codec.encode(plain))


def test_messages_that_come_often_are_read_as_all_others() -> None:
    report = Report(
        host=HostId("UHOST"), boot="b", sequence=4, adopted=Revision("inc", 9),
        replicas=(
            ReplicaReport(
                replica=ReplicaId("d/1/U/1.0"), deployment=DeploymentName("d"), generation=1,
                state="running",
            ),
        ),
    )  # fmt: skip
    body = codec.encode(report)
    assert codec.decode_often(Report, body) == codec.decode_as(Report, body) == report
    future = codec.encode(codec.decode(body) | {"later": [{"a": [1]}]})
    assert codec.decode_often(Report, future) == report
    for wrong in (
        b"",
        b"\xc1",
        body[:-3],
        codec.encode({"host": 1}),
        codec.encode([1]),
        b"\x91" * 5000,
    ):
        with pytest.raises(DecodeError) as usual:
            codec.decode_as(Report, wrong)
        with pytest.raises(DecodeError) as often:
            codec.decode_often(Report, wrong)
        assert often.value.message == usual.value.message
