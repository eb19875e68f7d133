"""Arithmetic modulo 2^61 - 1 against Python's integers, and identity against polynomial expansion."""

from fractions import Fraction

import naive
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from synthlab.errors import BudgetExceeded, ConfigurationError, SynthlabError
from synthlab.language.grammar import PIECEWISE, POLYNOMIAL, RATIONAL, Grammar, Grid
from synthlab.language.identity import (
    FingerprintPoints,
    ResiduePoints,
    check_coefficients,
    coefficient_bound,
    fingerprint_text,
    fingerprints,
    grid_codes,
    identity_algebra,
    identity_method,
    keys_of,
    mix,
    observation_algebra,
    probe_points,
    same_function,
    settle_undefined,
)
from synthlab.language.interpreter import Floats, WholeNumbers, evaluate, grid_outputs
from synthlab.language.operator import (
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
from synthlab.language.residues import UNDEFINED_RESIDUE

P = 2**61 - 1
MULADD = Operator(symbol="muladd", arity=3, meaning=lambda a, b, c: a * b + c)
MEAN = Operator(symbol="mean", arity=2, meaning=lambda a, b: (a + b) / 2, integral=False)


def trees(grammar, max_leaves):
    return naive.random_trees(dict(zip(grammar.tokens, grammar.arities.tolist(), strict=True)), max_leaves)


def program(grammar, tree):
    return Program(grammar, tuple(grammar.index[t] for t in naive.flatten(tree)))


def one_variable(name, *operators, constants=(), grid=None, **more):
    grid = grid or Grid.regular(0)
    return Grammar(name=name, variables=("x",), constants=constants, operators=operators, grid=grid, **more)


def modulo_prime(value):
    """Residue of a fraction, the prime for None."""
    return P if value is None else value.numerator * pow(value.denominator, -1, P) % P


# ---------------------------------------------------------------- residues of programs


@given(trees(RATIONAL, 10), st.lists(st.tuples(st.fractions(-9, 9), st.fractions(-9, 9)), min_size=1, max_size=4))
@settings(max_examples=60, deadline=None)
def test_programs_modulo_the_prime_agree_with_fractions(tree, points):
    got = evaluate(RATIONAL, token_matrix([program(RATIONAL, tree)]), ResiduePoints(RATIONAL, points))[0]
    exact = [naive.walk(tree, dict(zip("xy", p, strict=True)), naive.FRACTION_MEANINGS) for p in points]
    assert got.tolist() == list(map(modulo_prime, exact))


@given(trees(RATIONAL, 8))
@settings(max_examples=60, deadline=None)
def test_grid_codes_are_the_exact_outputs_on_the_grid(tree):
    got = grid_codes(RATIONAL, token_matrix([program(RATIONAL, tree)]))[0]
    points = [dict(zip("xy", p, strict=True)) for p in RATIONAL.grid.points]
    assert got.tolist() == [modulo_prime(naive.walk(tree, p, naive.FRACTION_MEANINGS)) for p in points]


@given(trees(PIECEWISE, 8), trees(PIECEWISE, 8))
@settings(max_examples=60, deadline=None)
def test_grid_codes_are_equal_exactly_where_outputs_are(first, second):
    codes = grid_codes(PIECEWISE, token_matrix([program(PIECEWISE, first), program(PIECEWISE, second)]))
    points = [dict(zip("xy", p, strict=True)) for p in PIECEWISE.grid.points]
    equal = [naive.walk(first, p, naive.MEANINGS) == naive.walk(second, p, naive.MEANINGS) for p in points]
    assert (codes[0] == codes[1]).tolist() == equal


# ---------------------------------------------------------------- exact identity


@given(trees(POLYNOMIAL, 7), trees(POLYNOMIAL, 7))
@settings(max_examples=60, deadline=None)
def test_same_function_means_same_polynomial(first, second):
    equal = naive.expand(first) == naive.expand(second)
    assert same_function(program(POLYNOMIAL, first), program(POLYNOMIAL, second)) == equal


@given(trees(POLYNOMIAL, 3), trees(POLYNOMIAL, 3), trees(POLYNOMIAL, 2))
@settings(max_examples=60, deadline=None)
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
    outputs = grid_codes(POLYNOMIAL, token_matrix([vanishing, zero]))
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
@settings(max_examples=60, deadline=None)
def test_the_coefficient_bound_holds_for_every_difference(first, second):
    leaves = max(naive.num_leaves(first), naive.num_leaves(second))
    difference = naive.poly_apply("-", naive.expand(first), naive.expand(second))
    assert largest_coefficient(difference) <= coefficient_bound(POLYNOMIAL, leaves)


@given(trees(RATIONAL, 7), trees(RATIONAL, 7))
@settings(max_examples=60, deadline=None)
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


@given(data=st.data())
@settings(max_examples=30, deadline=None)
@pytest.mark.parametrize("measure", ["nodes", "depth"])
def test_the_coefficient_bound_holds_by_nodes_and_by_depth(measure, data):
    grammar = Grammar(name="squares", variables=("x", "y"), constants=(3,), operators=(ADD, SUBTRACT, NEGATE, SQUARE))
    trees_below = trees(grammar, 5).filter(lambda t: naive.size_of(t, "depth") <= 4)
    first, second = data.draw(trees_below), data.draw(trees_below)
    size = max(naive.size_of(first, measure), naive.size_of(second, measure))
    difference = naive.poly_apply("-", expanded(first), expanded(second))
    assert largest_coefficient(difference) <= coefficient_bound(grammar, size, measure)


def expanded(node):
    if node[0] in ("neg", "square"):
        inner = expanded(node[1])
        return naive.poly_apply("*", inner, inner if node[0] == "square" else {(0, 0): -1})
    return naive.poly_leaf(node[0]) if len(node) == 1 else naive.poly_apply(node[0], *map(expanded, node[1:]))


@pytest.mark.parametrize("measure", ["leaves", "nodes", "depth"])
def test_coefficient_bounds_never_fall_with_size(measure):
    smallest = 0 if measure == "depth" else 1
    bounds = [coefficient_bound(RATIONAL, size, measure) for size in range(smallest, smallest + 6)]
    assert bounds == sorted(bounds) and bounds[0] >= 2
    check_coefficients(RATIONAL, smallest + 1, measure)
    with pytest.raises(BudgetExceeded, match=rf"proven up to \d+ {measure}, not 200"):
        check_coefficients(RATIONAL, 200, measure)


def test_only_exact_identity_needs_a_proof():
    check_coefficients(PIECEWISE, 10_000)
    with pytest.raises(ConfigurationError, match="unary operator"):
        check_coefficients(one_variable("unary", ADD, NEGATE), 3)


def test_huge_programs_are_refused_instead_of_compared():
    tower = "(3 + 3)"
    for _ in range(5):
        tower = f"({tower} * {tower})"
    with pytest.raises(BudgetExceeded, match="coefficients"):
        same_function(parse(POLYNOMIAL, tower), parse(POLYNOMIAL, "x"))
    with pytest.raises(BudgetExceeded, match="coefficients"):
        same_function(parse(POLYNOMIAL, "x"), parse(POLYNOMIAL, tower))
    small = "(3 + 3)"
    assert same_function(parse(POLYNOMIAL, f"{small} * {small}"), parse(POLYNOMIAL, "3 * 3 * (2 + 2)"))


def test_a_denominator_counts_towards_the_refusal():
    tower = "(2 + 2)"
    for _ in range(5):
        tower = f"({tower} * {tower})"
    for text in (f"x / {tower}", f"1 / (x / {tower})", f"x + y / {tower}"):
        with pytest.raises(BudgetExceeded, match="coefficients"):
            same_function(parse(RATIONAL, text), parse(RATIONAL, "y"))


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        ("mean(x, y)", "(x + y) / 2", True),
        ("mean(x, x)", "x", True),
        ("mean(x, y)", "mean(y, x)", True),
        ("muladd(x, y, 2)", "x * y + 2", True),
        ("muladd(x, 1 / x, x)", "1 + x", True),
        ("muladd(x, y, x)", "muladd(x, x, y)", False),
        ("mean(x, mean(x, y))", "mean(mean(x, x), y)", False),
    ],
)
def test_operators_of_several_steps_are_compared_exactly(one, other, equal):
    grammar = Grammar(
        name="steps", variables=("x", "y"), constants=(1, 2), operators=(ADD, MULTIPLY, DIVIDE, MEAN, MULADD)
    )
    assert same_function(parse(grammar, one), parse(grammar, other)) is equal


