"""Compounds and their weights against a recursion over nested tuples; divergences against values by hand."""

import itertools
import math
from collections import Counter, defaultdict
from fractions import Fraction

import languages
import naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthlab.errors import SplitError
from synthlab.language.grammar import PAD, POLYNOMIAL, RATIONAL
from synthlab.spaces.compounds import (
    atom_counts,
    chernoff_divergence,
    compound_bags,
    divergences,
)

GRAMMARS = (POLYNOMIAL, languages.UNARY, languages.MIXED)
by_grammar = pytest.mark.parametrize("grammar", GRAMMARS, ids=lambda g: g.name)

# ---------------------------------------------------------------- oracle


def written(node, depth):
    """A subtree cut below a depth, as text."""
    if len(node) == 1 or depth == 0:
        return node[0]
    return f"{node[0]}({' '.join(written(child, depth - 1) for child in node[1:])})"


def has_two_levels(node):
    return any(len(child) > 1 for child in node[1:])


def occurrences(node, parent=None):
    """Every (compound, compounds around it) of a tree, larger ones without any around them."""
    if len(node) == 1:
        return
    around = [written(other, 2) for other in (node, parent) if other and has_two_levels(other)]
    yield written(node, 1), set(around)
    if has_two_levels(node):
        yield written(node, 2), set()
    for child in node[1:]:
        yield from occurrences(child, node)


def weights_by_definition(trees):
    """w(G, R) of every compound in every tree, as fractions."""
    found = [list(occurrences(tree)) for tree in trees]
    count, within = Counter(), defaultdict(Counter)
    for compound, around in itertools.chain(*found):
        count[compound] += 1
        within[compound].update(around)
    weights = []
    for bag in found:
        weight = {}
        for compound, around in bag:
            most = max((Fraction(within[compound][larger], count[compound]) for larger in around), default=0)
            weight[compound] = max(weight.get(compound, 0), 1 - most)
        weights.append(weight)
    return weights


def matrix(grammar, trees):
    """Padded prefix tokens of nested tuples."""
    return padded_rows([[grammar.index[t] for t in naive.flatten(tree)] for tree in trees])


def padded_rows(rows):
    padded = np.full((len(rows), max(map(len, rows))), PAD, dtype=np.uint8)
    for target, row in zip(padded, rows, strict=True):
        target[: len(row)] = row
    return padded


def as_dicts(sparse, names):
    """Rows as {name: value}, stored zeros included."""
    starts = sparse.indptr
    return [
        {names[k]: v for k, v in zip(sparse.indices[a:b], sparse.data[a:b], strict=True)}
        for a, b in itertools.pairwise(starts)
    ]


def check_bags(grammar, trees):
    bags = compound_bags(grammar, matrix(grammar, trees))
    expected = weights_by_definition(trees)
    found = as_dicts(bags.weights, bags.names)
    assert [set(row) for row in found] == [set(row) for row in expected]
    for one, other in zip(found, expected, strict=True):
        assert all(one[name] == pytest.approx(float(other[name]), abs=1e-12) for name in one)
    counts = [Counter(name for name, _ in occurrences(tree)) for tree in trees]
    assert as_dicts(bags.occurrences, bags.names) == counts
    assert set(bags.names) == {name for row in expected for name in row}
    assert len(set(bags.names)) == len(bags.names)


def arities(grammar):
    return dict(zip(grammar.tokens, grammar.arities.tolist(), strict=True))


# ---------------------------------------------------------------- compounds and weights


@by_grammar
@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_weights_are_those_of_the_definition(grammar, data):
    check_bags(grammar, data.draw(st.lists(naive.random_trees(arities(grammar)), min_size=1, max_size=12)))


def test_weights_over_a_whole_universe_are_those_of_the_definition():
    trees = [
        naive.tree(text, naive.RATIONAL_ARITIES)
        for n in (1, 2, 3)
        for text in naive.texts_of(naive.RATIONAL_ARITIES, n)
    ]
    check_bags(RATIONAL, trees[::7])


