"""Compiled arithmetic against tree walks with fractions, Python floats and Python integers."""

import copy
import functools
import math
from fractions import Fraction

import naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthlab.errors import SynthlabError
from synthlab.language.grammar import PIECEWISE, RATIONAL, Grammar, Grid
from synthlab.language.identity import ResiduePoints
from synthlab.language.interpreter import Floats, WholeNumbers, evaluate, evaluate_shared, grid_outputs
from synthlab.language.machine import TILE, code_table
from synthlab.language.operator import (
    ABSOLUTE,
    ADD,
    DIVIDE,
    FLOOR_DIVIDE,
    MAXIMUM,
    MINIMUM,
    MODULO,
    MULTIPLY,
    NEGATE,
    SQUARE,
    SUBTRACT,
    Operator,
)
from synthlab.language.program import Program, parse, token_matrix
from synthlab.language.residues import PRIME
from synthlab.language.sharing import share

MEAN = Operator(symbol="mean", arity=2, meaning=lambda a, b: (a + b) / 2, integral=False)
MULADD = Operator(symbol="muladd", arity=3, meaning=lambda a, b, c: a * b + c)
MIX = Operator(symbol="mix", arity=2, meaning=lambda a, b: 3 * a - b + 7)


def declared(name, *operators, variables=("x", "y"), constants=(2,), grid=None):
    return Grammar(
        name=name, variables=variables, constants=constants, operators=operators,
        grid=grid or Grid(((-3, -2, 0, 1, 5),) * len(variables)),
    )  # fmt: skip


PLAIN = declared("plain", ADD, SUBTRACT, MULTIPLY)
WHOLE = declared("whole", ADD, SUBTRACT, MULTIPLY, NEGATE, SQUARE, ABSOLUTE, MINIMUM, MAXIMUM, MULADD, MIX)
FLOOR = declared("floor", ADD, SUBTRACT, MULTIPLY, FLOOR_DIVIDE, MODULO, MINIMUM, ABSOLUTE)
DYADIC = declared("dyadic", ADD, SUBTRACT, MEAN, MINIMUM, MAXIMUM, ABSOLUTE, NEGATE, MIX)
REALS = declared("reals", ADD, SUBTRACT, MULTIPLY, DIVIDE, MINIMUM, MAXIMUM, ABSOLUTE, MEAN, MULADD)
FIELD = declared("field", ADD, SUBTRACT, MULTIPLY, DIVIDE, NEGATE, SQUARE, MEAN, MULADD, MIX, constants=(0, 2))
UNARY = declared("unary", NEGATE, ABSOLUTE, variables=("x",))

whole_values = st.integers(-9, 9).map(Fraction)
quarters = st.integers(-40, 40).map(lambda k: Fraction(k, 4))
counts = st.sampled_from([1, 2, 36, TILE, TILE + 1, 2 * TILE + 3])


def trees(grammar, max_leaves=10):
    return naive.random_trees(dict(zip(grammar.tokens, grammar.arities.tolist(), strict=True)), max_leaves)


def matrix(grammar, listed):
    """Token matrix with some padding behind the longest row."""
    programs = [Program(grammar, tuple(grammar.index[t] for t in naive.flatten(tree))) for tree in listed]
    return token_matrix(programs, width=3 + max(p.nodes for p in programs))


def several_points(data, grammar, values):
    """1 to more than two tiles of points; only a few differ, so that hypothesis draws little."""
    drawn = data.draw(st.lists(st.tuples(*[values] * len(grammar.variables)), min_size=1, max_size=5))
    count = data.draw(counts)
    return [drawn[k % len(drawn)] for k in range(count)]


def ways(grammar, prefix, algebra):
    """Every way to the same values: compiled or NumPy, program by program or on shared subtrees."""
    for one in (algebra, uncompiled(algebra)):
        yield functools.partial(evaluate, grammar, prefix, one)
        yield functools.partial(on_shared_subtrees, grammar, prefix, one)


def on_shared_subtrees(grammar, prefix, algebra):
    shared = share(grammar, prefix)
    return evaluate_shared(shared, algebra)[shared.roots]


def uncompiled(algebra):
    """The same arithmetic without code, as for operators that cannot be followed."""
    twin = copy.copy(algebra)
    twin.table = None
    return twin


def evaluations(grammar, prefix, algebra):
    return (way() for way in ways(grammar, prefix, algebra))


def named(grammar, points):
    return [dict(zip(grammar.variables, p, strict=True)) for p in points]


