"""Libraries hold every function once, with exact outputs, and their hashes follow from those of parts."""

import functools
from fractions import Fraction

import languages
import numpy as np
import pairs
import pytest

from synthlab.errors import ConfigurationError
from synthlab.language import tracing
from synthlab.language.grammar import PIECEWISE, POLYNOMIAL, RATIONAL
from synthlab.language.identity import grid_codes
from synthlab.language.program import parse, token_matrix
from synthlab.language.residues import PRIME, residue
from synthlab.search import library as module
from synthlab.search.library import (
    Index,
    Library,
    exponents,
    find_rows,
    product_keys,
    product_points,
    sum_keys,
    weights,
)

P = PRIME
EXACT = [u for u in languages.UNIVERSES if u[0] is not languages.HALVES]
by_universe = pytest.mark.parametrize(("grammar", "size", "measure"), EXACT, ids=languages.label)


@functools.cache
def library_of(grammar, size, measure="leaves"):
    return Library.build(grammar, size, measure)


def every(library):
    return np.ones(library.codes.shape[1], dtype=bool)


# ---------------------------------------------------------------- contents


def test_the_functions_of_the_polynomials_are_counted():
    """Numbers of functions of at most 1, ..., 5 leaves, measured before the package was written."""
    library = Library.build(POLYNOMIAL, 5)
    assert [library.num_up_to(size) for size in range(7)] == [0, 5, 40, 278, 2217, 19_067, 19_067]
    assert len(library) == 19_067 and library.max_size == 5 and library.grammar is POLYNOMIAL
    assert len(np.unique(library.codes, axis=0)) == 19_067 and library.usable.all()
    assert library.cost.programs == library.table.executed > 19_067 and library.cost.seconds > 0
    assert (library.cost.lookups, library.cost.tokens, library.cost.flops) == (0, 0, 0.0)


@by_universe
def test_outputs_are_those_of_the_minimal_programs(grammar, size, measure):
    library = library_of(grammar, size, measure)
    assert np.array_equal(library.codes, grid_codes(grammar, library.table.text()))
    assert library.usable.tolist() == [P not in row for row in library.codes.tolist()]
    sizes = library.table.sizes
    assert (np.diff(sizes.astype(int)) >= 0).all()
    assert [library.num_up_to(s) for s in range(size + 1)] == [(sizes <= s).sum() for s in range(size + 1)]


@pytest.mark.parametrize(
    ("grammar", "size", "measure"),
    [(POLYNOMIAL, 3, "leaves"), (RATIONAL, 3, "leaves"), (POLYNOMIAL, 5, "nodes"), (languages.UNARY, 5, "nodes")],
    ids=languages.label,
)
def test_outputs_are_those_of_fractions(grammar, size, measure):
    library, known = library_of(grammar, size, measure), pairs.functions(grammar, size, measure)
    found = {tuple(row): int(s) for row, s in zip(library.codes.tolist(), library.table.sizes, strict=True)}
    assert found == {tuple(residue(Fraction(v)) for v in outputs): s for outputs, s in known.items()}


def test_a_function_with_a_pole_on_the_grid_is_held_but_not_usable():
    library = library_of(RATIONAL, 5)
    pole, near = grid_codes(RATIONAL, token_matrix([parse(RATIONAL, t) for t in ("1/(x+x+x-1)", "1/(x+x+x-2)")]))
    rows = [np.flatnonzero((library.codes == codes).all(axis=1)) for codes in (pole, near)]
    assert len(rows[0]) == len(rows[1]) == 1
    assert not library.usable[rows[0][0]] and library.usable[rows[1][0]]
    for index in (library.additive(every(library)), library.multiplicative(every(library))):
        assert index.keys[rows[0][0]] == P > index.keys[rows[1][0]]


def test_rounded_outputs_are_refused():
    with pytest.raises(ConfigurationError, match="compared on rounded floats"):
        Library.build(languages.HALVES, 2)


@pytest.mark.parametrize(
    ("grammar", "symbols"),
    [
        (RATIONAL, {"+": tracing.ADD, "-": tracing.SUBTRACT, "*": tracing.MULTIPLY, "/": tracing.DIVIDE}),
        (PIECEWISE, {"+": tracing.ADD, "-": tracing.SUBTRACT, "*": tracing.MULTIPLY}),
        (languages.UNARY, {"+": tracing.ADD, "*": tracing.MULTIPLY, "neg": tracing.NEGATE}),
        (languages.FLOORED, {"-": tracing.SUBTRACT}),
        (languages.STRANGE, {"+": tracing.ADD}),
        (languages.TERNARY, {}),
    ],
    ids=languages.label,
)
def test_operators_that_can_be_undone_are_known(grammar, symbols):
    kinds = module.undoable(grammar)
    assert {grammar.tokens[t]: int(k) for t, k in enumerate(kinds) if k >= 0} == symbols


# ---------------------------------------------------------------- hashes


def power_product(row, points, powers):
    """The multiplicative hash by arbitrary integers."""
    total = 1
    for g in points:
        total = total * pow(int(row[g]), int(powers[g]), P) % P
    return total


