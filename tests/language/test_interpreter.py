"""Batched arithmetic against a tree walk with exact fractions."""

from fractions import Fraction

import naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthlab.errors import ConfigurationError, SynthlabError
from synthlab.language.grammar import PIECEWISE, POLYNOMIAL, RATIONAL, Grammar, Grid
from synthlab.language.interpreter import (
    UNDEFINED,
    Floats,
    WholeNumbers,
    evaluate,
    evaluate_exact,
    grid_algebra,
    grid_outputs,
    number_algebra,
)
from synthlab.language.operator import ADD, DIVIDE, FLOOR_DIVIDE, MINIMUM, MODULO, MULTIPLY, NEGATE, SUBTRACT, Operator
from synthlab.language.program import PAD, Program, parse, token_matrix

MEANINGS = naive.MEANINGS | {"mid": lambda a, b, c: a * b + c}
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
    return naive.random_trees(dict(zip(grammar.tokens, grammar.arities.tolist(), strict=True)), max_leaves)


def programs(grammar, listed):
    return [Program(grammar, tuple(grammar.index[t] for t in naive.flatten(tree))) for tree in listed]


def exact_rows(grammar, listed):
    points = [dict(zip(grammar.variables, p, strict=True)) for p in grammar.grid.points]
    return [[naive.walk(tree, point, MEANINGS) for point in points] for tree in listed]


@pytest.mark.parametrize("grammar", [POLYNOMIAL, MIXED, PIECEWISE], ids=lambda g: g.name)
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


EVERYTHING = Grammar(
    name="everything",
    variables=("x", "y"),
    constants=(2,),
    operators=(
        ADD, DIVIDE, NEGATE, MINIMUM, FLOOR_DIVIDE, MODULO,
        Operator(symbol="mid", arity=3, meaning=lambda a, b, c: a * b + c),
        Operator(symbol="mean", arity=2, meaning=lambda a, b: (a + b) / 2, integral=False),
    ),
)  # fmt: skip


@given(trees(EVERYTHING), st.fractions(-5, 5), st.fractions(-5, 5))
@settings(max_examples=60, deadline=None)
def test_one_point_is_evaluated_exactly_with_every_kind_of_operator(tree, x, y):
    expected = naive.walk(tree, {"x": x, "y": y}, MEANINGS)
    got = evaluate_exact(programs(EVERYTHING, [tree])[0], {"x": x, "y": y})
    assert (got is UNDEFINED) if expected is None else got == expected


def test_an_infinite_step_inside_an_operator_is_no_value_either():
    harmonic = Operator(symbol="h", arity=2, meaning=lambda a, b: 1 / (1 / a + 1 / b), field=None, integral=False)
    grammar = Grammar(name="h", variables=("x",), constants=(1,), operators=(harmonic,), grid=Grid(((0, 2),)))
    one = parse(grammar, "h(x, 1)")
    assert evaluate_exact(one, {"x": 0}) is UNDEFINED
    outputs = grid_outputs(grammar, token_matrix([one]))[0]
    assert np.isnan(outputs).tolist() == [True, False]
    assert outputs[1] == 1 / (1 / 2 + 1)


def test_operators_without_code_run_as_numpy():
    protected = Operator(
        symbol="ratio", arity=2, meaning=lambda a, b: np.where(b == 0, 1.0, a / np.where(b == 0, 1.0, b)),
        field=None, integral=False,
    )  # fmt: skip
    grammar = Grammar(name="protected", variables=("x", "y"), operators=(ADD, protected))
    assert grid_algebra(grammar).table is None
    outputs = grid_outputs(grammar, token_matrix([parse(grammar, "ratio(x, y) + x")]))[0]
    assert outputs.tolist() == [float(x) / float(y) + float(x) if y else 1.0 + x for x, y in grammar.grid.points]
    one = parse(grammar, "ratio(x, y)")
    assert evaluate_exact(one, {"x": 3, "y": 0}) == 1 and evaluate_exact(one, {"x": 3, "y": 4}) == Fraction(3, 4)


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
    with pytest.raises(SynthlabError, match=r"values of '3 \* 3.*exceed the exact range"):
        grid_outputs(POLYNOMIAL, nested_square(5))


def test_whole_numbers_refuse_a_grammar_with_fractions():
    with pytest.raises(ConfigurationError, match="leaves the whole numbers"):
        WholeNumbers(RATIONAL)


def test_the_arithmetic_fits_the_grammar():
    def of(*operators, grid=None):
        grammar = Grammar(name="g", variables=("x",), operators=operators, grid=grid or Grid.regular(0))
        return number_algebra(grammar, grammar.grid.points)

    assert isinstance(of(ADD, MULTIPLY, NEGATE, MINIMUM), WholeNumbers)
    assert isinstance(of(ADD, grid=Grid.regular(Fraction(1, 2))), Floats)
    assert isinstance(of(ADD, DIVIDE), Floats) and not of(ADD, DIVIDE).whole
    assert isinstance(of(ADD, FLOOR_DIVIDE), Floats) and of(ADD, FLOOR_DIVIDE).whole


def test_a_meaning_that_leaves_the_integers_between_the_probes_is_refused():
    # whole on 0, 1, -2, 3, 4, where declarations are probed, but not on 2
    sly = Operator(symbol="sly", arity=1, meaning=lambda a: np.where(a == 2, 0.5, a), field=None)
    grammar = Grammar(name="sly", variables=("x",), operators=(SUBTRACT, sly), grid=Grid.regular(0))
    with pytest.raises(SynthlabError, match="integral=False"):
        grid_outputs(grammar, token_matrix([parse(grammar, "sly(x)")]))


def test_rows_do_not_depend_on_their_company(rational3):
    algebra = Floats(RATIONAL)
    together = evaluate(RATIONAL, rational3.prefix[-200:], algebra)
    for row in range(0, 200, 23):
        tokens = rational3.prefix[-200 + row]
        alone = evaluate(RATIONAL, tokens[tokens != PAD][None], algebra)
        assert np.array_equal(alone[0], together[row], equal_nan=True)


def test_no_programs_have_no_outputs():
    assert grid_outputs(POLYNOMIAL, np.empty((0, 5), dtype=np.uint8)).shape == (0, 36)
