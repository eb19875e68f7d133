"""Recorded meanings against calling the meaning itself on exact fractions."""

import math
import operator
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthlab.language.tracing import (
    ABSOLUTE,
    ADD,
    DIVIDE,
    FLOOR_DIVIDE,
    MAX_STEPS,
    MAXIMUM,
    MINIMUM,
    MODULO,
    MULTIPLY,
    NEGATE,
    SUBTRACT,
    NotTraceable,
    trace,
)

ACTIONS = {
    ADD: operator.add,
    SUBTRACT: operator.sub,
    MULTIPLY: operator.mul,
    DIVIDE: operator.truediv,
    NEGATE: lambda a, _: -a,
    ABSOLUTE: lambda a, _: abs(a),
    MINIMUM: min,
    MAXIMUM: max,
    FLOOR_DIVIDE: lambda a, b: Fraction(a // b),
    MODULO: lambda a, b: a % b,
}
INSTRUCTIONS = [
    (ADD, lambda a, b: a + b, np.add, "a + b"),
    (SUBTRACT, lambda a, b: a - b, np.subtract, "a - b"),
    (MULTIPLY, lambda a, b: a * b, np.multiply, "a * b"),
    (DIVIDE, lambda a, b: a / b, np.divide, "a / b"),
    (FLOOR_DIVIDE, lambda a, b: a // b, np.floor_divide, "floor(a / b)"),
    (MODULO, lambda a, b: a % b, np.mod, "a - b * floor(a / b)"),
    (MINIMUM, np.minimum, np.minimum, "min(a, b)"),
    (MAXIMUM, np.maximum, np.maximum, "max(a, b)"),
]
fractions = st.fractions(-20, 20, max_denominator=12)


def run(code, operands):
    return code.run(operands, ACTIONS, lambda c: c)


def outcome(function, *operands):
    try:
        return function(*operands)
    except ZeroDivisionError:
        return "no value"


@pytest.mark.parametrize(("kind", "written", "ufunc", "text"), INSTRUCTIONS, ids=lambda v: getattr(v, "__name__", v))
def test_binary_instructions_keep_the_order_of_their_operands(kind, written, ufunc, text):
    for meaning in (written, ufunc):
        code = trace(meaning, 2)
        assert (code.arity, code.steps, code.constants) == (2, ((kind, 0, 1),), ())
        assert code.text() == text
    assert trace(lambda a, b: written(b, a), 2).steps == ((kind, 1, 0),)


@pytest.mark.parametrize(
    ("kind", "meanings", "text"),
    [(NEGATE, (lambda a: -a, np.negative), "-a"), (ABSOLUTE, (abs, np.abs, np.absolute), "|a|")],
)
def test_unary_instructions_repeat_their_operand(kind, meanings, text):
    for meaning in meanings:
        assert trace(meaning, 1).steps == ((kind, 0, 0),)
        assert trace(meaning, 1).text() == text


def test_squares_are_products():
    assert trace(np.square, 1).steps == trace(lambda a: a * a, 1).steps == trace(lambda a: a**2, 1).steps


@pytest.mark.parametrize(
    ("meaning", "constants", "steps"),
    [
        (lambda a: a + 3, (3,), ((ADD, 0, -1),)),
        (lambda a: 3 - a, (3,), ((SUBTRACT, -1, 0),)),
        (lambda a: np.float64(0.5) * a, (Fraction(1, 2),), ((MULTIPLY, -1, 0),)),
        (lambda a: a * np.int64(7), (7,), ((MULTIPLY, 0, -1),)),
        (lambda a: a / np.float32(4), (4,), ((DIVIDE, 0, -1),)),
        (lambda a: Fraction(1, 3) + a, (Fraction(1, 3),), ((ADD, -1, 0),)),
        (lambda a: 9 // a, (9,), ((FLOOR_DIVIDE, -1, 0),)),
        (lambda a: 9 % a, (9,), ((MODULO, -1, 0),)),
        (lambda a: np.minimum(a, 2), (2,), ((MINIMUM, 0, -1),)),
        (lambda a: np.minimum(2, a), (2,), ((MINIMUM, -1, 0),)),
        (lambda a: (a + 2) * 2 + 5, (2, 5), ((ADD, 0, -1), (MULTIPLY, 1, -1), (ADD, 2, -2))),
    ],
)
def test_numbers_are_exact_constants_on_either_side(meaning, constants, steps):
    code = trace(meaning, 1)
    assert (code.constants, code.steps) == (constants, steps)
    assert all(isinstance(c, Fraction) for c in code.constants)


@pytest.mark.parametrize("power", [1, 2, 3, 7, -1, -2, -5])
def test_whole_powers_are_products_and_their_inverses(power):
    code = trace(lambda a: a**power, 1)
    for value in (Fraction(2), Fraction(-3, 7), Fraction(1)):
        assert run(code, [value]) == value**power
    assert code.is_field
    assert code.is_partial == (power < 0)


def test_the_last_step_holds_the_result_even_of_a_bare_operand():
    for meaning in (lambda a, b: a, lambda a, b: b, lambda a, b: (a + b, b)[1], lambda a, b: (a + b, a * b)[0]):
        values = [Fraction(5), Fraction(8, 3)]
        assert run(trace(meaning, 2), values) == meaning(*values)
    assert run(trace(lambda a: 4, 1), [Fraction(9)]) == 4


@pytest.mark.parametrize(
    ("meaning", "arity"),
    [
        (lambda a, b: (a + b) / 2, 2),
        (lambda a, b, c: a * b + c, 3),
        (lambda a, b: (a - b) ** 2 + abs(a), 2),
        (lambda a, b: np.maximum(a, b) - np.minimum(a, b), 2),
        (lambda a, b: 2 * a // (b - 1) + a % b, 2),
        (lambda a, b: 1 / (1 / a + 1 / b), 2),
        (lambda *each: sum(each), 8),
        (lambda a, b, c: np.clip(a, b, c) if isinstance(a, np.ndarray) else np.minimum(np.maximum(a, b), c), 3),
    ],
)
@given(data=st.data())
@settings(max_examples=30, deadline=None)
def test_code_computes_what_the_meaning_computes(meaning, arity, data):
    operands = data.draw(st.lists(fractions, min_size=arity, max_size=arity))
    code = trace(meaning, arity)
    assert code.arity == arity
    assert outcome(run, code, operands) == outcome(meaning, *operands)


BINARY = [written for _, written, _, _ in INSTRUCTIONS]
formulas = st.recursive(
    st.one_of(st.sampled_from([0, 1, 2]).map(lambda k: ("operand", k)), fractions.map(lambda c: ("number", c))),
    lambda below: st.tuples(st.sampled_from(BINARY), below, below),
    max_leaves=9,
)


@given(formulas, st.tuples(fractions, fractions, fractions))
@settings(max_examples=60, deadline=None)
def test_any_formula_is_recorded_faithfully(formula, operands):
    def value(node, given):
        if node[0] == "operand":
            return given[node[1]]
        return node[1] if node[0] == "number" else node[0](*(value(child, given) for child in node[1:]))

    try:
        code = trace(lambda *given: value(formula, given), 3)
    except NotTraceable:  # numbers alone may divide by zero before any operand is met
        assert outcome(value, formula, operands) == "no value"
        return
    assert outcome(run, code, operands) == outcome(value, formula, operands)


@pytest.mark.parametrize(
    "meaning",
    [
        lambda a, b: a if a > b else b,
        lambda a, b: np.where(a > b, a, b),
        lambda a, b: np.where(a == b, 1, a + b),
        lambda a, b: 1.0 * (a == b) + a + b,
        lambda a, b: a + b if a != b else 2 * a,
        lambda a, b: a + b if a else b,
        lambda a, b: np.sqrt(a) + b,
        lambda a, b: np.log(abs(a)) + b,
        lambda a, b: np.power(a, 2) + b,
        lambda a, b: a**b,
        lambda a, b: 2**a + b,
        lambda a, b: a**0.5 + b,
        lambda a, b: a**0 + b,
        lambda a, b: a**1000 + b,
        lambda a, b: np.add(a, b, dtype=np.float64),
        lambda a, b: np.add.reduce([a, b]) + np.add.outer(a, b),
        lambda a, b: a + math.floor(b),
        lambda a, b: a + b * math.inf,
        lambda a, b: a + b * math.nan,
        lambda a, b: a + b * True,
        lambda a, b: a + b * 1j,
        lambda a, b: a + b + np.array([1.0]),
        lambda a, b: [a, b],
        lambda a, b: None,
        lambda a, b: "a + b",
        lambda a: a,
    ],
)
def test_whatever_is_no_straight_line_code_of_known_instructions_is_not_traceable(meaning):
    with pytest.raises(NotTraceable):
        trace(meaning, 2)


def test_long_code_is_not_traceable():
    def chain(length):
        return lambda a: sum([a] * length, a)  # `sum` starts from a: length additions

    assert len(trace(chain(MAX_STEPS), 1).steps) == MAX_STEPS
    with pytest.raises(NotTraceable, match=f"more than {MAX_STEPS}"):
        trace(chain(MAX_STEPS + 1), 1)


@pytest.mark.parametrize(
    ("meaning", "arity", "is_field", "is_partial"),
    [
        (lambda a, b: a + b * a - 1, 2, True, False),
        (lambda a, b: -a / b, 2, True, True),
        (lambda a, b: a // b, 2, False, True),
        (lambda a, b: a % b, 2, False, True),
        (lambda a, b: abs(a) + np.minimum(a, np.maximum(a, b)), 2, False, False),
        (lambda a, b: a * a, 2, True, False),
        (lambda a, b, c: a + c, 3, True, False),
    ],
)
def test_code_knows_its_own_properties(meaning, arity, is_field, is_partial):
    code = trace(meaning, arity)
    assert (code.is_field, code.is_partial) == (is_field, is_partial)
    read = {register for _, *pair in code.steps for register in pair}
    assert set(range(arity)) <= read  # a missing operand never goes unnoticed


@pytest.mark.parametrize(
    ("meaning", "arity", "text"),
    [
        (lambda a, b: (a + b) / 2, 2, "(a + b) / 2"),
        (lambda a, b, c: a * b + c, 3, "(a * b) + c"),
        (lambda a: -a * 0.5, 1, "(-a) * (1/2)"),
        (lambda a, b: np.minimum(a + b, abs(a)), 2, "min(a + b, |a|)"),
        (lambda a: 1 / a**2, 1, "1 / (a * a)"),
    ],
)
def test_the_text_of_a_code_is_one_formula(meaning, arity, text):
    assert trace(meaning, arity).text() == text


@given(formulas, st.tuples(*[fractions.filter(bool)] * 3))
@settings(max_examples=40, deadline=None)
def test_the_text_of_a_code_means_what_the_code_means(formula, operands):
    def value(node, given):
        if node[0] == "operand":
            return given[node[1]]
        return node[1] if node[0] == "number" else node[0](*(value(child, given) for child in node[1:]))

    try:
        code = trace(lambda *given: value(formula, given), 3)
    except NotTraceable:
        return
    names = {"floor": math.floor, "min": min, "max": max, **dict(zip("abc", operands, strict=True))}
    # numbers become fractions, since 1/3 in Python would be a float
    spelt = "".join(f"F({word})" if word.isdigit() else word for word in _words(code.text()))
    assert outcome(eval, spelt, names | {"F": Fraction}) == outcome(run, code, operands)


def _words(text):
    words = [""]
    for character in text:
        if character.isdigit() and words[-1].isdigit():
            words[-1] += character
        else:
            words.append(character)
    return words
