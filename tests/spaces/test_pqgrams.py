"""Bulk pq-grams against the definition on explicit trees, and distances against bags of Python."""

from collections import Counter
from dataclasses import FrozenInstanceError

import naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthlab.errors import ConfigurationError
from synthlab.language.grammar import PAD, POLYNOMIAL, Grammar
from synthlab.language.operator import ADD, DIVIDE, MULTIPLY, Operator
from synthlab.language.program import Program, parse, token_matrix
from synthlab.spaces.pqgrams import NULL, PQGrams, code_texts, intersections, pair_distances, profile_sizes, profiles
from synthlab.spaces.syntactic import pq_gram_text, pq_profile

MID = Operator(symbol="mid", arity=3, meaning=lambda a, b, c: a * b + c)
NEGATE = Operator(symbol="neg", arity=1, meaning=lambda a: -a)
MIXED = Grammar(name="mixed", variables=("x", "y"), constants=(1,), operators=(ADD, MULTIPLY, MID, NEGATE, DIVIDE))
COMMUTATIVE = {"+", "*"}


def trees(grammar, max_leaves=9):
    return naive.random_trees(dict(zip(grammar.tokens, grammar.arities.tolist(), strict=True)), max_leaves)


def matrix(grammar, forest):
    return token_matrix([Program(grammar, tuple(grammar.index[t] for t in naive.flatten(tree))) for tree in forest])


def texts(grammar, prefix, grams):
    """Bags of texts instead of codes, one per row."""
    found = profiles(grammar, prefix, grams)
    bags = [found.bag(row) for row in range(len(found))]
    codes, first = np.unique(np.concatenate([list(bag) for bag in bags]), return_index=True)
    owners = np.concatenate([[row] * len(bag) for row, bag in enumerate(bags)])
    name = dict(zip(codes.tolist(), code_texts(grammar, grams, codes, prefix[owners[first]]), strict=True))
    return [Counter({name[code]: num for code, num in bag.items()}) for bag in bags]


def shape(node):
    """The same tree with the number of children for a label."""
    return (str(len(node) - 1), *map(shape, node[1:]))


def windowed(node, p, window):
    """Bag of windowed pq-grams as texts, by the definition, operands of ordered operators marked with their place."""
    bag = Counter()

    def visit(anchor, label, ancestors):
        stem = (*ancestors, label)[-p:]
        ordered = anchor[0] not in COMMUTATIVE
        marked = [c[0] + ("₁₂₃"[k] if ordered else "") for k, c in enumerate(anchor[1:])]
        siblings = list(marked) if ordered else sorted(marked, key=MIXED.tokens.index)
        siblings += [NULL] * (window - len(siblings))
        for i, one in enumerate(siblings if marked else []):
            for step in range(1, window):
                bag[naive.pq_text((stem, (one, siblings[(i + step) % len(siblings)])))] += 1
        if not marked:
            bag[naive.pq_text((stem, (NULL, NULL)))] += 1
        for child, name in zip(anchor[1:], marked, strict=True):
            visit(child, name, stem)

    visit(node, node[0], (NULL,) * p)
    return bag


@pytest.mark.parametrize("p", [1, 2, 3])
@pytest.mark.parametrize("q", [1, 2, 3, 4])
@given(data=st.data())
@settings(max_examples=15, deadline=None)
def test_profiles_are_the_bags_of_the_definition(p, q, data):
    forest = data.draw(st.lists(trees(MIXED), min_size=1, max_size=5))
    expected = [Counter({naive.pq_text(g): n for g, n in naive.pq_grams(tree, p, q).items()}) for tree in forest]
    assert texts(MIXED, matrix(MIXED, forest), PQGrams(p=p, q=q)) == expected


@given(st.lists(trees(MIXED), min_size=1, max_size=5), st.integers(1, 3), st.integers(1, 4))
@settings(max_examples=40, deadline=None)
def test_shapes_are_the_bags_of_trees_without_labels(forest, p, q):
    expected = [Counter({naive.pq_text(g): n for g, n in naive.pq_grams(shape(t), p, q).items()}) for t in forest]
    assert texts(MIXED, matrix(MIXED, forest), PQGrams(p=p, q=q, labels="shape")) == expected


