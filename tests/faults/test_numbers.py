"""Classes of functions: not confused by the grid, by rounding, by seeds, threads, compilation or the processor."""

import itertools
import os
from fractions import Fraction

import numpy as np
import pytest
from faults.limited import answer_of

from synthlab.language import identity
from synthlab.language.grammar import PIECEWISE, POLYNOMIAL, RATIONAL, Grammar, Grid
from synthlab.language.identity import fingerprints, grid_codes, identity_method, same_function
from synthlab.language.interpreter import Floats, evaluate, grid_outputs
from synthlab.language.program import parse, token_matrix
from synthlab.language.residues import PRIME


def constant(grammar, number):
    """Text of a whole number in a grammar with the literal 1."""
    if number < 0:
        return f"(1 - {constant(grammar, 1 - number)})"
    return str(number) if str(number) in grammar.index else f"({' + '.join(['1'] * number) or '1 - 1'})"


def vanishing(grammar, variable, values):
    """A product that is zero wherever the variable has one of the values."""
    factors = []
    for value in values:
        shift = f"{constant(grammar, value.numerator)} / {constant(grammar, value.denominator)}"
        shift = constant(grammar, value.numerator) if value.denominator == 1 else f"({shift})"
        factors.append(f"({variable} - {shift})")
    return " * ".join(factors)


@pytest.mark.fault("agreement on the grid alone")
@pytest.mark.parametrize("grammar", [POLYNOMIAL, RATIONAL, PIECEWISE], ids=lambda g: g.name)
def test_what_agrees_on_the_whole_grid_may_be_another_function(grammar, fired):
    """x and x + (x - a)(x - b)..., with every value of the grid among a, b, ..."""
    for variable, axis in zip(grammar.variables, grammar.grid.axes, strict=True):
        product = vanishing(grammar, variable, axis)
        for text in ("x", "y", "x * y", "x - x", f"x + {product}"):
            twin = f"{text} + y * {product}"
            one, two = parse(grammar, text), parse(grammar, twin)
            rows = token_matrix([one, two])
            codes = grid_codes(grammar, rows)
            outputs = grid_outputs(grammar, rows)
            assert (codes[0] == codes[1]).all() and np.allclose(outputs[0], outputs[1]), "they agree on the grid"
            keys = fingerprints(grammar, rows)
            assert (keys[0] != keys[1]).all() and not same_function(one, two)
            fired()


@pytest.mark.fault("agreement on the grid alone")
@pytest.mark.parametrize("seed", [0, 1, 2, 3, identity.FINGERPRINT_SEED])
def test_classes_do_not_depend_on_the_seed_and_the_grid_merges_more(seed, corpus4, naive4, fired):
    """The classes of a universe are those of polynomial expansion, whatever the two random points are."""
    keys = fingerprints(POLYNOMIAL, corpus4.prefix, seed)
    found = np.unique(keys, axis=0, return_inverse=True)[1].ravel()
    expanded = np.array([number for _, number in naive4])
    pairs = np.unique(np.stack([found, expanded]), axis=1)
    assert pairs.shape[1] == len(set(found.tolist())) == len(set(expanded.tolist())) == corpus4.num_classes
    small = Grammar(
        name="small_grid", variables=("x", "y"), constants=(1, 2, 3), operators=POLYNOMIAL.operators,
        grid=Grid(((0, 1), (0, 1))),
    )  # fmt: skip
    on_grid = np.unique(grid_codes(small, corpus4.prefix), axis=0)
    assert len(on_grid) < corpus4.num_classes, "on few points unlike functions agree"
    assert len(np.unique(fingerprints(small, corpus4.prefix, seed), axis=0)) == corpus4.num_classes
    fired(corpus4.num_classes - len(on_grid))