@pytest.mark.kernels
def test_compounds_of_one_program_have_the_written_names():
    # x + y * (1 - x): each smaller compound occurs only within larger ones, but for none of its own
    tree = ("+", ("x",), ("*", ("y",), ("-", ("1",), ("x",))))
    bags = compound_bags(POLYNOMIAL, matrix(POLYNOMIAL, [tree]))
    assert bags.names == ("+(x *)", "-(1 x)", "*(y -)", "+(x *(y -))", "*(y -(1 x))")
    assert as_dicts(bags.weights, bags.names) == [
        {"+(x *)": 0, "-(1 x)": 0, "*(y -)": 0, "+(x *(y -))": 1, "*(y -(1 x))": 1}
    ]
    check_bags(languages.MIXED, [("mid", ("x",), ("+", ("1",), ("x",)), ("x",)), ("x",)])


def test_a_weight_is_what_the_commonest_larger_compound_leaves():
    inner = ("+", ("x",), ("y",))
    above = [("*", inner, ("1",)), ("*", inner, ("1",)), ("*", inner, ("2",)), inner]
    bags = compound_bags(POLYNOMIAL, matrix(POLYNOMIAL, above))
    # +(x y) occurs four times, twice within *(+(x y) 1), once within *(+(x y) 2), once alone
    weights = [row["+(x y)"] for row in as_dicts(bags.weights, bags.names)]
    assert weights == pytest.approx([0.5, 0.5, 0.75, 1.0])


def test_a_compound_within_two_of_one_kind_counts_once():
    chain = ("x",)
    for _ in range(4):
        chain = ("+", chain, ("x",))
    # +(+ x) occurs three times: as root, root and child, and child of +(+(+ x) x), so in it every time
    bags = compound_bags(POLYNOMIAL, matrix(POLYNOMIAL, [chain]))
    assert as_dicts(bags.weights, bags.names)[0]["+(+ x)"] == 0
    check_bags(POLYNOMIAL, [chain])


def test_programs_without_operators_have_no_compounds():
    bags = compound_bags(POLYNOMIAL, matrix(POLYNOMIAL, [("x",), ("3",)]))
    assert bags.names == () and bags.weights.shape == (2, 0)


def test_order_and_repetition_of_programs_leave_names_and_weights_alone(corpus3):
    prefix = corpus3.prefix[::5]
    order = np.random.default_rng(0).permutation(len(prefix))
    one, other = compound_bags(POLYNOMIAL, prefix), compound_bags(POLYNOMIAL, prefix[order])
    twice = compound_bags(POLYNOMIAL, np.concatenate([prefix, prefix]))
    assert one.names == other.names == twice.names
    assert (one.weights[order] != other.weights).nnz == 0
    assert abs(one.weights - twice.weights[len(prefix) :]).max() < 1e-12


@given(st.lists(naive.random_trees(naive.POLYNOMIAL_ARITIES), min_size=1, max_size=10))
@settings(max_examples=30, deadline=None)
def test_atoms_are_the_tokens(trees):
    counts = atom_counts(POLYNOMIAL, matrix(POLYNOMIAL, trees))
    for tree, row in zip(trees, counts, strict=True):
        expected = Counter(naive.flatten(tree))
        assert dict(zip(POLYNOMIAL.tokens, row.tolist(), strict=True)) == {t: expected[t] for t in POLYNOMIAL.tokens}


# ---------------------------------------------------------------- divergences


