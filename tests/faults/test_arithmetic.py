"""Extreme numbers: what leaves a range is refused, what does not exist is missing, and nothing wraps."""

import copy
import math
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest

from synthlab.__main__ import main
from synthlab.errors import BudgetExceeded, ConfigurationError, GrammarError, SynthlabError
from synthlab.language.grammar import POLYNOMIAL, RATIONAL, Grammar, Grid
from synthlab.language.identity import ResiduePoints, fingerprints, grid_codes, same_function
from synthlab.language.interpreter import UNDEFINED, Floats, WholeNumbers, evaluate, evaluate_exact, grid_outputs
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
from synthlab.language.program import parse, token_matrix
from synthlab.language.residues import PRIME, UNDEFINED_RESIDUE
from synthlab.search.problem import Problem
from synthlab.spaces.semantic import fit_semantic, moments, z_scores
from synthlab.universe.corpus import build_corpus

LIMIT, FLOAT_LIMIT = 2**60, 2**53


def of(*operators, values=(0, 1, 2), constants=(1,), name="g", variables=("x",)):
    return Grammar(
        name=name, variables=variables, constants=constants, operators=operators, grid=Grid((values,) * len(variables))
    )


def row(grammar, text):
    return token_matrix([parse(grammar, text)])


def everywhere(grammar, text, algebra):
    """Values of one program by compiled code and by plain NumPy, or the refusals of both."""
    plain = copy.copy(algebra)
    plain.table = None
    found = []
    for one in (algebra, plain):
        try:
            found.append(evaluate(grammar, row(grammar, text), one)[0].tolist())
        except SynthlabError as error:
            assert "exceed" in str(error) and "\n" not in str(error)
            found.append("refused")
    assert np.array_equal(*(np.array(f, dtype=object) for f in found)) or str(found[0]) == str(found[1])
    return found[0]


@pytest.mark.fault("overflow, division by zero, poles")
def test_whole_numbers_are_exact_up_to_their_limit_and_refused_beyond(fired):
    grammar = of(ADD, SUBTRACT, MULTIPLY, NEGATE, SQUARE, ABSOLUTE, MINIMUM, MAXIMUM, variables=("x", "y"))
    meanings = {
        "x + y": lambda x, y: x + y, "x - y": lambda x, y: x - y, "x * y": lambda x, y: x * y,
        "neg(x)": lambda x, y: -x, "square(x)": lambda x, y: x * x, "abs(x)": lambda x, y: abs(x),
        "min(x, y)": min, "max(x, y)": max, "x * y - x * y": lambda x, y: x * y,
    }  # fmt: skip
    top = LIMIT - 128  # the largest float below the limit: what is nearer counts as beyond
    extremes = (top, -top, top - 1, 2**59, -(2**59), 2**30, -(2**30), 2**30 - 1, 1, 0, -1)
    for x in extremes:
        for y in extremes:
            algebra = WholeNumbers(grammar, [(Fraction(x), Fraction(y))])
            for text, meaning in meanings.items():
                wanted = meaning(x, y)
                found = everywhere(grammar, text, algebra)
                shown = wanted if "- x * y" not in text else 0
                assert found == ([shown] if abs(wanted) < LIMIT else "refused"), (text, x, y)
                fired(found == "refused")
    for beyond in (LIMIT, -LIMIT, 2**63 - 1, -(2**63), 2**64, 10**40, 10**5000):
        with pytest.raises(SynthlabError, match="beyond 2\\^60") as caught:
            WholeNumbers(grammar, [(Fraction(beyond), Fraction(0))])
        assert len(str(caught.value)) < 200
        fired()