@pytest.mark.fault("agreement on the grid alone")
def test_the_chance_of_a_false_merge_is_the_one_that_is_documented(fired, monkeypatch):
    """Modulo a small prime unlike polynomials do merge, at most as often as Schwartz and Zippel allow."""
    assert "below\n1e-20" in identity.__doc__ and "Schwartz 1980" in identity.__doc__
    assert "two random points modulo 2^61-1" in identity_method(POLYNOMIAL)
    degree, pairs = 2 * 7, (10**7) ** 2 / 2
    assert pairs * (degree / PRIME) ** 2 < 1e-20
    prime, degree = 101, 6
    roots = list(itertools.islice(itertools.count(2), degree))
    merged = sum(np.prod([(x - r) % prime for r in roots]) % prime == 0 for x in range(prime))
    assert merged / prime == degree / prime, "the bound is reached by a product of linear factors"
    product = vanishing(POLYNOMIAL, "x", [Fraction(r) for r in roots])
    drawn = np.random.Generator(np.random.PCG64(0)).integers(2, 40, size=200)
    confused = 0
    for x in drawn.tolist():
        points = [(Fraction(x), Fraction(3))] * 2
        algebra = identity.FingerprintPoints(POLYNOMIAL, points)
        keys = evaluate(POLYNOMIAL, token_matrix([parse(POLYNOMIAL, t) for t in (product, "x - x")]), algebra)
        confused += int((keys[0] == keys[1]).all())
    assert confused == np.isin(drawn, roots).sum() > 0, "points among the roots confuse, others do not"
    fired(confused)


ROUNDED = (
    ("x + 1 / (2 * (2 + 2 + 1)) + 1 / (2 + 2 + 1)", "x + (1 / (2 * (2 + 2 + 1)) + 1 / (2 + 2 + 1))"),
    ("1 / (1 + 2) * x + 1 / (1 + 2) * y", "(x + y) / (1 + 2)"),
    ("x * y / (x + 2)", "x / (x + 2) * y"),
    ("x / (1 + 2) * (1 + 2)", "x"),
    ("x * x - y * y", "(x - y) * (x + y)"),
    ("(x + y) * (x + y) * (x + y)", "x * x * x + (1 + 2) * x * x * y + (1 + 2) * x * y * y + y * y * y"),
    ("(1 - 2) * (x - x)", "x - x"),
    ("1 / (1 / x + 1 / y)", "x * y / (x + y)"),
)


@pytest.mark.fault("another processor, NumPy or Python")
@pytest.mark.parametrize(("first", "second"), ROUNDED)
def test_functions_that_floats_tell_apart_are_one_class(first, second, fired):
    programs = [parse(RATIONAL, text) for text in (first, second)]
    rows = token_matrix(programs)
    assert same_function(*programs) and len(np.unique(grid_codes(RATIONAL, rows), axis=0)) == 1
    algebra = Floats(RATIONAL, [(Fraction(k, 7), Fraction(k * k + 1, 11)) for k in range(1, 200)])
    floats = evaluate(RATIONAL, rows, algebra)
    if second not in ("x", "x - x"):
        assert (floats[0] != floats[1]).any(), "rounding has to differ somewhere"
    assert not np.signbit(floats[floats == 0]).any()
    fired()


def test_programs_compare_by_text_and_classes_by_function(rational3):
    """No two rows of a class differ as functions, and no two classes agree, by exact values at five points."""
    points = [(Fraction(3, 7), Fraction(-5, 3)), (Fraction(11, 2), Fraction(13, 17)), (Fraction(-9), Fraction(8, 5))]
    points += [(Fraction(101, 3), Fraction(7, 19)), (Fraction(1, 23), Fraction(29))]
    codes = evaluate(RATIONAL, rational3.prefix, identity.ResiduePoints(RATIONAL, points))
    known = rational3.class_index >= 0
    pairs = np.unique(np.column_stack([rational3.class_index[known].astype(np.uint64), codes[known]]), axis=0)
    complete = (pairs[:, 1:] != PRIME).all(axis=1)
    assert len(np.unique(pairs[complete, 0])) == complete.sum() == len(np.unique(pairs[complete, 1:], axis=0))


# ---------------------------------------------------------------- other machines

