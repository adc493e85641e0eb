"""Quantities are read exactly, written in their shortest form, and refused with a reason."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lattice.errors import InvalidError
from lattice.model import quantity


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("250ms", 0.25), ("2s", 2.0), ("5m", 300.0), ("1h", 3600.0), ("1.5m", 90.0), ("9ms", 0.009)],
)
def test_durations_become_seconds(text: str, seconds: float) -> None:
    assert quantity.parse_duration(text) == seconds


@pytest.mark.parametrize(
    ("value", "size"),
    [("64Mi", 67108864), ("2Gi", 2147483648), ("500M", 500_000_000), (1024, 1024), ("1024", 1024),
     ("1.5Ki", 1536), ("3k", 3000)],
)  # fmt: skip
def test_sizes_become_bytes(value: str | int, size: int) -> None:
    assert quantity.parse_size(value) == size


@pytest.mark.parametrize(
    ("value", "milli"), [("100m", 100), (2, 2000), (0.5, 500), ("0.25", 250), ("1500m", 1500)]
)
def test_cpu_becomes_thousandths_of_a_core(value: str | float, milli: int) -> None:
    assert quantity.parse_cpu(value) == milli


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (2, "2 is a duration without a unit, expected for example 2s"),
        ("2d", "unknown unit 'd' in duration '2d', expected one of h, m, s, ms"),
        ("-2s", "expected a duration such as 250ms, 2s, 5m or 1h, found '-2s'"),
        ("1h30m", "expected a duration such as 250ms, 2s, 5m or 1h, found '1h30m'"),
        (None, "expected a duration such as 250ms, 2s, 5m or 1h, found NoneType"),
        (True, "expected a duration such as 250ms, 2s, 5m or 1h, found bool"),
    ],
)
def test_a_wrong_duration_is_refused_with_the_reason(value: object, reason: str) -> None:
    with pytest.raises(InvalidError) as caught:
        quantity.parse_duration(value)
    assert str(caught.value) == reason


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("64MB", "unknown unit 'MB' in size '64MB', expected one of Ti, Gi, Mi, Ki, T, G, M, k"),
        ("0.3", "'0.3' is no whole number of bytes"),
        ("9" * 70, "expected a size such as 64Mi, 2Gi, 500M or a number of bytes, found '999"),
        (float("nan"), "expected a size such as"),
    ],
)
def test_a_wrong_size_is_refused_with_the_reason(value: object, reason: str) -> None:
    with pytest.raises(InvalidError) as caught:
        quantity.parse_size(value)
    assert str(caught.value).startswith(reason)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("0.5m", "'0.5m' is finer than a thousandth of a core"),
        (0.0001, "0.0001 is finer than a thousandth of a core"),
        ("2 cores", "unknown unit 'cores' in cpu '2 cores', expected m or none"),
        (float("inf"), "expected cores such as 100m, 2 or 0.5, found inf"),
    ],
)
def test_a_wrong_cpu_is_refused_with_the_reason(value: object, reason: str) -> None:
    with pytest.raises(InvalidError) as caught:
        quantity.parse_cpu(value)
    assert str(caught.value) == reason


@given(st.floats(min_value=0.001, max_value=1e6))
def test_every_duration_is_written_exactly(seconds: float) -> None:
    assert quantity.parse_duration(quantity.format_duration(seconds)) == seconds


@given(st.integers(min_value=0, max_value=1 << 60))
def test_every_size_is_written_exactly(size: int) -> None:
    assert quantity.parse_size(quantity.format_size(size)) == size


@given(st.integers(min_value=0, max_value=10_000_000))
def test_every_cpu_is_written_exactly(milli: int) -> None:
    assert quantity.parse_cpu(quantity.format_cpu(milli)) == milli


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.25, "250ms"), (90.0, "90s"), (120.0, "2m"), (7200.0, "2h"), (0.0, "0s")],
)
def test_durations_are_written_with_the_largest_whole_unit(seconds: float, text: str) -> None:
    assert quantity.format_duration(seconds) == text


def test_an_integer_that_python_refuses_to_print_is_refused() -> None:
    with pytest.raises(InvalidError, match=r"found int$"):
        quantity.parse_size(10**5000)
