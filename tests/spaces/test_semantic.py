"""The semantic space against numpy's and scikit-learn's PCA, and axes that no rotation changes."""

from fractions import Fraction

import naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import rankdata
from sklearn.decomposition import PCA

from synthlab.errors import ConfigurationError
from synthlab.language.grammar import PAD, PIECEWISE, POLYNOMIAL, RATIONAL, Grammar, Grid
from synthlab.language.operator import ADD, DIVIDE, SUBTRACT
from synthlab.spaces import semantic
from synthlab.spaces.semantic import fit_semantic, moments, output_disagreement, semantic_settings, z_scores
from synthlab.spaces.space import Space, leading_axes
from synthlab.spaces.syntactic import fit_syntactic
from synthlab.universe.corpus import build_corpus


def scores_of(outputs):
    values = np.arcsinh(outputs.astype(float))
    deviation = values.std(axis=0)
    return (values - values.mean(axis=0)) / np.where(deviation > 0, deviation, 1)


def test_explained_variance_is_that_of_scikit_learn(corpus4, spaces4):
    reference = PCA(n_components=32).fit(scores_of(corpus4.outputs))
    np.testing.assert_allclose(spaces4["semantic"].explained, reference.explained_variance_ratio_, atol=1e-9)


def test_coordinates_are_projections_on_orthonormal_axes(corpus4, spaces4):
    space, scores = spaces4["semantic"], scores_of(corpus4.outputs)
    np.testing.assert_allclose(space.axes.T @ space.axes, np.eye(space.num_axes), atol=1e-9)
    np.testing.assert_allclose(space.coordinates, scores @ space.axes, atol=1e-3)
    variances = np.linalg.eigvalsh(np.cov(scores.T, bias=True))[::-1][: space.num_axes]
    np.testing.assert_allclose((scores @ space.axes).var(axis=0), variances, atol=1e-9)


def test_every_class_counts_once(corpus4, spaces4):
    assert len(spaces4["semantic"].coordinates) == corpus4.num_classes
    np.testing.assert_allclose(spaces4["semantic"].coordinates.mean(axis=0), 0, atol=1e-4)


def masked_scores(values):
    """Scores over the values that exist, 0 elsewhere, with numpy's masked arrays."""
    masked = np.ma.masked_invalid(values)
    return ((masked - masked.mean(axis=0)) / masked.std(axis=0)).filled(0.0)


def test_classes_with_a_pole_are_placed_by_their_other_points():
    corpus = build_corpus(RATIONAL, 4)
    space = fit_semantic(corpus, num_axes=6)
    poles = np.isnan(corpus.outputs)
    assert poles.any(axis=1).sum() == 9 and not poles.all(axis=1).any()
    assert np.array_equal(space.model["masked"], poles.sum(axis=1))
    assert not np.isnan(space.coordinates).any()
    scores = masked_scores(np.arcsinh(corpus.outputs))
    reference = PCA(n_components=6).fit(scores)
    np.testing.assert_allclose(space.explained, reference.explained_variance_ratio_, atol=1e-9)
    np.testing.assert_allclose(space.coordinates, scores @ space.axes, atol=1e-4)


def test_only_a_class_without_any_value_has_no_place():
    grid = Grid(axes=((Fraction(0), Fraction(1)),))
    grammar = Grammar(name="halves", variables=("x",), constants=(1,), operators=(ADD, DIVIDE, SUBTRACT), grid=grid)
    corpus = build_corpus(grammar, 4)
    space = fit_semantic(corpus)
    nowhere, somewhere = np.isnan(corpus.outputs).all(axis=1), np.isnan(corpus.outputs).any(axis=1)
    assert 0 < nowhere.sum() < somewhere.sum()
    assert np.array_equal(np.isnan(space.coordinates).all(axis=1), nowhere)
    assert np.array_equal(np.isnan(space.coordinates).any(axis=1), nowhere)
    assert space.model["masked"].max() == 2
    np.testing.assert_allclose(np.nanmean(space.coordinates, axis=0), 0, atol=1e-5)


def test_small_blocks_give_the_same_space(corpus3, monkeypatch):
    whole = fit_semantic(corpus3, scaling="rank")
    monkeypatch.setattr(semantic, "_ROWS_AT_ONCE", 7)
    parts = fit_semantic(corpus3, scaling="rank")
    np.testing.assert_allclose(parts.coordinates, whole.coordinates, atol=1e-5)


def exact_outputs(corpus, rows):
    """Outputs of classes as fractions, None at poles."""
    grammar = corpus.grammar
    arities = dict(zip(grammar.tokens, grammar.arities.tolist(), strict=True))
    points = [dict(zip(grammar.variables, p, strict=True)) for p in grammar.grid.points]
    trees = [
        naive.tree([grammar.tokens[t] for t in text if t != PAD], arities)
        for text in corpus.prefix[corpus.class_id[rows]]
    ]
    return [[naive.walk(tree, point, naive.MEANINGS) for point in points] for tree in trees]