def test_an_undefined_operand_leaves_no_function_even_where_the_meaning_ignores_it():
    first = Operator(symbol="first", arity=2, meaning=lambda a, b: a)
    grammar = one_variable("ignoring", SUBTRACT, DIVIDE, first, constants=(1,))
    assert fingerprint_text(parse(grammar, "first(x, 1 / (x - x))")) is None
    assert same_function(parse(grammar, "first(x, 1)"), parse(grammar, "x"))


# ---------------------------------------------------------------- identity on probes


def test_the_method_is_said_in_words():
    assert (
        identity_method(POLYNOMIAL) == identity_method(RATIONAL) == ("exact: equal at two random points modulo 2^61-1")
    )
    text = identity_method(PIECEWISE, seed=5)
    assert text == "equal on probes: 36 grid points and 64 hidden inputs in [-20, 20], seed 5"
    wide = one_variable("wide", ADD, MINIMUM, hidden_domain=(-3, 9))
    assert "6 grid points" in identity_method(wide) and "[-3, 9]" in identity_method(wide)


@pytest.mark.parametrize(
    ("operators", "grid", "exact", "integral"),
    [
        ((ADD, MULTIPLY), Grid.regular(0), True, True),
        ((ADD, DIVIDE), Grid.regular(0), True, False),
        ((ADD, MINIMUM), Grid.regular(0), False, True),
        ((ADD, MINIMUM), Grid.regular(Fraction(1, 2)), False, False),
        ((ADD, FLOOR_DIVIDE), Grid.regular(0), False, True),
    ],
)
def test_the_grammar_decides_the_arithmetic_of_identity(operators, grid, exact, integral):
    grammar = one_variable("deciding", *operators, grid=grid)
    assert (grammar.exact, grammar.integral) == (exact, integral)
    algebra = identity_algebra(grammar)
    if exact:
        assert isinstance(algebra, FingerprintPoints) and algebra.terminals.shape == (1, 2)
        assert isinstance(observation_algebra(grammar), ResiduePoints)
    else:
        whole = integral and not grammar.partial
        assert isinstance(algebra, WholeNumbers if whole else Floats) and algebra.terminals.shape == (1, 6 + 64)
        assert observation_algebra(grammar).terminals.shape == (1, 6)