@pytest.mark.fault("overflow, division by zero, poles")
def test_the_smallest_whole_number_divided_by_minus_one_does_not_wrap(fired):
    grammar = of(ADD, FLOOR_DIVIDE, MODULO, NEGATE, ABSOLUTE, variables=("x", "y"))
    for x in (-FLOAT_LIMIT, -FLOAT_LIMIT + 1, FLOAT_LIMIT, -7, 7, 0):
        for y in (-1, 1, -2, 2, 3, -FLOAT_LIMIT, FLOAT_LIMIT, 0):
            if max(abs(x), abs(y)) >= FLOAT_LIMIT:
                with pytest.raises(SynthlabError, match="beyond 2\\^53"):
                    Floats(grammar, [(Fraction(x), Fraction(y))])
                fired()
                continue
            algebra = Floats(grammar, [(Fraction(x), Fraction(y))])
            for text, wanted in (("x // y", x // y if y else None), ("x % y", x % y if y else None)):
                (found,) = everywhere(grammar, text, algebra)
                assert math.isnan(found) if wanted is None else found == wanted
                exact = evaluate_exact(parse(grammar, text), {"x": x, "y": y})
                assert (exact is UNDEFINED) if wanted is None else exact == wanted
                fired(wanted is None)
            assert everywhere(grammar, "abs(neg(x))", algebra) == [abs(x)]
    edge = of(ADD, NEGATE, FLOOR_DIVIDE, values=(FLOAT_LIMIT - 2, 2 - FLOAT_LIMIT), name="edge")
    assert grid_outputs(edge, row(edge, "x + 1"))[0].tolist() == [FLOAT_LIMIT - 1, 3 - FLOAT_LIMIT]
    assert float(FLOAT_LIMIT + 1) == float(FLOAT_LIMIT)
    for text in ("x + 1 + 1", "x + 1 + 1 + 1", "neg(x) + 1 + 1 + 1", "x + x // x + 1 + 1"):
        assert everywhere(edge, text, Floats(edge)) == "refused", "2^53 + 1 is 2^53 in floats"
        fired()


@pytest.mark.fault("overflow, division by zero, poles")
def test_nothing_has_a_value_after_a_division_by_zero(fired):
    harmonic = Operator(symbol="h", arity=2, meaning=lambda a, b: 1 / (1 / a + 1 / b), field=None, integral=False)
    inverse = Operator(symbol="inv", arity=1, meaning=lambda a: a**-1, integral=False)
    protected = Operator(
        symbol="p", arity=2, meaning=lambda a, b: np.divide(a, np.where(b == 0, np.nan, b)), field=None, integral=False
    )
    for operators, texts in (
        ((ADD, SUBTRACT, MULTIPLY, DIVIDE), ("1 / {}", "{} / {}", "x / (1 / {})", "0 * (1 / {})", "1 / {} - 1 / {}")),
        ((ADD, SUBTRACT, MULTIPLY, DIVIDE, inverse), ("inv({})", "inv(inv({}))", "0 * inv({})")),
        ((ADD, SUBTRACT, FLOOR_DIVIDE, MODULO), ("1 // {}", "x % {}", "0 // (1 // {})", "{} % {}")),
        ((ADD, SUBTRACT, DIVIDE, MINIMUM, MAXIMUM, harmonic), ("h(1, {})", "min(0, 1 / {})", "max({}, x / {})")),
        ((ADD, SUBTRACT, protected), ("p(1, {})", "p({}, {})")),
    ):
        grammar = of(*operators, constants=(0, 1), values=(-2, 0, 5))
        for text in texts:
            for zero in ("0", "(x - x)", "(0 + 0)"):
                program = parse(grammar, text.replace("{}", zero))
                rows = token_matrix([program])
                assert np.isnan(grid_outputs(grammar, rows)).all(), program
                assert all(evaluate_exact(program, {"x": x}) is UNDEFINED for x in (-2, 0, 5))
                assert np.isnan(evaluate(grammar, rows, Floats(grammar))).all()
                if grammar.exact:
                    residues = evaluate(grammar, rows, ResiduePoints(grammar, grammar.grid.points))
                    assert (residues == UNDEFINED_RESIDUE).all()
                    assert (fingerprints(grammar, rows) == UNDEFINED_RESIDUE).all()
                assert not same_function(program, program), "what is no function equals nothing"
                fired(3)


@pytest.mark.fault("overflow, division by zero, poles")
def test_removable_poles_are_poles_at_the_point_and_nowhere_else(fired):
    grammar = of(ADD, SUBTRACT, MULTIPLY, DIVIDE, values=(-1, 0, 1, 2), name="poles")
    cases = {
        "x / x": ({0}, "1"), "x * (1 / x)": ({0}, "1"), "(x * x - 1) / (x - 1)": ({1}, "x + 1"),
        "1 / (1 / x)": ({0}, "x"), "x / (x - 1) * (x - 1)": ({1}, "x"), "(x + x) / (1 + 1)": (set(), "x"),
    }  # fmt: skip
    for text, (poles, reduced) in cases.items():
        program, other = parse(grammar, text), parse(grammar, reduced)
        outputs = grid_outputs(grammar, token_matrix([program, other]))
        for x, value, wanted in zip((-1, 0, 1, 2), outputs[0], outputs[1], strict=True):
            assert math.isnan(value) if x in poles else value == wanted
            assert (evaluate_exact(program, {"x": x}) is UNDEFINED) == (x in poles)
        assert same_function(program, other), "as functions quotients are reduced"
        fired(max(1, len(poles)))


@pytest.mark.fault("overflow, division by zero, poles")
def test_infinity_is_missing_by_all_ways_even_where_it_would_vanish(fired):
    big = 10**200
    power = Operator(symbol="**", arity=2, meaning=lambda a, b: np.power(a, b), field=None, integral=False)
    grammar = of(ADD, SUBTRACT, MULTIPLY, DIVIDE, MINIMUM, MAXIMUM, values=(big, -big), constants=(0, 1), name="big")
    for text in ("x * x - x * x", "min(x * x, 1)", "max(1, x * x)", "1 / (x * x)", "x * x / (x * x)", "x * x * 0"):
        (outputs,) = grid_outputs(grammar, row(grammar, text))
        assert np.isnan(outputs).all(), text
        assert all(map(math.isnan, everywhere(grammar, text, Floats(grammar))))
        fired()
    powers = of(power, ADD, values=(0, 1, 2, 10_000), constants=(0, 2, 10_000), name="powers")
    wanted = {"x ** 0": [1, 1, 1, 1], "0 ** x": [1, 0, 0, 0], "x ** 10000": [0, 1, None, None]}
    for text, values in wanted.items():
        (outputs,) = grid_outputs(powers, row(powers, text))
        assert [None if math.isnan(v) else v for v in outputs] == values
        exact = [evaluate_exact(parse(powers, text), {"x": x}) for x in (0, 1, 2, 10_000)]
        assert [None if v is UNDEFINED else v for v in exact] == values
        fired(values.count(None) or 1)
    assert evaluate_exact(parse(powers, "x ** 2"), {"x": 10**400}) is UNDEFINED, "no float is so large"
    fired()


@pytest.mark.fault("overflow, division by zero, poles")
def test_a_whole_meaning_that_wraps_inside_is_refused(fired):
    """Integers that NumPy wraps differ from the same in floats."""
    steep = Operator(symbol="steep", arity=1, meaning=lambda a: np.where(a > 3, a**20, a), field=None)
    grammar = of(ADD, steep, values=(2, 3, 10), name="steep")
    assert steep.code is None and int(np.int64(10) ** np.int64(20)) != 10**20
    with pytest.raises(SynthlabError, match="exceed 2\\^60"):
        grid_outputs(grammar, row(grammar, "steep(x)"))
    fired()


@pytest.mark.fault("overflow, division by zero, poles")
def test_zero_has_one_sign(fired):
    """An operator that sees the sign of zero would tear a class apart: neg(x - x) is x - x."""
    sign = Operator(symbol="sgn", arity=1, meaning=lambda a: np.copysign(1.0, a), field=None, integral=False)
    assert sign.code is None
    grammar = of(ADD, SUBTRACT, MULTIPLY, NEGATE, sign, values=(-1, 0, 2), name="signs")
    rows = token_matrix([parse(grammar, t) for t in ("sgn(neg(x - x))", "sgn(x - x)", "sgn(neg(x) * (x - x))")])
    outputs = grid_outputs(grammar, rows)
    assert (outputs == 1).all() and len(np.unique(fingerprints(grammar, rows), axis=0)) == 1
    assert evaluate_exact(parse(grammar, "sgn(neg(x - x))"), {"x": 0}) == 1
    shown = grid_outputs(RATIONAL, row(RATIONAL, "(1 - 2) * (x - x)"))[0]
    assert not np.signbit(shown).any()
    fired(3)


@pytest.mark.fault("overflow, division by zero, poles")
def test_integers_of_numpy_do_not_wrap_inside_fractions(fired):
    """`Fraction(numpy.int64(3))` computes with 64 bits, silently."""
    with np.errstate(over="ignore"):
        assert Fraction(np.int64(10**10)) ** 1 * Fraction(np.int64(10**10)) != 10**20
    program = parse(POLYNOMIAL, "x * x * x")
    for kind in (np.int64, np.uint64, np.float64, int, Fraction, Decimal, lambda v: Fraction(np.int64(v))):
        assert evaluate_exact(program, {"x": kind(10**10), "y": 0}) == 10**30
        fired()
    grid = Grid((np.array([1, 2**40]),))
    grammar = Grammar(name="np", variables=("x",), constants=(np.int64(2**40),), operators=(MULTIPLY, ADD), grid=grid)
    assert evaluate_exact(parse(grammar, f"x * {2**40}"), {"x": grid.points[1][0]}) == 2**80
    assert grid_codes(grammar, row(grammar, f"x * {2**40}"))[0].tolist() == [2**40, 2**80 % PRIME]
    with pytest.raises(SynthlabError, match="exceed"):
        grid_outputs(grammar, row(grammar, "x * x"))
    fired(3)


@pytest.mark.fault("overflow, division by zero, poles")
def test_grid_values_that_the_prime_confuses_are_refused(fired):
    """2^61 is 1 modulo 2^61 - 1: on such a grid x would pass for 1."""
    for value in (2**61, 2**60, -(2**61), PRIME, Fraction(1, 2**61), Fraction(1, PRIME), 1e-300, 0.001):
        grammar = of(ADD, SUBTRACT, DIVIDE, values=(0, value), name="confused")
        with pytest.raises(GrammarError, match="has a part beyond 2\\^60: write it as a shorter fraction") as caught:
            grid_outputs(grammar, row(grammar, "x"))
        assert len(str(caught.value)) < 250
        fired()
    with pytest.raises(GrammarError, match="reaches beyond the floats"):
        Floats(of(ADD, DIVIDE, values=(0, 10**40)), dtype=np.float32)
    with pytest.raises(GrammarError, match="reaches beyond the floats"):
        grid_outputs(*(lambda g: (g, row(g, "x")))(of(ADD, DIVIDE, MINIMUM, values=(0, 10**400), name="far")))
    fired()
    assert np.isnan(grid_outputs(*(lambda g: (g, row(g, "1 / x")))(of(DIVIDE, values=(0, Fraction(1, 1000)))))[0, 0])


BAD = (
    math.nan, math.inf, -math.inf, np.float64("nan"), np.float32("inf"), Decimal("NaN"), Decimal("Infinity"), 1j,
    np.complex128(1), None, "x", "one", "nan", "1/0", "", "٣", "1/3", "1_0", True, np.True_, (1, 2), [1], b"1",
    object(), np.datetime64("2020"), np.array([1, 2]),
)  # fmt: skip


@pytest.mark.fault("NaN or infinity in grid, data or loss")
@pytest.mark.parametrize("value", BAD, ids=lambda v: ascii(v)[:20])
def test_only_finite_numbers_enter(value, fired):
    """Grids, points of evaluation, constants and outputs to look for, one by one."""
    with pytest.raises(GrammarError, match="no finite number") as caught:
        Grid(((0, 1), (2, value)))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 200
    with pytest.raises(ConfigurationError, match="no finite number"):
        evaluate_exact(parse(POLYNOMIAL, "x"), {"x": value, "y": 1})
    with pytest.raises(GrammarError, match="literals of at most 18 digits"):
        of(ADD, constants=(1, value))
    fired(3)
    # there None says that the target has no value, and fractions may be text
    written = isinstance(value, str) and value == "1/3"
    if value is not None and not written:
        with pytest.raises(ConfigurationError, match=r"is no number|is a rounded number"):
            Problem.from_outputs(POLYNOMIAL, [1] * 35 + [value], max_size=3)
        fired()
    if not written:
        with pytest.raises(ConfigurationError, match="is no point"):
            Problem.from_examples(POLYNOMIAL, [((0, value), 1)], max_size=3)
        fired()


@pytest.mark.fault("NaN or infinity in grid, data or loss")
def test_huge_numbers_are_refused_in_short_messages(fired, capsys):
    """Python writes no integer of more than 4,300 digits, not even into an error."""
    for value in (10**5000, -(10**5000), Fraction(1, 10**5000), 2**200):
        with pytest.raises(ConfigurationError, match="reaches 2\\^60") as caught:
            Problem.from_outputs(POLYNOMIAL, [1] * 35 + [value], max_size=3)
        assert len(str(caught.value)) < 200
        fired()
    product = "*".join(["x"] * 300)
    for text, x, code in ((product, "9" * 18, 2), ("x", "1e400", 2), ("x", "nan", 2), ("x", "inf", 2), ("x", "1/0", 2)):
        assert main(["eval", text, "--x", x, "--y", "1"]) == code
        error = capsys.readouterr().err
        assert error.startswith("synthlab: ") and error.count("\n") == 1 and len(error) < 300
        fired()
    with pytest.raises(BudgetExceeded, match="bits"):
        evaluate_exact(parse(POLYNOMIAL, product), {"x": 2**10_000, "y": 1})
    fired()


@pytest.mark.fault("NaN or infinity in grid, data or loss")
def test_missing_outputs_are_masked_and_counted(fired):
    """Of every class the points without a value take no part in mean, deviation and place, and are counted."""
    grammar = of(ADD, SUBTRACT, DIVIDE, values=(-1, 0, 1, 2), name="masked")
    corpus = build_corpus(grammar, 3)
    space = fit_semantic(corpus, num_axes=3)
    exact = [[evaluate_exact(corpus.program(int(i)), {"x": x}) for x in (-1, 0, 1, 2)] for i in corpus.class_id]
    masked = [sum(v is UNDEFINED for v in values) for values in exact]
    assert space.model["masked"].tolist() == masked and sum(masked) > 0
    for point in range(4):
        known = [math.asinh(values[point]) for values in exact if values[point] is not UNDEFINED]
        mean = math.fsum(known) / len(known)
        deviation = math.sqrt(math.fsum((v - mean) ** 2 for v in known) / len(known))
        np.testing.assert_allclose([space.model["mean"][point], space.model["deviation"][point]], [mean, deviation])
    placed = np.array(masked) < 4
    assert np.isfinite(space.coordinates[placed]).all() and np.isnan(space.coordinates[~placed]).all()
    fired(sum(masked))


# ---------------------------------------------------------------- axes without variance


def standardized(values):
    mean, deviation = moments(lambda: iter(np.array_split(values, 3)))
    return z_scores(values, mean, deviation), deviation == 0


@pytest.mark.fault("an axis without variance")
@pytest.mark.parametrize("value", [14.62, 0.1, 0.0, -0.0, 1 / 3, -3.7e9, 1e-300, 5e-324, 1.7e308, 2**53 + 0.0])
@pytest.mark.parametrize("rows", [2, 3, 7, 1000])
def test_a_constant_column_scores_zero_and_is_marked(value, rows, fired):
    varied = np.linspace(-1, 2, rows)
    gaps = np.where(np.arange(rows) % 2, np.nan, value)
    signs = np.where(np.arange(rows) % 2, -0.0, 0.0)
    columns = [np.full(rows, value), varied, gaps, np.full(rows, np.nan), signs]
    scores, constant = standardized(np.stack(columns, axis=1))
    assert constant.tolist() == [True, False, True, True, True]
    assert (scores[:, [0, 2, 3, 4]] == 0).all()
    np.testing.assert_allclose([scores[:, 1].mean(), scores[:, 1].std()], [0, 1], atol=1e-12)
    fired(4)


@pytest.mark.fault("an axis without variance")
@pytest.mark.parametrize("unit", [1e-323, 1e-310, 1e-200, 1e-150, 1.0, 1e15, 1e150, 1e200, 4e307])
def test_a_column_of_extreme_values_is_not_taken_for_a_constant_one(unit, fired):
    """The squares of such values are infinite or zero in floats, but not their scores."""
    values = np.array([[-2.0], [1.0], [4.0], [np.nan], [1.0]]) * unit
    values = np.where(np.isnan(values), values, np.sign(values) * np.maximum(np.abs(values), 5e-324))
    exact = [Fraction(v) for v in values[:, 0] if not np.isnan(v)]
    mean = sum(exact) / 4
    variance = sum((v - mean) ** 2 for v in exact) / 4
    root = Fraction(math.isqrt(int(variance * Fraction(2) ** 4000)), 2**2000)
    scores, constant = standardized(values)
    assert constant.tolist() == [False]
    wanted = [0.0 if np.isnan(v) else float((Fraction(v) - mean) / root) for v in values[:, 0]]
    np.testing.assert_allclose(scores[:, 0], wanted, rtol=1e-9, atol=0.2 if unit < 1e-320 else 1e-12)
    fired()


@pytest.mark.fault("an axis without variance")
def test_a_grid_point_where_all_classes_agree_is_marked_and_carries_nothing(fired):
    grammar = Grammar(name="lines", variables=("x",), operators=(ADD, SUBTRACT), grid=Grid.regular(0, start=0, num=3))
    space = fit_semantic(build_corpus(grammar, 4), num_axes=3)
    assert space.features == ("x=0 (constant)", "x=1", "x=2")
    assert (space.axes[0] == 0).all() and np.isfinite(space.coordinates).all()
    mean = Operator(symbol="mean", arity=2, meaning=lambda a, b: (a + b) / 2, integral=False)
    point = Fraction("14.62")
    grammar = Grammar(
        name="halves", variables=("x", "y"), operators=(mean,), grid=Grid(((point, 1, 3), (point, 2)))
    )  # where both are 14.62, so is every mean of them, but for rounding
    for scaling in ("asinh", "raw", "rank"):
        space = fit_semantic(build_corpus(grammar, 5), num_axes=3, scaling=scaling)
        marked = [name for name in space.features if "constant" in name]
        assert marked == ["x=731/50, y=731/50 (constant)"]
        assert (space.axes[0] == 0).all() and np.isfinite(space.coordinates).all()
    fired(4)


@pytest.mark.fault("an axis without variance")
def test_one_function_has_no_space(fired):
    grammar = Grammar(name="zero", variables=("x",), operators=(SUBTRACT,), grid=Grid.regular(0))
    with pytest.raises(ConfigurationError, match="1 classes are defined on the grid: at least 2 are needed"):
        fit_semantic(build_corpus(grammar, 1))
    scores, constant = standardized(np.array([[14.62, np.nan]]))
    assert (scores == 0).all() and constant.all()
    fired(2)
