"""Arithmetic modulo 2^61 - 1 against Python's integers, and identity against polynomial expansion."""

from fractions import Fraction

import naive
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from synthlab.errors import BudgetExceeded, SynthlabError
from synthlab.language.grammar import ADD, MULTIPLY, POLYNOMIAL, RATIONAL, Grammar, Operator
from synthlab.language.identity import (
    UNDEFINED_RESIDUE,
    ResiduePoints,
    Residues,
    check_coefficients,
    coefficient_bound,
    fingerprint_text,
    fingerprints,
    grid_residues,
    mulmod,
    residue,
    same_function,
    settle_undefined,
)
from synthlab.language.interpreter import evaluate
from synthlab.language.program import Program, parse, token_matrix

P = 2**61 - 1
EDGES = [0, 1, 2, 2**30 - 1, 2**30, 2**31 - 1, 2**31, 2**31 + 1, 2**60, P - 2, P - 1]
residues = st.one_of(st.sampled_from(EDGES), st.integers(0, P - 1))


def held(value):
    return Residues(np.array([value], dtype=np.uint64))


def trees(grammar, max_leaves):
    tokens = dict(zip(grammar.tokens, grammar.arities.tolist(), strict=True))
    leaf = st.sampled_from([(t,) for t, a in tokens.items() if a == 0])
    inner = st.sampled_from([t for t, a in tokens.items() if a])
    return st.recursive(leaf, lambda below: st.tuples(inner, below, below), max_leaves=max_leaves)


def program(grammar, tree):
    return Program(grammar, tuple(grammar.index[t] for t in naive.flatten(tree)))


@pytest.mark.parametrize("a", EDGES)
@pytest.mark.parametrize("b", EDGES)
def test_products_of_extreme_residues(a, b):
    assert int(mulmod(np.uint64(a), np.uint64(b))) == a * b % P


@given(residues, residues)
@settings(max_examples=300, deadline=None)
def test_residues_compute_as_whole_numbers_modulo_the_prime(a, b):
    assert int(mulmod(np.uint64(a), np.uint64(b))) == a * b % P
    assert int((held(a) + held(b)).array[0]) == (a + b) % P
    assert int((held(a) - held(b)).array[0]) == (a - b) % P
    assert int((held(a) * held(b)).array[0]) == a * b % P
    assert int((-held(a)).array[0]) == -a % P
    assert int((held(a) ** 3).array[0]) == a**3 % P
    quotient = (held(a) / held(b)).array[0]
    assert quotient == UNDEFINED_RESIDUE if b == 0 else int(quotient) == a * pow(b, -1, P) % P


@given(residues, st.integers(-(10**6), 10**6))
@settings(max_examples=100, deadline=None)
def test_plain_numbers_mix_with_residues_on_either_side(a, n):
    assert int((held(a) + n).array[0]) == int((n + held(a)).array[0]) == (a + n) % P
    assert int((held(a) - n).array[0]) == (a - n) % P
    assert int((n - held(a)).array[0]) == (n - a) % P
    assert int((n * held(a)).array[0]) == int((held(a) * n).array[0]) == a * n % P
    if a:
        assert int((n / held(a)).array[0]) == n * pow(a, -1, P) % P


@pytest.mark.parametrize("other", [0, 1, P - 1])
def test_what_is_undefined_stays_undefined(other):
    nothing, something = Residues(np.array([UNDEFINED_RESIDUE])), held(other)
    results = [nothing + something, nothing - something, nothing * something, nothing / something, something / nothing]
    results += [something + nothing, something - nothing, something * nothing, -nothing, nothing**2]
    assert all(r.array[0] == UNDEFINED_RESIDUE for r in results)


@given(st.fractions(max_denominator=10**9))
@settings(max_examples=100, deadline=None)
def test_a_fraction_times_its_denominator_is_its_numerator(value):
    assert residue(value) * value.denominator % P == value.numerator % P


@given(trees(RATIONAL, 10), st.lists(st.tuples(st.fractions(-9, 9), st.fractions(-9, 9)), min_size=1, max_size=4))
@settings(max_examples=100, deadline=None)
def test_programs_modulo_the_prime_agree_with_fractions(tree, points):
    got = evaluate(RATIONAL, token_matrix([program(RATIONAL, tree)]), ResiduePoints(RATIONAL, points))[0]
    exact = [naive.walk(tree, dict(zip("xy", p, strict=True)), naive.FRACTION_MEANINGS) for p in points]
    expected = [int(UNDEFINED_RESIDUE) if v is None else v.numerator * pow(v.denominator, -1, P) % P for v in exact]
    assert got.tolist() == expected


def test_grid_residues_are_the_exact_outputs_on_the_grid():
    got = evaluate(RATIONAL, token_matrix([parse(RATIONAL, "(x + 1) / y")]), grid_residues(RATIONAL))[0]
    assert got.tolist() == [residue((x + 1) / y) for x, y in RATIONAL.grid.points]


@given(trees(POLYNOMIAL, 7), trees(POLYNOMIAL, 7))
@settings(max_examples=150, deadline=None)
def test_same_function_means_same_polynomial(first, second):
    equal = naive.expand(first) == naive.expand(second)
    assert same_function(program(POLYNOMIAL, first), program(POLYNOMIAL, second)) == equal