@pytest.mark.parametrize("grid", [Grid.regular(0, 0), Grid.regular(Fraction(1, 3), 0)], ids=["whole", "fractions"])
def test_probes_are_the_grid_and_hidden_inputs_of_the_domain(grid):
    grammar = Grammar(name="probed", variables=("x", "y"), operators=(ADD, MINIMUM), grid=grid, hidden_domain=(-4, 30))
    points = probe_points(grammar)
    hidden = points[36:]
    assert points[:36] == grid.points and len(hidden) == 64
    assert all(-4 <= v <= 30 for point in hidden for v in point)
    assert {v.denominator for point in hidden for v in point} == ({1} if grid.integral else {1, 7})
    assert len(set(hidden)) > 32
    assert points == probe_points(grammar) != probe_points(grammar, 1)


@given(trees(PIECEWISE, 6), trees(PIECEWISE, 6))
@settings(max_examples=60, deadline=None)
def test_same_function_on_probes_means_equal_values_there(first, second):
    points = [dict(zip("xy", p, strict=True)) for p in probe_points(PIECEWISE)]
    equal = all(naive.walk(first, p, naive.MEANINGS) == naive.walk(second, p, naive.MEANINGS) for p in points)
    assert same_function(program(PIECEWISE, first), program(PIECEWISE, second)) == equal


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        ("min(x, y)", "min(y, x)", True),
        ("min(x, y) + max(x, y)", "x + y", True),
        ("max(x, max(y, 1))", "max(max(x, y), 1)", True),
        ("min(x, x)", "x", True),
        ("max(x, y)", "x + y - min(x, y)", True),
        ("min(x, y)", "max(x, y)", False),
        ("min(x, 2)", "x", False),
        ("max(x, min(x, y))", "x", True),
    ],
)
def test_laws_of_minimum_and_maximum(one, other, equal):
    assert same_function(parse(PIECEWISE, one), parse(PIECEWISE, other)) is equal


