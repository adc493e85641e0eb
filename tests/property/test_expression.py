"""Expressions against random texts, attributes and an oracle: no surprise, whatever comes in."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from lattice.errors import InvalidError
from lattice.model.expression import AllOf, AnyOf, Comparison, Constant, Name, Not, Truth
from lattice.model.expression_reading import parse_expression

names = st.sampled_from(["a", "b", "gpu/model", "max-size", "x.y_z"])
integers = st.integers(-(10**12), 10**12)
texts = st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), max_size=6)
constants = st.one_of(
    st.builds(Constant, st.one_of(texts, integers, st.booleans())),
    st.builds(Constant, st.lists(st.one_of(texts, integers), min_size=1, max_size=3).map(tuple)),
)
operands = st.one_of(st.builds(Name, names), constants)
operators = st.sampled_from(["==", "!=", "<", "<=", ">", ">=", "in", "not in"])
leaves = st.one_of(st.builds(Truth, names), st.builds(Comparison, operands, operators, operands))
nodes = st.recursive(
    leaves,
    lambda parts: st.one_of(
        st.builds(Not, parts),
        st.builds(AllOf, st.lists(parts, min_size=2, max_size=3).map(tuple)),
        st.builds(AnyOf, st.lists(parts, min_size=2, max_size=3).map(tuple)),
    ),
    max_leaves=6,
)
values = st.one_of(texts, integers, st.booleans(), st.lists(texts, max_size=3).map(tuple))
attributes = st.dictionaries(names, values, max_size=5)
words = st.sampled_from(
    ["a", "b", "and", "or", "not", "in", "(", ")", ",", "==", "<", "1", "8Gi", "'x'", '"y"', " "]
)


@settings(max_examples=300)
@given(st.one_of(st.text(max_size=40), st.lists(words, max_size=14).map(" ".join)), attributes)
def test_any_text_is_a_condition_or_an_invalid_one(text, found):
    try:
        expression = parse_expression(text)
    except InvalidError:
        return
    assert parse_expression(str(expression)) == expression
    reason = expression.refusal(found)
    assert reason is None or reason


@settings(max_examples=300)
@given(nodes, attributes)
def test_what_is_written_is_read_again(node, found):
    text = str(node)
    again = parse_expression(text)
    assert again.root == node
    assert again.refusal(found) == node.refusal(found)


@settings(max_examples=300)
@given(nodes, attributes)
def test_and_or_and_not_are_those_of_logic(node, found):
    def holds(part):
        match part:
            case Not(inner):
                return not holds(inner)
            case AllOf(parts):
                return all(holds(each) for each in parts)
            case AnyOf(parts):
                return any(holds(each) for each in parts)
            case _:
                return part.refusal(found) is None

    assert (node.refusal(found) is None) == holds(node)
