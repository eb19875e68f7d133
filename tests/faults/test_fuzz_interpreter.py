"""Random programs through every way of evaluation, against whole numbers and fractions of Python.

Of each of four grammars 100,000 programs (a million with SYNTHLAB_SOAK=1) go through the compiled interpreter, the
graph of shared subtrees, plain NumPy, and residues where the grammar has them; all of them also through the oracle
`exact_values`, which holds numerators and denominators as Python integers, at four points. Of those 1,000 more go
through a recursive walk with `Fraction`, which checks the oracle itself, and 300 through `evaluate_exact`.
"""

import copy
import os

import naive
import numpy as np
import pytest

from synthlab.errors import SynthlabError
from synthlab.language.grammar import PAD, PIECEWISE, POLYNOMIAL, RATIONAL, Grammar, Grid
from synthlab.language.identity import ResiduePoints, fingerprints
from synthlab.language.interpreter import (
    UNDEFINED,
    Floats,
    WholeNumbers,
    evaluate,
    evaluate_exact,
    evaluate_shared,
    grid_outputs,
    in_range,
    number_algebra,
)
from synthlab.language.operator import (
    ABSOLUTE,
    ADD,
    FLOOR_DIVIDE,
    MINIMUM,
    MODULO,
    MULTIPLY,
    NEGATE,
    SUBTRACT,
    Operator,
)
from synthlab.language.program import Program
from synthlab.language.residues import PRIME, UNDEFINED_RESIDUE
from synthlab.language.sharing import share
from synthlab.universe.sampling import sample_programs

NUM = 1_000_000 if os.environ.get("SYNTHLAB_SOAK") else 100_000
AT_ONCE, NUM_WALKED, NUM_SINGLE = 25_000, 1_000, 300
JUMPS = Grammar(
    name="fuzz_jumps",
    variables=("x", "y"),
    constants=(2, 3),
    operators=(
        ADD, SUBTRACT, MULTIPLY, NEGATE, ABSOLUTE, MINIMUM, FLOOR_DIVIDE, MODULO,
        Operator(symbol="muladd", arity=3, meaning=lambda a, b, c: a * b + c),
    ),
    grid=Grid(((-3, -1, 0, 2, 5), (-2, 0, 1, 3))),
)  # fmt: skip
GRAMMARS = (POLYNOMIAL, RATIONAL, PIECEWISE, JUMPS)
by_name = pytest.mark.parametrize("grammar", GRAMMARS, ids=lambda g: g.name)

# ---------------------------------------------------------------- the oracle


def cleared(values):
    """Numbers to divide by, with 1 for 0."""
    return np.where(values == 0, 1, values)


