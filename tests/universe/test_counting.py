"""Exact counts, and ids of 63 bits and of any length, against listing by recursion."""

import itertools
import math

import brute
import languages
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from languages import FLOORED, MIXED, MULADD, TERNARY, UNARY, UNIVERSES, arities, label, listed, rows

from synthlab.errors import BudgetExceeded, ConfigurationError
from synthlab.language.grammar import PAD, POLYNOMIAL, RATIONAL
from synthlab.language.measure import max_length, sizes_of
from synthlab.universe.counting import (
    forest_table,
    program_counts,
    rank,
    rank_program,
    size_offsets,
    unrank,
    unrank_program,
    weighted_counts,
)

by_universe = pytest.mark.parametrize(("grammar", "size", "measure"), UNIVERSES, ids=label)
LARGE = [
    (POLYNOMIAL, 12, "leaves"),
    (POLYNOMIAL, 23, "nodes"),
    (POLYNOMIAL, 4, "depth"),
    (RATIONAL, 4, "depth"),
    (UNARY, 24, "nodes"),
    (UNARY, 4, "depth"),
    (MIXED, 16, "leaves"),
    (MIXED, 30, "nodes"),
    (MIXED, 2, "depth"),
    (TERNARY, 31, "nodes"),
    (MULADD, 3, "depth"),
]
HUGE = [
    (POLYNOMIAL, 15, "leaves", 10**20),
    (POLYNOMIAL, 80, "leaves", 10**60),
    (POLYNOMIAL, 61, "nodes", 10**20),
    (UNARY, 90, "nodes", 10**60),
    (UNARY, 9, "depth", 10**60),
    (TERNARY, 121, "nodes", 10**60),
    (MIXED, 120, "leaves", 10**60),
    (MULADD, 5, "depth", 10**60),
    (FLOORED, 6, "depth", 10**60),
]
by_large = pytest.mark.parametrize(("grammar", "size", "measure"), LARGE, ids=label)


def key(row, size):
    """What programs are ordered by."""
    return size, [t for t in row.tolist() if t != PAD]


def is_program(grammar, prefix):
    """Whether a token sequence is exactly one tree."""
    waiting = 1
    for token in prefix:
        if waiting == 0:
            return False
        waiting += int(grammar.arities[token]) - 1
    return waiting == 0


@by_universe
def test_counts_are_the_numbers_of_texts(grammar, size, measure):
    expected = [len(found) for found in brute.texts(arities(grammar), size, measure).values()]
    assert list(program_counts(grammar, size, measure)) == expected
    first = [0] if measure == "depth" else [0, 0]
    assert size_offsets(grammar, size, measure).tolist() == [*first, *itertools.accumulate(expected)]


