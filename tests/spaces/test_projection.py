"""Maps are judged by which neighbours they keep, never by their coordinates."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.manifold import trustworthiness

from synthlab.errors import ConfigurationError
from synthlab.language.grammar import RATIONAL, Grammar, Grid
from synthlab.language.operator import ADD
from synthlab.spaces import projection as module
from synthlab.spaces.neighbors import Neighbors, find_neighbors
from synthlab.spaces.projection import (
    MapSettings,
    Projection,
    distinct_rows,
    map_frame,
    place,
    program_strata,
    project,
    umap_settings,
)
from synthlab.spaces.semantic import fit_semantic
from synthlab.universe.corpus import build_corpus


@pytest.fixture(scope="module")
def maps(spaces4):
    return {kind: project(space, num_points=300, seed=1) for kind, space in spaces4.items()}


@pytest.fixture(scope="module")
def placed(corpus4, spaces4):
    """Maps of which half the points are placed among the fitted ones."""
    sizes = {"syntactic": {"num_points": 2400, "num_fit": 1200}, "semantic": {"num_points": None, "num_fit": 1100}}
    return {
        kind: project(space, strata=program_strata(corpus4, space), epochs=300, **sizes[kind])
        for kind, space in spaces4.items()
    }


def scattered(space, num=60, num_rows=200):
    """The space with rows that repeat `num` random vectors, and ten rows without a place."""
    values = np.random.default_rng(0).normal(size=(num, 4)).astype(np.float32)
    rows = values[np.random.default_rng(1).integers(0, num, size=num_rows)]
    rows[:10] = np.nan
    return replace(space, coordinates=rows)


@pytest.mark.parametrize("kind", ["syntactic", "semantic"])
def test_maps_keep_neighbours(spaces4, maps, kind):
    vectors = spaces4[kind].coordinates[maps[kind].rows]
    assert maps[kind].xy.shape == (300, 2)
    assert trustworthiness(vectors, maps[kind].xy, n_neighbors=10) > 0.8  # 0.5 by chance
    assert maps[kind].fitted.all() and len(np.unique(np.round(vectors, 4), axis=0)) == 300


@pytest.mark.parametrize("kind", ["syntactic", "semantic"])
def test_placed_points_are_as_trustworthy_as_fitted_ones(spaces4, placed, kind):
    vectors, xy, fitted = spaces4[kind].coordinates[placed[kind].rows], placed[kind].xy, placed[kind].fitted
    assert fitted.sum() == {"syntactic": 1200, "semantic": 1100}[kind] and len(fitted) > 2 * fitted.sum() - 1
    trust = [trustworthiness(vectors[part], xy[part], n_neighbors=10) for part in (fitted, ~fitted, fitted | True)]
    assert trust[0] > 0.87 and trust[1] > trust[0] - 0.05 and trust[2] > trust[0] - 0.05
    assert trustworthiness(xy, vectors, n_neighbors=10) > 0.85  # neighbours of the space stay neighbours


def test_rows_of_one_vector_share_one_place_and_rows_without_a_place_are_skipped(spaces4):
    space = scattered(spaces4["semantic"])
    drawn = project(space, num_points=None, num_fit=30, neighbors=5, epochs=20)
    assert drawn.rows.tolist() == list(range(10, 200)) and drawn.fitted.sum() == 30
    places: dict[tuple[float, ...], set[tuple[float, ...]]] = {}
    for row, xy in zip(drawn.rows, drawn.xy):
        places.setdefault(tuple(space.coordinates[row]), set()).add(tuple(xy))
    assert all(len(of_vector) == 1 for of_vector in places.values()) and len(places) > 30
    fitted = {tuple(v) for v in space.coordinates[drawn.rows[drawn.fitted]]}
    assert len(fitted) == 30
    found = find_neighbors(space, num_points=None, num_fit=30, neighbors=5)
    assert np.array_equal(drawn.fitted, found.fitted)


def test_a_point_is_placed_at_the_weighted_mean_of_the_anchors_that_stand_together(monkeypatch):
    monkeypatch.setattr(module, "_ROWS_AT_ONCE", 2)
    grid = np.stack(np.meshgrid(np.arange(6.0), np.arange(6.0)), axis=-1).reshape(-1, 2)  # fifth nearest: 1.41 to 2
    places = np.concatenate([grid, [[50, 50]]]).astype(np.float32)
    anchors = np.array([[0, 1, 6, 7, 36], [36, 0, 1, 6, 7], [36, 0, 35, 1, 30], [5, 5, 5, 5, 5]])
    distances = np.array([[1, 2, 4, 4, 1], [1, 1.5, 1.5, 1.5, 1.5], [1, 3, 4, 5, 6], [0, 1, 1, 1, 1]])
    found = place(places, anchors, distances)
    mean = (np.array([[0, 0], [1, 0], [0, 1], [1, 1]]) * np.array([[4], [2], [1], [1]])).sum(axis=0) / 8
    assert np.allclose(found, [mean, [0.5, 0.5], [50, 50], [5, 0]])
    assert found.dtype == np.float32 and place(places, anchors[:0], distances[:0]).shape == (0, 2)


def test_seeded_maps_repeat_to_the_byte_and_other_seeds_and_no_seed_differ(spaces4, maps):
    space = spaces4["semantic"]
    again = project(space, num_points=300, seed=1)
    assert again.xy.tobytes() == maps["semantic"].xy.tobytes() and np.array_equal(again.rows, maps["semantic"].rows)
    others = [project(space, num_points=300, seed=seed, epochs=200) for seed in (2, None)]
    for other in others:
        assert np.array_equal(other.rows, again.rows) and not np.array_equal(other.xy, again.xy)
        assert trustworthiness(space.coordinates[other.rows], other.xy, n_neighbors=10) > 0.8


def test_another_layout_finds_its_neighbours_in_the_store(spaces4, store, monkeypatch):
    space = scattered(spaces4["semantic"])
    settings = {"num_points": None, "num_fit": 40, "neighbors": 6, "epochs": 5}
    first = project(space, store=store, **settings)

    def searched(*arguments, **options):
        raise AssertionError("what is stored was searched again")

    monkeypatch.setattr(module, "find_neighbors", searched)
    other = project(space, store=store, min_dist=0.9, **{**settings, "seed": 5})
    assert np.array_equal(other.rows, first.rows) and not np.array_equal(other.xy, first.xy)
    for changed in ({"neighbors": 7}, {"num_fit": 30}, {"num_points": 50}, {"metric": "cosine"}, {"sample_seed": 1}):
        with pytest.raises(AssertionError, match="searched again"):
            project(space, store=store, **{**settings, **changed})
    with pytest.raises(AssertionError, match="searched again"):
        project(space, store=store, strata=np.zeros(200), **settings)
    assert len(list((store.root / Neighbors.stage).glob("*/manifest.json"))) == 1


def test_cosine_maps_do_not_see_lengths(spaces4):
    space = scattered(spaces4["semantic"])
    lengths = np.random.default_rng(2).uniform(1, 3, size=(200, 1)).astype(np.float32)
    longer = replace(space, coordinates=space.coordinates * lengths)
    drawn = [project(s, metric="cosine", neighbors=5) for s in (space, longer)]
    assert [len(d.rows) for d in drawn] == [len(np.unique(space.coordinates[10:], axis=0))] * 2
    vectors = longer.coordinates[drawn[1].rows]
    assert trustworthiness(vectors, drawn[1].xy, n_neighbors=5, metric="cosine") > 0.75


def test_compiled_parts_of_umap_are_kept_on_disk_but_never_two_of_one_source(maps):
    from umap import layouts, umap_

    kept = [umap_.smooth_knn_dist, umap_.compute_membership_strengths]
    kept.append(layouts._nb_optimize_layout_euclidean_single_epoch)
    assert all(function.stats.cache_path for function in kept)
    assert layouts._nb_optimize_layout_euclidean_single_epoch_parallel.stats.cache_path is None


# ---------------------------------------------------------------- what a map says of itself


def test_a_map_says_what_was_done(maps, placed, spaces4):
    how = "placed at the weighted mean of their 5 nearest that stand together"
    assert maps["syntactic"].subtitle == "UMAP of 300 of 86,705 programs; seed 1"
    assert placed["syntactic"].subtitle == f"UMAP of 1,200 of 86,705 programs; 1,200 more {how}; seed 0"
    assert placed["semantic"].subtitle == f"UMAP of 1,100 of 2,217 classes; the rest {how}; seed 0"
    space = scattered(spaces4["semantic"])
    drawn = project(space, num_points=None, seed=None, epochs=2)
    num = len(np.unique(space.coordinates[10:], axis=0))
    assert drawn.subtitle == f"UMAP of {num} of 190 classes; the rest placed on their equal vectors; unseeded"
    plain = Projection(space.key, {"seed": 3}, np.arange(4), np.zeros((4, 2), dtype=np.float32))
    assert plain.subtitle == "UMAP of 4 of 4 rows; seed 3" and plain.fitted.tolist() == [True] * 4


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
    assert np.array_equal(loaded.frame()["row"], loaded.rows) and loaded.frame()["fitted"].all()


def test_placed_points_and_words_survive_the_store(placed, store):
    loaded = Projection.load(store, placed["semantic"].save(store))
    assert np.array_equal(loaded.fitted, placed["semantic"].fitted) and not loaded.fitted.all()
    assert (loaded.subtitle, loaded.key) == (placed["semantic"].subtitle, placed["semantic"].key)


def test_more_neighbours_than_points_are_clamped():
    grammar = Grammar(name="sums", variables=("x", "y"), operators=(ADD,), grid=Grid.regular(0, 0))
    space = fit_semantic(build_corpus(grammar, 4))
    drawn = project(space, neighbors=200)
    assert len(drawn.rows) == 14 and np.isfinite(drawn.xy).all()  # a x + b y with 1 to 4 summands


def test_too_few_points_are_refused():
    grammar = Grammar(name="few", variables=("x", "y"), operators=(ADD,), grid=Grid.regular(0, 0))
    with pytest.raises(ConfigurationError, match="5 distinct points of 5 are too few for a map: it takes 10"):
        project(fit_semantic(build_corpus(grammar, 2)))


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"num_points": 3}, "num_points=3: a map takes at least 10 points"),
        ({"num_fit": 9}, "num_fit=9: a map takes at least 10 points"),
        ({"neighbors": 1}, "neighbors=1: a point counts itself, so use at least 2"),
        ({"min_dist": 1.5}, "min_dist=1.5: use 0 to 1"),
        ({"metric": "hamming"}, "unknown metric 'hamming': use one of euclidean, cosine"),
        ({"epochs": 0}, "epochs=0: use at least 1, or None"),
        ({"seed": -1}, "seed=-1: use 0 to"),
        ({"sample_seed": 1 << 32}, "sample_seed=4294967296: use 0 to"),
    ],
)
def test_settings_out_of_range_are_refused(spaces4, setting, message):
    with pytest.raises(ConfigurationError, match=message):
        project(spaces4["semantic"], **setting)


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


def test_distinct_rows_never_hold_a_class_without_a_place():
    corpus = build_corpus(RATIONAL, 4)
    coordinates = fit_semantic(corpus).coordinates.copy()
    coordinates[~corpus.is_task] = np.nan
    rows = distinct_rows(coordinates, 10_000, seed=0)
    assert corpus.is_task[rows].all() and len(rows) > 3000


def test_the_key_of_a_map_changes_with_its_settings(spaces4):
    space = spaces4["syntactic"]
    keys = {
        Projection(space.key, settings, np.arange(1), np.zeros((1, 2))).key
        for settings in ({"seed": 0}, {"seed": 1}, {"seed": 1, "neighbors": 5})
    }
    assert len(keys) == 3
    strata = [None, np.zeros(3, dtype=np.int64), np.arange(3)]
    assert len({str(umap_settings(300, strata=labels)) for labels in strata}) == 3


def test_settings_of_a_map_are_those_of_its_key(maps):
    assert maps["syntactic"].settings == umap_settings(300, seed=1)
    assert MapSettings().num_points == 3000 and umap_settings(None)["num_points"] is None
