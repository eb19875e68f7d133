"""Density splits: equal numbers from every cell, tests from reserved functions only."""

from collections import Counter

import numpy as np
import pytest

from synthlab.errors import ConfigurationError, SplitError
from synthlab.spaces.syntactic import fit_syntactic
from synthlab.splits.cells import space_cells
from synthlab.splits.density import (
    REGIMES,
    density_settings,
    density_split,
    regime_cells,
    training_diversity,
)
from synthlab.splits.split import Split, choose_targets, learned_texts, reserve_classes, training_pool

SETTINGS = dict(num_train=3000, num_test=300, num_cells=20, seed=5)


@pytest.fixture(scope="module")
def splits(corpus4, spaces4):
    return {r: density_split(corpus4, spaces4, density_settings(regime=r, **SETTINGS)) for r in REGIMES}


def functions(corpus, program_ids):
    """Class ids of programs."""
    return corpus.class_id[corpus.class_index[program_ids]]


def is_even(drawn, available):
    """Whether counts differ by at most one, but for cells that gave all they have."""
    open_cells = [drawn[c] for c in available if drawn[c] < available[c]]
    most = max(drawn.values(), default=0)
    return all(most - n <= 1 for n in open_cells)


@pytest.mark.parametrize("regime", REGIMES)
def test_training_never_meets_a_tested_or_reserved_function(corpus4, splits, regime):
    split = splits[regime]
    trained = set(functions(corpus4, split.train)) | set(functions(corpus4, split.targets))
    assert len(split.train) == len(np.unique(split.train)) == 3000
    assert not trained & set(split.reserved)
    assert set(split.tests) == set(REGIMES)
    for tested in split.tests.values():
        assert len(tested) == 300
        assert set(tested) <= set(split.reserved)


def test_regimes_share_reserved_functions_and_tests(splits):
    for regime in REGIMES:
        assert np.array_equal(splits[regime].reserved, splits["random"].reserved)
        for name, tested in splits[regime].tests.items():
            assert np.array_equal(tested, splits["random"].tests[name])


@pytest.mark.parametrize("regime", REGIMES)
def test_training_is_even_over_the_cells_of_its_regime(corpus4, spaces4, splits, regime):
    pool = np.flatnonzero(~np.isin(functions(corpus4, np.arange(corpus4.num_programs)), splits[regime].reserved))
    cells = regime_cells(corpus4, spaces4, pool, regime, num_cells=20, seed=5)
    trained = np.isin(pool, splits[regime].train)
    assert trained.sum() == 3000
    assert is_even(Counter(cells[trained].tolist()), Counter(cells.tolist()))


def test_the_class_regime_draws_functions_evenly_by_its_own_count(corpus4, splits):
    classes = functions(corpus4, splits["class"].train)
    everything = functions(corpus4, np.arange(corpus4.num_programs))
    available = Counter(c for c in everything.tolist() if c not in set(splits["class"].reserved.tolist()))
    assert is_even(Counter(classes.tolist()), available)
    assert set(classes.tolist()) == set(available)


def test_cells_are_functions_of_the_vector(corpus4, spaces4):
    ids = np.arange(0, corpus4.num_programs, 20)
    for kind, rows in (("syntactic", ids), ("semantic", corpus4.class_index[ids])):
        cells = space_cells(corpus4, spaces4[kind], ids, num_cells=15, seed=0)
        assert len(np.unique(cells)) <= 15 < len(ids)
        assert all(len({*cells[rows == row]}) == 1 for row in rows[:50])
    dual = regime_cells(corpus4, spaces4, ids, "dual", num_cells=15, seed=0)
    parts = [regime_cells(corpus4, spaces4, ids, k, num_cells=15, seed=0) for k in ("syntactic", "semantic")]
    assert len(np.unique(dual)) == len(set(zip(*(p.tolist() for p in parts), strict=True)))


