"""Pages fit into messages, lose nothing and repeat nothing, whatever their entries are."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lattice.wire.codec import encode
from scheduler.paging import PAGE_BYTES_MAX, Entry, page

PLACES = st.lists(st.text(min_size=1), unique=True, max_size=30)


@given(places=PLACES, limit=st.integers(0, 5))
def test_pages_in_turn_hold_every_entry_once_in_order(places: list[str], limit: int) -> None:
    entries: list[Entry] = [(place, {"place": place}) for place in places]
    found: list[Entry] = []
    after = ""
    for _ in range(len(places) + 1):
        one = page(entries, after=after, limit=limit)
        assert limit == 0 or len(one.entries) <= limit
        found += one.entries
        after = one.next
        if not after:
            break
    assert found == sorted(entries, key=lambda entry: entry[0])


def test_a_page_fits_into_a_message_and_says_that_there_is_more() -> None:
    entries: list[Entry] = [(f"{number:03}", {"text": "x" * 10_000}) for number in range(200)]
    one = page(entries, after="", limit=0)
    body = one.body(entries=[view for _, view in one.entries])
    assert 0 < len(encode(body, as_json=True)) < PAGE_BYTES_MAX + 1000
    assert body["next"] == one.entries[-1][0]


def test_an_entry_that_is_larger_than_a_page_does_not_stop_the_rest() -> None:
    entries: list[Entry] = [("a", {"text": "x" * (PAGE_BYTES_MAX + 1)}), ("b", {})]
    assert [place for place, _ in page(entries, after="", limit=0).entries] == ["a"]
    assert [place for place, _ in page(entries, after="a", limit=0).entries] == ["b"]
