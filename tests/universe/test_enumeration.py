"""Growing functions only, against published counts, the naive enumeration and the listed universe."""

import naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthlab.errors import BudgetExceeded
from synthlab.language.grammar import PAD, POLYNOMIAL, RATIONAL
from synthlab.language.identity import UNDEFINED_RESIDUE, ResiduePoints, coefficient_bound, grid_residues
from synthlab.universe.corpus import function_counts
from synthlab.universe.enumeration import HashIndex, enumerate_functions, grow, mix


def texts(grammar, table):
    return [tuple(grammar.tokens[t] for t in row if t != PAD) for row in table.text]


def least(listed):
    """First text of every function, in id order."""
    seen = {}
    for text, number in listed:
        if number is not None:
            seen.setdefault(number, text)
    return list(seen.values())


def test_published_counts_of_functions():
    table = function_counts(POLYNOMIAL, 6)
    assert table.counts() == [5, 35, 238, 1939, 16850, 155719]
    assert len(table) == 174_786


def test_rational_counts():
    assert function_counts(RATIONAL, 4).counts() == [4, 33, 344, 3755]


def test_minimal_texts_are_the_first_of_every_polynomial(naive4):
    assert texts(POLYNOMIAL, function_counts(POLYNOMIAL, 4)) == least(naive4)


def test_minimal_texts_are_the_first_of_every_quotient():
    listed = naive.universe(naive.RATIONAL_ARITIES, 3, naive.Quotients())
    assert texts(RATIONAL, function_counts(RATIONAL, 3)) == least(listed)


def test_the_table_agrees_with_the_listed_universe(corpus4):
    table = function_counts(POLYNOMIAL, 4)
    assert np.array_equal(table.text, corpus4.prefix[corpus4.class_id][:, : table.text.shape[1]])
    assert np.array_equal(table.leaves, corpus4.class_leaves)
    assert np.array_equal(table.values, corpus4.fingerprints)


def test_operands_point_to_smaller_minimal_programs():
    table = function_counts(POLYNOMIAL, 4)
    listed = texts(POLYNOMIAL, table)
    for row, text in enumerate(listed):
        children = [naive.flatten(c) for c in naive.tree(text, naive.POLYNOMIAL_ARITIES)[1:]]
        assert [listed[o] for o in table.operands[row] if o >= 0] == children
        assert (table.operands[row] < row).all()
    assert table.rows_of_size(3) == (40, 278)


@pytest.mark.parametrize("size", [3, 4])
def test_polynomials_of_this_size_already_differ_on_the_grid(size):
    *_, table = grow(POLYNOMIAL, grid_residues(POLYNOMIAL), size, check_poles=False)
    assert table.counts() == [5, 35, 238, 1939][:size]


def test_observational_equivalence_merges_what_agrees_on_few_inputs():
    points = [(x, y) for x in (0, 1) for y in (0, 1)]
    expected, kept = set(), []
    for text, _ in naive.universe(naive.POLYNOMIAL_ARITIES, 3, naive.Polynomials()):
        tree = naive.tree(text, naive.POLYNOMIAL_ARITIES)
        outputs = tuple(naive.walk(tree, dict(zip("xy", p, strict=True)), naive.FRACTION_MEANINGS) for p in points)
        if outputs not in expected:
            expected.add(outputs)
            kept.append(text)
    table = enumerate_functions(POLYNOMIAL, ResiduePoints(POLYNOMIAL, points), 3)
    assert texts(POLYNOMIAL, table) == kept


def test_partly_undefined_rows_are_kept_apart_when_asked():
    *_, table = grow(RATIONAL, ResiduePoints(RATIONAL, [(0, 1), (1, 0), (2, 3)]), 2, check_poles=False)
    rows = {" ".join(t): v for t, v in zip(texts(RATIONAL, table), table.values, strict=True)}
    assert (rows["/ 1 x"] == UNDEFINED_RESIDUE).tolist() == [True, False, False]
    assert (rows["/ 1 y"] == UNDEFINED_RESIDUE).tolist() == [False, True, False]


def test_growth_yields_every_size_and_stops_when_told():
    sizes = [len(t) for t in grow(POLYNOMIAL, grid_residues(POLYNOMIAL), 4)]
    assert sizes == [5, 40, 278, 2217]
    seen = []

    def stop(values, executed):
        seen.append((len(values), executed))
        return executed > 100

    *_, table = grow(POLYNOMIAL, grid_residues(POLYNOMIAL), 4, on_block=stop)
    assert seen[-1][1] > 100 >= seen[-2][1]
    assert table.executed == seen[-1][1] == POLYNOMIAL.num_terminals + sum(n for n, _ in seen)
    assert table.leaves.max() < 4


def test_sizes_without_proof_of_identity_are_refused():
    safe = max(n for n in range(1, 60) if coefficient_bound(POLYNOMIAL, n) < 2**61 - 1)
    with pytest.raises(BudgetExceeded, match=f"up to {safe} leaves"):
        function_counts(POLYNOMIAL, safe + 1)


@given(st.data(), st.sampled_from([1, 2, 3, 36]))
@settings(max_examples=60, deadline=None)
def test_the_hash_index_is_a_dictionary_of_rows(data, width):
    value = st.one_of(st.integers(0, 3), st.integers(0, 2**61 - 2), st.just(int(UNDEFINED_RESIDUE)))
    row = st.lists(value, min_size=width, max_size=width).map(tuple)
    rows = data.draw(st.lists(row, min_size=1, max_size=40, unique=True))
    queries = data.draw(st.lists(st.one_of(row, st.sampled_from(rows)), min_size=1, max_size=40))
    index = HashIndex(mix(np.array(rows, dtype=np.uint64)))
    expected = [rows.index(q) if q in rows else -1 for q in queries]
    assert index.find(mix(np.array(queries, dtype=np.uint64))).tolist() == expected


def test_the_hash_index_survives_many_rows_with_one_hash_prefix():
    rows = np.stack([np.arange(5000) << 13, np.zeros(5000)], axis=1).astype(np.uint64)
    index = HashIndex(mix(rows))
    assert index.find(mix(rows)).tolist() == list(range(5000))
    assert index.find(mix(rows + np.uint64(1))).tolist() == [-1] * 5000