@given(trees(POLYNOMIAL, 3), trees(POLYNOMIAL, 3), trees(POLYNOMIAL, 2))
@settings(max_examples=100, deadline=None)
def test_laws_of_arithmetic_are_identities(a, b, c):
    pairs = [
        (("*", a, ("+", b, c)), ("+", ("*", a, b), ("*", a, c))),
        (("-", a, ("-", b, c)), ("+", ("-", a, b), c)),
        (("+", ("-", a, a), b), b),
    ]
    for one, other in pairs:
        assert same_function(program(POLYNOMIAL, one), program(POLYNOMIAL, other))
    shifted = ("+", a, ("1",))
    assert not same_function(program(POLYNOMIAL, a), program(POLYNOMIAL, shifted))


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        ("x / x", "1", True),
        ("x / y / x", "1 / y", True),
        ("(x * x - 1) / (x - 1)", "x + 1", True),
        ("x / y", "y / x", False),
        ("x / (y - y)", "x / (y - y)", False),
        ("1 / (1 / x)", "x", True),
    ],
)
def test_field_meaning_ignores_removable_poles(one, other, equal):
    assert same_function(parse(RATIONAL, one), parse(RATIONAL, other)) is equal


def test_agreement_on_the_grid_is_not_identity():
    factors = " * ".join(f"({v})" for v in ("x + 2", "x + 1", "x", "x - 1", "x - 2", "x - 3"))
    vanishing, zero = parse(POLYNOMIAL, factors), parse(POLYNOMIAL, "x - x")
    outputs = evaluate(POLYNOMIAL, token_matrix([vanishing, zero]), grid_residues(POLYNOMIAL))
    assert (outputs[0] == outputs[1]).all()
    assert not same_function(vanishing, zero)


def test_fingerprints_are_a_pure_function_of_the_seed():
    one = token_matrix([parse(POLYNOMIAL, "x * y - 2")])
    assert fingerprints(POLYNOMIAL, one).tolist() == fingerprints(POLYNOMIAL, one).tolist()
    assert (fingerprints(POLYNOMIAL, one, 1) != fingerprints(POLYNOMIAL, one, 2)).all()


def test_fingerprint_text_is_hexadecimal_or_none():
    text = fingerprint_text(parse(RATIONAL, "x + y"))
    assert len(text) == 32 and int(text, 16) > 0
    assert fingerprint_text(parse(RATIONAL, "y + x")) == text
    assert fingerprint_text(parse(RATIONAL, "1 / (x - x)")) is None


def test_a_point_that_hits_a_pole_is_an_error():
    both, none = [UNDEFINED_RESIDUE] * 2, [np.uint64(1)] * 2
    assert len(settle_undefined(np.array([both, none]))) == 2
    with pytest.raises(SynthlabError, match="choose another fingerprint seed"):
        settle_undefined(np.array([[UNDEFINED_RESIDUE, np.uint64(1)]]))


def largest_coefficient(polynomial):
    return max((abs(c) for c in polynomial.values()), default=0)


@given(trees(POLYNOMIAL, 9), trees(POLYNOMIAL, 9))
@settings(max_examples=100, deadline=None)
def test_the_coefficient_bound_holds_for_every_difference(first, second):
    leaves = max(naive.num_leaves(first), naive.num_leaves(second))
    difference = naive.poly_apply("-", naive.expand(first), naive.expand(second))
    assert largest_coefficient(difference) <= coefficient_bound(POLYNOMIAL, leaves)


@given(trees(RATIONAL, 7), trees(RATIONAL, 7))
@settings(max_examples=100, deadline=None)
def test_the_coefficient_bound_holds_for_cross_products_of_quotients(first, second):
    one, other = quotient(first), quotient(second)
    assume(one is not None and other is not None)
    crossed = naive.poly_apply("-", naive.poly_apply("*", one[0], other[1]), naive.poly_apply("*", other[0], one[1]))
    leaves = max(naive.num_leaves(first), naive.num_leaves(second))
    assert largest_coefficient(crossed) <= coefficient_bound(RATIONAL, leaves)


def quotient(node):
    if len(node) == 1:
        return naive.Quotients.leaf(node[0])
    parts = [quotient(child) for child in node[1:]]
    return None if None in parts else naive.Quotients.apply(node[0], *parts)


def test_sizes_without_proof_are_refused_with_the_largest_proven_one():
    safe = max(n for n in range(1, 60) if coefficient_bound(POLYNOMIAL, n) < P)
    check_coefficients(POLYNOMIAL, safe)
    with pytest.raises(BudgetExceeded, match=f"up to {safe} leaves, not {safe + 1}"):
        check_coefficients(POLYNOMIAL, safe + 1)


def test_numbers_inside_a_meaning_count_towards_the_bound():
    huge = Operator(symbol="f", arity=2, meaning=lambda a, b: 2**60 * a + b)
    grammar = Grammar(name="huge", variables=("x", "y"), operators=(ADD, MULTIPLY, huge))
    with pytest.raises(BudgetExceeded, match="up to 1 leaves"):
        check_coefficients(grammar, 2)
    assert coefficient_bound(grammar, 2) >= 2**60
    point = ResiduePoints(grammar, [(Fraction(3), Fraction(4))])
    assert evaluate(grammar, token_matrix([parse(grammar, "f(x, y)")]), point).tolist() == [[(2**60 * 3 + 4) % P]]
