"""Regions: every rule against brute force over texts and coordinates."""

import itertools

import numpy as np
import pytest
from scipy.optimize import linprog

from synthlab.errors import ConfigurationError
from synthlab.language.grammar import PAD
from synthlab.language.program import parse
from synthlab.spaces.semantic import fit_semantic
from synthlab.splits.comparable import region_table, regions
from synthlab.splits.regions import Region, hold_out, programs_in, texts_in

QUANTILE = Region(rule="quantile", axis=1, quantile=0.7)
BELOW = Region(rule="quantile", axis=0, quantile=0.2, above=False)
SEMANTIC = Region(space="semantic", rule="quantile", axis=0, quantile=0.7)
EITHER = Region(space="both", rule="box", box=((0, 0.0, 0.3), (1, -9.0, 0.2)))
REGIONS = [
    QUANTILE, BELOW, SEMANTIC, EITHER,
    Region(rule="root", root="*"), Region(rule="root", root="-"),
    Region(rule="cluster", num_clusters=10, num_held=3, seed=2),
    Region(space="semantic", rule="cluster", num_clusters=10, num_held=3),
    Region(rule="cluster", num_clusters=10, held=(0, 3)),
    Region(direction=((0, 0.6), (2, -0.8))), Region(direction=((0, 0.6), (2, 0.8))),
    Region(rule="shell"), Region(rule="shell", inner=0.2, outer=0.5),
    Region(rule="ball", centre="x * y"), Region(space="semantic", rule="ball", centre="x * y"),
    Region(rule="hull"), Region(rule="hull", num_axes=3),
    Region(rule="subtree", subtree="x * y"), Region(rule="subtree", subtree="x - y"),
    Region(rule="size", size=3), Region(rule="mixed"), Region(rule="order"), Region(rule="order", upper=("-",)),
    Region(rule="composed"), Region(rule="operand"), Region(rule="operand", place=0), Region(rule="operand", place=1),
    Region(space="semantic", rule="placebo"), Region(space="semantic", rule="placebo", seed=1),
]  # fmt: skip


@pytest.mark.parametrize(("region", "share"), [(QUANTILE, 0.3), (BELOW, 0.2)])
def test_syntactic_quantiles_are_taken_over_programs(corpus4, spaces4, region, share):
    inside = programs_in(region, corpus4, spaces4)
    values = spaces4["syntactic"].coordinates[:, region.axis] * (1 if region.above else -1)
    nearest = values[~inside].max()
    assert values[inside].min() > nearest
    assert inside.mean() <= share + 1e-9
    assert inside.mean() + (values == nearest).mean() >= share - 1e-3


def test_semantic_quantiles_are_taken_over_classes_and_hold_whole_classes(corpus4, spaces4):
    inside = programs_in(SEMANTIC, corpus4, spaces4)
    held = {*corpus4.class_index[inside].tolist()}
    assert not held & {*corpus4.class_index[~inside].tolist()}
    values = spaces4["semantic"].coordinates[:, 0]
    expected = np.argsort(values)[-round(0.3 * len(values)) :]
    assert len(held ^ set(expected.tolist())) <= 1


def test_a_box_bounds_the_named_axes_of_either_space(corpus4, spaces4):
    expected = np.zeros(corpus4.num_programs, dtype=bool)
    for kind, rows in (("syntactic", np.arange(corpus4.num_programs)), ("semantic", corpus4.class_index)):
        places = spaces4[kind].coordinates[rows]
        expected |= np.all([(low <= places[:, a]) & (places[:, a] <= high) for a, low, high in EITHER.box], axis=0)
    assert np.array_equal(programs_in(EITHER, corpus4, spaces4), expected)


def test_held_clusters_are_whole_clusters_of_the_space(corpus4, spaces4):
    few, more = (
        programs_in(Region(rule="cluster", num_clusters=8, num_held=n, seed=1), corpus4, spaces4) for n in (2, 4)
    )
    assert 0 < few.sum() < more.sum() < corpus4.num_programs
    assert not (few & ~more).any()
    other = programs_in(Region(rule="cluster", num_clusters=8, num_held=2, seed=9), corpus4, spaces4)
    assert not np.array_equal(few, other)