DIGESTS = """
import hashlib
import numpy as np
from synthlab.language.grammar import PIECEWISE, POLYNOMIAL, RATIONAL
from synthlab.language.identity import FINGERPRINT_SEED, fingerprints, grid_codes, identity_algebra
from synthlab.language.interpreter import grid_outputs
from synthlab.spaces.pqgrams import profiles
from synthlab.spaces.semantic import fit_semantic
from synthlab.universe.corpus import build_corpus, function_table
from synthlab.universe.counting import rank, unrank
from synthlab.universe.sampling import sample_programs

def digest(array):
    array = np.ascontiguousarray(array)
    return hashlib.sha256(f"{array.dtype.str}{array.shape}".encode() + array.tobytes()).hexdigest()[:16]
answer = {}
for grammar, size in ((POLYNOMIAL, asked), (RATIONAL, asked), (PIECEWISE, 2)):
    corpus, table = build_corpus(grammar, size), function_table(grammar, size)
    drawn = sample_programs(grammar, 9, 50, seed=3)
    ids = np.linspace(0, corpus.num_programs - 1, 40).astype(np.int64)
    outputs = grid_outputs(grammar, np.concatenate([corpus.prefix[ids]]))
    arrays = {
        "texts": corpus.prefix, "classes": corpus.class_index, "minimal": corpus.class_id, "keys": corpus.fingerprints,
        "table": table.text(), "table keys": table.keys, "ids": rank(grammar, unrank(grammar, ids, size), size),
        "drawn": drawn, "drawn keys": fingerprints(grammar, drawn), "codes": grid_codes(grammar, drawn),
        "outputs": outputs, "grams": profiles(grammar, drawn).codes,
        "points": identity_algebra(grammar, FINGERPRINT_SEED).terminals,
    }
    answer |= {f"{grammar.name} {name}": digest(array) for name, array in arrays.items()}
    answer[f"{grammar.name} digest"] = grammar.digest
    space = fit_semantic(corpus, num_axes=3)
    answer[f"near: {grammar.name} explained"] = space.explained.tolist()
    answer[f"near: {grammar.name} mean"] = space.model["mean"].tolist()
    answer[f"near: {grammar.name} coordinates"] = np.abs(space.coordinates[:40]).astype(float).ravel().tolist()
"""


def dispatched():
    """Instructions beyond the baseline that NumPy chooses among on this processor, as the environment names them."""
    from numpy._core import _multiarray_umath as core

    return " ".join(f for f in core.__cpu_dispatch__ if core.__cpu_features__.get(f))


def compared(first, second):
    """Everything exact is equal, and floats of spaces are near each other."""
    assert first.keys() == second.keys() and len(first) > 40
    for name, value in first.items():
        if name.startswith("near: "):
            np.testing.assert_allclose(np.nan_to_num(value), np.nan_to_num(second[name]), rtol=1e-5, atol=1e-5)
        else:
            assert value == second[name], name


@pytest.fixture(scope="module")
def usual():
    return answer_of(DIGESTS, 3)


@pytest.mark.fault("another processor, NumPy or Python")
@pytest.mark.parametrize(
    "environment",
    [
        {"OMP_NUM_THREADS": "4", "NUMBA_NUM_THREADS": "3", "OPENBLAS_NUM_THREADS": "3", "PYTHONHASHSEED": "7"},
        {"NPY_DISABLE_CPU_FEATURES": "", "OPENBLAS_CORETYPE": "Prescott"},
        pytest.param(
            {"NPY_DISABLE_CPU_FEATURES": "", "NUMBA_CPU_NAME": "generic"},
            marks=pytest.mark.skipif(not os.environ.get("SYNTHLAB_SOAK"), reason="a minute of compilation: make soak"),
        ),
    ],
    ids=["more threads", "an old processor", "compiled for an old processor"],
)
def test_nothing_exact_depends_on_threads_or_instructions(environment, usual, fired, tmp_path):
    if "NPY_DISABLE_CPU_FEATURES" in environment:
        features = dispatched()
        if not features:
            pytest.skip("NumPy has no instructions to choose among on this processor")
        environment = environment | {"NPY_DISABLE_CPU_FEATURES": features}
    if "NUMBA_CPU_NAME" in environment:
        environment = environment | {"NUMBA_CACHE_DIR": str(tmp_path)}
    compared(usual, answer_of(DIGESTS, 3, environment=environment))
    fired(len(environment))


@pytest.mark.fault("another processor, NumPy or Python")
def test_nothing_exact_depends_on_compilation(fired):
    """The kernels as plain Python, on the universes of two leaves."""
    compared(answer_of(DIGESTS, 2), answer_of(DIGESTS, 2, environment={"NUMBA_DISABLE_JIT": "1"}))
    fired()