@pytest.mark.parametrize(("grammar", "size"), [(POLYNOMIAL, 3), (RATIONAL, 2)], ids=["polynomial", "rational"])
def test_ranks_are_average_ranks_from_zero_to_one(grammar, size):
    corpus = build_corpus(grammar, size)
    columns = zip(*exact_outputs(corpus, range(corpus.num_classes)), strict=True)
    places = [({value: k for k, value in enumerate(sorted(set(column)))}, column) for column in columns]
    orders = [rankdata([place[value] for value in column], method="average") for place, column in places]
    ranks = (np.stack(orders, axis=1) - 1) / (corpus.num_classes - 1)
    found = semantic.scaled(corpus.outputs, "rank", semantic.rank_tables(corpus.outputs))
    np.testing.assert_allclose(found, ranks, atol=1e-12)
    assert found.min() >= 0 and found.max() <= 1
    scores = masked_scores(ranks)
    space = fit_semantic(corpus, scaling="rank", num_axes=5)
    np.testing.assert_allclose(space.coordinates, scores @ space.axes, atol=1e-4)
    np.testing.assert_allclose(space.explained, PCA(5).fit(scores).explained_variance_ratio_, atol=1e-9)


def test_ranks_are_among_the_classes_that_have_a_value():
    tables = semantic.rank_tables(np.array([[3.0], [np.nan], [1], [2]]))
    found = semantic.scaled(np.array([[1.0], [2], [3], [np.nan]]), "rank", tables)
    assert found[:, 0] == pytest.approx([0, 0.5, 1, np.nan], nan_ok=True)


def test_a_value_that_no_class_has_ranks_between_its_neighbours():
    tables = semantic.rank_tables(np.array([[1], [5], [5], [9], [2]]))
    found = semantic.scaled(np.array([[0.0], [1], [2], [3], [5], [8], [9], [10], [np.nan]]), "rank", tables)
    assert found[:, 0] == pytest.approx([0, 0, 0.25, 0.375, 0.625, 0.875, 1, 1, np.nan], nan_ok=True)


def test_raw_outputs_are_only_standardized(corpus3):
    values = corpus3.outputs.astype(float)
    scores = (values - values.mean(axis=0)) / values.std(axis=0)
    space = fit_semantic(corpus3, scaling="raw", num_axes=5)
    np.testing.assert_allclose(space.explained, PCA(5).fit(scores).explained_variance_ratio_, atol=1e-9)
    np.testing.assert_allclose(space.coordinates, scores @ space.axes, atol=1e-4)


def test_settings_name_the_scaling_and_an_unknown_one_is_refused(corpus3, store):
    assert semantic_settings() == {"num_axes": 32, "scaling": "asinh"}
    spaces = [fit_semantic(corpus3, scaling=scaling, num_axes=3) for scaling in semantic.SCALINGS]
    assert len({space.key for space in spaces}) == 3
    loaded = Space.load(store, spaces[1].save(store))
    assert set(loaded.model) >= {"mean", "deviation", "masked", "rank_values", "rank_below", "rank_ends"}
    with pytest.raises(ConfigurationError, match="unknown scaling 'log': choose from asinh, rank, raw"):
        fit_semantic(corpus3, scaling="log")
    with pytest.raises(ConfigurationError, match="0 axes"):
        fit_semantic(corpus3, num_axes=0)


@pytest.mark.parametrize("grammar", [POLYNOMIAL, RATIONAL, PIECEWISE], ids=lambda g: g.name)
def test_disagreement_is_that_of_exact_fractions(grammar):
    corpus = build_corpus(grammar, 3)
    first, second = np.random.default_rng(1).integers(corpus.num_classes, size=(2, 60))
    first[:5] = second[:5]
    pairs = zip(exact_outputs(corpus, first), exact_outputs(corpus, second), strict=True)
    expected = [np.mean([a != b for a, b in zip(one, two, strict=True)]) for one, two in pairs]
    assert output_disagreement(corpus, first, second) == pytest.approx(expected)
    assert (output_disagreement(corpus, first, second)[:5] == 0).all()


def test_missing_outputs_are_equal():
    corpus = build_corpus(RATIONAL, 4)
    poles = np.flatnonzero(np.isnan(corpus.outputs).any(axis=1))
    assert (output_disagreement(corpus, poles, poles) == 0).all()
    whole = np.flatnonzero(corpus.is_task)[: len(poles)]
    assert (output_disagreement(corpus, poles, whole) > 0).all()


def standardized(values):
    mean, deviation = moments(lambda: iter(np.array_split(values, 3)))
    return z_scores(values, mean, deviation), deviation == 0