def test_a_seed_decides_everything_and_changes_everything(corpus4, spaces4, splits):
    again = density_split(corpus4, spaces4, density_settings(regime="dual", **SETTINGS))
    other = density_split(corpus4, spaces4, density_settings(regime="dual", **(SETTINGS | {"seed": 6})))
    assert again.key == splits["dual"].key != other.key
    for name, ids in again.payload().items():
        assert np.array_equal(ids, splits["dual"].payload()[name])
    assert not np.array_equal(other.reserved, again.reserved)
    assert not np.array_equal(other.train, again.train)


@pytest.mark.parametrize("share", [0.05, 0.2, 0.5])
def test_reserved_functions_are_a_share_of_every_size(corpus4, share):
    reserved = reserve_classes(corpus4, share, seed=3)
    for size in range(1, 5):
        of_size = corpus4.class_leaves == size
        assert reserved[of_size].sum() == round(share * of_size.sum())
    assert not np.array_equal(reserved, reserve_classes(corpus4, share, seed=4))


@pytest.mark.parametrize("share", [0, 1, -0.1, 1.5])
def test_a_share_outside_zero_to_one_is_refused(corpus4, share):
    with pytest.raises(ConfigurationError, match="between 0 and 1"):
        reserve_classes(corpus4, share, seed=0)


def test_programs_without_a_function_are_never_trained_on(rational3):
    nothing = np.zeros(rational3.num_classes, dtype=bool), np.zeros(rational3.num_programs, dtype=bool)
    pool = training_pool(rational3, *nothing)
    assert np.array_equal(pool, np.flatnonzero(rational3.class_index >= 0))
    assert len(pool) < rational3.num_programs


def test_targets_are_the_least_texts_of_the_pool(corpus4):
    pool = np.arange(3, corpus4.num_programs, 7)
    train = np.random.default_rng(0).permutation(pool)[:500]
    targets = choose_targets(corpus4, train, pool, "minimal inside the support")
    least = {}
    for program in pool.tolist():
        least.setdefault(int(corpus4.class_index[program]), program)
    assert targets.tolist() == [least[int(corpus4.class_index[p])] for p in train]
    for policy in ("as sampled", "random"):
        assert np.array_equal(choose_targets(corpus4, train, pool, policy), train)
    with pytest.raises(ConfigurationError, match="choose from as sampled, minimal, minimal inside the support, random"):
        choose_targets(corpus4, train, pool, "longest")


def test_minimal_texts_outside_the_pool_are_refused_with_their_number(corpus4):
    pool = np.arange(3, corpus4.num_programs, 7)
    outside = sum(int(corpus4.class_id[corpus4.class_index[p]]) % 7 != 3 for p in pool[:500])
    assert 0 < outside < 500
    with pytest.raises(SplitError, match=f"{outside} of 500 training programs have their minimal text outside"):
        choose_targets(corpus4, pool[:500], pool, "minimal")
    whole = np.arange(corpus4.num_programs)
    assert np.array_equal(
        choose_targets(corpus4, pool[:500], whole, "minimal"), corpus4.class_id[corpus4.class_index[pool[:500]]]
    )


def test_policies_change_targets_and_nothing_else(corpus4, spaces4, splits):
    split = density_split(corpus4, spaces4, density_settings(regime="random", policy="minimal", **SETTINGS))
    assert np.array_equal(split.train, splits["random"].train)
    assert np.array_equal(functions(corpus4, split.targets), functions(corpus4, split.train))
    assert np.array_equal(split.targets, functions(corpus4, split.train))  # no region: minimal is the class id
    assert split.key != splits["random"].key


@pytest.mark.parametrize("num_train", [10**5, 10**6])
def test_a_training_set_larger_than_its_pool_is_refused_with_all_counts(corpus4, spaces4, num_train):
    with pytest.raises(SplitError) as caught:
        density_split(corpus4, spaces4, density_settings(regime="random", num_train=num_train))
    reserved = sum(round(0.2 * n) for n in (5, 35, 238, 1939))
    assert f"{num_train:,} training programs" in str(caught.value)
    assert f"{reserved:,} of 2,217 classes are reserved" in str(caught.value)


