"""Support splits: regions, and tests whose definitions are checked over all texts."""

import itertools
from collections import Counter, defaultdict

import naive
import numpy as np
import pytest

from synthlab.errors import ArtifactError, ConfigurationError, SplitError
from synthlab.spaces.semantic import fit_semantic
from synthlab.splits.audit import audit
from synthlab.splits.regions import Region, hold_out
from synthlab.splits.separability import classifier_auc
from synthlab.splits.split import Split
from synthlab.splits.support import region_map, support_settings, support_split

REGIONS = {
    "root": Region(rule="root", root="*"),
    "minus": Region(rule="root", root="-"),
    "quantile": Region(rule="quantile", axis=1, quantile=0.7),
    "below": Region(rule="quantile", axis=0, quantile=0.2, above=False),
    "semantic": Region(space="semantic", rule="quantile", axis=0, quantile=0.7),
    "clusters": Region(rule="cluster", num_clusters=10, num_held=3, seed=2),
    "semantic clusters": Region(space="semantic", rule="cluster", num_clusters=10, num_held=3),
    "either": Region(space="both", rule="box", box=((0, 0.0, 0.3), (1, -9.0, 0.2))),
    "direction": Region(direction=((0, 0.6), (2, -0.8)), quantile=0.75),
    "chosen clusters": Region(rule="cluster", num_clusters=12, held=(1, 5, 7)),
    "shell": Region(rule="shell", inner=0.6, outer=0.9),
    "semantic ball": Region(space="semantic", rule="ball", centre="x * y + 1", share=0.2),
    "hull": Region(rule="hull", num_axes=3, share=0.4),
    "subtree": Region(rule="subtree", subtree="x * y"),
    "mixed": Region(rule="mixed", groups=(("+", "-"), ("*",))),
    "order": Region(rule="order", upper=("*",), lower=("+", "-")),
    "composed": Region(rule="composed", operator="*"),
    "operand": Region(rule="operand", operator="*", operand="2"),
    "placebo": Region(space="semantic", rule="placebo", share=0.3),
}
by_region = pytest.mark.parametrize("name", REGIONS)


@pytest.fixture(scope="module")
def splits(corpus4, spaces4):
    return {
        name: support_split(corpus4, spaces4, support_settings(region, reserved=0.25, num_test=10_000))
        for name, region in REGIONS.items()
    }


@pytest.fixture(scope="module")
def texts_of_function(naive4):
    """Program ids of every polynomial, by its least id."""
    grouped = defaultdict(list)
    for program, (_, number) in enumerate(naive4):
        grouped[number].append(program)
    return {ids[0]: ids for ids in grouped.values()}


@by_region
def test_training_lies_outside_the_region_and_meets_no_reserved_function(splits, texts_of_function, naive4, name):
    split = splits[name]
    held_out = split.held_out(len(naive4))
    banned = {p for c in split.reserved.tolist() for p in texts_of_function[c]} | set(np.flatnonzero(held_out).tolist())
    assert 0 < held_out.sum() < len(naive4)
    assert set(split.train.tolist()) == set(range(len(naive4))) - banned
    assert len(set(split.train.tolist())) == len(split.train)


@by_region
def test_tests_are_what_their_names_say_over_all_texts(splits, texts_of_function, naive4, name):
    split = splits[name]
    held_out = split.held_out(len(naive4))
    expected = {"id": set(), "open": set(), "forced": set()}
    for function, ids in texts_of_function.items():
        inside, reserved = held_out[ids], function in split.reserved
        if inside.all():
            expected["forced"].add(function)
        elif reserved:
            expected["id"].add(function)
            if inside.any():
                expected["open"].add(function)
    if REGIONS[name].space == "semantic":
        assert not expected.pop("open") and "open" not in split.tests
    for test, functions in expected.items():
        assert sorted(split.tests[test].tolist()) == sorted(functions)


@by_region
def test_no_tested_function_is_trained_on_and_forced_stands_apart(splits, naive4, name):
    split = splits[name]
    number = [n for _, n in naive4]
    trained = {number[p] for p in split.train} | {number[p] for p in split.targets}
    for tested in split.tests.values():
        assert not trained & {number[c] for c in tested}
    assert not set(split.tests["forced"]) & (set(split.tests["id"]) | set(split.tests.get("open", ())))


