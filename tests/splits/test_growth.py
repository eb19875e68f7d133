"""Forced at N leaves and at N + 1, against the enumerated larger universe."""

import numpy as np
import pytest

from synthlab.errors import BudgetExceeded, SplitError
from synthlab.language.grammar import RATIONAL
from synthlab.spaces.syntactic import fit_syntactic
from synthlab.splits.boundaries import Boundary
from synthlab.splits.growth import forced_growth
from synthlab.splits.regions import Region, texts_in
from synthlab.splits.support import support_settings, support_split


@pytest.fixture(scope="module")
def spaces3(corpus3):
    from synthlab.spaces.semantic import fit_semantic

    return {"syntactic": fit_syntactic(corpus3), "semantic": fit_semantic(corpus3)}


def still_forced(corpus3, corpus4, split, inside4):
    """Functions of the forced test without a text of at most four leaves outside, by listing all of them."""
    outside = {int(c) for c in corpus4.class_id[corpus4.class_index[~inside4]]}
    return sum(int(function) not in outside for function in split.tests["forced"])


@pytest.mark.parametrize("region", [
    Region(rule="root", root="*"), Region(rule="root", root="-"), Region(rule="order"), Region(rule="composed"),
    Region(rule="subtree", subtree="x * y"), Region(rule="operand", operand="3"),
], ids=lambda r: r.describe())  # fmt: skip
def test_text_regions_shrink_as_the_larger_universe_says(corpus3, corpus4, region):
    split = support_split(corpus3, {}, support_settings(region, num_test=9999, reserved=0.25))
    table = forced_growth(corpus3, {}, split, progress=False)
    inside4 = texts_in(region, corpus4.grammar, corpus4.prefix)
    assert table["leaves"].tolist() == [3, 4]
    assert table["texts"].tolist() == [corpus3.num_programs, corpus4.num_programs - corpus3.num_programs]
    assert table["forced"].tolist() == [len(split.tests["forced"]), still_forced(corpus3, corpus4, split, inside4)]
    assert table["share"][1] == table["forced"][1] / table["forced"][0]


@pytest.mark.parametrize("region", [
    Region(axis=2, quantile=0.3), Region(axis=1, above=False, quantile=0.4), Region(rule="shell", inner=0.5),
    Region(rule="cluster", num_clusters=8, num_held=3),
], ids=lambda r: r.describe())  # fmt: skip
def test_spatial_regions_keep_their_surface_for_larger_texts(corpus3, corpus4, spaces3, region):
    split = support_split(corpus3, spaces3, support_settings(region, num_test=9999, reserved=0.25))
    table = forced_growth(corpus3, spaces3, split, progress=False)
    # bags of all texts by hand, projected on the loadings
    from collections import Counter

    import naive

    from synthlab.language.grammar import PAD

    space = spaces3["syntactic"]
    column = {feature: k for k, feature in enumerate(space.features)}
    wanted = np.flatnonzero(np.isin(corpus4.class_id[corpus4.class_index], split.tests["forced"]))
    places = np.zeros((len(wanted), space.num_axes))
    for row, program in enumerate(wanted):
        tokens = [corpus4.grammar.tokens[t] for t in corpus4.prefix[program] if t != PAD]
        bag = naive.pq_grams(naive.tree(tokens, naive.POLYNOMIAL_ARITIES), 2, 3)
        counts = Counter({naive.pq_text(gram): n for gram, n in bag.items()})
        for name, n in counts.items():
            if name in column:
                places[row] += n * space.axes[column[name]]
        places[row] /= np.sqrt(sum(n * n for n in counts.values()))
    boundary = split.boundaries["syntactic"]
    assert isinstance(boundary, Boundary)
    inside4 = np.ones(corpus4.num_programs, dtype=bool)
    inside4[wanted] = boundary.contains(places)
    assert abs(table["forced"][1] - still_forced(corpus3, corpus4, split, inside4)) <= 1  # float32 at the surface


def test_two_more_sizes_open_at_least_as_many(corpus3):
    split = support_split(corpus3, {}, support_settings(Region(rule="root", root="*"), reserved=0.25))
    table = forced_growth(corpus3, {}, split, extra=2, progress=False)
    assert table["forced"].is_monotonic_decreasing and table["leaves"].tolist() == [3, 4, 5]
    assert table["forced"][2] == 0  # f + (x - x) and f - 0-like paddings reach every product


def test_whole_functions_have_no_larger_texts_outside(corpus3, spaces3):
    for region in (Region(space="semantic"), Region(space="semantic", rule="placebo")):
        split = support_split(corpus3, spaces3, support_settings(region, reserved=0.25))
        with pytest.raises(SplitError, match="holds out whole functions"):
            forced_growth(corpus3, spaces3, split, progress=False)


def test_too_many_texts_are_refused_with_the_count(corpus3, split3):
    with pytest.raises(BudgetExceeded, match=r"84,375 texts of 4 to 4 leaves are over max_texts=100"):
        forced_growth(corpus3, {}, split3, max_texts=100, progress=False)


def test_a_split_without_forced_functions_is_refused(corpus3, spaces3):
    from synthlab.splits.density import density_settings, density_split

    split = density_split(corpus3, spaces3, density_settings(regime="random", num_train=100, num_cells=5))
    with pytest.raises(SplitError, match="no function is forced"):
        forced_growth(corpus3, spaces3, split, progress=False)


def test_rational_regions_grow_alike(rational3):
    split = support_split(rational3, {}, support_settings(Region(rule="root", root="/"), reserved=0.25))
    table = forced_growth(rational3, {}, split, progress=False)
    assert RATIONAL.name == rational3.grammar.name and 0 <= table["forced"][1] < table["forced"][0]