def test_an_unknown_regime_is_refused(corpus4, spaces4):
    with pytest.raises(ConfigurationError, match="unknown regime 'even': choose from random"):
        density_settings(regime="even", num_train=3)
    with pytest.raises(ConfigurationError, match="unknown regime 'even': choose from random"):
        regime_cells(corpus4, spaces4, np.arange(10), "even", num_cells=2, seed=0)


def test_a_missing_space_is_refused(corpus4, spaces4):
    with pytest.raises(ConfigurationError, match="needs the semantic space"):
        density_split(corpus4, {"syntactic": spaces4["syntactic"]}, density_settings(regime="random", num_train=9))


@pytest.mark.parametrize("regime", REGIMES)
def test_matched_sizes_are_those_of_the_pool_in_training_and_tests(corpus4, spaces4, regime):
    split = density_split(corpus4, spaces4, density_settings(regime=regime, match_size=True, **SETTINGS))
    reserved = np.isin(functions(corpus4, np.arange(corpus4.num_programs)), split.reserved)
    shares = np.bincount(corpus4.leaves[~reserved], minlength=5) / (~reserved).sum()
    assert np.abs(np.bincount(corpus4.leaves[split.train], minlength=5) - 3000 * shares).max() < 1
    tested = corpus4.minimal_size[corpus4.class_index[reserved]]
    expected = 300 * np.bincount(tested, minlength=5) / len(tested)
    for ids in split.tests.values():
        assert np.abs(np.bincount(corpus4.leaves[ids], minlength=5) - expected).max() < 1


def test_matched_sizes_are_those_of_the_texts_that_are_learned(corpus4, spaces4):
    settings = density_settings(regime="class", policy="minimal", match_size=True, **SETTINGS)
    split = density_split(corpus4, spaces4, settings)
    reserved = np.isin(functions(corpus4, np.arange(corpus4.num_programs)), split.reserved)
    pool = corpus4.leaves[functions(corpus4, np.flatnonzero(~reserved))]
    expected = 3000 * np.bincount(pool, minlength=5) / len(pool)
    assert np.abs(np.bincount(corpus4.leaves[split.targets], minlength=5) - expected).max() < 1


def test_a_matched_regime_still_spreads_over_its_cells(corpus4, spaces4):
    rows = {}
    for regime in ("random", "class"):
        split = density_split(corpus4, spaces4, density_settings(regime=regime, match_size=True, **SETTINGS))
        rows[regime] = training_diversity(corpus4, spaces4, split, num_cells=20).iloc[0]
    assert rows["class"]["mean_leaves"] == pytest.approx(rows["random"]["mean_leaves"])
    assert rows["class"]["effective_classes"] > 1.5 * rows["random"]["effective_classes"]


@pytest.mark.parametrize("cells", ["kmeans", "grid", "farthest"])
def test_a_full_dial_leaves_the_pools_own_shares(corpus4, spaces4, cells):
    settings = density_settings(regime="semantic", concentration=1.0, cells=cells, **SETTINGS)
    split = density_split(corpus4, spaces4, settings)
    pool = np.flatnonzero(~np.isin(functions(corpus4, np.arange(corpus4.num_programs)), split.reserved))
    found = regime_cells(corpus4, spaces4, pool, "semantic", num_cells=20, seed=5, kind=cells)
    drawn = np.bincount(found[np.isin(pool, split.train)], minlength=found.max() + 1)
    np.testing.assert_allclose(drawn, 3000 * np.bincount(found) / len(pool), atol=1.5)


@pytest.mark.parametrize(("change", "message"), [
    ({"cells": "hexagons"}, "unknown cells"), ({"concentration": -1.0}, "concentration -1.0"),
    ({"num_cells": 0}, "num_cells 0: use 1 or more"), ({"num_train": 0}, "num_train 0"),
    ({"num_train": -5}, "num_train -5"),
])  # fmt: skip
def test_settings_without_meaning_are_refused(corpus4, spaces4, change, message):
    with pytest.raises(ConfigurationError, match=message):
        density_split(corpus4, spaces4, density_settings(regime="dual", **(SETTINGS | change)))