def test_undefined_programs_are_in_no_semantic_region(rational3):
    space = {"semantic": fit_semantic(rational3, num_axes=2)}
    everything = programs_in(Region(space="semantic", rule="box", box=((0, -1e9, 1e9),)), rational3, space)
    assert np.array_equal(everything, rational3.class_index >= 0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(space="phonetic"), "unknown space"),
        (dict(rule="circle"), "unknown rule"),
        (dict(space="semantic", rule="root"), "region of the syntactic space"),
        (dict(quantile=0), "between 0 and 1"),
        (dict(quantile=1.0), "between 0 and 1"),
        (dict(rule="cluster", num_held=0), "hold out some, not all"),
        (dict(rule="cluster", num_clusters=4, num_held=4), "hold out some, not all"),
        (dict(rule="box"), "at least one"),
        (dict(rule="cluster", num_clusters=4, held=(0, 4)), "numbered 0 to 3, not 4"),
        (dict(rule="cluster", num_clusters=2, num_held=1, held=(0, 1)), "2 of 2 clusters"),
        (dict(rule="shell", inner=0.5, outer=0.5), "inner < outer"),
        (dict(rule="shell", inner=0.0, outer=1.0), "inner < outer"),
        (dict(rule="ball", share=1.0), "between 0 and 1"),
        (dict(rule="hull", num_axes=1), "at least 2"),
        (dict(space="semantic", rule="mixed"), "region of the syntactic space"),
        (dict(rule="placebo"), "use space='semantic'"),
        (dict(rule="root", held=(1,)), "held belongs to the rule 'cluster'"),
        (dict(rule="ball", direction=((0, 1.0),)), "direction belongs to the rule 'quantile'"),
        (dict(rule="cluster", seed=-1), "from 0 on"),
        (dict(rule="operand", place=-1), "from 0 on"),
        (dict(rule="box", box=((0, 1.0),)), "written"),
        (dict(rule="box", box=((0, "a", 1.0),)), "use numbers"),
        (dict(rule="cluster", held=5), "write a list"),
        (dict(axis=0.5), "whole number"),
        (dict(quantile="abc"), "use a number"),
    ],
)
def test_a_region_that_cannot_be_is_refused(settings, message):
    with pytest.raises(ConfigurationError, match=message):
        Region(**settings)


@pytest.mark.parametrize("root", ["/", "x", "1", "", "mid"])
def test_an_unknown_root_is_refused_with_the_known_ones(corpus4, spaces4, root):
    with pytest.raises(ConfigurationError, match=r"choose from \+ - \*"):
        programs_in(Region(rule="root", root=root), corpus4, spaces4)


@pytest.mark.parametrize("region", [Region(axis=99), Region(rule="box", box=((32, 0, 1),)), Region(axis=-1)])
def test_an_unknown_axis_is_refused(corpus4, spaces4, region):
    with pytest.raises(ConfigurationError, match="the syntactic space has axes 0 to 31"):
        programs_in(region, corpus4, spaces4)


@pytest.mark.parametrize("region", REGIONS, ids=lambda r: f"{r.space}-{r.rule}")
def test_equal_regions_have_equal_keys_and_others_have_others(region):
    assert [str(r.settings()) for r in REGIONS].count(str(region.settings())) == 1
    assert [r.describe() for r in REGIONS].count(region.describe()) <= 2  # a seed has no words
    assert Region(**region.settings()).settings() == region.settings()


# ---------------------------------------------------------------- rules on coordinates


def rows_inside(region, corpus, spaces):
    """Mask over the rows of the region's space."""
    return hold_out(region, corpus, spaces).surfaces[region.space].contains(spaces[region.space].coordinates)