@pytest.mark.parametrize("grammar", [PLAIN, WHOLE, UNARY, PIECEWISE], ids=lambda g: g.name)
@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_whole_numbers_are_exact(grammar, data):
    listed = data.draw(st.lists(trees(grammar), min_size=1, max_size=4))
    points = several_points(data, grammar, whole_values)
    expected = [[naive.walk(t, p, naive.MEANINGS) for p in named(grammar, points)] for t in listed]
    if max(abs(v) for t in listed for s in naive.subtrees(t) for v in _values(s, grammar, points)) >= 2**60:
        return  # refused near 2^62, which other tests look at
    for values in evaluations(grammar, matrix(grammar, listed), WholeNumbers(grammar, points)):
        assert values.dtype == np.int64
        assert values.tolist() == expected


def _values(tree, grammar, points):
    return [naive.walk(tree, p, naive.MEANINGS) for p in named(grammar, points)]


@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_floor_division_and_remainder_are_exact_on_whole_points(data):
    listed = data.draw(st.lists(trees(FLOOR, 8), min_size=1, max_size=4))
    points = several_points(data, FLOOR, whole_values)
    everything = [v for t in listed for s in naive.subtrees(t) for v in _values(s, FLOOR, points) if v is not None]
    for values in evaluations(FLOOR, matrix(FLOOR, listed), Floats(FLOOR, points)):
        assert max(map(abs, everything), default=0) <= 2**53  # eight leaves below 10 stay below
        for row, tree in zip(values.tolist(), listed, strict=True):
            assert [None if math.isnan(v) else v for v in row] == _values(tree, FLOOR, points)


@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_floats_are_exact_where_fractions_of_powers_of_two_are(data):
    listed = data.draw(st.lists(trees(DYADIC), min_size=1, max_size=4))
    points = several_points(data, DYADIC, quarters)
    for values in evaluations(DYADIC, matrix(DYADIC, listed), Floats(DYADIC, points)):
        assert values.tolist() == [_values(tree, DYADIC, points) for tree in listed]


@pytest.mark.parametrize("grammar", [REALS, RATIONAL], ids=lambda g: g.name)
@pytest.mark.parametrize(("dtype", "number"), [(np.float64, float), (np.float32, np.float32)], ids=["64", "32"])
@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_floats_are_those_of_ieee_arithmetic(grammar, dtype, number, data):
    listed = data.draw(st.lists(trees(grammar), min_size=1, max_size=4))
    points = several_points(data, grammar, quarters)
    with np.errstate(all="ignore"):
        expected = [
            [naive.walk_floats(t, p, naive.MEANINGS, number) for p in named(grammar, points)] for t in listed
        ]  # fmt: skip
    algebra = Floats(grammar, points, dtype=dtype)
    for values in evaluations(grammar, matrix(grammar, listed), algebra):
        assert values.dtype == dtype
        np.testing.assert_array_equal(values, np.array(expected, dtype=dtype))


@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_residues_are_those_of_fractions(data):
    listed = data.draw(st.lists(trees(FIELD), min_size=1, max_size=4))
    points = several_points(data, FIELD, st.fractions(-9, 9, max_denominator=7))
    prefix = matrix(FIELD, listed)
    expected = [
        [PRIME if v is None else v.numerator * pow(v.denominator, -1, PRIME) % PRIME for v in _values(t, FIELD, points)]
        for t in listed
    ]
    for values in evaluations(FIELD, prefix, ResiduePoints(FIELD, points)):
        assert values.tolist() == expected


@pytest.mark.parametrize("count", [1, TILE - 1, TILE, TILE + 1, 200])
def test_points_do_not_depend_on_their_company(count):
    points = [(Fraction(k % 17 - 8), Fraction(k % 5)) for k in range(count)]
    prefix = token_matrix([parse(WHOLE, "muladd(x, y, mix(x, y)) - min(x, y)")])
    together = evaluate(WHOLE, prefix, WholeNumbers(WHOLE, points))[0]
    alone = [evaluate(WHOLE, prefix, WholeNumbers(WHOLE, [p]))[0, 0] for p in points]
    assert together.tolist() == alone == [x * y + 3 * x - y + 7 - min(x, y) for x, y in points]


# ---------------------------------------------------------------- missing values