@pytest.mark.parametrize("grammar", [RATIONAL, POLYNOMIAL], ids=languages.label)
def test_hashes_are_those_of_big_integers(grammar):
    library, generator = library_of(grammar, 3), np.random.default_rng(0)
    num = library.codes.shape[1]
    mask = generator.random(num) < 0.2
    factors, powers = weights(num), exponents(num)
    sums = sum_keys(library.codes, library.usable, mask)
    products = product_keys(library.codes, library.usable, np.flatnonzero(mask))
    for row in generator.choice(np.flatnonzero(library.usable), 60):
        codes = library.codes[row]
        assert sums[row] == sum(int(c) * int(f) for c, f in zip(codes[mask], factors[mask], strict=True)) % P
        nonzero = (codes[mask] != 0).all()
        assert products[row] == (power_product(codes, np.flatnonzero(mask), powers) if nonzero else P)
    assert (factors > 0).all() and (factors < P).all() and (powers % 2 == 1).all() and len(set(powers.tolist())) == num


def test_unequal_functions_have_unequal_sums():
    library = library_of(POLYNOMIAL, 4)
    index = library.additive(every(library))
    assert len(np.unique(index.keys)) == len(library) == 2217
    out = np.empty(4, dtype=np.int64)
    for row in range(0, 2217, 37):
        assert find_rows(index.keys[row], *index.table, out) == 1 and out[0] == row
    unknown = [k for k in np.random.default_rng(1).integers(0, P, size=300, dtype=np.uint64) if k not in index.keys]
    assert len(unknown) == 300 and not any(find_rows(k, *index.table, out) for k in unknown)
    assert find_rows(np.uint64(P), *index.table, out) == 0


@pytest.mark.kernels
def test_rows_of_one_hash_come_in_order_as_many_as_there_is_room():
    keys = np.array([7, 3, 7, P, 7, 0, P - 1, 0, P], dtype=np.uint64)
    index, out = Index.of(keys), np.full(2, -1, dtype=np.int64)
    for key, rows in ((7, [0, 2]), (3, [1]), (0, [5, 7]), (P - 1, [6]), (P, []), (8, [])):
        num = find_rows(np.uint64(key), *index.table, out)
        assert out[:num].tolist() == rows
    room = np.empty(9, dtype=np.int64)
    assert room[: find_rows(np.uint64(7), *index.table, room)].tolist() == [0, 2, 4]


@pytest.mark.kernels
def test_of_many_rows_of_one_hash_the_first_are_kept():
    keys = np.concatenate([np.full(900, 5), np.arange(3000)]).astype(np.uint64)
    index, room = Index.of(keys), np.empty(4000, dtype=np.int64)
    kept = room[: find_rows(np.uint64(5), *index.table, room)].tolist()
    assert kept == list(range(len(kept))) and 500 < len(kept) <= 900
    for key in (0, 4, 6, 2999):
        assert room[: find_rows(np.uint64(key), *index.table, room)].tolist() == [900 + key]


def test_a_function_and_its_negative_have_unequal_products():
    library = library_of(POLYNOMIAL, 3)
    minus = (P - library.codes.astype(object)) % P
    for row in range(len(library)):
        points = product_points(library.codes[row], library.point_order)
        if not points.any():
            continue
        pair = np.array([library.codes[row], minus[row].astype(np.uint64)], dtype=np.uint64)
        one, two = product_keys(pair, np.ones(2, dtype=bool), np.flatnonzero(points))
        assert (int(one) + int(two)) % P == 0 and one != two


@pytest.mark.parametrize("num_zeros", [0, 1, 20, 29, 30, 33, 34, 35])
def test_products_read_an_odd_number_of_points_without_zeros_and_gaps(num_zeros):
    generator = np.random.default_rng(num_zeros)
    for _ in range(30):
        codes = generator.integers(1, P, size=36, dtype=np.uint64)
        codes[generator.permutation(36)[:num_zeros]] = generator.choice([0, P])
        points = product_points(codes, generator.permutation(36))
        assert points.sum() % 2 == 1 and min(module._FACTORS, 35 - num_zeros) <= points.sum() <= module._FACTORS
        assert ((codes[points] > 0) & (codes[points] < P)).all()


def test_zero_has_no_points_to_read_as_a_product():
    assert not product_points(np.array([0, P, 0, P], dtype=np.uint64), np.arange(4)).any()


# ---------------------------------------------------------------- indexes


def test_indexes_are_kept_and_the_oldest_go_first(monkeypatch):
    monkeypatch.setattr(module, "_NUM_KEPT", 3)
    library = Library.build(POLYNOMIAL, 2)
    masks = [np.arange(36) == k for k in range(4)]
    whole, first = library.additive(every(library)), library.additive(masks[0])
    assert library.additive(every(library)) is whole and library.additive(masks[0]) is first
    assert library.multiplicative(masks[0]) is not first
    library.additive(every(library))  # used last
    assert library.multiplicative(masks[1]) is library.multiplicative(masks[1])
    again = library.additive(masks[0])
    assert again is not first and np.array_equal(again.keys, first.keys)
    assert len(library._indexes) == 3


def test_little_memory_keeps_two_indexes(monkeypatch):
    monkeypatch.setattr(module, "_MOST_BYTES", 1)
    library = Library.build(POLYNOMIAL, 2)
    for k in range(5):
        index = library.additive(np.arange(36) == k)
        assert index.num_bytes > 1 and len(library._indexes) <= 2


def test_a_library_holds_the_minimal_texts_of_the_universe(corpus4):
    library = library_of(POLYNOMIAL, 4)
    assert np.array_equal(library.table.text(), corpus4.prefix[corpus4.class_id])