def test_a_direction_is_a_weighted_sum_of_axes(corpus4, spaces4):
    region = Region(direction=((0, 0.6), (2, -0.8)), quantile=0.75)
    places = spaces4["syntactic"].coordinates.astype(float)
    values = 0.6 * places[:, 0] - 0.8 * places[:, 2]
    inside = programs_in(region, corpus4, spaces4)
    assert values[inside].min() > values[~inside].max()
    assert 0.2 < inside.mean() <= 0.25


@pytest.mark.parametrize("space", ["syntactic", "semantic"])
@pytest.mark.parametrize(("inner", "outer"), [(0.7, 1.0), (0.0, 0.4), (0.3, 0.6)])
def test_a_shell_lies_between_quantiles_of_the_distance_to_the_mean(corpus4, spaces4, space, inner, outer):
    places = spaces4[space].coordinates.astype(float)
    distance = np.linalg.norm(places - places.mean(axis=0), axis=1)
    inside = rows_inside(Region(space=space, rule="shell", inner=inner, outer=outer), corpus4, spaces4)
    low, high = np.quantile(distance, [inner, outer])
    certain = (np.abs(distance - low) > 1e-9) & (np.abs(distance - high) > 1e-9)
    expected = ((distance > low) | (inner == 0)) & ((distance <= high) | (outer == 1))
    assert np.array_equal(inside[certain], expected[certain])
    assert abs(inside.mean() - (outer - inner)) < 0.02


@pytest.mark.parametrize("space", ["syntactic", "semantic"])
def test_a_ball_holds_the_share_nearest_to_its_centre(corpus4, spaces4, space):
    region = Region(space=space, rule="ball", centre="x * y + 1", share=0.2)
    held = hold_out(region, corpus4, spaces4)
    row = next(k for k in range(corpus4.num_programs) if corpus4.program(k) == parse(corpus4.grammar, "x * y + 1"))
    assert held.inside[row]
    places = spaces4[space].coordinates.astype(float)
    distance = np.linalg.norm(places - places[row if space == "syntactic" else corpus4.class_index[row]], axis=1)
    inside = rows_inside(region, corpus4, spaces4)
    assert distance[inside].max() <= distance[~inside].min() + 1e-9
    assert abs(inside.mean() - 0.2) < 0.03


def in_hull(core, point):
    """Whether a point is a convex combination of others, by a linear program."""
    conditions = np.vstack([core.T, np.ones(len(core))])
    return linprog(np.zeros(len(core)), A_eq=conditions, b_eq=[*point, 1], method="highs").success


@pytest.mark.parametrize("num_axes", [2, 3])
def test_outside_the_hull_is_no_mixture_of_central_places(corpus4, spaces4, num_axes):
    inside = rows_inside(Region(space="semantic", rule="hull", num_axes=num_axes, share=0.3), corpus4, spaces4)
    places = spaces4["semantic"].coordinates[:, :num_axes].astype(float)
    scaled = (places - places.mean(axis=0)) / places.std(axis=0)
    core = places[np.argsort((scaled**2).sum(axis=1), kind="stable")[: round(0.7 * len(places))]]
    assert 0.1 < inside.mean() <= 0.3
    generator = np.random.default_rng(0)
    for row in generator.choice(np.flatnonzero(inside), 15):
        assert not in_hull(core, places[row])
    clear = np.flatnonzero(~inside)
    for row in generator.choice(clear, 15):
        assert in_hull(core, places[row])


def test_named_clusters_partition_the_space(corpus4, spaces4):
    parts = [programs_in(Region(rule="cluster", num_clusters=5, held=(k,)), corpus4, spaces4) for k in range(5)]
    assert (np.sum(parts, axis=0) == 1).all() and all(part.any() for part in parts)
    pair = programs_in(Region(rule="cluster", num_clusters=5, held=(1, 3)), corpus4, spaces4)
    assert np.array_equal(pair, parts[1] | parts[3])


