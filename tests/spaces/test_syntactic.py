"""pq-grams against the definition on explicit extended trees; the SVD against a dense one."""

from collections import Counter

import naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthlab.errors import ConfigurationError
from synthlab.language.grammar import PAD, POLYNOMIAL, Grammar
from synthlab.language.operator import ADD, MULTIPLY, Operator
from synthlab.language.program import Program, parse
from synthlab.spaces.space import Space
from synthlab.spaces.syntactic import fit_syntactic, pq_distances, pq_gram_text, pq_profile

MID = Operator(symbol="mid", arity=3, meaning=lambda a, b, c: a * b + c)
NEGATE = Operator(symbol="neg", arity=1, meaning=lambda a: -a)
MIXED = Grammar(name="mixed", variables=("x", "y"), constants=(1,), operators=(ADD, MULTIPLY, MID, NEGATE))


def arities(grammar):
    return dict(zip(grammar.tokens, grammar.arities.tolist(), strict=True))


def trees(grammar, max_leaves=9):
    leaf = st.sampled_from([(t,) for t, a in arities(grammar).items() if a == 0])
    inner = [(t, a) for t, a in arities(grammar).items() if a]
    return st.recursive(
        leaf, lambda below: st.one_of([st.tuples(st.just(t), *[below] * a) for t, a in inner]), max_leaves=max_leaves
    )


def program(grammar, tree):
    return Program(grammar, tuple(grammar.index[t] for t in naive.flatten(tree)))


def labelled(one, p, q):
    """Package's profile with texts for codes."""
    profile = pq_profile(one, p, q)
    return Counter({pq_gram_text(one.grammar, code, p, q): n for code, n in profile.items()})


@pytest.mark.parametrize("p", [1, 2, 3])
@pytest.mark.parametrize("q", [1, 2, 3, 4])
@pytest.mark.parametrize("grammar", [POLYNOMIAL, MIXED], ids=lambda g: g.name)
@given(data=st.data())
@settings(max_examples=15, deadline=None)
def test_profiles_are_the_bags_of_the_definition(grammar, p, q, data):
    tree = data.draw(trees(grammar))
    expected = {naive.pq_text(gram): n for gram, n in naive.pq_grams(tree, p, q).items()}
    assert labelled(program(grammar, tree), p, q) == expected


