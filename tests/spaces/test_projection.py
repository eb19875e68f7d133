"""Maps are judged by which neighbours they keep, never by their coordinates."""

import numpy as np
import pytest
from sklearn.manifold import trustworthiness

from synthlab.errors import ConfigurationError
from synthlab.language.grammar import RATIONAL, Grammar, Grid
from synthlab.language.operator import ADD
from synthlab.spaces.projection import Projection, distinct_rows, map_frame, project
from synthlab.spaces.semantic import fit_semantic
from synthlab.universe.corpus import build_corpus


@pytest.fixture(scope="module")
def maps(spaces4):
    return {kind: project(space, num_points=300, seed=1) for kind, space in spaces4.items()}


@pytest.mark.parametrize("kind", ["syntactic", "semantic"])
def test_maps_keep_neighbours(spaces4, maps, kind):
    vectors = spaces4[kind].coordinates[maps[kind].rows]
    assert maps[kind].xy.shape == (300, 2)
    assert trustworthiness(vectors, maps[kind].xy, n_neighbors=10) > 0.8  # 0.5 by chance


@pytest.mark.parametrize("kind", ["syntactic", "semantic"])
def test_maps_are_saved_and_joined_with_their_programs(corpus4, spaces4, maps, store, kind):
    loaded = Projection.load(store, maps[kind].save(store))
    assert loaded.identity == maps[kind].identity
    assert np.array_equal(loaded.rows, maps[kind].rows) and np.array_equal(loaded.xy, maps[kind].xy)
    table = map_frame(corpus4, spaces4[kind], loaded)
    ids = loaded.rows if kind == "syntactic" else corpus4.class_id[loaded.rows]
    assert table["program_id"].tolist() == ids.tolist()
    assert np.array_equal(table[["map_x", "map_y"]].to_numpy(), loaded.xy)
    assert np.array_equal(table["axis_1"], spaces4[kind].coordinates[loaded.rows, 1])
    assert np.array_equal(loaded.frame()["row"], loaded.rows)


def test_more_neighbours_than_points_are_clamped():
    grammar = Grammar(name="sums", variables=("x", "y"), operators=(ADD,), grid=Grid.regular(0, 0))
    space = fit_semantic(build_corpus(grammar, 4))
    drawn = project(space, neighbors=200)
    assert len(drawn.rows) == 14 and np.isfinite(drawn.xy).all()  # a x + b y with 1 to 4 summands


def test_too_few_points_are_refused():
    grammar = Grammar(name="few", variables=("x", "y"), operators=(ADD,), grid=Grid.regular(0, 0))
    with pytest.raises(ConfigurationError, match="too few for a map"):
        project(fit_semantic(build_corpus(grammar, 2)))


@pytest.mark.parametrize("num_rows", [5, 60, 10_000])
def test_distinct_rows_differ_and_are_all_found_when_asked(num_rows):
    generator = np.random.default_rng(0)
    values = generator.integers(0, 5, size=(400, 2)).astype(np.float32)
    values[::50] = np.nan
    rows = distinct_rows(values, num_rows, seed=3)
    kept = [tuple(v) for v in values[rows]]
    everything = {tuple(v) for v in values[~np.isnan(values[:, 0])]}
    assert len(set(kept)) == len(kept) == min(num_rows, len(everything))
    assert set(kept) <= everything and (np.diff(rows) > 0).all()


def test_distinct_rows_round_and_ignore_the_sign_of_zero():
    values = np.array([[0.0, 1], [-0.0, 1], [1e-7, 1], [0.001, 1]], dtype=np.float32)
    assert len(distinct_rows(values, 10, seed=0)) == 2


def test_a_map_never_shows_a_class_with_a_pole():
    corpus = build_corpus(RATIONAL, 4)
    rows = distinct_rows(fit_semantic(corpus).coordinates, 10_000, seed=0)
    assert corpus.is_task[rows].all() and len(rows) > 3000


def test_the_key_of_a_map_changes_with_its_settings(spaces4):
    space = spaces4["syntactic"]
    keys = {
        Projection(space.key, settings, np.arange(1), np.zeros((1, 2))).key
        for settings in ({"seed": 0}, {"seed": 1}, {"seed": 1, "neighbors": 5})
    }
    assert len(keys) == 3
