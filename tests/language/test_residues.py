"""Arithmetic modulo 2^61 - 1 against Python's integers."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthlab.language import tracing
from synthlab.language.residues import (
    PRIME,
    UNDEFINED_RESIDUE,
    batch_inverse,
    combine,
    combine_arrays,
    inverse,
    mulmod,
    reduce_once,
    residue,
)

P = 2**61 - 1
EDGES = [0, 1, 2, 2**30 - 1, 2**30, 2**31 - 1, 2**31, 2**31 + 1, 2**60, P - 2, P - 1]
residues = st.one_of(st.sampled_from(EDGES), st.integers(0, P - 1))
with_undefined = st.one_of(residues, st.just(P))

EXPECTED = {
    tracing.ADD: lambda a, b: (a + b) % P,
    tracing.SUBTRACT: lambda a, b: (a - b) % P,
    tracing.MULTIPLY: lambda a, b: a * b % P,
    tracing.DIVIDE: lambda a, b: a * pow(b, -1, P) % P if b else P,
    tracing.NEGATE: lambda a, b: -a % P,
}


def combined(kind, a, b):
    return int(combine(kind, np.uint64(a), np.uint64(b)))


def test_the_prime_is_the_ninth_mersenne_prime():
    assert PRIME == P == int(UNDEFINED_RESIDUE)
    s = 4  # the Lucas-Lehmer test: 2^61 - 1 divides the term of index 59
    for _ in range(59):
        s = (s * s - 2) % P
    assert s == 0


@pytest.mark.parametrize("a", EDGES)
@pytest.mark.parametrize("b", EDGES)
def test_products_of_extreme_residues(a, b):
    assert int(mulmod(np.uint64(a), np.uint64(b))) == a * b % P


@given(st.one_of(st.integers(0, 2**63 - 1), st.sampled_from([0, P - 1, P, P + 1, 2 * P - 1, 2 * P, 2**62, 2**63 - 1])))
@settings(max_examples=60, deadline=None)
def test_numbers_below_2_to_the_63_are_reduced(value):
    assert int(reduce_once(np.uint64(value))) == value % P


@given(residues, residues)
@settings(max_examples=60, deadline=None)
def test_residues_compute_as_whole_numbers_modulo_the_prime(a, b):
    for kind, expected in EXPECTED.items():
        assert combined(kind, a, b) == expected(a, b)
    assert int(inverse(np.uint64(a))) == (pow(a, -1, P) if a else P)


@given(residues, residues, residues)
@settings(max_examples=60, deadline=None)
def test_residues_are_a_field(a, b, c):
    add, subtract, multiply, divide = tracing.ADD, tracing.SUBTRACT, tracing.MULTIPLY, tracing.DIVIDE
    for kind in (add, multiply):
        assert combined(kind, a, b) == combined(kind, b, a)
        assert combined(kind, combined(kind, a, b), c) == combined(kind, a, combined(kind, b, c))
    left = combined(multiply, a, combined(add, b, c))
    assert left == combined(add, combined(multiply, a, b), combined(multiply, a, c))
    assert combined(subtract, combined(add, a, b), b) == a == combined(add, a, 0) == combined(multiply, a, 1)
    assert combined(add, a, combined(tracing.NEGATE, a, a)) == 0
    if b:
        assert combined(divide, combined(multiply, a, b), b) == a
        assert combined(multiply, int(inverse(np.uint64(b))), b) == 1


@pytest.mark.parametrize("kind", EXPECTED)
@pytest.mark.parametrize("other", [0, 1, P - 1, P])
def test_what_is_undefined_stays_undefined(kind, other):
    assert combined(kind, P, other) == P
    assert combined(kind, other, P) == P


def test_nothing_is_divided_by_zero():
    assert [combined(tracing.DIVIDE, a, 0) for a in (0, 1, P - 1)] == [P] * 3
    assert int(inverse(np.uint64(0))) == int(inverse(UNDEFINED_RESIDUE)) == P


@pytest.mark.parametrize("kind", EXPECTED)
@given(st.lists(st.tuples(with_undefined, with_undefined), min_size=1, max_size=9))
@settings(max_examples=20, deadline=None)
def test_arrays_combine_element_by_element(kind, pairs):
    a, b = np.array(pairs, dtype=np.uint64).T
    expected = [P if P in pair else EXPECTED[kind](*pair) for pair in pairs]
    found = combine_arrays(kind, a, b)
    assert found.dtype == np.uint64 and found.tolist() == expected
    assert combine_arrays(kind, a[:, None], b[None, :]).diagonal().tolist() == expected
    assert combine_arrays(kind, a, np.uint64(3)).tolist() == [P if x == P else EXPECTED[kind](x, 3) for x in a.tolist()]


@given(st.lists(with_undefined, max_size=20))
@settings(max_examples=60, deadline=None)
def test_many_inverses_at_once_pass_over_zeros_and_undefined_values(values):
    out = np.full(len(values), 12345, dtype=np.uint64)
    given_values = np.array(values, dtype=np.uint64)
    batch_inverse(given_values, out)
    assert out.tolist() == [pow(v, -1, P) if 0 < v < P else P for v in values]
    assert given_values.tolist() == values


@given(st.fractions(max_denominator=10**9))
@settings(max_examples=60, deadline=None)
def test_a_fraction_times_its_denominator_is_its_numerator(value):
    assert 0 <= residue(value) < P
    assert residue(value) * value.denominator % P == value.numerator % P


@given(st.fractions(max_denominator=999), st.fractions(max_denominator=999))
@settings(max_examples=60, deadline=None)
def test_residues_of_fractions_compute_as_fractions(a, b):
    assert combined(tracing.ADD, residue(a), residue(b)) == residue(a + b)
    assert combined(tracing.MULTIPLY, residue(a), residue(b)) == residue(a * b)
    assert combined(tracing.DIVIDE, residue(a), residue(b)) == (residue(a / b) if b else P)
    assert residue(Fraction(-1)) == P - 1
