"""The candidates of one size, their order and their keys, against sorted products of operands."""

import itertools

import brute
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from languages import AVERAGE, MIXED, MULADD, PIECEWISE, REVERSED, STRANGE, TERNARY, UNARY, arities, label, rows

from synthlab.language.grammar import PAD, POLYNOMIAL, RATIONAL
from synthlab.language.identity import fingerprints, identity_algebra
from synthlab.language.residues import PRIME, batch_inverse
from synthlab.universe.candidates import OperandOrder, fingerprint_keys, operand_blocks
from synthlab.universe.enumeration import enumerate_functions, operand_order
from synthlab.universe.functions import FunctionTable
from synthlab.universe.pruning import redundancy_rules

ADDITIVE = [
    (POLYNOMIAL, 4, "leaves"),
    (POLYNOMIAL, 5, "nodes"),
    (RATIONAL, 3, "leaves"),
    (UNARY, 5, "nodes"),
    (TERNARY, 7, "leaves"),
    (MIXED, 6, "leaves"),
    (MIXED, 7, "nodes"),
    (MULADD, 6, "nodes"),
    (AVERAGE, 4, "leaves"),
    (REVERSED, 4, "leaves"),
    (STRANGE, 4, "leaves"),
]
by_universe = pytest.mark.parametrize(("grammar", "size", "measure"), ADDITIVE, ids=label)


def blocks(table, order, size, block, rules=None):
    """(token, operand rows) of every candidate, and how many candidates they stand for."""
    found, passed = [], 0
    for token, operands, num in operand_blocks(table, order, size, block, rules):
        arity = table.grammar.arities[token]
        assert num >= len(operands) <= block
        found += [(token, tuple(row[:arity])) for row in operands.tolist()]
        passed += num
    return found, passed


def expected(grammar, texts, sizes, size, measure):
    """All candidates in the order of (token, text), commutative pairs in the order of their texts only."""
    found = []
    for number, operator in enumerate(grammar.operators, grammar.num_terminals):
        if measure == "depth":
            choices = itertools.product(range(len(texts)), repeat=operator.arity)
        else:
            choices = (
                operands
                for shape in brute.operand_choices(operator.arity, size, measure)
                for operands in itertools.product(*([k for k, n in enumerate(sizes) if n == s] for s in shape))
            )
        ordered = [o for o in choices if not operator.commutative or texts[o[0]] <= texts[o[1]]]
        found += [(number, o) for o in sorted(ordered, key=lambda o: [texts[k] for k in o])]
    return found


def table_below(grammar, size, measure):
    """All functions smaller than `size`, their texts, and their orders."""
    table = enumerate_functions(grammar, identity_algebra(grammar), size - 1, measure)
    texts = rows(table.text())
    by_text = sorted(range(len(texts)), key=texts.__getitem__)
    return table, texts, operand_order(table, np.array(by_text), size)


def written(token, texts, operands):
    """Prefix tokens of a candidate."""
    return token, *itertools.chain.from_iterable(texts[k] for k in operands)


def matrix(listed):
    """Token matrix of texts."""
    width = max(map(len, listed))
    return np.array([[*text, *[PAD] * (width - len(text))] for text in listed], dtype=np.uint8)


@pytest.mark.parametrize("block", [1, 7, 4096])
@by_universe
def test_candidates_come_in_the_order_of_their_texts(grammar, size, measure, block):
    table, texts, order = table_below(grammar, size, measure)
    got, passed = blocks(table, order, size, block)
    assert got == expected(grammar, texts, table.sizes.tolist(), size, measure)
    assert passed == len(got)
    listed = [written(token, texts, operands) for token, operands in got]
    assert listed == sorted(listed)