@given(st.lists(trees(MIXED), min_size=1, max_size=5), st.integers(1, 3), st.integers(2, 5))
@settings(max_examples=60, deadline=None)
def test_windowed_profiles_are_the_bags_of_the_definition(forest, p, window):
    grams = PQGrams(p=p, q=2, window=window)
    assert texts(MIXED, matrix(MIXED, forest), grams) == [windowed(tree, p, window) for tree in forest]


@pytest.mark.parametrize(("p", "q"), [(10, 12), (19, 1), (1, 20)])
@given(st.lists(trees(MIXED), min_size=1, max_size=5))
@settings(max_examples=15, deadline=None)
def test_codes_of_more_than_62_bits_are_hashed_and_keep_their_texts(p, q, forest):
    expected = [Counter({naive.pq_text(g): n for g, n in naive.pq_grams(tree, p, q).items()}) for tree in forest]
    grams = PQGrams(p=p, q=q)
    assert texts(MIXED, matrix(MIXED, forest), grams) == expected
    codes = profiles(MIXED, matrix(MIXED, forest), grams).codes
    assert codes.dtype == np.int64 and codes.min() >= 0
    with pytest.raises(ConfigurationError, match="62 bits"):
        pq_gram_text(MIXED, int(codes[0, 0]), p, q)


@given(st.lists(trees(POLYNOMIAL), min_size=1, max_size=6), st.integers(1, 6), st.integers(1, 6))
@settings(max_examples=40, deadline=None)
def test_rows_are_sorted_and_padded_with_what_is_no_code(forest, p, q):
    found = profiles(POLYNOMIAL, matrix(POLYNOMIAL, forest), PQGrams(p=p, q=q))
    assert (np.diff(found.codes.astype(object), axis=1) >= 0).all()
    assert ((found.codes == np.iinfo(found.codes.dtype).max).sum(axis=1) == found.codes.shape[1] - found.counts).all()
    assert found.codes.shape[1] == found.counts.max()
    inner = np.array([naive.num_leaves(tree) - 1 for tree in forest])
    assert found.counts.tolist() == ((q + 2) * inner + 1).tolist()


def test_many_rows_are_extracted_in_blocks(corpus4):
    found = profiles(POLYNOMIAL, corpus4.prefix)
    assert np.array_equal(found.counts, profile_sizes(POLYNOMIAL, corpus4.prefix, PQGrams()))
    for row in np.random.default_rng(0).integers(corpus4.num_programs, size=50):
        tree = naive.tree([POLYNOMIAL.tokens[t] for t in corpus4.prefix[row] if t != PAD], naive.POLYNOMIAL_ARITIES)
        bag = Counter({naive.pq_text(g): n for g, n in naive.pq_grams(tree, 2, 3).items()})
        assert Counter({pq_gram_text(POLYNOMIAL, c, 2, 3): n for c, n in found.bag(row).items()}) == bag


def shuffled(tree, choices):
    """The tree with the operands of some commutative operators swapped."""
    children = [shuffled(child, choices) for child in tree[1:]]
    if tree[0] in COMMUTATIVE and next(choices):
        children.reverse()
    return (tree[0], *children)


@given(trees(MIXED), st.lists(st.booleans(), min_size=20, max_size=20), st.integers(2, 4))
@settings(max_examples=80, deadline=None)
def test_windowed_distance_is_zero_modulo_commutativity(tree, choices, window):
    pair = matrix(MIXED, [tree, shuffled(tree, iter(choices * 9))])
    for labels in ("tokens", "shape"):
        found = profiles(MIXED, pair, PQGrams(q=2, window=window, labels=labels))
        assert pair_distances(found[:1], found[1:]) == 0