def test_known_numbers_of_the_root_region(splits, corpus4):
    split = splits["root"]
    assert len(split.tests["forced"]) == 746
    assert np.array_equal(split.held_out(corpus4.num_programs), corpus4.root == corpus4.grammar.index["*"])


def recomputed_bins(split, corpus, naive4, test, texts_of_function):
    """Histogram over (leaves, degree, texts that count in bins of four) from the naive universe."""
    held_out, bins = split.held_out(len(naive4)), []
    for function in split.tests[f"matched_{test}"].tolist():
        text = naive4[function][0]
        degree = naive.degree(naive.expand(naive.tree(text, naive.POLYNOMIAL_ARITIES)))
        ids = texts_of_function[function]
        right = int((~held_out[ids]).sum()) if test == "id" else len(ids)
        quarter = next(k for k in range(20) if right < 4 ** (k + 1))
        bins.append((sum(t not in "+-*" for t in text), degree, quarter))
    return bins


@by_region
def test_matched_tests_have_one_joint_histogram(splits, corpus4, naive4, texts_of_function, name):
    split = splits[name]
    one, other = (recomputed_bins(split, corpus4, naive4, t, texts_of_function) for t in ("id", "forced"))
    assert one == other and len(one) > 0
    for test in ("id", "forced"):
        matched = split.tests[f"matched_{test}"].tolist()
        assert len(set(matched)) == len(matched) and set(matched) <= set(split.tests[test].tolist())


def test_matching_keeps_as_many_pairs_as_there_are(splits, naive4, texts_of_function, corpus4):
    split = splits["root"]
    held_out = split.held_out(len(naive4))
    counts = {}
    for test in ("id", "forced"):
        renamed = Split(*(getattr(split, n) for n in ("kind", "corpus", "settings", "train", "targets")),
                        {f"matched_{test}": split.tests[test]}, split.reserved, split.region)  # fmt: skip
        counts[test] = Counter(recomputed_bins(renamed, corpus4, naive4, test, texts_of_function))
    assert len(split.tests["matched_id"]) == (counts["id"] & counts["forced"]).total()
    assert held_out.any()


def test_truncated_tests_stay_matched_in_pairs(corpus4, spaces4, naive4, texts_of_function):
    split = support_split(corpus4, spaces4, support_settings(REGIONS["root"], reserved=0.25, num_test=40))
    assert {name: len(ids) for name, ids in split.tests.items()} == dict.fromkeys(split.tests, 40)
    one, other = (recomputed_bins(split, corpus4, naive4, t, texts_of_function) for t in ("id", "forced"))
    assert one == other


@pytest.mark.parametrize(
    ("box", "where"), [(((0, 9.0, 10.0),), "empty: 0 of"), (((0, -9.0, 9.0),), "whole universe: 86,705 of")]
)
def test_an_empty_or_total_region_is_refused_with_its_count(corpus4, spaces4, box, where):
    with pytest.raises(SplitError, match=f"{where} 86,705 programs"):
        support_split(corpus4, spaces4, support_settings(Region(rule="box", box=box)))


def test_a_training_set_larger_than_its_pool_is_refused_with_all_counts(corpus4, spaces4):
    with pytest.raises(SplitError) as caught:
        support_split(corpus4, spaces4, support_settings(REGIONS["root"], num_train=80_000, reserved=0.25))
    in_root = (corpus4.root == corpus4.grammar.index["*"]).sum()
    reserved = sum(round(0.25 * n) for n in (5, 35, 238, 1939))
    for count in ("80,000 training", "pool of 43,715", f"{in_root:,} of 86,705", f"{reserved:,} of 2,217"):
        assert count in str(caught.value)


# ---------------------------------------------------------------- carrier


@pytest.mark.parametrize("name", ["root", "either"])
def test_saved_and_loaded_split_is_equal(splits, corpus4, store, name):
    split = splits[name]
    loaded = Split.load(store, split.save(store))
    assert loaded.key == split.key and loaded.identity == split.identity and loaded.joint_shift
    for part, ids in split.payload().items():
        assert np.array_equal(loaded.payload()[part], ids)
    assert set(loaded.tests) == set(split.tests)
    assert np.array_equal(loaded.held_out(corpus4.num_programs), split.held_out(corpus4.num_programs))