def test_a_chernoff_divergence_by_hand():
    # sqrt(1/2 * 1/8) + sqrt(1/2 * 7/8) at a half; 2^-.1 at a tenth, where half of training is tested
    first, second = np.array([3.0, 3.0]), np.array([1.0, 7.0])
    assert chernoff_divergence(first, second, 0.5) == pytest.approx(1 - (0.25 + math.sqrt(7) / 4), abs=1e-12)
    assert chernoff_divergence(first, np.array([0.0, 5.0]), 0.1) == pytest.approx(1 - 2**-0.1, abs=1e-12)
    assert chernoff_divergence(np.array([0.0, 5.0]), first, 0.1) == pytest.approx(1 - 2**-0.9, abs=1e-12)
    assert chernoff_divergence(np.array([1, 0]), np.array([0, 9]), 0.1) == 1
    assert math.isnan(chernoff_divergence(np.zeros(2), first, 0.1))


@given(st.lists(st.tuples(st.floats(0, 9), st.floats(0, 9)), min_size=1, max_size=8), st.floats(0.05, 0.95))
def test_chernoff_divergences_lie_between_equal_and_disjoint_and_swap_with_their_exponent(pairs, alpha):
    first, second = np.array([*pairs, (1.0, 1.0)]).T
    divergence = chernoff_divergence(first, second, alpha)
    assert 0 <= divergence <= 1
    assert divergence == pytest.approx(chernoff_divergence(second, first, 1 - alpha), abs=1e-9)
    assert chernoff_divergence(first, 3 * first, alpha) == pytest.approx(0, abs=1e-12)


def by_definition(first, second):
    """Divergences of two lists of trees from their definition."""

    def coefficient(one, other, alpha):
        sums = sum(one.values()), sum(other.values())
        return sum((one[k] / sums[0]) ** alpha * (other[k] / sums[1]) ** (1 - alpha) for k in {*one, *other})

    weights, bags, atoms = weights_by_definition([*first, *second]), [], []
    for part, trees in ((weights[: len(first)], first), (weights[len(first) :], second)):
        bag = Counter()
        for row in part:
            bag.update({name: float(w) for name, w in row.items()})
        bags.append(bag)
        atoms.append(Counter(token for tree in trees for token in naive.flatten(tree)))
    return 1 - coefficient(*atoms, 0.5), 1 - coefficient(*bags, 0.1)


@by_grammar
@given(data=st.data())
@settings(max_examples=15, deadline=None)
def test_divergences_are_those_of_the_definition(grammar, data):
    inner = naive.random_trees(arities(grammar)).filter(lambda tree: len(tree) > 1)
    first, second = (data.draw(st.lists(inner, min_size=1, max_size=8)) for _ in range(2))
    found = divergences(grammar, matrix(grammar, first), matrix(grammar, second))
    atom, compound = by_definition(first, second)
    assert found.atom == pytest.approx(atom, abs=1e-9) and found.compound == pytest.approx(compound, abs=1e-9)


def test_equal_sets_do_not_diverge_and_sets_without_a_common_token_diverge_fully(corpus3):
    prefix = corpus3.prefix[100:400]
    same = divergences(POLYNOMIAL, prefix, prefix[::-1])
    assert same.atom == pytest.approx(0, abs=1e-12) and same.compound == pytest.approx(0, abs=1e-12)
    apart = [matrix(POLYNOMIAL, [t]) for t in (("+", ("x",), ("x",)), ("*", ("y",), ("1",)))]
    assert divergences(POLYNOMIAL, *apart) == type(same)(1.0, 1.0)


def test_the_same_tokens_combined_otherwise_diverge_in_compounds_alone():
    first = [("+", ("x",), ("*", ("y",), ("1",)))]
    second = [("*", ("x",), ("+", ("y",), ("1",)))]
    found = divergences(POLYNOMIAL, matrix(POLYNOMIAL, first), matrix(POLYNOMIAL, second))
    assert found.atom == pytest.approx(0, abs=1e-12) and found.compound == 1


def test_an_empty_side_is_refused_and_one_without_operators_has_no_compound_divergence(corpus3):
    with pytest.raises(SplitError, match="0 and 5 programs"):
        divergences(POLYNOMIAL, corpus3.prefix[:0], corpus3.prefix[:5])
    assert math.isnan(divergences(POLYNOMIAL, corpus3.prefix[:3], corpus3.prefix).compound)
