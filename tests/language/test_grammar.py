"""What a grammar accepts, what it refuses, and when two grammars are the same."""

import itertools
from dataclasses import replace
from fractions import Fraction

import pytest

from synthlab.errors import ConfigurationError, GrammarError, SynthlabError
from synthlab.language.grammar import (
    ADD,
    DIVIDE,
    MULTIPLY,
    POLYNOMIAL,
    RATIONAL,
    Grammar,
    Grid,
    Operator,
    get_grammar,
    register,
)


def grammar(**changes):
    return Grammar(**(dict(name="g", variables=("x", "y"), constants=(1,), operators=(ADD,)) | changes))


def test_productions_follow_the_declared_order():
    assert POLYNOMIAL.tokens == ("x", "y", "1", "2", "3", "+", "-", "*")
    assert POLYNOMIAL.productions()[:1] + POLYNOMIAL.productions()[-1:] == ["E -> x", "E -> * E E"]
    assert POLYNOMIAL.arities.tolist() == [0] * 5 + [2] * 3
    assert [POLYNOMIAL.index[t] for t in POLYNOMIAL.tokens] == list(range(8))


def test_the_polynomial_grid_is_the_square_from_minus_2_to_3():
    values = [Fraction(k) for k in range(-2, 4)]
    assert POLYNOMIAL.grid.points == list(itertools.product(values, values))
    assert POLYNOMIAL.grid.shape == (6, 6) and POLYNOMIAL.integral


def test_the_rational_grid_is_shifted_by_a_third_and_a_fifth():
    x = [Fraction(k) + Fraction(1, 3) for k in range(-3, 3)]
    y = [Fraction(k) + Fraction(1, 5) for k in range(-3, 3)]
    assert RATIONAL.grid.points == list(itertools.product(x, y))
    assert not RATIONAL.integral


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(variables=(), constants=()), "no terminals"),
        (dict(operators=()), "no operators"),
        (dict(variables=("x", "x")), "token twice"),
        (dict(constants=(1, 1)), "token twice"),
        (dict(operators=(ADD, ADD)), "token twice"),
        (dict(variables=("x", "ｘ")), "ASCII identifiers"),
        (dict(variables=("x", "2y")), "ASCII identifiers"),
        (dict(name="a b"), "ASCII identifiers"),
        (dict(constants=(-1,)), "at most 18 digits"),
        (dict(constants=tuple(range(300))), "at most 254"),
        (dict(variables=("x",)), "2 axes for 1 variables"),
    ],
)
def test_a_grammar_that_cannot_work_is_refused(changes, message):
    with pytest.raises(GrammarError, match=message):
        grammar(**changes)


@pytest.mark.parametrize(
    ("axes", "message"),
    [((), "at least one value"), (((),), "at least one value"), (((Fraction(1), Fraction(1)),), "repeats a value")],
)
def test_a_grid_without_distinct_values_is_refused(axes, message):
    with pytest.raises(GrammarError, match=message):
        Grid(axes)


CALLS = itertools.count()


def boom(a, b):
    raise RuntimeError("no meaning")


@pytest.mark.parametrize(
    ("declaration", "message"),
    [
        (dict(symbol="f", arity=2, meaning=boom), "its meaning raised RuntimeError"),
        (dict(symbol="f", arity=2, meaning=lambda a, b: a + next(CALLS)), "two calls with equal operands differ"),
        (dict(symbol="-", arity=2, meaning=lambda a, b: a - b, commutative=True), "commutative but is not"),
        (dict(symbol="/", arity=2, meaning=lambda a, b: a / b), "integral=False"),
        (dict(symbol="f", arity=2, meaning=lambda a, b: "1"), "returned str"),
        (dict(symbol="f", arity=2, meaning=lambda a, b: float(a)), "returned float"),
        (dict(symbol="f", arity=2, meaning=lambda a: a), "its meaning raised TypeError"),
        (dict(symbol="f", arity=0, meaning=lambda: 1), "arity 0"),
        (dict(symbol="!", arity=1, meaning=lambda a: a), "needs arity 2"),
        (dict(symbol="mid", arity=3, meaning=lambda a, b, c: a, commutative=True), "only binary"),
        (dict(symbol="", arity=2, meaning=lambda a, b: a), "use a name or ASCII punctuation"),
        (dict(symbol="(", arity=2, meaning=lambda a, b: a), "use a name or ASCII punctuation"),
        (dict(symbol="×", arity=2, meaning=lambda a, b: a * b), "use a name or ASCII punctuation"),
        (dict(symbol="f g", arity=2, meaning=lambda a, b: a), "use a name or ASCII punctuation"),
    ],
)
def test_an_operator_that_cannot_work_is_refused(declaration, message):
    with pytest.raises(GrammarError, match=message):
        Operator(**declaration)


def test_division_by_zero_is_part_of_a_meaning():
    assert "None" in Operator(symbol="f", arity=2, meaning=lambda a, b: 1 / (a - b), integral=False).behaviour()


def test_the_digest_changes_with_everything_that_decides_meaning():
    variants = [
        grammar(),
        grammar(name="h"),
        grammar(variables=("y", "x")),
        grammar(constants=(2,)),
        grammar(operators=(ADD, MULTIPLY)),
        grammar(operators=(replace(ADD, meaning=lambda a, b: b + a + 1),)),
        grammar(operators=(replace(ADD, precedence=5),)),
        grammar(operators=(replace(ADD, commutative=False),)),
        grammar(operators=(replace(ADD, integral=False),)),
        grammar(grid=Grid.regular(0, 0, num=5)),
    ]
    assert len({g.digest for g in variants}) == len(variants)
    assert grammar().digest == grammar(operators=(replace(ADD, meaning=lambda a, b: b + a),)).digest


def test_names_lead_to_grammars_and_keep_their_meaning():
    assert get_grammar("polynomial") is POLYNOMIAL
    mine = register(grammar(name="registered_in_a_test"))
    assert get_grammar("registered_in_a_test") == mine
    with pytest.raises(GrammarError, match="registered with another meaning"):
        register(grammar(name="registered_in_a_test", constants=(7,)))
    assert get_grammar("registered_in_a_test") == mine
    with pytest.raises(GrammarError, match=r"unknown grammar 'nothing'.*polynomial.*rational"):
        get_grammar("nothing")


def test_errors_have_one_base_and_settings_are_value_errors():
    assert issubclass(GrammarError, SynthlabError)
    assert issubclass(ConfigurationError, ValueError)


@pytest.mark.parametrize(("operator", "whole"), [(ADD, True), (DIVIDE, False)])
def test_a_grammar_is_whole_only_if_grid_and_operators_are(operator, whole):
    assert grammar(operators=(operator,)).integral is whole
    assert not grammar(operators=(operator,), grid=RATIONAL.grid).integral
