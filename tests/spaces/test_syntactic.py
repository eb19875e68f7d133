"""pq-grams against the definition on explicit extended trees; the SVD against a dense one."""

from collections import Counter

import naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import random_array
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfTransformer

from synthlab.errors import ConfigurationError
from synthlab.language.grammar import PAD, POLYNOMIAL, Grammar
from synthlab.language.operator import ADD, MULTIPLY, Operator
from synthlab.language.program import Program, parse
from synthlab.spaces import space as space_module
from synthlab.spaces.pqgrams import PQGrams
from synthlab.spaces.space import Space, sparse_axes
from synthlab.spaces.syntactic import (
    column_weights,
    fit_syntactic,
    pq_distances,
    pq_gram_bags,
    pq_gram_text,
    pq_profile,
    row_scales,
    syntactic_settings,
)

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
    """L2-normalised counts (programs, pq-grams) in the order of the feature texts, and those texts."""
    counts, features = dense_counts(corpus, p, q)
    return counts / np.linalg.norm(counts, axis=1, keepdims=True), features


def dense_counts(corpus, p, q):
    """Counts (programs, pq-grams) in the order of the feature texts, and those texts."""
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
    return counts, features


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


def test_long_pq_grams_whose_codes_are_hashes_make_the_same_space(corpus3):
    """At three leaves a stem of three nodes sees all ancestors, so that longer ones tell nothing apart."""
    short, long = fit_syntactic(corpus3, p=3, num_axes=8), fit_syntactic(corpus3, p=17, num_axes=8)
    assert len(short.features) == len(long.features)
    assert {"·/" * 14 + f for f in short.features} == set(long.features)
    np.testing.assert_allclose(short.explained, long.explained, atol=1e-12)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"weighting": "bm25"}, "unknown weighting 'bm25': choose from raw, l2, tfidf"),
        ({"labels": "colours"}, "unknown labels 'colours'"),
        ({"window": 3}, "window=3 needs q=2, not 3"),
        ({"num_axes": 0}, "0 axes"),
    ],
)
def test_settings_that_make_no_sense_are_refused(corpus3, wrong, message):
    with pytest.raises(ConfigurationError, match=message):
        fit_syntactic(corpus3, **wrong)


def test_the_settings_of_a_default_space_never_change():
    """Keys of stored spaces hash them."""
    assert syntactic_settings() == {"p": 2, "q": 3, "num_axes": 32, "weight": "l2"}
    other = syntactic_settings(1, 2, 5, "tfidf", "shape", 3)
    assert other == {"p": 1, "q": 2, "num_axes": 5, "weight": "tfidf", "labels": "shape", "window": 3}


def test_bags_hold_the_counts_of_the_definition(corpus3):
    bags = pq_gram_bags(POLYNOMIAL, corpus3.prefix, PQGrams(p=1, q=2))
    expected, features = dense_counts(corpus3, 1, 2)
    texts = [pq_gram_text(POLYNOMIAL, code, 1, 2) for code in bags.codes.tolist()]
    assert (np.diff(bags.codes) > 0).all() and sorted(texts) == features
    assert np.array_equal(bags.counts.toarray()[:, np.argsort(texts)], expected)
    assert bags.counts.has_canonical_format
    assert np.array_equal(bags.first[np.argsort(texts)], np.argmax(expected > 0, axis=0))


def test_tfidf_is_that_of_scikit_learn(corpus3):
    bags = pq_gram_bags(POLYNOMIAL, corpus3.prefix, PQGrams())
    weights = column_weights(bags.counts, "tfidf")
    scales = row_scales(bags.counts, weights, "tfidf")
    reference = TfidfTransformer(smooth_idf=True).fit(bags.counts)
    np.testing.assert_allclose(weights[:-1], reference.idf_, rtol=1e-12)
    np.testing.assert_allclose(
        scales[:, None] * bags.counts.toarray() * weights[:-1], reference.transform(bags.counts).toarray(), atol=1e-12
    )
    assert weights[-1] == pytest.approx(np.log(1 + corpus3.num_programs) + 1)


@pytest.mark.parametrize("weighting", ["raw", "l2", "tfidf"])
def test_every_weighting_is_projected_on_its_singular_vectors(corpus3, weighting):
    space = fit_syntactic(corpus3, weighting=weighting, num_axes=6)
    counts, features = dense_counts(corpus3, 2, 3)
    rows = counts[:, [features.index(f) for f in space.features]]
    if weighting == "tfidf":
        rows = rows * (np.log((1 + len(rows)) / (1 + (rows > 0).sum(axis=0))) + 1)
    if weighting != "raw":
        rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    singular = np.linalg.svd(rows, compute_uv=False)
    np.testing.assert_allclose(np.linalg.norm(rows @ space.axes, axis=0), singular[:6], rtol=1e-9)
    np.testing.assert_allclose(space.explained, singular[:6] ** 2 / (singular**2).sum(), rtol=1e-9)
    np.testing.assert_allclose(space.coordinates, rows @ space.axes, atol=1e-4 if weighting == "raw" else 1e-5)


def test_spaces_of_shapes_and_windows_name_their_grams(corpus3):
    shapes = fit_syntactic(corpus3, labels="shape", num_axes=100)
    trees = [naive.tree([POLYNOMIAL.tokens[t] for t in row if t != PAD], ARITIES) for row in corpus3.prefix]
    assert len(np.unique(np.round(shapes.coordinates, 4), axis=0)) == len({tuple(shape(t)) for t in trees}) == 4
    assert "·/2(0 2 ·)" in shapes.features
    windowed = fit_syntactic(corpus3, q=2, window=3)
    assert {"·/-(x₁ y₂)", "·/-(y₁ x₂)", "·/+(x y)"} <= set(windowed.features)
    at = {Program.from_row(POLYNOMIAL, row).infix_text(): k for k, row in enumerate(corpus3.prefix)}
    places = windowed.coordinates
    np.testing.assert_allclose(places[at["x * y + 1"]], places[at["1 + y * x"]], atol=1e-6)
    assert np.abs(places[at["x - y"]] - places[at["y - x"]]).max() > 1e-3


