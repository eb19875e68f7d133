"""The semantic space against numpy's and scikit-learn's PCA, and axes that no rotation changes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA

from synthlab.errors import ConfigurationError
from synthlab.language.grammar import POLYNOMIAL, RATIONAL, Grammar, Grid
from synthlab.language.operator import ADD, SUBTRACT
from synthlab.spaces.semantic import fit_semantic, z_scores
from synthlab.spaces.space import leading_axes
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


def test_classes_with_a_pole_are_neither_fitted_nor_placed():
    corpus = build_corpus(RATIONAL, 4)
    space = fit_semantic(corpus, num_axes=6)
    poles = np.isnan(corpus.outputs).any(axis=1)
    assert poles.sum() == 9
    assert np.array_equal(np.isnan(space.coordinates).all(axis=1), poles)
    assert np.array_equal(np.isnan(space.coordinates).any(axis=1), poles)
    reference = PCA(n_components=6).fit(scores_of(corpus.outputs[~poles]))
    np.testing.assert_allclose(space.explained, reference.explained_variance_ratio_, atol=1e-9)


@pytest.mark.parametrize("value", [14.62, 0.1, 0.0, -3.7e9, 1e-300])
@pytest.mark.parametrize("rows", [2, 3, 7, 1000])
def test_a_constant_column_scores_zero_and_is_marked(value, rows):
    varied = np.linspace(-1, 2, rows)
    scores, constant = z_scores(np.stack([np.full(rows, value), varied], axis=1))
    assert constant.tolist() == [True, False]
    assert (scores[:, 0] == 0).all()
    np.testing.assert_allclose([scores[:, 1].mean(), scores[:, 1].std()], [0, 1], atol=1e-12)


@given(
    st.lists(st.lists(st.integers(-4000, 4000).map(lambda n: n / 7), min_size=3, max_size=3), min_size=2, max_size=20)
)
@settings(max_examples=100, deadline=None)
def test_z_scores_keep_the_order_and_are_finite(rows):
    values = np.array(rows)
    scores, constant = z_scores(values)
    assert np.isfinite(scores).all()
    assert constant.tolist() == [len(set(column)) == 1 for column in values.T.tolist()]
    for column in range(3):
        order = np.argsort(values[:, column], kind="stable")
        assert (np.diff(scores[order, column]) >= 0).all()


def test_a_grid_point_where_all_classes_agree_is_marked_and_carries_nothing():
    grammar = Grammar(name="lines", variables=("x",), operators=(ADD, SUBTRACT), grid=Grid.regular(0, start=0, num=3))
    space = fit_semantic(build_corpus(grammar, 4), num_axes=3)
    assert space.features == ("x=0 (constant)", "x=1", "x=2")
    assert (space.axes[0] == 0).all()


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
