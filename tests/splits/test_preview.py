"""Previews against the regions and splits that they announce, drawn the slow way."""

from dataclasses import replace

import numpy as np
import pytest

from synthlab.errors import ArtifactError, ConfigurationError, SplitError
from synthlab.spaces.semantic import fit_semantic
from synthlab.spaces.syntactic import fit_syntactic
from synthlab.splits.boundaries import Boundary, fit_centres, num_places, places_to_fit
from synthlab.splits.density import density_settings, density_split
from synthlab.splits.indexed import IndexedSpace
from synthlab.splits.preview import CODES, Preview
from synthlab.splits.regions import Region, hold_out
from synthlab.splits.shift import fast_shift
from synthlab.splits.split import training_pool
from synthlab.splits.support import region_map, support_settings, support_split

REGIONS = {
    "quantile": Region(axis=1, quantile=0.7),
    "below": Region(axis=0, quantile=0.23, above=False),
    "semantic": Region(space="semantic", axis=0, quantile=0.7),
    "either half": Region(space="both", axis=0, quantile=0.8),
    "direction": Region(direction=((0, 0.6), (2, -0.8)), quantile=0.75),
    "box": Region(rule="box", box=((0, 0.0, 0.3), (1, -9.0, 0.2))),
    "semantic box": Region(space="semantic", rule="box", box=((0, -1.0, 2.0),)),
    "either box": Region(space="both", rule="box", box=((0, 0.0, 0.3), (1, -9.0, 0.2))),
    "clusters": Region(rule="cluster", num_clusters=10, num_held=3, seed=2),
    "semantic clusters": Region(space="semantic", rule="cluster", num_clusters=10, num_held=3),
    "chosen clusters": Region(rule="cluster", num_clusters=12, held=(1, 5, 7)),
    "either clusters": Region(space="both", rule="cluster", num_clusters=8, num_held=1, seed=1),
    "shell": Region(rule="shell", inner=0.6, outer=0.9),
    "ball": Region(space="semantic", rule="ball", centre="x * y + 1", share=0.2),
    "hull": Region(rule="hull", num_axes=3, share=0.4),
    "root": Region(rule="root", root="*"),
    "subtree": Region(rule="subtree", subtree="x * y"),
    "size": Region(rule="size", size=2),
    "mixed": Region(rule="mixed"),
    "order": Region(rule="order"),
    "composed": Region(rule="composed"),
    "operand": Region(rule="operand"),
    "placebo": Region(space="semantic", rule="placebo"),
}
by_region = pytest.mark.parametrize("region", REGIONS.values(), ids=REGIONS.keys())


@pytest.fixture(scope="module")
def spaces3(corpus3):
    return {"syntactic": fit_syntactic(corpus3, num_axes=8), "semantic": fit_semantic(corpus3, num_axes=8)}


@pytest.fixture(scope="module")
def rational_spaces3(rational3):
    return {"syntactic": fit_syntactic(rational3, num_axes=8), "semantic": fit_semantic(rational3, num_axes=8)}


@pytest.fixture(scope="module", params=["polynomial", "rational"])
def universe(request, corpus3, spaces3, rational3, rational_spaces3):
    return (rational3, rational_spaces3) if request.param == "rational" else (corpus3, spaces3)


@pytest.fixture(scope="module")
def preview(universe):
    return Preview(*universe)


@pytest.fixture(scope="module")
def preview4(corpus4, spaces4):
    return Preview(corpus4, spaces4)


def assert_same_surfaces(found, expected):
    assert found.keys() == expected.keys()
    for name, boundary in expected.items():
        assert found[name].rule == boundary.rule
        assert found[name].numbers.keys() == boundary.numbers.keys()
        for number, values in boundary.numbers.items():
            assert found[name].numbers[number].dtype == values.dtype
            assert np.array_equal(found[name].numbers[number], values)