def test_a_surface_asked_again_gives_the_same_region(corpus4, spaces4):
    for region in (r for r in REGIONS if r.kinds and r.space != "both"):
        held = hold_out(region, corpus4, spaces4)
        space, boundary = spaces4[region.space], held.surfaces[region.space]
        rows = np.arange(0, len(space.coordinates), 97)
        inside = np.array([boundary.contains(space.coordinates[row][None])[0] for row in rows])
        assert np.array_equal(inside, boundary.contains(space.coordinates)[rows])
        assert not boundary.contains(np.full((2, space.num_axes), np.nan)).any()


def test_either_space_means_the_union(corpus4, spaces4):
    for rule in ({"rule": "quantile"}, {"rule": "shell"}, {"rule": "ball"}, {"rule": "cluster"}, {"rule": "hull"}):
        kinds = ("syntactic", "semantic", "both")
        one, two, both = (programs_in(Region(space=kind, **rule), corpus4, spaces4) for kind in kinds)
        assert np.array_equal(both, one | two)


def test_a_space_without_labels_can_be_cut(corpus4, spaces4):
    region = Region(space="shape", rule="quantile", axis=1)
    with pytest.raises(ConfigurationError, match="fit_syntactic"):
        programs_in(region, corpus4, spaces4)
    from synthlab.spaces.syntactic import fit_syntactic

    inside = programs_in(region, corpus4, spaces4 | {"shape": fit_syntactic(corpus4, labels="shape")})
    operator = corpus4.prefix >= corpus4.grammar.num_terminals
    shapes = np.where(corpus4.prefix == PAD, 2, operator)
    kinds = np.unique(shapes, axis=0, return_inverse=True)[1].reshape(-1)
    assert 0 < inside.mean() < 0.31
    assert all(len({*inside[kinds == kind].tolist()}) == 1 for kind in range(kinds.max() + 1))


@pytest.mark.parametrize(("region", "message"), [
    (Region(rule="ball", centre="x * y * x * y * x"), "has 5 leaves, the universe 4"),
    (Region(direction=((40, 1.0),)), "axes 0 to 31"),
    (Region(rule="hull", num_axes=33), "axes 0 to 31"),
    (Region(space="semantic", rule="cluster", num_clusters=5000, num_held=6), "2,217 distinct places"),
    (Region(rule="mixed", groups=(("+",), ("/",))), r"unknown operator '/': choose from \+ - \*"),
    (Region(rule="mixed", groups=(("+",),)), "operators on both sides"),
    (Region(rule="order", lower=()), "operators on both sides"),
    (Region(rule="operand", operand="7"), "unknown operand '7'"),
    (Region(rule="composed", operator="/"), "unknown operator"),
])  # fmt: skip
def test_a_region_that_a_universe_lacks_is_refused(corpus4, spaces4, region, message):
    with pytest.raises(ConfigurationError, match=message):
        programs_in(region, corpus4, spaces4)


def test_a_centre_without_a_function_is_refused(rational3):
    with pytest.raises(ConfigurationError, match="undefined as a function"):
        spaces = {"semantic": fit_semantic(rational3)}
        programs_in(Region(space="semantic", rule="ball", centre="1 / (x - x)"), rational3, spaces)


# ---------------------------------------------------------------- rules on texts


