"""What an operator declaration accepts and refuses, and the values an operator gives."""

import itertools
import math
from fractions import Fraction

import naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthlab.errors import GrammarError
from synthlab.language import operator
from synthlab.language.operator import Operator

BUILT_IN = [getattr(operator, name) for name in (
    "ADD", "SUBTRACT", "MULTIPLY", "DIVIDE", "NEGATE", "SQUARE", "ABSOLUTE", "MINIMUM", "MAXIMUM", "FLOOR_DIVIDE",
    "MODULO",
)]  # fmt: skip
CALLS = itertools.count()
fractions = st.fractions(-9, 9, max_denominator=8)


def declare(meaning, **changes):
    return Operator(**(dict(symbol="f", arity=2, meaning=meaning) | changes))


def boom(a, b):
    raise RuntimeError("no\nmeaning")


def adds_in_place(a, b):
    a += b
    return a


def clears_signs_in_place(a, b):
    """Doing it twice is doing it once, so calls repeat their results."""
    np.abs(a, out=a)
    return a + b


def clears_signs_of_its_second_operand(a, b):
    b[...] = np.abs(b)
    return a - b


@pytest.mark.parametrize(
    ("declaration", "message"),
    [
        (dict(meaning=boom), "its meaning raised RuntimeError"),
        (dict(meaning=lambda a: a), "its meaning raised TypeError"),
        (dict(meaning=lambda a, b: a if a > b else b), "its meaning raised ValueError"),
        (dict(meaning=lambda a, b: a + next(CALLS)), "two calls with equal operands differ"),
        (dict(meaning=lambda a, b: a + np.random.default_rng().normal(), field=None), "two calls with equal operands"),
        (dict(meaning=lambda a, b: "1"), "returned str, not real numbers"),
        (dict(meaning=lambda a, b: None), "returned NoneType"),
        (dict(meaning=lambda a, b: [1.0]), "returned list"),
        (dict(meaning=lambda a, b: True), "returned bool"),
        (dict(meaning=lambda a, b: a < b), "returned bool"),
        (dict(meaning=lambda a, b: a + 1j * b), "returned complex128"),
        (dict(meaning=lambda a, b: 1j), "returned complex"),
        (dict(meaning=lambda a, b: a.astype(object) + b), "returned object"),
        (dict(meaning=lambda a, b: a.astype(str)), "returned <U32"),
        (dict(meaning=lambda a, b: a[:-1] + b[1:]), r"returned shape \(24,\) for operands of shape \(25,\)"),
        (dict(meaning=lambda a, b: np.ravel(a + b)), r"returned shape \(50,\) for operands of shape \(2, 25\)"),
        (dict(meaning=lambda a, b: np.array([1.0])), r"returned shape \(1,\)"),
        (dict(meaning=adds_in_place), "changes its operands"),
        (dict(meaning=clears_signs_in_place), "changes its operands"),
        (dict(meaning=clears_signs_of_its_second_operand), "changes its operands"),
        (dict(meaning=lambda a, b: a - a.mean() + b, field=None, integral=False), "not elementwise"),
        (dict(meaning=lambda a, b: np.sort(a) + b, field=None), "not elementwise"),
        (dict(meaning=lambda a, b: np.cumsum(a) * 0 + np.roll(b, 1), field=None), "raised|shape|not elementwise"),
        (dict(symbol="-", meaning=lambda a, b: a - b, commutative=True), "commutative but is not"),
        (dict(meaning=lambda a, b: a // b, field=None, commutative=True), "commutative but is not"),
        (dict(symbol="/", meaning=lambda a, b: a / b), "integral=False"),
        (dict(meaning=lambda a, b: (a + b) / 2), "integral=False"),
        (dict(meaning=lambda a, b: np.sqrt(a * a + b * b), field=None), "integral=False"),
        (dict(meaning=np.minimum), "declare field=None"),
        (dict(meaning=lambda a, b: a // b), "declare field=None"),
        (dict(meaning=np.hypot, integral=False), r"cannot be followed.*hypot"),
        (dict(meaning=np.minimum, field=lambda a, b: a + b), "field function differs from its meaning"),
        (dict(meaning=lambda a, b: a * b, field=lambda a, b: a * b + (a - a) / 7 + 1), "field function differs"),
        (dict(meaning=np.float_power, field=lambda a, b: a * b, integral=False), "field function differs"),
        (dict(meaning=lambda a, b: a + b, field=np.maximum), "declare field=None"),
        (dict(meaning=lambda a, b: a + b, field=lambda a: a), "cannot be followed"),
        (dict(arity=0, meaning=lambda: 1), "arity 0 must be a number from 1 to 8"),
        (dict(arity=9, meaning=lambda *each: sum(each)), "arity 9 must be a number from 1 to 8"),
        (dict(arity=-1), "arity -1"),
        (dict(symbol="!", arity=1, meaning=lambda a: a), "needs arity 2"),
        (dict(symbol="+", arity=3, meaning=lambda a, b, c: a + b + c), "needs arity 2"),
        (dict(arity=3, meaning=lambda a, b, c: a, commutative=True), "only binary"),
        (dict(arity=1, meaning=lambda a: a, commutative=True), "only binary"),
        (dict(symbol=""), "use a name or ASCII punctuation"),
        (dict(symbol="("), "use a name or ASCII punctuation"),
        (dict(symbol=","), "use a name or ASCII punctuation"),
        (dict(symbol="×"), "use a name or ASCII punctuation"),
        (dict(symbol="f g"), "use a name or ASCII punctuation"),
        (dict(symbol="f\n"), "use a name or ASCII punctuation"),
        (dict(symbol="2f"), "use a name or ASCII punctuation"),
    ],
)  # fmt: skip
def test_an_operator_that_cannot_work_is_refused_in_one_line(declaration, message):
    with pytest.raises(GrammarError, match=message) as caught:
        Operator(**(dict(symbol="f", arity=2, meaning=lambda a, b: a + b) | declaration))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("one", BUILT_IN, ids=lambda o: o.symbol)
@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_built_in_operators_mean_what_their_symbols_say(one, data):
    operands = data.draw(st.lists(fractions, min_size=one.arity, max_size=one.arity))
    expected = naive.walk((one.symbol, *[(f"v{k}",) for k in range(one.arity)]), {
        f"v{k}": v for k, v in enumerate(operands)
    }, naive.MEANINGS)  # fmt: skip
    assert one.exact(*operands) == expected
    value = float(one.values(*(np.array([float(o)]) for o in operands))[0])
    if expected is None:
        assert math.isnan(value)
    elif one.symbol in ("//", "%"):  # 1 // 0.1 is 9 in floats: only dyadic operands are exact
        dyadic = [Fraction(round(o * 4), 4) for o in operands]
        value = float(one.values(*(np.array([float(o)]) for o in dyadic))[0])
        exact = naive.walk((one.symbol, ("a",), ("b",)), dict(zip("ab", dyadic, strict=True)), naive.MEANINGS)
        assert math.isnan(value) if exact is None else value == exact
    else:
        assert math.isclose(value, expected, rel_tol=1e-15, abs_tol=1e-15)


@pytest.mark.parametrize(
    ("one", "field", "partial", "commutative", "integral", "infix"),
    [
        (operator.ADD, True, False, True, True, True),
        (operator.SUBTRACT, True, False, False, True, True),
        (operator.DIVIDE, True, True, False, False, True),
        (operator.NEGATE, True, False, False, True, False),
        (operator.SQUARE, True, False, False, True, False),
        (operator.ABSOLUTE, False, False, False, True, False),
        (operator.MINIMUM, False, False, True, True, False),
        (operator.FLOOR_DIVIDE, False, True, False, True, True),
        (operator.MODULO, False, True, False, True, True),
    ],
    ids=lambda v: getattr(v, "symbol", ""),
)
def test_built_in_operators_know_their_properties(one, field, partial, commutative, integral, infix):
    assert (one.field_function is not None, one.partial) == (field, partial)
    assert (one.commutative, one.integral, one.infix) == (commutative, integral, infix)
    assert (one.field_code is not None) == field


@pytest.mark.parametrize("missing", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    "one",
    [*BUILT_IN, declare(lambda a, b: a), declare(lambda a, b: 0 * a, field=None), declare(np.fmin, field=None)],
    ids=lambda o: o.symbol,
)
def test_a_missing_operand_leaves_no_value(one, missing):
    for place in range(one.arity):
        operands = [np.array([2.0, 3.0]) for _ in range(one.arity)]
        operands[place][1] = missing
        assert np.isnan(one.values(*operands)).tolist() == [False, True]


@pytest.mark.parametrize("one", [operator.DIVIDE, operator.FLOOR_DIVIDE, operator.MODULO], ids=lambda o: o.symbol)
def test_nothing_divides_by_zero(one):
    assert np.isnan(one.values(np.array([0.0, 1.0, -1.0]), np.zeros(3))).all()
    assert one.exact(Fraction(0), Fraction(0)) is None and one.exact(Fraction(-5), Fraction(0)) is None


def test_results_that_are_not_finite_are_no_values():
    logarithm = declare(np.log, arity=1, field=None, integral=False)
    assert logarithm.code is None and logarithm.partial
    assert np.isnan(logarithm.values(np.array([-1.0, 0.0, 1.0]))).tolist() == [True, True, False]
    assert logarithm.exact(Fraction(-1)) is None and logarithm.exact(Fraction(0)) is None
    assert logarithm.exact(Fraction(1)) == 0
    assert math.isclose(logarithm.exact(Fraction(10)), math.log(10))
    growth = declare(np.exp, arity=1, field=None, integral=False)
    assert growth.exact(Fraction(1000)) is None and not growth.partial


@pytest.mark.parametrize(
    ("meaning", "operands", "expected"),
    [
        (lambda a, b: np.where(b == 0, 1.0, a / np.where(b == 0, 1.0, b)), (1, 4), 0.25),
        (lambda a, b: np.where(b == 0, 1.0, a / np.where(b == 0, 1.0, b)), (7, 0), 1),
        (lambda a, b: np.where(a > b, a, b), (Fraction(1, 2), Fraction(3, 4)), 0.75),
        (lambda a, b: np.abs(a) ** b, (2, Fraction(1, 2)), math.sqrt(2)),
        (lambda a, b: a**b, (-2, Fraction(1, 2)), None),
        (lambda a, b: np.hypot(a, b), (3, 4), 5),
    ],
)
def test_numpy_meanings_have_values_at_single_points(meaning, operands, expected):
    value = declare(meaning, field=None, integral=False).exact(*map(Fraction, operands))
    if expected is None:
        assert value is None
    else:
        assert isinstance(value, Fraction) and math.isclose(value, expected, rel_tol=1e-12)


@pytest.mark.parametrize(
    ("meaning", "expected"),
    [
        (lambda a: a / 2, Fraction(1, 6)),
        (lambda a: a * 0.5, Fraction(1, 6)),
        (lambda a: (a + 1.0) * 3, 4),
        (lambda a: a * np.float64(0.25), Fraction(1, 12)),
        (lambda a: np.square(a), Fraction(1, 9)),
        (lambda a: a**-2, 9),
        (lambda a: np.divide(1, a), 3),
    ],
)
def test_field_operators_are_exact_whatever_kind_of_number_they_are_written_with(meaning, expected):
    assert declare(meaning, arity=1, integral=False).exact(Fraction(1, 3)) == expected


def test_a_field_function_stands_for_a_meaning_that_is_not_written_in_the_field():
    cube = declare(lambda a: np.power(a, 3), arity=1, field=lambda a: a * a * a)
    assert cube.code is None and cube.field_code.text() == "(a * a) * a"
    assert cube.exact(Fraction(2, 3)) == Fraction(8, 27)
    assert cube.values(np.array([2.0, -3.0])).tolist() == [8.0, -27.0]


def test_meanings_may_ignore_operands_or_be_constant():
    first, seven = declare(lambda a, b: a), declare(lambda a, b: 7)
    assert first.values(np.array([1.0]), np.array([5.0])).tolist() == [1.0]
    assert seven.values(np.zeros(3), np.ones(3)).tolist() == [7.0] * 3
    assert seven.exact(Fraction(1), Fraction(2)) == 7


def test_every_arity_up_to_eight_works():
    for arity in range(1, 9):
        total = declare(lambda *each: sum(each), arity=arity)
        assert total.exact(*map(Fraction, range(arity))) == sum(range(arity))
        assert total.values(*(np.array([float(k)]) for k in range(arity))).tolist() == [sum(range(arity))]


def test_the_behaviour_of_a_field_operator_is_exact_and_shows_missing_values():
    one = declare(lambda a, b: 1 / (a - b), integral=False)
    shown = one.behaviour()
    assert shown.count("None") == 5  # five probes against themselves
    assert str(1 / (Fraction(3) - Fraction(-5, 2))) in shown
    assert shown == declare(lambda a, b: -1 / (b - a), integral=False).behaviour()
    assert shown != declare(lambda a, b: 1 / (b - a), integral=False).behaviour()


def test_the_behaviour_of_other_operators_has_nine_digits():
    def near(delta):
        return declare(lambda a: np.abs(a) + delta, arity=1, field=None, integral=False).behaviour()

    assert near(0.0) == near(1e-12) != near(1e-7)
    assert "nan" in declare(np.log, arity=1, field=None, integral=False).behaviour()