def assert_announces(parts, split, corpus):
    """The parts are those of a split with ``num_train=None`` and all tests."""
    held_out = split.held_out(corpus.num_programs)
    assert np.array_equal(parts.held_out, held_out) and parts.num_held == held_out.sum()
    assert np.array_equal(np.flatnonzero(parts.reserved), corpus.class_rows(split.reserved))
    assert parts.num_reserved == len(split.reserved)
    pool = training_pool(corpus, parts.reserved, held_out)
    assert parts.num_pool == len(pool) and np.array_equal(np.sort(split.train), pool)
    assert list(parts.tests) == [name for name in ("id", "open", "forced") if name in split.tests]
    for name in parts.tests:
        assert np.array_equal(corpus.class_id[parts.rows(name)], np.sort(split.tests[name]))
    counts = {
        part: table.sort_values(corpus.measure)["items"].to_numpy()
        for part, table in split.histogram(corpus).groupby("part")
    }
    for part, sizes in parts.sizes().items():
        assert sizes.dtype == np.int64 and len(sizes) == corpus.max_size + 1
        assert sizes[0] == 0 and sizes[1:].tolist() == counts[part].tolist()


def assert_codes_are_parts(parts, split, corpus):
    everything = np.arange(corpus.num_programs)
    codes = parts.program_codes(everything)
    assert codes.dtype == np.uint8
    assert np.array_equal(np.array(CODES)[codes], region_map(corpus, split, everything).to_numpy())
    texts = {row: np.flatnonzero(corpus.class_index == row) for row in range(corpus.num_classes)}
    expected = []
    for ids in texts.values():  # held out where all texts are, or else what its texts outside are
        outside = codes[ids][codes[ids] != CODES.index("held out")]
        expected.append(outside[0] if len(outside) else CODES.index("held out"))
        assert len(set(outside.tolist())) <= 1
    found = parts.class_codes(np.arange(corpus.num_classes))
    assert found.dtype == np.uint8 and found.tolist() == expected


@pytest.mark.kernels
@by_region
def test_regions_are_held_as_the_slow_way_holds_them(universe, preview, region):
    expected, found = hold_out(region, *universe), preview.held(region)
    assert found.region == region
    assert np.array_equal(found.inside, expected.inside)
    assert_same_surfaces(found.surfaces, expected.surfaces)


@by_region
def test_regions_of_a_larger_universe_are_held_alike(preview4, corpus4, spaces4, region):
    expected, found = hold_out(region, corpus4, spaces4), preview4.held(region)
    assert np.array_equal(found.inside, expected.inside)
    assert_same_surfaces(found.surfaces, expected.surfaces)


@by_region
def test_parts_are_those_of_the_split(universe, preview, region):
    corpus, spaces = universe
    settings = support_settings(region, reserved=0.3, seed=3, num_test=10**6)
    split = support_split(corpus, spaces, settings)
    parts = preview.parts(region, reserved=0.3, seed=3)
    assert_announces(parts, split, corpus)
    assert_codes_are_parts(parts, split, corpus)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", ["root", "semantic", "either clusters"])
def test_parts_of_a_larger_universe_are_those_of_the_split(preview4, corpus4, spaces4, name, seed):
    settings = support_settings(REGIONS[name], reserved=0.2, seed=seed, num_test=10**6)
    split = support_split(corpus4, spaces4, settings)
    assert_announces(preview4.parts(REGIONS[name], reserved=0.2, seed=seed), split, corpus4)


@pytest.mark.parametrize("share", [0.01, 0.1, 0.25, 1 / 3, 0.5, 0.77, 0.99])
@pytest.mark.parametrize("space", ["syntactic", "semantic"])
def test_quantiles_of_an_axis_are_those_of_numpy_to_the_bit(universe, space, share):
    space = universe[1][space]
    for axis in range(3):
        values = space.axis(axis).astype(np.float64)
        assert IndexedSpace(space).quantile(axis, share) == np.quantile(values[~np.isnan(values)], share)


# ---------------------------------------------------------------- clusters


