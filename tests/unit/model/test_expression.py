"""Expressions over attributes: what they accept, and what they say when they do not hold."""

from __future__ import annotations

import pytest

from lattice.errors import InvalidError
from lattice.model.expression_reading import DEPTH_MAX, LENGTH_MAX, parse_expression

GPU = {
    "vendor": "nvidia",
    "model": "A10",
    "memory": 24 << 30,
    "software": False,
    "features": ("shader-f16", "timestamp-query"),
    "cores": "8",
}


@pytest.mark.parametrize(
    "text",
    [
        'vendor == "nvidia" and memory >= 8Gi and "shader-f16" in features and not software',
        "vendor == 'nvidia'",
        'model in ("A10", "A100")',
        'model not in ("T4")',
        'vendor == "amd" or memory > 20G',
        "not (software or memory < 1Ki)",
        "software == false",
        "software != true",
        "24Gi == memory",
        "cores > 4 and cores == 8",
        "memory > '8'",
        "not no.such-attribute",
        "not rocm == 6",
        "features",
        "cores",
        'vendor == "nvidia" or broken and also',
    ],
)
def test_it_holds(text):
    assert parse_expression(text).refusal(GPU) is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('vendor == "amd"', 'vendor="nvidia", needs vendor == "amd"'),
        ("memory >= 32Gi", "memory=24Gi, needs memory >= 32Gi"),
        ("memory >= 32G", "memory=25769803776, needs memory >= 32G"),
        ("rocm >= 6", "no rocm, needs rocm >= 6"),
        ('rocm != "6"', 'no rocm, needs rocm != "6"'),
        ("software", "software=false, needs software"),
        ("not vendor", 'vendor="nvidia", needs not vendor'),
        ('not (vendor == "nvidia")', 'vendor="nvidia", needs not (vendor == "nvidia")'),
        (
            '"f64" in features',
            'features=("shader-f16", "timestamp-query"), needs "f64" in features',
        ),
        ('"A" in model', 'model="A10", needs "A" in model'),
        ("vendor > 8", 'vendor="nvidia", needs vendor > 8'),
        ("software < true", "software=false, needs software < true"),
        (
            "features == 1",
            'features=("shader-f16", "timestamp-query"), needs features == 1',
        ),
        (
            'vendor == "amd" or memory > 32Gi',
            'vendor="nvidia", needs vendor == "amd"; or memory=24Gi, needs memory > 32Gi',
        ),
        ('1 == 2 and vendor == "nvidia"', "1 == 2 never holds"),
    ],
)
def test_it_says_which_comparison_failed_with_what_it_found(text, reason):
    assert parse_expression(text).refusal(GPU) == reason


@pytest.mark.parametrize(
    ("text", "where", "found"),
    [
        ("", 1, "the end"),
        ("a ==", 5, "the end"),
        ("a == 1.5Gi", 6, "'1.5Gi'"),
        ("(a", 3, "the end"),
        ("a = 1", 3, "'='"),
        ("a in ()", 7, "')'"),
        ("a not b", 7, "'b'"),
        ("1", 2, "the end"),
        ('a == "x', 6, "'\"x'"),
        ("a == 1 b", 8, "'b'"),
        ("and", 1, "'and'"),
        ("\x1f", 1, "'\\x1f'"),
        ("a == \u2003", 6, "'\\u2003'"),
        ("a == 9223372036854775807k", 6, "'9223372036854775807k'"),
        ("__import__('os')", 11, "'('"),
        ("not " * (DEPTH_MAX + 2) + "a", 4 * (DEPTH_MAX + 1) + 1, "'not'"),
        ("(" * (DEPTH_MAX + 2) + "a", DEPTH_MAX + 2, "'('"),
    ],
)
def test_a_refused_text_names_the_place_and_what_was_expected(text, where, found):
    with pytest.raises(InvalidError) as caught:
        parse_expression(text)
    message = caught.value.message
    assert f"character {where}: found {found}, expected " in message


def test_a_long_text_is_refused_before_it_is_read():
    with pytest.raises(InvalidError, match=f"at most {LENGTH_MAX}"):
        parse_expression("a or " * LENGTH_MAX + "a")


def test_equal_conditions_are_equal_values():
    assert parse_expression("a  and (b)") == parse_expression("a and b")
    assert str(parse_expression("(a or b) and not (c == 1Ki)")) == "(a or b) and not (c == 1Ki)"