@given(trees(POLYNOMIAL), st.integers(1, 3), st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_a_binary_tree_has_q_plus_2_grams_per_inner_node_and_one(tree, p, q):
    inner = naive.num_leaves(tree) - 1
    assert pq_profile(program(POLYNOMIAL, tree), p, q).total() == (q + 2) * inner + 1


def test_the_null_label_is_not_the_multiplication_sign():
    measured = pq_distances(parse(POLYNOMIAL, "x + y * 1"), parse(POLYNOMIAL, "y * 1 + x"))
    assert measured["profile_sizes"] == [11, 11] and measured["intersection"] == 7
    assert measured["distance"] == pytest.approx(4 / 11)
    assert measured["metric"] == pytest.approx((22 - 14) / (22 - 7))


@pytest.mark.parametrize(
    ("relabelled", "distance"),
    [("x * y + (x - 2)", 0.25), ("x * y + (x * 1)", 0.5625), ("x * y - (x - 1)", 0.75), ("x * y + (x - 1)", 0.0)],
)
def test_relabelling_hurts_more_the_higher_the_node(relabelled, distance):
    measured = pq_distances(parse(POLYNOMIAL, "x * y + (x - 1)"), parse(POLYNOMIAL, relabelled))
    assert measured["distance"] == pytest.approx(distance)


@given(trees(POLYNOMIAL), trees(POLYNOMIAL), trees(POLYNOMIAL))
@settings(max_examples=150, deadline=None)
def test_the_metric_obeys_its_laws(a, b, c):
    one, two, three = (program(POLYNOMIAL, t) for t in (a, b, c))

    def metric(first, second):
        return pq_distances(first, second)["metric"]

    assert metric(one, one) == 0
    assert metric(one, two) == metric(two, one)
    assert 0 <= metric(one, two) <= 1
    assert metric(one, three) <= metric(one, two) + metric(two, three) + 1e-12


@given(trees(MIXED), trees(MIXED), st.integers(1, 3), st.integers(1, 3))
@settings(max_examples=60, deadline=None)
def test_distances_follow_from_the_bags(a, b, p, q):
    one, two = naive.pq_grams(a, p, q), naive.pq_grams(b, p, q)
    shared, total = (one & two).total(), one.total() + two.total()
    measured = pq_distances(program(MIXED, a), program(MIXED, b), p, q)
    assert measured["intersection"] == shared
    assert measured["profile_sizes"] == [one.total(), two.total()]
    assert measured["distance"] == pytest.approx(1 - 2 * shared / total)
    assert measured["metric"] == pytest.approx((total - 2 * shared) / (total - shared))


@pytest.fixture(scope="module")
def small(corpus3):
    return fit_syntactic(corpus3, num_axes=4)


def dense_bags(corpus, p, q):
    """L2-normalised counts (programs, pq-grams) in the order of the given feature texts, and those texts."""
    bags = []
    for row in corpus.prefix:
        tokens = [corpus.grammar.tokens[t] for t in row if t != PAD]
        bags.append(naive.pq_grams(naive.tree(tokens, naive.POLYNOMIAL_ARITIES), p, q))
    features = sorted({naive.pq_text(gram) for bag in bags for gram in bag})
    column = {text: k for k, text in enumerate(features)}
    counts = np.zeros((len(bags), len(features)))
    for row, bag in enumerate(bags):
        for gram, n in bag.items():
            counts[row, column[naive.pq_text(gram)]] += n
    return counts / np.linalg.norm(counts, axis=1, keepdims=True), features


@pytest.mark.parametrize(("p", "q"), [(2, 3), (1, 2)])
def test_axes_are_the_leading_singular_vectors_of_the_normalised_bags(corpus3, p, q):
    space = fit_syntactic(corpus3, p=p, q=q, num_axes=12)
    bags, features = dense_bags(corpus3, p, q)
    assert sorted(space.features) == features
    bags = bags[:, [features.index(f) for f in space.features]]
    singular = np.linalg.svd(bags, compute_uv=False)
    np.testing.assert_allclose(space.explained, singular[:12] ** 2 / (singular**2).sum(), rtol=1e-9)
    np.testing.assert_allclose(space.axes.T @ space.axes, np.eye(12), atol=1e-9)
    # orthonormal directions that capture the largest squares span the leading subspaces
    captured = np.linalg.norm(bags @ space.axes, axis=0)
    np.testing.assert_allclose(captured, singular[:12], rtol=1e-9)
    np.testing.assert_allclose(space.coordinates, bags @ space.axes, atol=1e-5)


def test_with_all_axes_inner_products_are_cosines_of_bags(corpus3):
    space = fit_syntactic(corpus3, num_axes=10_000)
    bags, _ = dense_bags(corpus3, 2, 3)
    assert space.num_axes == np.linalg.matrix_rank(bags)
    assert space.explained.sum() == pytest.approx(1)
    rows = np.arange(0, corpus3.num_programs, 37)
    np.testing.assert_allclose(
        space.coordinates[rows] @ space.coordinates[rows].T, bags[rows] @ bags[rows].T, atol=1e-5
    )


def test_the_leading_axes_do_not_depend_on_how_many_are_kept(corpus3, small):
    many = fit_syntactic(corpus3, num_axes=30)
    np.testing.assert_allclose(small.axes, many.axes[:, :4], atol=1e-9)


def test_loadings_name_the_strongest_features(small):
    table = small.loadings(1, 5)
    assert np.all(np.diff(table["loading"].abs()) <= 1e-6)
    assert table["loading"][0] > 0
    assert table["loading"].abs().max() == pytest.approx(np.abs(small.axes[:, 1]).max())
    rows = [small.features.index(f) for f in table["feature"]]
    assert np.array_equal(small.axes[rows, 1], table["loading"])


@pytest.mark.parametrize(("p", "q"), [(0, 3), (2, 0), (-1, 2)])
def test_lengths_below_one_are_refused(corpus3, p, q):
    with pytest.raises(ConfigurationError, match="p >= 1 and q >= 1"):
        fit_syntactic(corpus3, p=p, q=q)
    with pytest.raises(ConfigurationError, match="p >= 1 and q >= 1"):
        pq_profile(parse(POLYNOMIAL, "x"), p, q)


def test_lengths_with_too_many_codes_are_refused(corpus3):
    with pytest.raises(ConfigurationError, match="lower p or q"):
        fit_syntactic(corpus3, p=5, q=5)
    with pytest.raises(ConfigurationError, match="62-bit codes"):
        pq_profile(parse(POLYNOMIAL, "x"), 10, 10)


@pytest.mark.parametrize("axis", [-1, 4, 99])
def test_an_unknown_axis_is_refused(small, axis):
    for ask in (small.axis, small.loadings):
        with pytest.raises(ConfigurationError, match=f"axis {axis}: the syntactic space has axes 0 to 3"):
            ask(axis)


def test_saved_and_loaded_space_is_equal(small, store):
    loaded = Space.load(store, small.save(store))
    assert (loaded.identity, loaded.features) == (small.identity, small.features)
    for name in ("coordinates", "explained", "axes"):
        assert np.array_equal(getattr(loaded, name), getattr(small, name))
        assert getattr(loaded, name).dtype == getattr(small, name).dtype


def test_the_key_changes_with_corpus_and_settings(corpus3, rational3):
    base = {"corpus": corpus3, "p": 1, "q": 1, "num_axes": 2}
    changes = [{}, {"corpus": rational3}, {"p": 2}, {"q": 2}, {"num_axes": 3}]
    spaces = [fit_syntactic(**(base | change)) for change in changes]
    assert len({space.key for space in spaces}) == len(changes)
    assert spaces[0].key == fit_syntactic(**base).key