def test_labels_number_the_clusters_of_regions(universe, preview):
    for name, space in universe[1].items():
        labels = preview.cluster_labels(name, 6, 4)
        assert np.array_equal(labels < 0, np.isnan(space.coordinates[:, 0]))
        for cluster in range(6):
            region = Region(space=name, rule="cluster", num_clusters=6, seed=4, held=(cluster,))
            inside = hold_out(region, *universe).inside
            ids = universe[0].class_id if name == "semantic" else np.arange(len(labels))
            assert np.array_equal(inside[ids], labels == cluster)
        assert preview.num_places(name, 4) == num_places(space, 4)


def test_functions_without_a_place_have_no_cluster(universe, preview):
    spaces = universe[1]
    without = spaces["semantic"].coordinates.copy()
    without[5] = np.nan
    space = replace(spaces["semantic"], coordinates=without)
    labels = IndexedSpace(space).clusters(5, 0).labels
    assert labels[5] == -1 and (np.delete(labels, 5) >= 0).all()


@pytest.mark.kernels
@pytest.mark.parametrize("held", [(0,), (1,), (0, 1), (0, 2), (1, 2)])
def test_a_place_as_near_to_a_free_cluster_is_not_held(corpus3, spaces3, held):
    centres = np.array([[-1.0, 0.0], [1.0, 0.0], [0.0, 4.0]])
    vectors = np.array([[-2, 0], [0, 0], [0, 1.4], [3, 1], [np.nan, np.nan], [0, 9], [0, -3]], dtype=np.float32)
    boundary = Boundary("cluster", {"centres": centres, "held": np.array(held)})
    nearest, tied, equal = boundary.nearest_centres(vectors)
    assert nearest.tolist() == [0, 0, 0, 1, -1, 2, 0]
    assert tied.tolist() == [1, 2, 6] and equal.tolist() == [[True, True, False]] * 3
    space = replace(spaces3["syntactic"], coordinates=vectors)
    indexed = IndexedSpace(space)
    indexed._places = lambda seed: centres  # k-means of as many places as clusters puts a centre on each
    region = Region(rule="cluster", num_clusters=3, held=held)
    inside, surface = indexed.rows_in(region)
    assert np.array_equal(inside, surface.contains(vectors))


def test_clusters_of_places_that_mirror_each_other_are_held_alike(preview4, corpus4, spaces4):
    """Swapping x and y mirrors a space, so that many programs lie on a surface but for rounding."""
    for seed in range(4):
        for held in ((0, 2), (1,)):
            region = Region(rule="cluster", num_clusters=4, held=held, seed=seed)
            assert np.array_equal(preview4.held(region).inside, hold_out(region, corpus4, spaces4).inside)


def test_a_choice_of_clusters_fits_none_anew(preview, monkeypatch):
    preview.cluster_labels("syntactic", 7, 0)
    monkeypatch.setattr("synthlab.splits.indexed.fit_centres", None)
    held = [preview.held(Region(rule="cluster", num_clusters=7, held=(k,))).inside for k in range(7)]
    assert (np.sum(held, axis=0) <= 1).all()
    with pytest.raises(TypeError):
        preview.cluster_labels("syntactic", 8, 0)


def test_centres_are_those_of_one_fit(spaces3):
    places = places_to_fit(spaces3["semantic"], 1)
    assert np.array_equal(IndexedSpace(spaces3["semantic"]).clusters(9, 1).centres, fit_centres(places, 9, 1))


# ---------------------------------------------------------------- examples


@pytest.mark.kernels
def test_examples_are_of_their_part(universe, preview):
    corpus, _ = universe
    parts = preview.parts(REGIONS["root"], reserved=0.3)
    for part in ("train", "held out"):
        ids = parts.examples(part, num=40, seed=2)
        assert len(set(ids.tolist())) == 40 and (np.diff(ids) > 0).all()
        assert set(parts.program_codes(ids).tolist()) == {CODES.index(part)}
    for part in parts.tests:
        ids = parts.examples(part, num=7)
        assert len(ids) == 7 and np.isin(ids, corpus.class_id[parts.rows(part)]).all()
        assert len(parts.examples(part, num=10**6)) == len(parts.rows(part))