def test_counts_are_catalan_numbers_times_choices_and_never_overflow():
    catalan = [math.comb(2 * n, n) // (n + 1) for n in range(60)]
    expected = [catalan[n - 1] * 5**n * 3 ** (n - 1) for n in range(1, 61)]
    assert list(program_counts(POLYNOMIAL, 60)) == expected
    by_nodes = program_counts(POLYNOMIAL, 119, "nodes")
    assert list(by_nodes[::2]) == expected and not any(by_nodes[1::2])


def test_counts_by_depth_square_at_every_level():
    at_most, expected = 5, [5]
    for _ in range(9):
        deeper = 5 + 3 * at_most**2
        expected.append(deeper - at_most)
        at_most = deeper
    assert list(program_counts(POLYNOMIAL, 9, "depth")) == expected


@pytest.mark.parametrize(
    ("grammar", "size", "measure"),
    [(POLYNOMIAL, 4, "leaves"), (MIXED, 5, "leaves"), (TERNARY, 5, "leaves"), (UNARY, 5, "nodes"), (MIXED, 6, "nodes")],
    ids=label,
)
def test_forests_are_sequences_of_trees(grammar, size, measure):
    trees = {n: len(found) for n, found in brute.texts(arities(grammar), size, measure).items()}
    table = forest_table(grammar, size, measure)
    for num_trees in range(5):
        for total in range(size + 1):
            parts = itertools.product(range(1, size + 1), repeat=num_trees)
            expected = sum(math.prod(trees[n] for n in p) for p in parts if sum(p) == total)
            assert table[num_trees, total] == expected


@pytest.mark.parametrize(
    ("grammar", "size", "measure"), [(POLYNOMIAL, 3, "leaves"), (MIXED, 5, "leaves"), (MULADD, 6, "nodes")], ids=label
)
def test_weighted_counts_sum_the_products_of_weights(grammar, size, measure):
    weights = tuple(range(2, 2 + len(grammar.tokens)))
    expected = [
        sum(math.prod(weights[t] for t in text) for text in found)
        for found in brute.texts(arities(grammar), size, measure).values()
    ]
    assert list(weighted_counts(grammar, size, measure, weights)[1][1:]) == expected


@by_universe
def test_ids_list_the_universe_in_order(grammar, size, measure):
    expected = listed(grammar, size, measure)
    matrix = unrank(grammar, np.arange(len(expected)), size, measure)
    assert rows(matrix) == expected
    assert rank(grammar, matrix, size, measure).tolist() == list(range(len(expected)))
    shuffled = np.random.default_rng(0).permutation(len(expected))[:1000]
    assert np.array_equal(unrank(grammar, shuffled, size, measure), matrix[shuffled])
    assert np.array_equal(rank(grammar, matrix[shuffled], size, measure), shuffled)


@by_universe
def test_ranking_leaves_the_texts_alone(grammar, size, measure):
    matrix = unrank(grammar, np.arange(5), size, measure)
    before = matrix.copy()
    rank(grammar, matrix, size, measure)
    assert np.array_equal(matrix, before)


@by_universe
def test_the_longest_text_fits(grammar, size, measure):
    assert max_length(grammar, size, measure) >= max(map(len, listed(grammar, size, measure)))


@by_universe
def test_padding_of_any_width_does_not_change_an_id(grammar, size, measure):
    texts = listed(grammar, size, measure)
    chosen = np.linspace(0, len(texts) - 1, 50).astype(int)
    width = max(map(len, texts)) + 7
    matrix = np.array([[*texts[k], *[PAD] * (width - len(texts[k]))] for k in chosen], dtype=np.uint8)
    assert rank(grammar, matrix, size, measure).tolist() == chosen.tolist()


@pytest.mark.parametrize(("grammar", "size"), [(POLYNOMIAL, 3), (MIXED, 5), (TERNARY, 7), (RATIONAL, 3)], ids=label)
def test_the_longest_text_by_leaves_is_as_long_as_allowed(grammar, size):
    assert max_length(grammar, size) == max(map(len, listed(grammar, size)))


@by_large
@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_rank_undoes_unrank_in_a_universe_too_large_to_list(grammar, size, measure, data):
    total = sum(program_counts(grammar, size, measure))
    assert 10**5 < total < 2**63
    ids = data.draw(st.lists(st.integers(0, total - 1), min_size=1, max_size=20))
    matrix = unrank(grammar, np.array(ids), size, measure)
    assert rank(grammar, matrix, size, measure).tolist() == ids
    assert all(is_program(grammar, text) for text in rows(matrix))
    sizes = sizes_of(grammar, matrix, measure)
    keys = [key(row, s) for row, s in zip(matrix, sizes.tolist(), strict=True)]
    by_id = [k for _, k in sorted(zip(ids, keys, strict=True))]
    assert by_id == sorted(keys)


@by_large
def test_neighbouring_ids_are_in_strict_order(grammar, size, measure):
    offsets = size_offsets(grammar, size, measure)
    middle = np.random.default_rng(3).integers(0, offsets[-1] - 300, size=3)
    for start in [0, offsets[-1] - 300, *middle]:
        ids = np.arange(start, start + 300)
        matrix = unrank(grammar, ids, size, measure)
        sizes = sizes_of(grammar, matrix, measure)
        assert (sizes == np.searchsorted(offsets, ids, side="right") - 1).all()
        keys = [key(row, s) for row, s in zip(matrix, sizes.tolist(), strict=True)]
        assert all(a < b for a, b in itertools.pairwise(keys))


@pytest.mark.parametrize(
    ("grammar", "measure", "bounds"),
    [(POLYNOMIAL, "leaves", (3, 5, 9)), (UNARY, "nodes", (6, 7, 11)), (POLYNOMIAL, "depth", (2, 3, 4))],
    ids=label,
)
def test_an_id_does_not_depend_on_the_bound(grammar, measure, bounds):
    ids = np.array([0, 7, 79, 1900])
    texts = rows(unrank(grammar, ids, bounds[0], measure))
    for size in bounds:
        matrix = unrank(grammar, ids, size, measure)
        assert rows(matrix) == texts
        assert rank(grammar, matrix, size, measure).tolist() == ids.tolist()


@pytest.mark.parametrize("wrong", [-1, 2330, 10**12])
def test_ids_outside_the_universe_are_refused(wrong):
    with pytest.raises(ConfigurationError, match="run from 0 to 2329 for 3 leaves"):
        unrank(POLYNOMIAL, np.array([0, wrong]), 3)


@pytest.mark.parametrize("wrong", [-1, 19205])
def test_ids_outside_the_universe_are_refused_by_depth(wrong):
    with pytest.raises(ConfigurationError, match="run from 0 to 19204 for 2 depth"):
        unrank(POLYNOMIAL, np.array([0, wrong]), 2, "depth")


def test_no_ids_give_no_programs():
    for measure, size in (("leaves", 3), ("nodes", 3), ("depth", 2)):
        empty = unrank(POLYNOMIAL, np.array([], dtype=np.int64), size, measure)
        assert empty.shape == (0, max_length(POLYNOMIAL, size, measure))
        assert rank(POLYNOMIAL, empty, size, measure).tolist() == []


# ---------------------------------------------------------------- one program, ids of any length


@by_universe
def test_indices_of_one_size_list_it_in_order(grammar, size, measure):
    for exact, found in brute.texts(arities(grammar), size, measure).items():
        chosen = np.unique(np.linspace(0, len(found) - 1, 40).astype(int)).tolist() if found else []
        for index in chosen:
            assert unrank_program(grammar, index, exact, measure) == found[index]
            assert rank_program(grammar, found[index], measure) == index


@by_large
def test_indices_agree_with_ids_where_both_exist(grammar, size, measure):
    offsets = size_offsets(grammar, size, measure)
    ids = np.random.default_rng(1).integers(offsets[-2], offsets[-1], size=20)
    for row, program in zip(rows(unrank(grammar, ids, size, measure)), ids, strict=True):
        assert unrank_program(grammar, int(program - offsets[-2]), size, measure) == row
        assert rank_program(grammar, row, measure) + offsets[-2] == program


@pytest.mark.parametrize(("grammar", "size", "measure", "above"), HUGE, ids=label)
def test_big_indices_are_ranks(grammar, size, measure, above):
    total = program_counts(grammar, size, measure)[-1]
    assert total > above
    digits = np.random.default_rng(2).integers(0, 10, size=(5, len(str(total)) + 5))
    drawn = [int("".join(map(str, row))) % total for row in digits]
    indices = sorted({0, 1, total // 3, total - 2, total - 1, *drawn})
    texts = [unrank_program(grammar, index, size, measure) for index in indices]
    assert texts == sorted(texts) and len(set(texts)) == len(texts)
    assert [rank_program(grammar, text, measure) for text in texts] == indices
    for text in texts:
        assert is_program(grammar, text)
        assert sizes_of(grammar, np.array([text], dtype=np.uint8), measure).tolist() == [size]
        assert rank_program(grammar, np.array(text, dtype=np.uint8), measure) == rank_program(grammar, text, measure)


def test_the_first_and_last_of_a_huge_size_are_what_the_order_says():
    assert unrank_program(POLYNOMIAL, 0, 40) == (*[5, 0] * 39, 0)
    last = program_counts(POLYNOMIAL, 40)[-1] - 1
    assert unrank_program(POLYNOMIAL, last, 40) == (*[7] * 39, *[4] * 40)
    assert unrank_program(UNARY, 0, 50, "nodes") == (*[languages.UNARY.index["neg"]] * 49, 0)


@pytest.mark.parametrize(
    ("grammar", "size", "measure"),
    [(POLYNOMIAL, 3, "leaves"), (POLYNOMIAL, 4, "nodes"), (TERNARY, 2, "leaves"), (POLYNOMIAL, 1, "depth")],
    ids=label,
)
def test_an_index_beyond_the_last_is_refused_with_the_count(grammar, size, measure):
    total = program_counts(grammar, size, measure)[-1]
    for wrong in (-1, total, total + 10**30):
        with pytest.raises(ConfigurationError, match=f"there are {total:,} programs of {size} {measure}"):
            unrank_program(grammar, wrong, size, measure)


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize("size", [0, -1])
@pytest.mark.parametrize("measure", ["leaves", "nodes"])
@pytest.mark.parametrize(
    "function", [program_counts, max_length, size_offsets, forest_table, lambda *a: unrank_program(a[0], 0, *a[1:])]
)
def test_an_empty_universe_is_refused(size, measure, function):
    with pytest.raises(ConfigurationError, match=f"{size} {measure} is empty: use at least 1"):
        function(POLYNOMIAL, size, measure)


def test_a_depth_below_zero_is_refused():
    assert program_counts(POLYNOMIAL, 0, "depth") == (5,)
    with pytest.raises(ConfigurationError, match="use at least 0"):
        program_counts(POLYNOMIAL, -1, "depth")


def test_unary_operators_have_no_count_per_leaves():
    for function in (program_counts, forest_table, max_length):
        with pytest.raises(ConfigurationError, match="unary operator"):
            function(UNARY, 3)
    with pytest.raises(ConfigurationError, match="unary operator"):
        unrank_program(UNARY, 0, 3)
    assert sum(program_counts(UNARY, 3, "nodes")) == len(listed(UNARY, 3, "nodes"))


def test_an_unknown_measure_is_refused_with_the_known_ones():
    for function in (program_counts, size_offsets, max_length):
        with pytest.raises(ConfigurationError, match="unknown measure 'height': choose from leaves, nodes, depth"):
            function(POLYNOMIAL, 3, "height")


@pytest.mark.parametrize(
    ("grammar", "measure"),
    [(POLYNOMIAL, "leaves"), (UNARY, "nodes"), (POLYNOMIAL, "depth"), (MIXED, "leaves")],
    ids=label,
)
def test_ids_beyond_63_bits_are_refused(grammar, measure):
    smallest = 0 if measure == "depth" else 1
    counts = program_counts(grammar, 7 if measure == "depth" else 60, measure)
    fits = max(n for n in range(len(counts)) if sum(counts[: n + 1]) < 2**63) + smallest
    last = sum(program_counts(grammar, fits, measure)) - 1
    matrix = unrank(grammar, np.array([last]), fits, measure)
    assert rank(grammar, matrix, fits, measure).tolist() == [last]
    for refused in (lambda: size_offsets(grammar, fits + 1, measure), lambda: rank(grammar, matrix, fits + 1, measure)):
        with pytest.raises(BudgetExceeded, match=f"63-bit ids: lower the size from {fits + 1} {measure}"):
            refused()


@pytest.mark.parametrize(("size", "measure"), [(200, "leaves"), (10, "depth")])
def test_universes_whose_count_no_float_holds_are_refused_too(size, measure):
    with pytest.raises(BudgetExceeded, match="63-bit ids"):
        unrank(POLYNOMIAL, np.array([0]), size, measure)