@pytest.mark.parametrize(("grammar", "size"), [(POLYNOMIAL, 2), (UNARY, 2), (MULADD, 2), (MIXED, 1)], ids=label)
def test_by_depth_every_function_is_an_operand(grammar, size):
    # the least texts of one level are in text order, and so are the first two levels of these universes
    table, texts, order = table_below(grammar, size, "depth")
    assert texts == sorted(texts)
    got, passed = blocks(table, order, size, 100)
    assert got == expected(grammar, texts, table.sizes.tolist(), size, "depth")
    assert passed == len(got)


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_any_sizes_and_any_order_give_every_combination_once(data):
    """Rows need not be programs: only sizes and the order by text matter."""
    grammar = data.draw(st.sampled_from([POLYNOMIAL, TERNARY, MIXED, MULADD]))
    measure = "nodes" if grammar is MULADD else "leaves"
    size = data.draw(st.integers(2, 8))
    others = data.draw(st.lists(st.integers(1, size - 1), max_size=6))
    sizes = np.array(sorted([1, *others]), dtype=np.uint8)  # there always is a leaf
    places = data.draw(st.permutations(range(len(sizes))))
    # rows of one size are in text order
    texts = [p for s in sorted(set(sizes.tolist())) for p in sorted(places[k] for k in np.flatnonzero(sizes == s))]
    order = OperandOrder.of(sizes, np.argsort(texts), size)
    num = len(sizes)
    operands = np.full((num, grammar.max_arity), -1, dtype=np.int32)
    empty = np.zeros((num, 2), dtype=np.uint64)
    table = FunctionTable(grammar, measure, np.zeros(num, dtype=np.uint8), operands, sizes, empty, empty, num)
    got, passed = blocks(table, order, size, 3)
    assert got == expected(grammar, texts, sizes.tolist(), size, measure)
    assert passed == len(got)


@by_universe
def test_keys_of_candidates_are_the_fingerprints_of_their_texts(grammar, size, measure):
    table, texts, order = table_below(grammar, size, measure)
    inverses = np.empty_like(table.values)
    batch_inverse(table.values.ravel(), inverses.ravel())
    for token, found, _ in operand_blocks(table, order, size, 500):
        keys = np.empty((500, 2), dtype=np.uint64)
        fingerprint_keys(identity_algebra(grammar), token, found, table.values, inverses, keys)
        arity = arities(grammar)[grammar.tokens[token]]
        listed = [written(token, texts, row[:arity]) for row in found.tolist()]
        if listed:
            assert np.array_equal(keys[: len(found)], fingerprints(grammar, matrix(listed)))


# ---------------------------------------------------------------- redundant candidates


@pytest.mark.parametrize("block", [7, 4096])
@by_universe
def test_candidates_left_out_have_no_new_function(grammar, size, measure, block):
    """What is left out is undefined, known, or an earlier candidate's function; the rest keeps its order."""
    table, texts, order = table_below(grammar, size, measure)
    every, total = blocks(table, order, size, block)
    kept, passed = blocks(table, order, size, block, redundancy_rules(grammar))
    assert passed == total
    assert sorted(set(kept)) == sorted(kept) and [c for c in every if c in set(kept)] == kept
    keys = map(tuple, fingerprints(grammar, matrix([written(t, texts, o) for t, o in every])).tolist())
    seen, wanted = {(PRIME, PRIME), *map(tuple, table.keys.tolist())}, set(kept)
    for candidate, key in zip(every, keys, strict=True):
        assert candidate in wanted or key in seen
        seen.add(key)


@pytest.mark.parametrize(
    ("grammar", "most"), [(POLYNOMIAL, 0.6), (RATIONAL, 0.7), (REVERSED, 0.7), (AVERAGE, 1.0)], ids=label
)
def test_the_laws_of_arithmetic_save_work(grammar, most):
    table, _, order = table_below(grammar, 4, "leaves")
    kept, passed = blocks(table, order, 4, 4096, redundancy_rules(grammar))
    assert len(kept) <= most * passed


def test_nothing_is_left_out_where_laws_cannot_be_proven():
    assert not redundancy_rules(PIECEWISE).any()
    assert redundancy_rules(POLYNOMIAL).any()