@pytest.mark.kernels
def test_examples_of_all_are_all_and_others_vary_with_the_seed(corpus3, spaces3):
    parts = Preview(corpus3, spaces3).parts(REGIONS["root"], reserved=0.3)
    pool = training_pool(corpus3, parts.reserved, parts.held_out)
    assert np.array_equal(parts.examples("train", num=10**6), pool)
    assert np.array_equal(parts.examples("held out", num=10**6), np.flatnonzero(parts.held_out))
    drawn = {tuple(parts.examples("train", seed=seed).tolist()) for seed in range(20)}
    assert len(drawn) == 20
    assert np.array_equal(parts.examples("train", seed=3), parts.examples("train", seed=3))


def test_training_examples_are_drawn_uniformly(corpus3, spaces3):
    parts = Preview(corpus3, spaces3).parts(REGIONS["root"])
    pool = training_pool(corpus3, parts.reserved, parts.held_out)
    drawn = np.concatenate([parts.examples("train", num=5, seed=seed) for seed in range(400)])
    fourth = np.searchsorted(pool, drawn) * 4 // len(pool)
    assert np.abs(np.bincount(fourth, minlength=4) - 500).max() < 100


def test_parts_that_a_split_lacks_are_refused_and_empty_ones_are_empty(preview):
    parts = preview.parts(REGIONS["placebo"])
    for ask in (parts.rows, parts.examples):
        with pytest.raises(ConfigurationError, match="no test part 'open': choose from id, forced"):
            ask("open")
    undivided = preview.undivided()
    assert len(undivided.examples("held out")) == 0


# ---------------------------------------------------------------- shift


@pytest.mark.parametrize("name", ["root", "semantic"])
def test_the_live_reading_is_that_of_the_split(preview4, corpus4, spaces4, name):
    parts = preview4.parts(REGIONS[name], reserved=0.2)
    pool = training_pool(corpus4, parts.reserved, parts.held_out)
    split = support_split(corpus4, spaces4, support_settings(REGIONS[name], reserved=0.2, num_test=10**6))
    tests = {part: corpus4.class_id[rows] for part, rows in parts.tests.items()}
    expected = fast_shift(replace(split, train=pool, tests=tests), corpus4, spaces4, sample=60, seed=4)
    assert parts.shift(sample=60, seed=4).equals(expected)


def test_the_live_reading_samples_no_more_than_asked(preview4):
    parts = preview4.parts(REGIONS["root"])
    table = parts.shift(sample=30)
    assert (table["num_train"] == 30).all() and set(table["part"]) == {"id", "open", "forced"}
    with pytest.raises(ConfigurationError, match="a sample of 0 items"):
        parts.shift(sample=0)


# ---------------------------------------------------------------- without a region


def test_without_a_region_parts_are_those_of_density_splits(universe, preview):
    corpus, spaces = universe
    settings = density_settings(regime="random", num_train=100, reserved=0.3, seed=2)
    split = density_split(corpus, spaces, settings)
    parts = preview.undivided(reserved=0.3, seed=2)
    assert np.array_equal(corpus.class_id[parts.reserved], split.reserved)
    pool = training_pool(corpus, parts.reserved, np.zeros(corpus.num_programs, dtype=bool))
    assert parts.num_pool == len(pool) and np.isin(split.train, pool).all()
    assert parts.num_held == 0 and parts.held is None and not parts.held_out.any()
    assert np.array_equal(corpus.class_id[parts.rows("id")], split.reserved) and list(parts.tests) == ["id"]
    assert set(np.concatenate(list(split.tests.values())).tolist()) <= set(split.reserved.tolist())
    codes = parts.program_codes(np.arange(corpus.num_programs))
    assert np.array_equal(np.flatnonzero(codes == CODES.index("train")), pool)
    assert not (codes == CODES.index("held out")).any()
    assert np.array_equal(parts.class_codes(np.arange(corpus.num_classes)) == CODES.index("reserved"), parts.reserved)
    assert {part: sizes.sum() for part, sizes in parts.sizes().items()} == {
        "train": len(pool),
        "id": parts.num_reserved,
    }
    assert set(parts.shift(sample=20)["part"]) == {"id"}