def test_hidden_inputs_tell_apart_what_the_grid_cannot():
    grammar = one_variable("small", ADD, SUBTRACT, MULTIPLY, MINIMUM, constants=(1, 2), grid=Grid(((0, 1, 2),)))
    twins = [parse(grammar, "x"), parse(grammar, "x + x * (x - 1) * (x - 2)"), parse(grammar, "min(x, x * x)")]
    codes = grid_codes(grammar, token_matrix(twins))
    assert (codes == codes[0]).all()
    assert not same_function(*twins[:2])
    assert not same_function(twins[0], parse(grammar, "min(x, 2)"))  # 2 is the largest on the grid only


def test_programs_without_a_value_on_any_probe_are_no_functions():
    grammar = one_variable("gaps", ADD, SUBTRACT, FLOOR_DIVIDE, MODULO)
    nothing = [parse(grammar, t) for t in ("x // (x - x)", "x % (x - x)", "x // (x - x) + x")]
    keys = fingerprints(grammar, token_matrix(nothing))
    assert (keys == UNDEFINED_RESIDUE).all()
    assert all(fingerprint_text(p) is None for p in nothing)
    assert not same_function(nothing[0], nothing[0])


def test_programs_with_other_gaps_are_other_functions():
    grammar = one_variable("gaps", ADD, SUBTRACT, FLOOR_DIVIDE, MODULO)
    one, other = parse(grammar, "x // x"), parse(grammar, "(x + x) // (x + x)")
    shifted = parse(grammar, "x // x + (x - x)")
    assert same_function(one, other) and same_function(one, shifted)
    filled = parse(grammar, "(x // x) // (x // x)")
    assert same_function(one, filled)
    assert not same_function(one, parse(grammar, "x % x"))
    # 0 has a remainder of its own everywhere, x % x has none at 0
    assert not same_function(parse(grammar, "x % x"), parse(grammar, "x - x"))


NINE = one_variable(
    "nine", ADD, SUBTRACT, MULTIPLY, DIVIDE, MINIMUM, constants=(1, 3, 10, 10**6, 10**7, 10**10, 10**12),
    grid=Grid.regular(Fraction(1, 3)),
)  # fmt: skip


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        ("x / 3 * 3", "x", True),
        ("(x + 1 / 10) - 1 / 10", "x", True),
        ("(1 / 10 + 1 / 10) + 1 / 10", "3 / 10", True),
        ("(1 / 10 + 1 / 10 + 1 / 10) - 3 / 10", "x - x", True),
        ("x / 3 + x / 3 + x / 3", "x", True),
        ("1 / (1 / x)", "x", True),
        ("x - x / 1000000", "x", False),
        ("x + 1 / 1000000", "x", False),
        ("x * (1 + 1 / 10000000)", "x", False),
        ("x * (1 + 1 / 1000000000000)", "x", True),
        ("1 / 10000000", "x - x", False),
        ("1 / 10000000000", "x - x", True),
        ("x", "x - 1 / 1000000000000", True),
        ("x / x", "1", True),
        ("min(x, 1) / min(x, 1)", "1", True),
    ],
)
def test_other_values_are_compared_to_nine_digits(one, other, equal):
    assert same_function(parse(NINE, one), parse(NINE, other)) is equal


def codes_of(values):
    return Floats(NINE, [(Fraction(1, 3),)] * len(values)).codes(np.array(values, dtype=np.float64)).tolist()


@pytest.mark.parametrize("power", [-29, -20, -1, 0, 1, 10, 62, 500, 1023])
@pytest.mark.parametrize("sign", [1, -1])
def test_rounding_up_to_a_power_of_two_meets_the_power_itself(power, sign):
    exact = sign * 2.0**power
    below, above = np.nextafter(exact, 0), np.nextafter(exact, sign * np.inf)
    assert len(set(codes_of([below, exact, above]))) == 1
    assert codes_of([exact * (1 - 1e-7)]) != codes_of([exact]) != codes_of([exact * (1 + 1e-7)])


@given(st.floats(1e-8, 1e200), st.booleans(), st.floats(-1, 1))
@settings(max_examples=60, deadline=None)
def test_codes_separate_values_a_millionth_apart_and_are_below_the_prime(value, negative, shift):
    value = -value if negative else value
    near = value * (1 + shift * 1e-6)
    one, other, opposite, zero = codes_of([value, near, -value, 0.0])
    assert len({one, opposite, zero}) == 3 and max(one, other, opposite, zero) < P
    if abs(shift) > 1e-2:
        assert one != other
    if near == value:
        assert one == other