@given(
    st.lists(st.lists(st.integers(-4000, 4000).map(lambda n: n / 7), min_size=3, max_size=3), min_size=2, max_size=20)
)
@settings(max_examples=100, deadline=None)
def test_z_scores_keep_the_order_and_are_finite(rows):
    values = np.array(rows)
    scores, constant = standardized(values)
    assert np.isfinite(scores).all()
    assert constant.tolist() == [len(set(column)) == 1 for column in values.T.tolist()]
    for column in range(3):
        order = np.argsort(values[:, column], kind="stable")
        assert (np.diff(scores[order, column]) >= 0).all()


def test_too_few_classes_are_refused():
    grammar = Grammar(name="zero", variables=("x",), operators=(SUBTRACT,), grid=Grid.regular(0))
    with pytest.raises(ConfigurationError, match="1 classes are defined"):
        fit_semantic(build_corpus(grammar, 1))


def test_features_name_the_grid_points(spaces4):
    assert spaces4["semantic"].features[:2] == ("x=-2, y=-2", "x=-2, y=-1")
    assert len(spaces4["semantic"].features) == 36


def test_programs_are_placed_where_their_classes_are(corpus4, spaces4, rational3):
    ids = np.arange(0, corpus4.num_programs, 999)
    placed = spaces4["semantic"].of_programs(corpus4, ids)
    assert np.array_equal(placed, spaces4["semantic"].coordinates[corpus4.class_index[ids]])
    assert np.array_equal(spaces4["syntactic"].of_programs(corpus4, ids), spaces4["syntactic"].coordinates[ids])
    everything = fit_semantic(rational3).of_programs(rational3, np.arange(rational3.num_programs))
    assert np.array_equal(np.isnan(everything[:, 0]), rational3.class_index < 0)
    assert (rational3.class_index < 0).any()


def rotation(size, generator):
    return np.linalg.qr(generator.normal(size=(size, size)))[0]


@pytest.mark.parametrize("seed", range(8))
def test_axes_do_not_depend_on_the_basis_that_a_solver_returns(seed):
    generator = np.random.default_rng(seed)
    squares = np.array([0.5, 1, 1, 2, 3, 3, 3, 7, 9, 9])  # ascending, with eigenspaces of 2 and 3 dimensions
    vectors = rotation(10, np.random.default_rng(100))
    turned = vectors.copy()
    for start, stop in ((1, 3), (4, 7), (8, 10)):
        turned[:, start:stop] = vectors[:, start:stop] @ rotation(stop - start, generator)
    turned *= generator.choice([-1, 1], size=10)
    explained, axes = leading_axes(squares, vectors, 10)
    again, turned_axes = leading_axes(squares, turned, 10)
    np.testing.assert_allclose(turned_axes, axes, atol=1e-6)
    np.testing.assert_allclose(again, explained)
    np.testing.assert_allclose(
        axes @ np.diag(squares[::-1]) @ axes.T, vectors @ np.diag(squares) @ vectors.T, atol=1e-9
    )


@pytest.mark.parametrize("num_axes", [1, 2, 3, 4])
def test_an_eigenspace_may_be_cut_anywhere(num_axes):
    squares, vectors = np.array([1.0, 5, 5, 5]), rotation(4, np.random.default_rng(1))
    whole = leading_axes(squares, vectors, 4)[1]
    share, axes = leading_axes(squares, vectors, num_axes)
    np.testing.assert_allclose(axes, whole[:, :num_axes], atol=1e-12)
    np.testing.assert_allclose(share, np.array([5, 5, 5, 1])[:num_axes] / 16)


def test_axes_stop_at_the_rank_and_point_to_their_largest_loading():
    data = np.random.default_rng(2).normal(size=(50, 3)) @ np.random.default_rng(3).normal(size=(3, 8))
    explained, axes = leading_axes(*np.linalg.eigh(data.T @ data), 8)
    assert axes.shape == (8, 3) and explained.sum() == pytest.approx(1)
    assert (axes[np.abs(axes).argmax(axis=0), range(3)] > 0).all()


def test_swapping_names_that_the_grammar_treats_alike_keeps_the_spectrum(corpus3):
    renamed = Grammar(name="swapped", variables=("y", "x"), constants=(1, 2, 3), operators=POLYNOMIAL.operators)
    other = build_corpus(renamed, 3)
    np.testing.assert_allclose(
        fit_syntactic(other, p=1, q=2).explained, fit_syntactic(corpus3, p=1, q=2).explained, atol=1e-9
    )
    np.testing.assert_allclose(fit_semantic(other).explained, fit_semantic(corpus3).explained, atol=1e-9)


def test_frames_accumulate_what_the_axes_explain(spaces4):
    table = spaces4["syntactic"].frame()
    np.testing.assert_allclose(table["cumulative"], np.cumsum(spaces4["syntactic"].explained))
    assert table["explained"].is_monotonic_decreasing and table["cumulative"].iloc[-1] <= 1