def test_nothing_is_trained_on_where_all_is_reserved(preview):
    with pytest.raises(SplitError, match="nothing is left to train on"):
        preview.undivided(reserved=0.9999)
    with pytest.raises(ConfigurationError, match="seed -2"):
        preview.undivided(seed=-2)


# ---------------------------------------------------------------- what is refused, and what is kept


@pytest.mark.parametrize(
    ("region", "reserved"),
    [
        (Region(rule="box", box=((0, 9.0, 10.0),)), 0.15),
        (Region(rule="box", box=((0, -9.0, 9.0),)), 0.15),
        (Region(rule="subtree", subtree="x"), 1e-6),
        (Region(rule="size", size=1), 0.999),
    ],
)
def test_what_no_split_can_be_drawn_of_is_refused_in_the_same_words(corpus3, spaces3, region, reserved):
    with pytest.raises(SplitError) as expected:
        support_split(corpus3, spaces3, support_settings(region, reserved=reserved))
    with pytest.raises(SplitError) as found:
        Preview(corpus3, spaces3).parts(region, reserved=reserved)
    assert str(found.value) == str(expected.value)


@pytest.mark.parametrize(
    ("region", "options", "message"),
    [
        (Region(axis=90), {}, "axis 90: the syntactic space has axes"),
        (Region(rule="box", box=((90, 0.0, 1.0),)), {}, "axis 90: the syntactic space has axes"),
        (Region(rule="root", root="%"), {}, "unknown root operator '%'"),
        (Region(rule="cluster", num_clusters=10**6), {}, "1,000,000 clusters of"),
        (Region(space="shape"), {}, "the region needs the shape space"),
        (REGIONS["root"], {"reserved": 1.5}, "reserved (share )?1.5"),
        (REGIONS["root"], {"seed": -1}, "seed -1"),
    ],
)
def test_what_cannot_be_held_out_is_refused(preview, region, options, message):
    with pytest.raises(ConfigurationError, match=message):
        preview.parts(region, **options)


def test_unknown_spaces_and_those_of_another_universe_are_refused(preview, corpus3, corpus4, spaces4):
    for ask in (lambda: preview.cluster_labels("shape", 3, 0), lambda: preview.num_places("shape", 0)):
        with pytest.raises(ConfigurationError, match="no space 'shape': choose from syntactic, semantic"):
            ask()
    with pytest.raises(ArtifactError, match="the syntactic space was fitted on another corpus"):
        Preview(corpus3, spaces4)


def test_a_region_is_asked_once_while_it_is_kept(preview, monkeypatch):
    region = Region(rule="mixed", groups=(("+",), ("-",)))
    first = preview.held(region)
    monkeypatch.setattr("synthlab.splits.preview.hold_out", None)
    assert preview.held(Region(rule="mixed", groups=(("+",), ("-",)))) is first
    assert preview.parts(region, seed=5).held is first


@pytest.mark.kernels
@pytest.mark.parametrize(("root", "part"), [("/", "held out"), ("*", "unused")])
def test_programs_of_no_class_are_neither_trained_on_nor_texts_of_one(rational3, root, part):
    corpus = rational3
    undefined = np.flatnonzero(corpus.class_index < 0)
    parts = Preview(corpus, {}).parts(Region(rule="root", root=root), reserved=0.2)
    assert parts.num_held == (corpus.root == corpus.grammar.index[root]).sum()
    assert np.array_equal(parts.inside + parts.outside, corpus.multiplicity)
    assert len(undefined) and set(parts.program_codes(undefined).tolist()) == {CODES.index(part)}
