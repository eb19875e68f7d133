"""Sizes against recursion over trees, and refusals of sizes that bound nothing."""

import itertools

import naive
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthlab.errors import ConfigurationError
from synthlab.language.grammar import PIECEWISE, POLYNOMIAL, RATIONAL, Grammar, Grid
from synthlab.language.measure import check_measure, max_length, operand_sizes, operator_weight, sizes_of, smallest_size
from synthlab.language.operator import ADD, NEGATE, Operator
from synthlab.language.program import Program, token_matrix

MULADD = Operator(symbol="muladd", arity=3, meaning=lambda a, b, c: a * b + c)
TERNARY = Grammar(name="ternary", variables=("x",), operators=(MULADD,), grid=Grid.regular(0))
MANY = Grammar(name="many", variables=("x", "y"), operators=(ADD, NEGATE, MULADD))
UNARY = Grammar(name="unary", variables=("x",), operators=(NEGATE,), grid=Grid.regular(0))
MEASURES = ("leaves", "nodes", "depth")
by_measure = pytest.mark.parametrize("measure", MEASURES)


def trees(grammar):
    return naive.random_trees(dict(zip(grammar.tokens, grammar.arities.tolist(), strict=True)), 12)


@by_measure
@pytest.mark.parametrize("grammar", [POLYNOMIAL, PIECEWISE, MANY, UNARY], ids=lambda g: g.name)
@given(data=st.data())
@settings(max_examples=20, deadline=None)
def test_sizes_are_those_of_the_trees(grammar, measure, data):
    listed = data.draw(st.lists(trees(grammar), min_size=1, max_size=6))
    programs = [Program(grammar, tuple(grammar.index[t] for t in naive.flatten(tree))) for tree in listed]
    sizes = sizes_of(grammar, token_matrix(programs), measure)
    assert sizes.tolist() == [naive.size_of(tree, measure) for tree in listed]
    assert sizes.tolist() == [getattr(p, measure) for p in programs]
    largest = max(sizes.tolist())
    if measure != "leaves" or all(o.arity > 1 for o in grammar.operators):
        assert max(p.nodes for p in programs) <= max_length(grammar, largest, measure)


@by_measure
def test_a_leaf_is_the_smallest_program(measure):
    assert smallest_size(measure) == naive.size_of(("x",), measure)
    assert operator_weight("nodes") == 1 and operator_weight("leaves") == 0


@pytest.mark.parametrize(
    ("grammar", "size", "measure", "length"),
    [
        (POLYNOMIAL, 1, "leaves", 1),
        (POLYNOMIAL, 4, "leaves", 7),
        (TERNARY, 5, "leaves", 7),
        (MANY, 6, "nodes", 6),
        (UNARY, 3, "nodes", 3),
        (POLYNOMIAL, 0, "depth", 1),
        (POLYNOMIAL, 3, "depth", 15),
        (TERNARY, 2, "depth", 13),
        (UNARY, 5, "depth", 6),
    ],
)
def test_the_longest_text_of_a_size(grammar, size, measure, length):
    assert max_length(grammar, size, measure) == length


@pytest.mark.parametrize("measure", ["leaves", "nodes"])
@pytest.mark.parametrize("arity", [1, 2, 3])
@pytest.mark.parametrize("size", range(1, 7))
def test_operand_sizes_are_all_ways_to_add_up(measure, arity, size):
    total = size - (measure == "nodes")
    expected = [sizes for sizes in itertools.product(range(1, size + 1), repeat=arity) if sum(sizes) == total]
    assert sorted(operand_sizes(measure, arity, size)) == expected


@pytest.mark.parametrize(
    ("grammar", "measure", "size", "message"),
    [
        (POLYNOMIAL, "tokens", 3, "unknown measure 'tokens': choose from leaves, nodes, depth"),
        (POLYNOMIAL, "", None, "unknown measure"),
        (MANY, "leaves", 3, "unary operator.*measure nodes or depth"),
        (UNARY, "leaves", None, "unary operator"),
        (POLYNOMIAL, "leaves", 0, "use at least 1"),
        (MANY, "nodes", 0, "use at least 1"),
        (POLYNOMIAL, "nodes", -3, "use at least 1"),
        (POLYNOMIAL, "depth", -1, "use at least 0"),
    ],
)
def test_sizes_that_bound_nothing_are_refused(grammar, measure, size, message):
    with pytest.raises(ConfigurationError, match=message) as caught:
        check_measure(grammar, measure, size)
    assert "\n" not in str(caught.value)
    if size is not None:
        with pytest.raises(ConfigurationError, match=message):
            max_length(grammar, size, measure)


def test_sizes_that_bound_something_are_accepted():
    for grammar, measure, size in [(RATIONAL, "leaves", 1), (MANY, "nodes", 1), (UNARY, "depth", 0)]:
        check_measure(grammar, measure, size)
        check_measure(grammar, measure)