@pytest.mark.parametrize(
    "text",
    [
        "min(x / 0, 1)", "min(1, x / 0)", "max(x / 0, 1)", "max(1, x / 0)", "abs(x / 0)", "neg(x / 0)", "x / 0 - x / 0",
        "(x / 0) * 0", "0 * (x / 0)", "1 / (1 / 0)", "0 / (x / 0)", "x // 0", "x % 0", "0 // 0", "0 % 0",
        "1 // (1 / 0)", "1 % (1 / 0)", "(1 / 0) % 1", "min(1, x // 0)", "max(x % 0, 1)", "mean(x, 1 / 0)",
        "mean(1 / 0, x)",
        "muladd(0, 1 / 0, 1)", "muladd(1, 1, 1 / 0)", "min(1, min(x, 1 / (x - x)))", "(1 / 0) / (1 / 0)",
        "min(neg(1 / 0), 1)", "max(neg(1 / 0), 1)", "1 / (x // 0)", "1 / (1 / (x - x) - 1)",
    ],
)  # fmt: skip
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_what_is_missing_stays_missing(text, dtype):
    grammar = declared(
        "missing", ADD, SUBTRACT, MULTIPLY, DIVIDE, FLOOR_DIVIDE, MODULO, MINIMUM, MAXIMUM, ABSOLUTE, NEGATE, MEAN,
        MULADD, variables=("x",), constants=(0, 1),
    )  # fmt: skip
    for values in evaluations(grammar, token_matrix([parse(grammar, text)]), Floats(grammar, dtype=dtype)):
        assert np.isnan(values).all()


def test_a_missing_value_spoils_only_its_own_points():
    grammar = declared("spots", ADD, DIVIDE, MINIMUM, variables=("x",), constants=(1,))
    points = [(Fraction(k % 3),) for k in range(150)]
    prefix = token_matrix([parse(grammar, "min(1 / x, 1)"), parse(grammar, "x + 1")])
    for values in evaluations(grammar, prefix, Floats(grammar, points)):
        assert np.isnan(values[0]).tolist() == [k % 3 == 0 for k in range(150)]
        assert values[1].tolist() == [k % 3 + 1 for k in range(150)]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_results_beyond_the_floats_are_missing_and_never_come_back(dtype):
    grammar = declared(
        "huge", ADD, DIVIDE, MULTIPLY, MINIMUM, variables=("x",), constants=(1,), grid=Grid(((10**200,),))
    )
    if dtype == np.float32:
        grammar = declared("huge", *grammar.operators, variables=("x",), constants=(1,), grid=Grid(((10**30,),)))
    prefix = token_matrix([parse(grammar, t) for t in ("x * x", "1 / (x * x)", "min(1, x * x)", "x + x")])
    for values in evaluations(grammar, prefix, Floats(grammar, dtype=dtype)):
        assert np.isnan(values[:, 0]).tolist() == [True, True, True, False]


def test_operands_that_a_meaning_ignores_still_count():
    first = Operator(symbol="first", arity=2, meaning=lambda a, b: a)
    grammar = declared("ignoring", ADD, SUBTRACT, DIVIDE, first, constants=(1,))
    points = [(Fraction(3), Fraction(4))]
    prefix = token_matrix(
        [parse(grammar, t) for t in ("first(x, 1 / (x - x))", "first(1 / (x - x), x)", "first(x, y)")]
    )
    for values in evaluations(grammar, prefix, Floats(grammar, points)):
        assert np.isnan(values[:, 0]).tolist() == [True, True, False]
    for values in evaluations(grammar, prefix, ResiduePoints(grammar, points)):
        assert values[:, 0].tolist() == [PRIME, PRIME, 3]


# ---------------------------------------------------------------- overflow


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_whole_numbers_are_exact_or_refused_and_never_wrap(data):
    grammar = declared("towers", ADD, SUBTRACT, MULTIPLY, NEGATE, ABSOLUTE, MINIMUM, MAXIMUM, constants=(10**9,))
    listed = data.draw(st.lists(trees(grammar, 8), min_size=1, max_size=3))
    large = st.sampled_from([-(10**9), -3037000500, -7, 0, 2, 2**31, 10**10, 2**59, -(2**59)]).map(Fraction)
    points = several_points(data, grammar, large)
    largest = max(abs(v) for t in listed for s in naive.subtrees(t) for v in _values(s, grammar, points))
    prefix, algebra = matrix(grammar, listed), WholeNumbers(grammar, points)
    if 2**60 - 2**10 <= largest < 2**62:
        return  # either is right
    for way in ways(grammar, prefix, algebra):
        if largest < 2**60 - 2**10:
            assert way().tolist() == [_values(tree, grammar, points) for tree in listed]
        else:
            with pytest.raises(SynthlabError, match="exceed"):
                way()