def test_values_near_zero_are_zero_of_either_sign():
    assert len(set(codes_of([0.0, -0.0, 5e-10, -9e-10, 1e-300, -5e-324]))) == 1
    assert codes_of([1.1e-9]) != codes_of([0.0])
    assert codes_of([1.1e-9]) != codes_of([-1.1e-9])


def test_missing_values_have_a_code_that_no_number_has():
    codes = codes_of([np.nan, 0.0, 1.0, 1e308, -1e308, -1.0])
    assert codes[0] == P and len(set(codes)) == 6 and max(codes[1:]) < P


@given(st.lists(st.integers(-(2**53), 2**53), min_size=2, max_size=8, unique=True))
@settings(max_examples=40, deadline=None)
def test_whole_floats_are_compared_exactly(values):
    grammar = one_variable("gaps", ADD, FLOOR_DIVIDE)
    algebra = Floats(grammar, [(Fraction(1),)] * len(values))
    assert len(set(algebra.codes(np.array(values, dtype=np.float64)).tolist())) == len(values)
    assert algebra.codes(np.array([0.0, -0.0])).tolist() == [0, 0]


def test_whole_values_are_compared_exactly_even_where_they_differ_by_the_prime():
    half = 999_999_999_999_999_999
    rest = P - 2 * half
    grammar = one_variable("differing", ADD, SUBTRACT, MINIMUM, constants=(half, rest))
    prime, zero = parse(grammar, f"{half} + {half} + {rest}"), parse(grammar, "x - x")
    try:
        assert not same_function(prime, zero)
        codes = grid_codes(grammar, token_matrix([prime, zero]))
        assert (codes[0] != codes[1]).all()
    except SynthlabError:
        pass  # refusing such values is as good


# ---------------------------------------------------------------- keys


@given(st.lists(st.lists(st.one_of(st.integers(0, P), st.just(P)), min_size=5, max_size=5), min_size=1, max_size=12))
@settings(max_examples=40, deadline=None)
def test_keys_are_equal_exactly_for_equal_rows(rows):
    rows = [*rows, rows[0]]
    keys = list(map(tuple, mix(np.array(rows, dtype=np.uint64)).tolist()))
    for one, key in zip(rows, keys, strict=True):
        for other, other_key in zip(rows, keys, strict=True):
            assert (one == other) == (key == other_key)
        assert (key == (P, P)) == (set(one) == {P})
        assert all(k <= P for k in key)


@pytest.mark.parametrize("width", [1, 2, 3, 70])
def test_missing_values_take_part_in_keys_place_by_place(width):
    rows = [[3] * width, [P] * width]
    for place in range(width if width > 1 else 0):
        rows += [[P if k == place else 3 for k in range(width)], [0 if k == place else 3 for k in range(width)]]
    if width == 2:
        rows = rows[:6]
    keys = set(map(tuple, mix(np.array(rows, dtype=np.uint64)).tolist()))
    assert len(keys) == len(set(map(tuple, rows)))


def test_keys_of_an_exact_grammar_are_its_residues():
    algebra = identity_algebra(RATIONAL)
    prefix = token_matrix([parse(RATIONAL, "x / y"), parse(RATIONAL, "1 / (x - x)")])
    values = evaluate(RATIONAL, prefix, algebra)
    np.testing.assert_array_equal(keys_of(algebra, values), values)
    np.testing.assert_array_equal(fingerprints(RATIONAL, prefix), values)
    points = identity_algebra(RATIONAL).terminals.tolist()[:2]
    assert values[0].tolist() == [x * pow(y, -1, P) % P for x, y in zip(*points, strict=True)]


def test_poles_on_the_grid_are_found_modulo_the_prime_and_shown_as_missing():
    codes = grid_codes(RATIONAL, token_matrix([parse(RATIONAL, "1 / (x / y - x * (1 / y))"), parse(RATIONAL, "x")]))
    assert (codes[0] == UNDEFINED_RESIDUE).all() and (codes[1] != UNDEFINED_RESIDUE).all()
    assert np.isnan(grid_outputs(RATIONAL, token_matrix([parse(RATIONAL, "1 / (x / y - x * (1 / y))")]))).all()
    largest = one_variable("largest", ADD, MAXIMUM)
    assert not np.isnan(grid_outputs(largest, token_matrix([parse(largest, "max(x, x)")])).astype(float)).any()
