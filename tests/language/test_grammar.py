"""What a grammar accepts, what it refuses, and when two grammars are the same."""

import itertools
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from synthlab.errors import ConfigurationError, GrammarError, SynthlabError
from synthlab.language.grammar import PIECEWISE, POLYNOMIAL, RATIONAL, Grammar, Grid, get_grammar, register
from synthlab.language.operator import ADD, DIVIDE, FLOOR_DIVIDE, MINIMUM, MULTIPLY, NEGATE, Operator


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
        (dict(variables=(), constants=(1,)), "no variables"),
        (dict(constants=(10**18,)), "at most 18 digits"),
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


def test_an_axis_that_is_no_sequence_is_refused():
    with pytest.raises(GrammarError):
        Grid((5,))


def test_a_grid_holds_numbers_exactly():
    grid = Grid(((0, 0.1, Fraction(1, 3)), (np.int64(4), np.float64(0.5))))
    assert grid.axes == ((0, Fraction(0.1), Fraction(1, 3)), (4, Fraction(1, 2)))
    assert all(isinstance(v, Fraction) for axis in grid.axes for v in axis)
    assert grid.shape == (3, 2) and not grid.integral


@pytest.mark.parametrize("domain", [(0, 7), (5, 5), (20, -20), (-3, 4)])
def test_too_few_hidden_inputs_are_refused(domain):
    with pytest.raises(GrammarError, match="widen hidden_domain"):
        grammar(hidden_domain=domain)
    assert grammar(hidden_domain=(0, 8)).hidden_domain == (0, 8)


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


def test_hidden_inputs_decide_meaning_only_where_they_are_used():
    wide = dict(hidden_domain=(-50, 50))
    assert grammar().digest == grammar(**wide).digest
    pieces = dict(operators=(ADD, MINIMUM))
    assert grammar(**pieces).digest != grammar(**pieces, **wide).digest


def test_values_of_non_field_operators_decide_the_digest():
    def pieces(meaning):
        return grammar(operators=(ADD, Operator(symbol="f", arity=2, meaning=meaning, field=None, integral=False)))

    meanings = [np.minimum, np.maximum, lambda a, b: np.minimum(a, b) + 1e-6, lambda a, b: np.minimum(a, b) / 2]
    assert len({pieces(m).digest for m in meanings}) == len(meanings)
    assert pieces(np.minimum).digest == pieces(lambda a, b: np.where(a < b, a, b)).digest


def test_a_grammar_of_many_operands_has_a_digest():
    total = Operator(symbol="total", arity=6, meaning=lambda *each: sum(each))
    assert grammar(operators=(ADD, total)).digest != grammar(operators=(ADD,)).digest


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


@pytest.mark.parametrize(
    ("operators", "exact", "partial", "max_arity"),
    [
        ((ADD, MULTIPLY), True, False, 2),
        ((NEGATE,), True, False, 1),
        ((ADD, DIVIDE), True, True, 2),
        ((ADD, MINIMUM), False, False, 2),
        ((ADD, FLOOR_DIVIDE), False, True, 2),
    ],
)
def test_operators_decide_what_a_grammar_can_do(operators, exact, partial, max_arity):
    one = grammar(operators=operators)
    assert (one.exact, one.partial, one.max_arity) == (exact, partial, max_arity)


def test_the_table_of_meanings_says_what_every_operator_does():
    assert PIECEWISE.meanings()[3] == {
        "operator": "min", "operands": 2, "value": "min(a, b)", "without a value": "never",
        "identity": "equal on probes",
    }  # fmt: skip
    assert RATIONAL.meanings()[3] == {
        "operator": "/", "operands": 2, "value": "a / b", "without a value": "for some operands", "identity": "exact"
    }  # fmt: skip
    named = Operator(symbol="hyp", arity=2, meaning=np.hypot, field=None, integral=False)
    assert grammar(operators=(named,)).meanings()[0]["value"] == "hypot"


@pytest.mark.parametrize(("operator", "whole"), [(ADD, True), (DIVIDE, False)])
def test_a_grammar_is_whole_only_if_grid_and_operators_are(operator, whole):
    assert grammar(operators=(operator,)).integral is whole
    assert not grammar(operators=(operator,), grid=RATIONAL.grid).integral