ARITIES = naive.POLYNOMIAL_ARITIES


def shape(node):
    return (len(node) - 1, *(number for child in node[1:] for number in shape(child)))


@pytest.mark.parametrize("weighting", ["l2", "tfidf"])
def test_both_solvers_give_the_same_axes(corpus3, weighting):
    bags = pq_gram_bags(POLYNOMIAL, corpus3.prefix, PQGrams())
    weights = column_weights(bags.counts, weighting)
    scales = row_scales(bags.counts, weights, weighting)
    (explained, axes), (again, same) = (
        sparse_axes(bags.counts, 12, row_scales=scales, column_weights=weights[:-1], lanczos=lanczos)
        for lanczos in (False, True)
    )
    np.testing.assert_allclose(again, explained, rtol=1e-9)
    np.testing.assert_allclose(same, axes, atol=1e-6)


def test_many_features_are_left_to_lanczos(corpus3, small, monkeypatch):
    monkeypatch.setattr(space_module, "_MAX_GRAM_FEATURES", 500)
    monkeypatch.setattr(space_module, "principal_axes", None)
    again = fit_syntactic(corpus3, num_axes=4)
    np.testing.assert_allclose(again.coordinates, small.coordinates, atol=1e-5)


@pytest.mark.parametrize("lanczos", [False, True])
def test_singular_values_are_those_of_scikit_learns_arpack(lanczos):
    generator = np.random.default_rng(3)
    matrix = random_array((4000, 150), density=0.1, format="csr", rng=generator, data_sampler=generator.exponential)
    matrix.sort_indices()
    reference = TruncatedSVD(10, algorithm="arpack", random_state=0).fit(matrix)
    explained, axes = sparse_axes(matrix, 10, lanczos=lanczos)
    squares = explained * (matrix.data**2).sum()
    np.testing.assert_allclose(np.sqrt(squares), reference.singular_values_, rtol=1e-6)
    np.testing.assert_allclose(np.abs(np.diag(reference.components_ @ axes)), 1, atol=1e-5)


def test_threads_do_not_change_the_sum(monkeypatch):
    generator = np.random.default_rng(4)
    matrix = random_array((1001, 30), density=0.3, format="csr", rng=generator)
    matrix.sort_indices()
    whole = sparse_axes(matrix, 5)
    monkeypatch.setattr(space_module, "_ROWS_WORTH_A_THREAD", 10)
    for lanczos in (False, True):
        halves = [sparse_axes(matrix, 5, lanczos=lanczos) for _ in range(2)]
        np.testing.assert_allclose(halves[0][1], whole[1], atol=1e-7)
        assert np.array_equal(halves[0][1], halves[1][1])


def test_axes_have_short_names_of_their_own(small, corpus3):
    names = small.axis_names()
    assert len(set(names)) == small.num_axes == 4
    for axis, name in enumerate(names):
        strongest = small.loadings(axis, 1)["feature"][0]
        assert strongest.removesuffix("(· · ·)") in name
    many = fit_syntactic(corpus3, num_axes=80).axis_names()
    assert len(set(many)) == 80 and max(map(len, many)) < 120


def test_names_of_axes_say_what_pulls_either_way():
    axes = np.array([[0.9, 0.5, 0.5, 0.0], [-0.4, -0.5, -0.5, 0.0], [0.1, 0.5, 0.5, 0.0], [0.1, -0.5, 0.5, 1.0]])
    features = ("·/·/+(· x)", "·/·/*(· ·)", "+/x(· ·)", "x=1, y=2")
    space = Space("syntactic", "", {}, np.zeros((1, 4)), np.ones(4), axes, features)
    assert space.axis_names() == [
        "·/+(· x)", "·/+(· x), +/x against ·/*, x=1, y=2", "·/+(· x), +/x against ·/*", "x=1, y=2"
    ]  # fmt: skip
    twice = Space("syntactic", "", {}, np.zeros((1, 2)), np.ones(2), axes[:, [3, 3]], features)
    assert twice.axis_names() == ["x=1, y=2 (axis 0)", "x=1, y=2 (axis 1)"]


def test_an_axis_beyond_the_rank_is_refused_with_the_counts(corpus3):
    space = fit_syntactic(corpus3, labels="shape")
    with pytest.raises(ConfigurationError, match=r"axis 7: .* axes 0 to 3 \(4 axes, its rank, of the 32 asked for\)"):
        space.axis(7)


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
    assert loaded.model.keys() == small.model.keys() == {"codes", "weights", "grammar"}
    assert all(np.array_equal(loaded.model[name], small.model[name]) for name in small.model)


def test_the_key_changes_with_corpus_and_settings(corpus3, rational3):
    base = {"corpus": corpus3, "p": 1, "q": 1, "num_axes": 2}
    changes = [{}, {"corpus": rational3}, {"p": 2}, {"q": 2}, {"num_axes": 3}, {"weighting": "raw"}]
    changes += [{"weighting": "tfidf"}, {"labels": "shape"}, {"q": 2, "window": 2}]
    spaces = [fit_syntactic(**(base | change)) for change in changes]
    assert len({space.key for space in spaces}) == len(changes)
    assert spaces[0].key == fit_syntactic(**base).key