def test_minimal_targets_stay_inside_the_support(corpus4, spaces4, naive4, texts_of_function):
    settings = support_settings(REGIONS["root"], policy="minimal inside the support", num_train=2000, reserved=0.25)
    split = support_split(corpus4, spaces4, settings)
    held_out = split.held_out(len(naive4))
    least = {}
    for ids in texts_of_function.values():
        allowed = [p for p in ids if not held_out[p]]
        least |= dict.fromkeys(ids, allowed[0] if allowed else None)
    assert split.targets.tolist() == [least[p] for p in split.train.tolist()]


def test_frames_count_and_histograms_share(splits, corpus4):
    split = splits["root"]
    table = split.frame().set_index("part")["items"]
    assert table["train"] == len(split.train) and table["forced"] == 746
    histogram = split.histogram(corpus4)
    assert histogram.groupby("part")["share"].sum().tolist() == pytest.approx([1] * 6)
    matched = histogram.set_index(["part", "leaves"])["items"]
    assert matched["matched_id"].tolist() == matched["matched_forced"].tolist()
    sizes = corpus4.leaves[split.tests["forced"]]
    assert matched["forced"].tolist() == [(sizes == n).sum() for n in range(1, 5)]


def test_every_program_has_one_part(splits, corpus4):
    split = splits["root"]
    parts = region_map(corpus4, split, np.arange(corpus4.num_programs))
    assert np.array_equal(parts == "held out", split.held_out(corpus4.num_programs))
    assert np.array_equal(np.flatnonzero(parts == "train"), np.sort(split.train))
    assert set(parts) == {"held out", "reserved", "train"}


# ---------------------------------------------------------------- isolation


def test_an_isolated_split_cannot_be_told_apart_in_the_other_space(corpus4, spaces4):
    settings = support_settings(Region(rule="cluster"), num_train=5000, reserved=0.25, isolated=True)
    split = support_split(corpus4, spaces4, settings)
    assert not split.joint_shift and len(split.train) == 5000
    assert len(split.tests["id"]) == len(split.tests["forced"]) >= 30 and "open" not in split.tests
    space = spaces4["semantic"].coordinates
    rows = [corpus4.class_index[split.targets], *(corpus4.class_rows(split.tests[p]) for p in ("id", "forced"))]
    for one, two in itertools.combinations(rows, 2):
        assert classifier_auc(space[one], space[two], one, two, seed=77).value < 0.62  # an estimate of its own
    joint = support_split(corpus4, spaces4, settings | {"isolated": False})
    rows = [corpus4.class_index[joint.targets], corpus4.class_rows(joint.tests["forced"])]
    assert classifier_auc(space[rows[0]], space[rows[1]], *rows, seed=77).value > 0.7
    assert audit(split, spaces=spaces4).passed


def test_a_split_that_cannot_be_isolated_is_refused_with_the_counts(corpus3, corpus4, spaces4):
    settings = support_settings(Region(rule="subtree", subtree="x * y"), reserved=0.1, isolated=True)
    with pytest.raises(SplitError, match=r"cannot be isolated in the semantic space: too few tasks overlap \(pool"):
        spaces3 = {"semantic": fit_semantic(corpus3)}
        support_split(corpus3, spaces3, settings)
    with pytest.raises(ConfigurationError, match="choose one space"):
        support_settings(Region(space="both"), isolated=True)
    with pytest.raises(ConfigurationError, match="regime 'random'"):
        support_split(corpus4, spaces4, support_settings(Region(), isolated=True, regime="class"))


def test_a_mask_of_another_region_is_refused(corpus4, spaces4):
    held = hold_out(Region(rule="root", root="+"), corpus4, spaces4)
    with pytest.raises(SplitError, match="not of root operator -"):
        support_split(corpus4, spaces4, support_settings(Region(rule="root", root="-")), held=held)


def test_spaces_of_another_corpus_or_name_are_refused(corpus3, spaces4, corpus4):
    with pytest.raises(ArtifactError, match="another corpus"):
        support_split(corpus3, spaces4, support_settings(Region()))
    swapped = {"syntactic": spaces4["semantic"], "semantic": spaces4["syntactic"]}
    with pytest.raises(ConfigurationError, match="is a semantic one"):
        support_split(corpus4, swapped, support_settings(Region()))


def test_texts_drawn_anew_cannot_be_isolated():
    with pytest.raises(ConfigurationError, match="an isolated split teaches the texts that it drew"):
        support_settings(REGIONS["clusters"], isolated=True, policy="random")
