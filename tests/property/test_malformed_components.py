"""Binaries that lie: each is refused at once, with the offset and what was expected."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from lattice.component.reader import read_component
from lattice.component.scopes import NESTING_MAX, TYPE_DEPTH_MAX, WORK_MAX
from lattice.errors import InvalidError
from tests.unit.component.building import leb, section

PREAMBLE = b"\0asm\x0d\0\x01\0"
LIST, TUPLE, RECORD, INSTANCE, U8 = b"\x70", b"\x6f", b"\x72", b"\x42", b"\x7d"


def types(*definitions: bytes) -> bytes:
    return section(7, vector(definitions))


def vector(items: Iterable[bytes]) -> bytes:
    listed = list(items)
    return leb(len(listed)) + b"".join(listed)


def index(number: int) -> bytes:
    """A type index: a signed number, whose last byte must not have the sign bit."""
    return leb(number) if number < 64 else bytes([number & 0x7F | 0x80, number >> 7])


def name(text: str) -> bytes:
    return leb(len(text)) + text.encode()


def refusal(body: bytes) -> InvalidError:
    with pytest.raises(InvalidError) as caught:
        read_component(PREAMBLE + body)
    return caught.value


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"\x07", "0x9: expected a number, found the end"),
        (b"\x07\x05\x00", "0x8: expected a section of at most 1 bytes, found 5"),
        (b"\x63\x00", "0x8: expected a section, found id 0x63"),
        (b"\x07\xff\xff\xff\xff\x7f", "expected a number below 2^32, found 34359738367"),
        (b"\x07\x80\x80\x80\x80\x80\x00", "expected a number of at most 5 bytes"),
        (section(7, b"\x05"), "expected at most 0 items, found 5"),
        (section(7, b"\x01\x7f\x7f"), "expected the end of section 0x07, found more bytes"),
        (types(b"\x01"), "expected a type, found 0x01"),
        (types(LIST + b"\x05"), "expected a type index below 0, found 5"),
        (types(LIST + b"\x50"), "expected a value type, found 0x50"),
        (types(b"\x3f\x7f\x00", LIST + b"\x00"), "found a resource type without own or borrow"),
        (types(U8, b"\x69\x00"), "expected a resource type, found a value type"),
        (types(RECORD + b"\x02" + (name("a") + U8) * 2), "field names to differ, found 'a' twice"),
        (types(b"\x6d\x01" + name("a b")), "expected a case name in kebab-case, found 'a b'"),
        (types(b"\x6d\x01\x02\xff\xff"), "expected a name in UTF-8, found other bytes"),
        (types(b"\x40\x00\x02"), "expected 0 or 1, found 0x02"),
        (section(10, b"\x01\x03"), "expected the name of an import or export, found 0x03"),
        (section(10, b"\x01\x00\x01a\x09"), "expected the sort of an import or export, found 0x09"),
        (section(10, b"\x01\x00\x01a\x05\x00"), "expected a type index below 0, found 0"),
        (types(U8) + section(10, b"\x01\x00\x01a\x05\x00"), "an instance type, found a value type"),
        (types(U8) + section(10, b"\x02" + b"\x00\x01a\x03\x00\x00" * 2), "found 'a' twice"),
        (section(6, b"\x01\x03\x00\x00\x01a"), "expected a instance index below 0, found 0"),
        (section(6, b"\x01\x03\x02\x07\x00"), "found a reference 7 levels out"),
        (section(6, b"\x01\x09"), "expected a sort, found 0x09"),
        (section(8, b"\x01\x77"), "expected a canonical function, found 0x77"),
        (section(8, b"\x01\x00\x00\x00\x01\x55"), "expected a canonical option, found 0x55"),
        (section(4, b"(component)"), "expected a nested component, found other bytes"),
        (section(5, b"\x01\x02"), "expected an instance, found 0x02"),
        (section(11, b"\x01\x00\x01a\x01\x00\x00"), "expected a function index below 0, found 0"),
    ],
)
def test_a_malformed_part_is_named_with_its_offset(body: bytes, message: str) -> None:
    found = refusal(body)

    assert message in found.message
    offset = found.details["offset"]
    assert isinstance(offset, int)
    assert found.message.startswith(f"malformed component at offset {offset:#x}: ")


def test_every_cut_of_a_component_is_refused_or_read() -> None:
    from tests.unit.component.building import SEARCH, from_wit

    body = from_wit(SEARCH)
    refused = 0
    for length in range(0, len(body), 7):
        try:
            read_component(body[:length])
        except InvalidError:
            refused += 1
    assert refused > len(body) // 8


def test_a_type_may_be_as_deep_as_the_limit_and_no_deeper() -> None:
    chain = [LIST + U8, *(LIST + index(number) for number in range(TYPE_DEPTH_MAX - 2))]

    read_component(PREAMBLE + types(*chain))
    assert "levels in a type" in refusal(types(*chain, LIST + index(len(chain) - 1))).message


def test_a_small_type_that_unfolds_without_end_is_refused() -> None:
    doubling = [LIST + U8, *(TUPLE + b"\x02" + index(number) * 2 for number in range(40))]

    assert "parts in a type" in refusal(types(*doubling)).message


def test_instance_types_that_unfold_without_end_are_refused() -> None:
    def twice(inner: int) -> bytes:
        outer_type = b"\x02\x03\x02\x01" + leb(inner)
        members = [b"\x04\x00" + name(each) + b"\x05\x00" for each in ("a", "b")]
        return INSTANCE + vector([outer_type, *members])

    tower = types(INSTANCE + b"\x00", *(twice(number) for number in range(NESTING_MAX - 2)))

    assert "definitions, found more" in refusal(tower).message


def test_components_that_instantiate_each_other_without_end_are_refused() -> None:
    levels = NESTING_MAX + 5
    body = section(4, PREAMBLE)
    for number in range(levels):
        inner = section(6, b"\x01\x04\x02\x01" + leb(number))  # the component before this one
        inner += section(5, b"\x02" + b"\x00\x00\x00" * 2)
        inner += section(6, b"\x02" + b"\x05\x00\x00\x01z" + b"\x05\x00\x01\x01z")
        body += section(4, PREAMBLE + inner)
    body += section(5, b"\x01\x00" + leb(levels) + b"\x00")
    body += section(11, b"\x01\x00\x01z\x05\x00\x00")

    assert "nested components and types, found more" in refusal(body).message


def test_long_names_that_are_read_again_and_again_are_refused() -> None:
    shape = INSTANCE + vector(
        [b"\x01\x40\x00\x01\x00", b"\x04\x00" + name("a" * 9000) + b"\x01\x00"]
    )
    imports = section(10, vector(b"\x00" + name(f"x{i}") + b"\x05\x00" for i in range(5000)))

    assert "definitions, found more" in refusal(types(shape) + imports).message


def test_a_flood_of_types_is_refused() -> None:
    flood = section(7, leb(WORK_MAX + 1) + U8 * (WORK_MAX + 1))

    assert "definitions, found more" in refusal(flood).message


def test_a_name_beyond_the_limit_is_refused() -> None:
    assert "name of at most 10000 bytes" in refusal(types(b"\x6d\x01" + name("a" * 10_001))).message