@pytest.mark.parametrize("num", [7, 10, 14, 21, 40, 64, 100])
def test_powers_of_a_big_grid_value_are_refused(num):
    grammar = declared("powers", MULTIPLY, variables=("x",), constants=(), grid=Grid(((0, 1, 10**3),)))
    prefix = token_matrix([parse(grammar, " * ".join("x" * num))])
    with pytest.raises(SynthlabError, match="exceed the exact range"):
        grid_outputs(grammar, prefix)
    for way in ways(grammar, prefix, WholeNumbers(grammar)):
        with pytest.raises(SynthlabError, match="exceed"):
            way()


def test_the_first_program_that_overflows_is_named():
    grammar = declared("names", MULTIPLY, variables=("x",), constants=(1,), grid=Grid(((10**12,),)))
    prefix = token_matrix([parse(grammar, t) for t in ("x", "x * 1 * x", "x * x", "1 * x")])
    with pytest.raises(SynthlabError, match=r"'x \* 1 \* x'") as caught:
        evaluate(grammar, prefix, WholeNumbers(grammar))
    assert "\n" not in str(caught.value)


def test_an_overflow_in_a_later_tile_is_found():
    grammar = declared("late", MULTIPLY, variables=("x",), constants=(1,))
    points = [(Fraction(1),)] * (2 * TILE) + [(Fraction(10**12),)]
    with pytest.raises(SynthlabError, match="exceed"):
        evaluate(grammar, token_matrix([parse(grammar, "x * x")]), WholeNumbers(grammar, points))
    assert evaluate(grammar, token_matrix([parse(grammar, "x * x")]), WholeNumbers(grammar, points[:-1])).max() == 1


def test_points_that_are_not_there_do_not_overflow():
    # at x = 0, which is not on the grid, the value would be 2^80
    shifted = Operator(symbol="shifted", arity=1, meaning=lambda a: (a + 2**40) * (a + 2**40))
    grammar = declared("shifted", ADD, shifted, variables=("x",), constants=(), grid=Grid(((-(2**40), 5 - 2**40),)))
    assert grid_outputs(grammar, token_matrix([parse(grammar, "shifted(x)")])).tolist() == [[0, 25]]


@pytest.mark.parametrize("value", [2**62, 2**63 - 1, -(2**63), 2**64, 10**30])
@pytest.mark.parametrize("text", ["x", "x + x", "neg(x)", "x - 1", "min(x + x, 1)"])
def test_grid_values_beyond_the_whole_range_are_refused(value, text):
    grammar = declared(
        "beyond", ADD, SUBTRACT, NEGATE, MINIMUM, variables=("x",), constants=(1,), grid=Grid(((value,),))
    )  # fmt: skip
    exact = naive.walk(_tree(parse(grammar, text)), {"x": Fraction(value)}, naive.MEANINGS)
    try:
        outputs = grid_outputs(grammar, token_matrix([parse(grammar, text)]))
    except SynthlabError:
        return
    assert outputs.tolist() == [[exact]]


def _tree(program):
    arities = dict(zip(program.grammar.tokens, program.grammar.arities.tolist(), strict=True))
    return naive.tree(program.prefix_text().split(), arities)


def test_overflow_inside_an_operator_is_found():
    product = Operator(symbol="inner", arity=2, meaning=lambda a, b: a * b - a * b + 1)
    grammar = declared("inner", ADD, product, variables=("x",), constants=(), grid=Grid(((10**12,),)))
    with pytest.raises(SynthlabError, match="exceed"):
        evaluate(grammar, token_matrix([parse(grammar, "inner(x, x)")]), WholeNumbers(grammar))


