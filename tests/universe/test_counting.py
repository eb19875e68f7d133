"""Exact counts and ids against brute-force listing."""

import itertools

import naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthlab.errors import BudgetExceeded, ConfigurationError
from synthlab.language.grammar import ADD, MULTIPLY, PAD, POLYNOMIAL, RATIONAL, Grammar, Grid, Operator
from synthlab.universe.counting import (
    forest_table,
    max_length,
    operand_ids,
    program_counts,
    rank,
    size_offsets,
    unrank,
)

MID = Operator(symbol="mid", arity=3, meaning=lambda a, b, c: a * b + c)
FOUR = Operator(symbol="four", arity=4, meaning=lambda a, b, c, d: a * b - c * d)
MIXED = Grammar(name="mixed", variables=("x",), constants=(1,), operators=(MID, ADD, FOUR), grid=Grid.regular(0))
TERNARY = Grammar(name="ternary", variables=("x", "y"), operators=(MID,))
UNIVERSES = [(POLYNOMIAL, 3), (RATIONAL, 3), (MIXED, 5), (TERNARY, 7)]
by_universe = pytest.mark.parametrize(("grammar", "size"), UNIVERSES, ids=lambda v: getattr(v, "name", v))


def arities(grammar):
    return dict(zip(grammar.tokens, grammar.arities.tolist(), strict=True))


def listed(grammar, size):
    """All texts in id order, by listing and sorting."""
    texts = [t for n in range(1, size + 1) for t in sorted_texts(grammar, n)]
    return [tuple(grammar.tokens[k] for k in text) for text in texts]


def sorted_texts(grammar, leaves):
    return sorted(tuple(grammar.index[t] for t in text) for text in naive.texts_of(arities(grammar), leaves))


@by_universe
def test_counts_are_the_numbers_of_texts(grammar, size):
    expected = [len(naive.texts_of(arities(grammar), n)) for n in range(1, size + 1)]
    assert list(program_counts(grammar, size)) == expected
    assert size_offsets(grammar, size).tolist() == [0, 0, *itertools.accumulate(expected)]


def test_counts_are_catalan_numbers_times_choices_and_never_overflow():
    catalan = [1]
    for n in range(60):
        catalan.append(catalan[-1] * 2 * (2 * n + 1) // (n + 2))
    expected = [catalan[n - 1] * 5**n * 3 ** (n - 1) for n in range(1, 61)]
    assert list(program_counts(POLYNOMIAL, 60)) == expected


@pytest.mark.parametrize(("grammar", "size"), [(POLYNOMIAL, 4), (MIXED, 5), (TERNARY, 5)], ids=lambda v: str(v)[:12])
def test_forests_are_sequences_of_trees(grammar, size):
    trees = {n: len(naive.texts_of(arities(grammar), n)) for n in range(1, size + 1)}
    table = forest_table(grammar, size)
    for num_trees in range(5):
        for leaves in range(size + 1):
            parts = itertools.product(range(1, size + 1), repeat=num_trees)
            expected = sum(np.prod([trees[n] for n in p], dtype=int) for p in parts if sum(p) == leaves)
            assert table[num_trees, leaves] == expected


@by_universe
def test_ids_list_the_universe_in_order(grammar, size):
    expected = listed(grammar, size)
    matrix = unrank(grammar, np.arange(len(expected)), size)
    assert [tuple(grammar.tokens[t] for t in row if t != PAD) for row in matrix] == expected
    assert matrix.shape[1] >= max(map(len, expected))
    assert rank(grammar, matrix, size).tolist() == list(range(len(expected)))


@by_universe
def test_operand_ids_are_the_ids_of_the_subtrees(grammar, size):
    texts = listed(grammar, size)
    id_of = {text: k for k, text in enumerate(texts)}
    got = operand_ids(grammar, unrank(grammar, np.arange(len(texts)), size), size)
    for row, text in zip(got.tolist(), texts, strict=True):
        children = [id_of[naive.flatten(child)] for child in naive.tree(text, arities(grammar))[1:]]
        assert row == children + [-1] * (grammar.max_arity - len(children))


@given(st.lists(st.integers(0, sum(program_counts(POLYNOMIAL, 12)) - 1), min_size=1, max_size=20))
@settings(max_examples=100, deadline=None)
def test_rank_undoes_unrank_in_a_universe_too_large_to_list(ids):
    matrix = unrank(POLYNOMIAL, np.array(ids), 12)
    assert rank(POLYNOMIAL, matrix, 12).tolist() == ids
    keys = [((row < 5).sum(), row[row != PAD].tolist()) for row in matrix]
    assert [i for i, _ in sorted(zip(ids, keys, strict=True))] == [
        i for i, _ in sorted(zip(ids, keys, strict=True), key=lambda pair: pair[1])
    ]


def test_an_id_does_not_depend_on_the_bound():
    ids = np.array([0, 7, 79, 2000])
    matrix = unrank(POLYNOMIAL, ids, 3)
    for size in (3, 5, 9):
        assert rank(POLYNOMIAL, matrix, size).tolist() == ids.tolist()


@pytest.mark.parametrize("wrong", [-1, 2330, 10**12])
def test_ids_outside_the_universe_are_refused(wrong):
    with pytest.raises(ConfigurationError, match="run from 0 to 2329 for 3 leaves"):
        unrank(POLYNOMIAL, np.array([0, wrong]), 3)


@pytest.mark.parametrize(("grammar", "size"), [(POLYNOMIAL, 3), (MIXED, 5), (TERNARY, 7)], ids=lambda v: str(v)[:12])
def test_the_longest_text_fits(grammar, size):
    longest = max(len(t) for n in range(1, size + 1) for t in naive.texts_of(arities(grammar), n))
    assert max_length(grammar, size) == longest


@pytest.mark.parametrize("size", [0, -1])
def test_an_empty_universe_is_refused(size):
    with pytest.raises(ConfigurationError, match="use at least 1"):
        program_counts(POLYNOMIAL, size)


def test_unary_operators_have_no_count_per_leaves():
    negate = Operator(symbol="neg", arity=1, meaning=lambda a: -a)
    grammar = Grammar(name="unary", variables=("x",), operators=(MULTIPLY, negate), grid=Grid.regular(0))
    with pytest.raises(ConfigurationError, match="unary operator"):
        program_counts(grammar, 3)


def test_ids_beyond_63_bits_are_refused():
    counts = program_counts(POLYNOMIAL, 40)
    fits = max(n for n in range(1, 40) if sum(counts[:n]) < 2**63)
    last = sum(counts[:fits]) - 1
    matrix = unrank(POLYNOMIAL, np.array([last]), fits)
    assert rank(POLYNOMIAL, matrix, fits).tolist() == [last]
    with pytest.raises(BudgetExceeded, match="63-bit ids"):
        forest_table(POLYNOMIAL, fits + 1)
