"""Shared subtrees against Python sets of nested tuples."""

import naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthlab.language.grammar import PAD, PIECEWISE, POLYNOMIAL, RATIONAL, Grammar, Grid
from synthlab.language.operator import ADD, NEGATE, Operator
from synthlab.language.program import Program, token_matrix
from synthlab.language.sharing import share

MULADD = Operator(symbol="muladd", arity=3, meaning=lambda a, b, c: a * b + c)
MANY = Grammar(name="many", variables=("x", "y"), operators=(ADD, NEGATE, MULADD))
UNARY = Grammar(name="unary", variables=("x",), operators=(NEGATE,), grid=Grid.regular(0))


def trees(grammar, max_leaves=10):
    return naive.random_trees(dict(zip(grammar.tokens, grammar.arities.tolist(), strict=True)), max_leaves)


def matrix(grammar, listed):
    return token_matrix(Program(grammar, tuple(grammar.index[t] for t in naive.flatten(tree))) for tree in listed)


def spelt(grammar, shared, node):
    """The tree below a node of the graph."""
    operands = [spelt(grammar, shared, child) for child in shared.operands[node].tolist() if child >= 0]
    return (grammar.tokens[shared.tokens[node]], *operands)


@pytest.mark.parametrize("grammar", [POLYNOMIAL, RATIONAL, MANY, UNARY], ids=lambda g: g.name)
@given(data=st.data())
@settings(max_examples=30, deadline=None)
def test_every_distinct_subtree_is_one_node(grammar, data):
    listed = data.draw(st.lists(trees(grammar), min_size=1, max_size=6))
    shared = share(grammar, matrix(grammar, listed))
    distinct = {subtree for tree in listed for subtree in naive.subtrees(tree)}
    nodes = [spelt(grammar, shared, node) for node in range(len(shared.tokens))]
    assert len(nodes) == len(distinct) and set(nodes) == distinct
    assert [nodes[root] for root in shared.roots] == listed
    assert shared.height.tolist() == [naive.size_of(tree, "depth") for tree in nodes]
    assert (shared.operands < np.arange(len(nodes))[:, None]).all()
    assert ((shared.operands >= 0).sum(axis=1) == grammar.arities[shared.tokens]).all()


def test_padding_anywhere_behind_a_program_changes_nothing():
    listed = [("+", ("x",), ("y",)), ("x",)]
    plain = share(POLYNOMIAL, matrix(POLYNOMIAL, listed))
    padded = share(POLYNOMIAL, np.pad(matrix(POLYNOMIAL, listed), ((0, 0), (0, 4)), constant_values=PAD))
    for name in ("tokens", "operands", "height", "roots"):
        np.testing.assert_array_equal(getattr(plain, name), getattr(padded, name))


def test_a_whole_universe_shares_its_smaller_programs():
    texts = [text for leaves in (1, 2, 3) for text in naive.texts_of(naive.POLYNOMIAL_ARITIES, leaves)]
    listed = [naive.tree(text, naive.POLYNOMIAL_ARITIES) for text in texts]
    shared = share(POLYNOMIAL, matrix(POLYNOMIAL, listed))
    assert len(shared.tokens) == len(listed)  # every subtree is a program of the universe
    assert sorted(shared.roots.tolist()) == list(range(len(listed)))


def test_no_programs_share_nothing():
    shared = share(PIECEWISE, np.empty((0, 3), dtype=np.uint8))
    assert len(shared.tokens) == len(shared.roots) == 0