@pytest.mark.parametrize(("region", "inside", "outside"), [
    (Region(rule="root", root="*"), ["x * y", "(x + 1) * 2"], ["x", "x * y + 1"]),
    (Region(rule="subtree", subtree="x * y"), ["x * y", "1 + y * x", "y * x * 2"], ["x", "x * (y * 2)"]),
    (Region(rule="subtree", subtree="x - y"), ["x - y", "1 + (x - y)"], ["y - x", "x - y * 2"]),
    (Region(rule="size", size=2), ["x + y + 1"], ["x", "x + y"]),
    (Region(rule="mixed"), ["x * y + 1", "(x - 1) * y"], ["x + y - 1", "x * y * x", "x"]),
    (Region(rule="order"), ["(x + 1) * y", "x * (2 * (1 - y))"], ["x * y + 1", "x + y", "x * y * 2"]),
    (Region(rule="composed"), ["x * y * 2", "x * y + 1"], ["x * y", "x + y - 1", "2"]),
    (Region(rule="operand"), ["x * 2", "2 * x", "1 + 2 * y"], ["x + 2", "2 - x * y", "2"]),
    (Region(rule="operand", place=1), ["x * 2"], ["2 * x", "2 + x"]),
])  # fmt: skip
def test_rules_on_texts_by_example(corpus3, region, inside, outside):
    grammar = corpus3.grammar
    for texts, expected in ((inside, True), (outside, False)):
        for text in texts:
            prefix = np.array([parse(grammar, text).prefix], dtype=np.uint8)
            assert texts_in(region, grammar, prefix)[0] == expected, text


def test_a_placebo_holds_out_whole_functions_with_the_universes_sizes(corpus4, spaces4):
    inside = programs_in(Region(space="semantic", rule="placebo", share=0.4), corpus4, spaces4)
    held = np.unique(corpus4.class_index[inside])
    assert not {*held.tolist()} & {*corpus4.class_index[~inside].tolist()}
    for size, num in enumerate((5, 35, 238, 1939), start=1):
        assert (corpus4.minimal_size[held] == size).sum() == round(0.4 * num)


# ---------------------------------------------------------------- comparable regions


@pytest.mark.parametrize("rule", ["cluster", "quantile", "ball"])
@pytest.mark.parametrize("space", ["syntactic", "semantic"])
def test_comparable_regions_have_one_mass_and_differ(corpus4, spaces4, space, rule):
    drawn = regions(corpus4, spaces4, space, 0.3, 5, rule=rule, seed=2)
    masses = [rows_inside(region, corpus4, spaces4).mean() for region in drawn]
    np.testing.assert_allclose(masses, 0.3, atol=0.0101 if rule == "cluster" else 0.03)
    masks = [programs_in(region, corpus4, spaces4) for region in drawn]
    assert all((one != two).mean() > 0.02 for one, two in itertools.combinations(masks, 2))
    assert drawn == regions(corpus4, spaces4, space, 0.3, 5, rule=rule, seed=2)
    assert drawn != regions(corpus4, spaces4, space, 0.3, 5, rule=rule, seed=3)


def test_the_table_of_regions_counts_what_they_hold(corpus4, spaces4, naive4):
    chosen = [Region(rule="root", root="*"), QUANTILE]
    table = region_table(corpus4, spaces4, chosen)
    for (_, row), region in zip(table.iterrows(), chosen, strict=True):
        inside = programs_in(region, corpus4, spaces4)
        outside = {number for (_, number), held in zip(naive4, inside, strict=True) if not held}
        assert row["forced"] == len({number for _, number in naive4} - outside)
        assert row["programs"] == pytest.approx(inside.mean())
        assert row["forced_share"] == pytest.approx(row["forced"] / 2217)
    assert table["commonest_root"][0] == 1.0
    assert table["mean_size"].between(3, 4).all()


@pytest.mark.parametrize(("settings", "message"), [
    ({"rule": "hull"}, "choose from cluster, quantile, ball"), ({"mass": 1.0}, "between 0 and 1"),
    ({"num": 0}, "at least one"), ({"num_clusters": 4, "mass": 0.011, "tolerance": 0.001}, "use more clusters"),
    ({"space": "shape"}, "no space 'shape'"), ({"seed": -1}, "seed -1"),
    ({"rule": "ball", "mass": 0.003, "tolerance": 1e-9}, "different regions of rule 'ball'"),
])  # fmt: skip
def test_regions_that_cannot_be_drawn_are_refused(corpus4, spaces4, settings, message):
    given = {"space": "syntactic", "mass": 0.3, "num": 2} | settings
    with pytest.raises(ConfigurationError, match=message):
        regions(corpus4, spaces4, given.pop("space"), given.pop("mass"), given.pop("num"), **given)