def test_every_setting_makes_another_key(corpus4, spaces4, splits):
    changes = ({"cells": "grid"}, {"concentration": 0.5}, {"match_size": True}, {"policy": "minimal"})
    keys = {density_split(corpus4, spaces4, density_settings(regime="dual", **(SETTINGS | c))).key for c in changes}
    assert len(keys | {splits["dual"].key}) == 5


def test_other_spaces_make_another_key(corpus4, spaces4, splits):
    other = spaces4 | {"syntactic": fit_syntactic(corpus4, p=1, q=2)}
    assert density_split(corpus4, other, density_settings(regime="dual", **SETTINGS)).key != splits["dual"].key


def entropy(labels):
    shares = np.array(list(Counter(labels.tolist()).values())) / len(labels)
    return -(shares * np.log2(shares)).sum()


def test_diversity_tells_what_a_regime_spread(corpus4, spaces4, splits):
    regimes = ("random", "semantic", "class")
    rows = {r: training_diversity(corpus4, spaces4, splits[r], num_cells=20).iloc[0] for r in regimes}
    for regime, row in rows.items():
        classes = functions(corpus4, splits[regime].train)
        assert row["classes"] == len(set(classes.tolist())) and row["programs"] == 3000
        assert row["effective_classes"] == pytest.approx(2 ** entropy(classes))
        assert row["text_bits"] == pytest.approx(np.log2(3000) - entropy(classes))
        assert 0 < row["syntactic_spread"] <= 1 and 0 < row["semantic_spread"] <= 1
        assert row["mean_leaves"] == pytest.approx(corpus4.leaves[splits[regime].train].mean())
    assert rows["class"]["effective_classes"] > 2 * rows["random"]["effective_classes"]
    assert rows["semantic"]["semantic_spread"] > rows["random"]["semantic_spread"] + 0.1
    assert rows["semantic"]["effective_classes"] > rows["random"]["effective_classes"]


def test_saved_and_loaded_split_is_equal(corpus4, splits, store):
    split = splits["dual"]
    loaded = Split.load(store, split.save(store))
    assert (loaded.kind, loaded.corpus, loaded.settings) == (split.kind, split.corpus, split.settings)
    assert loaded.key == split.key and not loaded.joint_shift
    assert set(loaded.tests) == set(split.tests)
    for name, ids in split.payload().items():
        assert np.array_equal(loaded.payload()[name], ids) and loaded.payload()[name].dtype == ids.dtype
    assert not loaded.held_out(corpus4.num_programs).any()


def test_the_diversity_of_texts_drawn_anew_counts_all_that_are_taught(corpus4, spaces4):
    split = density_split(corpus4, spaces4, density_settings(regime="random", policy="random", **SETTINGS))
    row = training_diversity(corpus4, spaces4, split, num_cells=10).iloc[0]
    taught, leaves = {}, {}
    for program in learned_texts(corpus4, split).tolist():
        taught.setdefault(int(corpus4.class_index[program]), []).append(program)
    classes = corpus4.class_index[split.train].tolist()
    for number, programs in taught.items():
        leaves[number] = np.mean([corpus4.program(p).leaves for p in programs])
    assert row["text_bits"] == pytest.approx(np.mean([np.log2(len(taught[c])) for c in classes]))
    assert row["mean_leaves"] == pytest.approx(np.mean([leaves[c] for c in classes]))
    as_sampled = density_split(corpus4, spaces4, density_settings(regime="random", **SETTINGS))
    assert np.array_equal(as_sampled.train, split.train)
    assert row["text_bits"] > training_diversity(corpus4, spaces4, as_sampled, num_cells=10).iloc[0]["text_bits"]