MEANINGS = {  # on numerators and denominators, which are 1 for all but "/"; the last is where there is no value
    "+": lambda a, b: (a[0] * b[1] + b[0] * a[1], a[1] * b[1], False),
    "-": lambda a, b: (a[0] * b[1] - b[0] * a[1], a[1] * b[1], False),
    "*": lambda a, b: (a[0] * b[0], a[1] * b[1], False),
    "/": lambda a, b: (a[0] * b[1], a[1] * cleared(b[0]), b[0] == 0),
    "neg": lambda a: (-a[0], a[1], False),
    "abs": lambda a: (np.where(a[0] < 0, -a[0], a[0]), a[1], False),
    "min": lambda a, b: (np.where(a[0] < b[0], a[0], b[0]), a[1], False),
    "max": lambda a, b: (np.where(a[0] < b[0], b[0], a[0]), a[1], False),
    "//": lambda a, b: (a[0] // cleared(b[0]), a[1], b[0] == 0),
    "%": lambda a, b: (a[0] - b[0] * (a[0] // cleared(b[0])), a[1], b[0] == 0),
    "muladd": lambda a, b, c: (a[0] * b[0] + c[0], c[1], False),
}


def exact_values(grammar, prefix, points):
    """Numerators and denominators (P, G) of Python integers, where there is no value, and the largest magnitude (P,).

    A stack of columns, from the last token to the first; the magnitude is that of any step's numerator.
    """
    num_programs, shape = len(prefix), (prefix.shape[1] // 2 + 2, len(prefix), len(points))
    over, under = np.zeros(shape, dtype=object), np.ones(shape, dtype=object)
    missing, height = np.zeros(shape, dtype=bool), np.zeros(num_programs, dtype=int)
    largest = np.zeros(num_programs, dtype=object)
    leaves = [[*point, *grammar.constants] for point in points]
    for column in reversed(range(prefix.shape[1])):
        for token in np.unique(prefix[:, column]):
            rows = np.flatnonzero(prefix[:, column] == token)
            if token == PAD:
                continue
            if token < grammar.num_terminals:
                at = height[rows], rows
                over[at] = [int(leaf[token].numerator) for leaf in leaves]
                under[at] = [int(leaf[token].denominator) for leaf in leaves]
                missing[at] = False
                height[rows] += 1
            else:
                operator = grammar.operator(token)
                places = [(height[rows] - 1 - k, rows) for k in range(operator.arity)]
                operands = [(over[at], under[at]) for at in places]
                a, b, none = MEANINGS[operator.symbol](*operands)
                if operator.symbol == "muladd":  # the product inside it leaves the range by itself
                    product = np.abs(operands[0][0] * operands[1][0])
                    largest[rows] = np.maximum(largest[rows], product.max(axis=1))
                for at in places:
                    none = none | missing[at]
                height[rows] -= operator.arity - 1
                at = height[rows] - 1, rows
                over[at], under[at], missing[at] = np.where(none, 0, a), np.where(none, 1, b), none
            largest[rows] = np.maximum(largest[rows], np.abs(over[at]).max(axis=1))
    assert (height == 1).all()
    return over[0], under[0], missing[0], largest


# ---------------------------------------------------------------- the ways


def sampled(grammar, num, seed, sizes=range(2, 9)):
    """Blocks of random programs of these sizes, equally many of each (by nodes where leaves do not bound)."""
    measure = "nodes" if grammar is JUMPS else "leaves"
    sizes = [2 * size - 1 for size in sizes] if measure == "nodes" else list(sizes)
    for number, size in enumerate(sizes):
        left = (num + number) // len(sizes)
        while left:
            share_now = min(left, AT_ONCE)
            yield sample_programs(grammar, size, share_now, measure=measure, seed=seed + left)
            left -= share_now


def four_points(grammar):
    """Points of the grid, of unlike signs."""
    points = grammar.grid.points
    return [points[k] for k in np.linspace(0, len(points) - 1, 4).round().astype(int)]


def ways(grammar, prefix, algebra):
    """Values by the compiled interpreter, on the shared graph, and both once more without compiled code."""
    plain = copy.copy(algebra)
    plain.table = None
    shared = share(grammar, prefix)
    yield evaluate(grammar, prefix, algebra)
    yield evaluate_shared(shared, algebra)[shared.roots]
    yield evaluate(grammar, prefix, plain)


def assert_numbers(values, over, under, missing):
    """Whole numbers are equal; floats are near, and exact where they are whole by nature."""
    if values.dtype == np.int64:
        assert not missing.any() and (under == 1).all()
        assert (values == over.astype(np.int64)).all()
        return
    exact = over / under
    near = np.abs(values - exact.astype(float)) <= 1e-6 * (1 + np.abs(exact.astype(float)))
    assert (near | missing | np.isnan(values)).all()


def check_block(grammar, prefix, points):
    over, under, missing, _ = exact_values(grammar, prefix, points)
    algebra = number_algebra(grammar, points)
    first = None
    for values in ways(grammar, prefix, algebra):
        assert_numbers(values, over, under, missing)
        first = values if first is None else first
        assert np.array_equal(values, first, equal_nan=True), "the ways differ bit by bit"
    if grammar is JUMPS:
        assert (np.isnan(first) == missing).all() and (first[~missing] == over[~missing].astype(float)).all()
    if grammar.exact:
        for codes in ways(grammar, prefix, ResiduePoints(grammar, points)):
            assert ((codes == UNDEFINED_RESIDUE) == missing).all()
            assert (((codes.astype(object) * under - over) % PRIME == 0) | missing).all()
    return over, under, missing


def check_same(grammar, prefix, over, under, missing):
    """Programs of one fingerprint have equal values wherever both have one."""
    keys = fingerprints(grammar, prefix)
    _, first, inverse = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    known = keys[:, 0] != UNDEFINED_RESIDUE
    other = first[inverse.ravel()]
    equal = (over * under[other] == over[other] * under) | missing | missing[other]
    assert equal[known].all()
    assert missing[~known].all(), "what is no function has a value"
    return len(first)


@pytest.mark.fault("overflow, division by zero, poles")
@by_name
def test_all_ways_of_evaluation_agree(grammar, fired):
    count, poles, merged = 0, 0, 0
    points = four_points(grammar)
    for prefix in sampled(grammar, NUM, seed=5):
        over, under, missing = check_block(grammar, prefix, points)
        merged += len(prefix) - check_same(grammar, prefix, over, under, missing)
        count, poles = count + len(prefix), poles + int(missing.any(axis=1).sum())
    assert count == NUM and merged > 0
    assert (poles > NUM / 200) == grammar.partial
    fired(inputs=count)


@pytest.mark.fault("overflow, division by zero, poles")
@by_name
def test_the_oracle_agrees_with_a_walk_in_fractions(grammar, fired):
    arities = dict(zip(grammar.tokens, grammar.arities.tolist(), strict=True))
    points = four_points(grammar)
    named = [dict(zip(grammar.variables, point, strict=True)) for point in points]
    count = 0
    for prefix in sampled(grammar, NUM_WALKED, seed=6):
        over, under, missing, _ = exact_values(grammar, prefix, points)
        for row, tokens in enumerate(prefix):
            program = Program.from_row(grammar, tokens)
            tree = naive.tree([grammar.tokens[t] for t in program.prefix], arities)
            for column, point in enumerate(named):
                value = naive.walk(tree, point, naive.MEANINGS)
                assert (value is None) == missing[row, column]
                assert value is None or value * under[row, column] == over[row, column]
                if row < NUM_SINGLE // 7:
                    single = evaluate_exact(program, point)
                    assert (single is UNDEFINED) if value is None else single == value
            count += 1
    assert count == NUM_WALKED
    fired(inputs=count)


@pytest.mark.fault("overflow, division by zero, poles")
@by_name
def test_poles_on_the_grid_are_those_of_fractions(grammar, fired):
    """`grid_outputs` says missing exactly where a fraction has no value, however floats round."""
    count = 0
    for prefix in sampled(grammar, 3_500, seed=7):
        missing = exact_values(grammar, prefix, grammar.grid.points)[2]
        outputs = grid_outputs(grammar, prefix)
        found = np.isnan(outputs) if outputs.dtype.kind == "f" else np.zeros(outputs.shape, dtype=bool)
        assert (found == missing).all()
        count += len(prefix)
    fired(inputs=count)


@pytest.mark.fault("overflow, division by zero, poles")
@pytest.mark.parametrize("grammar", [POLYNOMIAL, PIECEWISE, JUMPS], ids=lambda g: g.name)
def test_values_beyond_the_range_are_refused_and_no_others(grammar, fired):
    """Refused are the programs in which any subtree leaves the range, whichever way they are evaluated."""
    points = [(10**6, -3), (-(10**9), 10**9), (0, 7)]
    limit = 2**53 if grammar is JUMPS else 2**60
    algebra = Floats(grammar, points) if grammar is JUMPS else WholeNumbers(grammar, points)
    plain = copy.copy(algebra)
    plain.table = None
    num_refused, count = 0, 0
    for prefix in sampled(grammar, 700, seed=8):
        over, _, missing, largest = exact_values(grammar, prefix, points)
        wanted = np.flatnonzero(largest < limit)
        for one in (algebra, plain):
            kept, values = in_range(lambda rows, one=one: evaluate(grammar, rows, one), prefix)
            assert kept.tolist() == wanted.tolist()
            assert ((values == over[kept].astype(values.dtype)) | missing[kept]).all()
        shared = share(grammar, prefix)
        if len(wanted) < len(prefix):
            with pytest.raises(SynthlabError, match="exceed"):
                evaluate_shared(shared, algebra)
        num_refused, count = num_refused + len(prefix) - len(wanted), count + len(prefix)
    assert count / 20 < num_refused < count
    assert count == 700
    fired(inputs=count)