@pytest.mark.parametrize("value", [3 * 10**9 + 1, 5 * 10**9, 10**12 + 7, 2**61 - 5])
def test_operators_that_run_as_numpy_never_wrap_inside(value):
    clipped = Operator(symbol="clipped", arity=2, meaning=lambda a, b: np.clip(a * b, -5, 5), field=None)
    grammar = declared("clipping", ADD, clipped, variables=("x",), constants=(), grid=Grid(((value, -value),)))
    prefix = token_matrix([parse(grammar, "clipped(x, x)")])
    try:
        outputs = grid_outputs(grammar, prefix)
    except SynthlabError:
        return
    assert outputs.tolist() == [[5, 5]]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("x * x // 3", 10**9 + 7),
        ("x * x % 10", 10**9 + 7),
        ("(x * x + 1) // 1 - x * x", 10**8 + 1),
        ("x // 1 * x", -(10**9)),
        ("x * x * x // x", 10**6 + 3),
    ],
)
def test_whole_floats_beyond_2_to_the_53_are_refused(text, value):
    grammar = declared(
        "floors", ADD, SUBTRACT, MULTIPLY, FLOOR_DIVIDE, MODULO, variables=("x",), constants=(1, 3, 10),
        grid=Grid(((1, value),)),
    )  # fmt: skip
    prefix = token_matrix([parse(grammar, text)])
    with pytest.raises(SynthlabError, match="exceed the exact range"):
        grid_outputs(grammar, prefix)
    for way in ways(grammar, prefix, Floats(grammar)):
        with pytest.raises(SynthlabError, match="exceed"):
            way()


@pytest.mark.parametrize("value", [10**9 + k for k in range(1, 12, 2)])
def test_whole_floats_beyond_2_to_the_53_inside_an_operator_are_refused_or_exact(value):
    product = Operator(symbol="product", arity=2, meaning=lambda a, b: a * b % 7, field=None)
    grammar = declared("products", ADD, product, variables=("x",), constants=(), grid=Grid(((value,),)))
    prefix = token_matrix([parse(grammar, "product(x, x)")])
    for way in ways(grammar, prefix, Floats(grammar)):
        try:
            values = way()
        except SynthlabError:
            continue
        assert values.tolist() == [[value * value % 7]]


@pytest.mark.parametrize(("constants", "value"), [((2, 2**53 + 1), 1), ((2,), 2**53 + 1), ((2,), 10**18 + 1)])
def test_whole_floats_start_below_2_to_the_53(constants, value):
    grammar = declared("starts", ADD, MODULO, variables=("x",), constants=constants, grid=Grid(((value,),)))
    odd = max(*constants, value)
    text = f"{odd} % 2" if odd in constants else "x % 2"
    try:
        outputs = grid_outputs(grammar, token_matrix([parse(grammar, text)]))
    except SynthlabError:
        return
    assert outputs.tolist() == [[1]]


# ---------------------------------------------------------------- the table of code


def test_the_code_of_a_grammar_numbers_constants_over_all_operators():
    halves = Operator(symbol="halves", arity=1, meaning=lambda a: a / 2 + 3, integral=False)
    grammar = declared("table", MEAN, halves, MULTIPLY)
    table = code_table(grammar, "code")
    assert table.constants == (2, 2, 3)
    assert table.first.tolist()[grammar.num_terminals :] == [0, 2, 4, 5]
    assert table.simple.tolist() == [-1] * 3 + [-1, -1, 2]
    points = [(Fraction(1), Fraction(5))]
    prefix = token_matrix([parse(grammar, "halves(mean(x, y)) * halves(x)")])
    assert evaluate(grammar, prefix, Floats(grammar, points)).tolist() == [[(3 / 2 + 3) * (1 / 2 + 3)]]


def test_a_reversed_instruction_is_not_taken_for_a_plain_one():
    reversed_minus = Operator(symbol="from", arity=2, meaning=lambda a, b: b - a)
    grammar = declared("reversed", ADD, reversed_minus, constants=(1,))
    assert code_table(grammar, "code").simple.tolist()[-1] == -1
    prefix = token_matrix([parse(grammar, "from(x, y)")])
    points = [(Fraction(7), Fraction(2))]
    for values in evaluations(grammar, prefix, WholeNumbers(grammar, points)):
        assert values.tolist() == [[-5]]


def test_one_operator_without_code_leaves_the_grammar_without_a_table():
    pick = Operator(symbol="pick", arity=2, meaning=lambda a, b: np.where(a > b, a, b), field=None)
    grammar = declared("picking", ADD, pick)
    assert code_table(grammar, "code") is None
    prefix = token_matrix([parse(grammar, "pick(x, y) + pick(2, x)")])
    values = grid_outputs(grammar, prefix)
    assert values.tolist() == [[max(x, y) + max(2, x) for x, y in grammar.grid.points]]


def test_nothing_in_means_nothing_out():
    for grammar in (WHOLE, FLOOR, UNARY):
        empty = np.empty((0, 5), dtype=np.uint8)
        assert grid_outputs(grammar, empty).shape == (0, len(grammar.grid.points))