@pytest.mark.parametrize("window", [2, 3, 4])
def test_ordered_operands_cannot_be_swapped(window):
    programs = [parse(POLYNOMIAL, text) for text in ("x - y", "y - x", "x * (x - y)", "x * (y - x)", "x + y", "y + x")]
    found = profiles(POLYNOMIAL, token_matrix(programs), PQGrams(q=2, window=window))
    distances = pair_distances(found[::2], found[1::2])
    assert (distances > 0).tolist() == [True, True, False]


@given(st.lists(st.tuples(trees(MIXED), trees(MIXED)), min_size=1, max_size=6), st.integers(1, 3), st.integers(1, 3))
@settings(max_examples=60, deadline=None)
def test_distances_follow_from_the_bags(pairs, p, q):
    one, two = (profiles(MIXED, matrix(MIXED, side), PQGrams(p=p, q=q)) for side in zip(*pairs, strict=True))
    bags = [(naive.pq_grams(a, p, q), naive.pq_grams(b, p, q)) for a, b in pairs]
    shared = np.array([(a & b).total() for a, b in bags])
    total = np.array([a.total() + b.total() for a, b in bags])
    assert intersections(one, two).tolist() == shared.tolist()
    np.testing.assert_allclose(pair_distances(one, two), (total - 2 * shared) / (total - shared))
    np.testing.assert_allclose(pair_distances(one, two, metric=False), 1 - 2 * shared / total)


@given(trees(MIXED), trees(MIXED), trees(MIXED))
@settings(max_examples=80, deadline=None)
def test_the_windowed_metric_obeys_its_laws(a, b, c):
    found = profiles(MIXED, matrix(MIXED, [a, b, c]), PQGrams(q=2, window=3))
    table = pair_distances(found[np.repeat(range(3), 3)], found[np.tile(range(3), 3)]).reshape(3, 3)
    assert (np.diag(table) == 0).all() and (table == table.T).all()
    assert table[0, 2] <= table[0, 1] + table[1, 2] + 1e-12


def test_the_null_label_is_no_token():
    found = profiles(
        POLYNOMIAL, token_matrix([parse(POLYNOMIAL, "x + y * 1"), parse(POLYNOMIAL, "y * 1 + x")]), PQGrams()
    )
    assert found.counts.tolist() == [11, 11] and intersections(found[:1], found[1:]).tolist() == [7]
    assert pair_distances(found[:1], found[1:], metric=False) == pytest.approx(4 / 11)


def test_bulk_codes_are_those_of_single_programs():
    program = parse(POLYNOMIAL, "(x + 1) * (y - 2)")
    assert pq_profile(program, 3, 2) == profiles(POLYNOMIAL, token_matrix([program]), PQGrams(p=3, q=2)).bag(0)


def test_no_programs_have_no_profiles():
    found = profiles(POLYNOMIAL, np.empty((0, 5), dtype=np.uint8))
    assert len(found) == 0 and len(pair_distances(found, found)) == 0


def test_sides_of_different_length_are_refused(corpus3):
    found = profiles(POLYNOMIAL, corpus3.prefix[:5])
    with pytest.raises(ConfigurationError, match="5 profiles against 3"):
        pair_distances(found, found[:3])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"p": 0}, "p >= 1 and q >= 1, not p=0, q=3"),
        ({"q": -1}, "not p=2, q=-1"),
        ({"labels": "colours"}, "unknown labels 'colours': choose from tokens, shape"),
        ({"window": 3}, "window=3 needs q=2, not 3"),
        ({"q": 2, "window": 1}, "window=1 pairs nothing"),
        ({"q": 2, "window": -2}, "window=-2 pairs nothing"),
    ],
)
def test_impossible_pq_grams_are_refused(wrong, message):
    with pytest.raises(ConfigurationError, match=message):
        PQGrams(**wrong)


def test_pq_grams_are_values():
    assert PQGrams(q=2, window=3) == PQGrams(window=3, q=2)
    with pytest.raises(FrozenInstanceError):
        PQGrams().p = 3
    with pytest.raises(TypeError):
        PQGrams(2, 3)
