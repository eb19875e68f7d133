"""Batched arithmetic against a tree walk with exact fractions."""

from fractions import Fraction

import naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthlab.errors import ConfigurationError, SynthlabError
from synthlab.language.grammar import POLYNOMIAL, RATIONAL, Grammar, Operator
from synthlab.language.interpreter import UNDEFINED, Floats, WholeNumbers, evaluate, evaluate_exact, grid_outputs
from synthlab.language.program import PAD, Program, parse, token_matrix

MEANINGS = naive.FRACTION_MEANINGS | {"mid": lambda a, b, c: a * b + c}
MIXED = Grammar(
    name="mixed",
    variables=("x", "y"),
    constants=(2,),
    operators=(
        Operator(symbol="-", arity=2, meaning=lambda a, b: a - b),
        Operator(symbol="mid", arity=3, meaning=lambda a, b, c: a * b + c),
    ),
)


def trees(grammar, max_leaves=12):
    tokens = dict(zip(grammar.tokens, grammar.arities.tolist(), strict=True))
    leaf = st.sampled_from([(t,) for t, a in tokens.items() if a == 0])
    inner = [(t, a) for t, a in tokens.items() if a]
    return st.recursive(
        leaf, lambda below: st.one_of([st.tuples(st.just(t), *[below] * a) for t, a in inner]), max_leaves=max_leaves
    )


def programs(grammar, listed):
    return [Program(grammar, tuple(grammar.index[t] for t in naive.flatten(tree))) for tree in listed]


def exact_rows(grammar, listed):
    points = [dict(zip(grammar.variables, p, strict=True)) for p in grammar.grid.points]
    return [[naive.walk(tree, point, MEANINGS) for point in points] for tree in listed]


@pytest.mark.parametrize("grammar", [POLYNOMIAL, MIXED], ids=lambda g: g.name)
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_whole_outputs_are_exact(grammar, data):
    listed = data.draw(st.lists(trees(grammar, 8), min_size=1, max_size=5))
    width = max(len(naive.flatten(t)) for t in listed) + 6
    outputs = grid_outputs(grammar, token_matrix(programs(grammar, listed), width))
    assert outputs.dtype == np.int64
    assert outputs.tolist() == exact_rows(grammar, listed)


@given(st.lists(trees(RATIONAL), min_size=1, max_size=6))
@settings(max_examples=60, deadline=None)
def test_rational_outputs_are_close_and_poles_are_exact(listed):
    outputs = grid_outputs(RATIONAL, token_matrix(programs(RATIONAL, listed)))
    for row, exact in zip(outputs, exact_rows(RATIONAL, listed), strict=True):
        assert np.isnan(row).tolist() == [v is None for v in exact]
        defined = [(float(got), v) for got, v in zip(row, exact, strict=True) if v is not None]
        assert all(abs(Fraction(got) - v) <= Fraction(1, 10**6) * (1 + abs(v)) for got, v in defined)


@given(trees(RATIONAL), st.fractions(-5, 5), st.fractions(-5, 5))
@settings(max_examples=150, deadline=None)
def test_one_point_is_evaluated_exactly(tree, x, y):
    expected = naive.walk(tree, {"x": x, "y": y}, MEANINGS)
    got = evaluate_exact(programs(RATIONAL, [tree])[0], {"x": x, "y": y})
    assert (got is UNDEFINED) if expected is None else (got == expected and isinstance(got, Fraction))


def test_poles_that_floats_would_miss_are_found():
    # x/y - x*(1/y) is zero, but not in floats at x = -8/3, y = -14/5 and the like
    listed = ["1 / (x / y - x * (1 / y))", "1 / ((x + 1 / (2 + 1)) - x - 1 / (2 + 1))"]
    outputs = grid_outputs(RATIONAL, token_matrix([parse(RATIONAL, text) for text in listed]))
    assert np.isnan(outputs).all()


def test_an_undefined_result_is_false_and_named():
    result = evaluate_exact(parse(RATIONAL, "x / (y - y)"), {"x": 1, "y": 2})
    assert result is UNDEFINED and not result and repr(result) == "undefined"


def test_removable_poles_have_no_value_at_the_point():
    assert evaluate_exact(parse(RATIONAL, "x / x"), {"x": 0, "y": 0}) is UNDEFINED


def test_a_missing_variable_is_named():
    with pytest.raises(ConfigurationError, match="no value for y"):
        evaluate_exact(parse(POLYNOMIAL, "x"), {"x": 1})


def nested_square(levels):
    text = "(3 * 3)"
    for _ in range(levels):
        text = f"({text} * {text})"
    return token_matrix([parse(POLYNOMIAL, text)])


def test_values_beyond_int64_are_refused_and_never_wrap():
    assert grid_outputs(POLYNOMIAL, nested_square(4)).tolist() == [[3**32] * 36]
    with pytest.raises(SynthlabError, match=r"exceed 2\^62"):
        grid_outputs(POLYNOMIAL, nested_square(5))


def test_whole_numbers_refuse_a_grammar_with_fractions():
    with pytest.raises(ConfigurationError, match="leaves the whole numbers"):
        WholeNumbers(RATIONAL)


def test_rows_do_not_depend_on_their_company(rational3):
    algebra = Floats(RATIONAL)
    together = evaluate(RATIONAL, rational3.prefix[-200:], algebra)
    for row in range(0, 200, 23):
        tokens = rational3.prefix[-200 + row]
        alone = evaluate(RATIONAL, tokens[tokens != PAD][None], algebra)
        assert np.array_equal(alone[0], together[row], equal_nan=True)


def test_no_programs_have_no_outputs():
    assert grid_outputs(POLYNOMIAL, np.empty((0, 5), dtype=np.uint8)).shape == (0, 36)
