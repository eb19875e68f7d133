"""Planted leaks of every kind must be caught and named; clean splits must pass."""

from dataclasses import replace

import numpy as np
import pytest

from synthlab.errors import ArtifactError, SplitError
from synthlab.language.grammar import POLYNOMIAL, RATIONAL
from synthlab.splits.audit import audit, audit_corpus
from synthlab.splits.density import density_settings, density_split
from synthlab.splits.split import Split
from synthlab.splits.support import Region, support_settings, support_split

REGIMES = ("random", "dual", "class")
ROOT = Region(rule="root", root="*")
QUANTILE = Region(rule="quantile", axis=0, quantile=0.7)
SEMANTIC = Region(space="semantic", rule="quantile", axis=0, quantile=0.7)


@pytest.fixture(scope="module")
def clean(corpus4, spaces4):
    def draw(region, policy="as sampled"):
        settings = support_settings(region, num_train=5000, num_test=400, reserved=0.25, policy=policy)
        return support_split(corpus4, spaces4, settings)

    splits = {"root": draw(ROOT), "quantile": draw(QUANTILE), "outputs": draw(SEMANTIC, "minimal")}
    for regime in REGIMES:
        settings = density_settings(regime=regime, num_train=2000, num_test=100, num_cells=10, policy="minimal")
        splits[regime] = density_split(corpus4, spaces4, settings)
    return splits


def failed(split):
    """Failed checks and the number of their offenders."""
    return {check: num for check, num, _ in audit(split).findings if num}


def with_training(split, *programs):
    extra = np.array(programs, dtype=np.int64)
    return replace(split, train=np.append(split.train, extra), targets=np.append(split.targets, extra))


def other_text(corpus, function, allowed):
    """Another text of a function, among the allowed programs."""
    ids = np.flatnonzero((corpus.class_id[corpus.class_index] == function) & allowed)
    return int(ids[ids != function][-1])


@pytest.mark.parametrize("name", ["root", "quantile", "outputs", *REGIMES])
def test_clean_splits_pass(clean, corpus4, name):
    report = audit_corpus(clean[name], corpus4)
    assert report.passed
    report.require()
    assert (report.frame()["offenders"] == 0).all()
    assert len(report.findings) == (7 if clean[name].kind == "support" else 4)


def test_a_saved_split_is_audited_from_its_files(clean, store):
    for name in ("root", "dual"):
        loaded = Split.load(store, clean[name].save(store))
        assert audit(loaded).findings == audit(clean[name]).findings


@pytest.mark.parametrize("name", ["root", "quantile", *REGIMES])
def test_a_tested_function_in_training_through_another_text_is_caught(clean, corpus4, name):
    split = clean[name]
    tested = split.tests["id" if split.kind == "support" else "dual"]
    outside = ~split.held_out(corpus4.num_programs)
    function = next(f for f in tested if (corpus4.class_index[outside] == corpus4.class_index[f]).sum() > 2)
    twin = other_text(corpus4, function, outside)
    leaky = with_training(split, twin)
    assert failed(leaky) == {"tested function in training": 1, "reserved function in training": 1}
    with pytest.raises(SplitError) as caught:
        audit(leaky).require()
    assert corpus4.program(twin).infix_text() in str(caught.value)


def test_a_reserved_function_that_no_test_asks_for_is_caught(clean, corpus4):
    split = clean["random"]
    spare = np.setdiff1d(split.reserved, np.concatenate(list(split.tests.values())))
    twins = np.flatnonzero(np.isin(corpus4.class_id[corpus4.class_index], spare))
    assert failed(with_training(split, twins[-1])) == {"reserved function in training": 1}


def test_a_leak_through_targets_alone_is_caught(clean, corpus4):
    split = clean["class"]
    function = split.tests["class"][0]
    leaky = replace(split, targets=np.append(split.targets[:-1], function))
    assert failed(leaky) == {
        "tested function in training": 1,
        "reserved function in training": 1,
        "target computes another function": 1,
    }


def test_a_target_that_computes_something_else_is_caught(clean, corpus4):
    split = clean["random"]
    changed = split.targets.copy()
    other = next(t for t in split.targets if corpus4.class_index[t] != corpus4.class_index[split.train[7]])
    changed[7] = other
    report = audit(replace(split, targets=changed))
    assert [(c, n) for c, n, _ in report.findings if n] == [("target computes another function", 1)]
    assert corpus4.program(split.train[7]).infix_text() in report.frame()["examples"].tolist()


@pytest.mark.parametrize("name", ["root", "quantile", "outputs"])
def test_a_held_out_text_in_training_is_caught(clean, corpus4, name):
    split = clean[name]
    held_out = split.held_out(corpus4.num_programs)
    banned = np.concatenate([split.reserved, *split.tests.values()])
    if name == "outputs":  # every held-out text is forced there: test fewer of them
        split = replace(
            split,
            tests=split.tests | {"forced": split.tests["forced"][:5], "matched_forced": np.empty(0, dtype=np.int64)},
        )
        banned = np.concatenate([split.reserved, *split.tests.values()])
    inside = np.flatnonzero(held_out & ~np.isin(corpus4.class_id[corpus4.class_index], banned))
    assert failed(with_training(split, inside[0], inside[-1])) == {"held-out text in training": 2}


def test_a_root_region_is_recomputed_from_the_texts(clean, corpus4):
    split = clean["root"]
    inside = np.flatnonzero(corpus4.root == POLYNOMIAL.index["*"])
    allowed = ~np.isin(
        corpus4.class_id[corpus4.class_index[inside]], np.concatenate([split.reserved, *split.tests.values()])
    )
    product = inside[allowed][0]
    mask = split.held_out(corpus4.num_programs)
    mask[inside] = False
    forgetful = replace(with_training(split, product), region=np.packbits(mask))
    assert failed(forgetful) == {"held-out text in training": 1}


@pytest.mark.parametrize("name", ["root", "quantile"])
def test_a_forced_function_with_a_text_outside_is_caught(clean, corpus4, name):
    split = clean[name]
    outside = np.flatnonzero(~split.held_out(corpus4.num_programs))
    trained = corpus4.class_id[corpus4.class_index[np.concatenate([split.train, split.targets])]]
    reachable = np.setdiff1d(np.unique(corpus4.class_id[corpus4.class_index[outside]]), np.unique(trained))[-1]
    leaky = replace(split, tests=split.tests | {"forced": np.append(split.tests["forced"], reachable)})
    assert failed(leaky) == {"forced function with a text outside the region": 1}
    (line,) = [names for check, _, names in audit(leaky).findings if check.startswith("forced")]
    assert line == (corpus4.program(reachable).infix_text(),)


@pytest.mark.parametrize("name", ["root", "quantile"])
def test_an_id_function_that_cannot_be_written_outside_is_caught(clean, corpus4, name):
    split = clean[name]
    unreachable = np.intersect1d(split.tests["forced"], split.reserved)[:2]
    leaky = replace(split, tests=split.tests | {"id": np.append(split.tests["id"], unreachable)})
    assert failed(leaky) == {"ID function without a text outside the region": 2}


def test_a_region_that_shrinks_frees_forced_functions(clean, corpus4):
    split = clean["quantile"]
    mask = split.held_out(corpus4.num_programs)
    mask[other_text(corpus4, split.tests["forced"][0], mask)] = False
    assert failed(replace(split, region=np.packbits(mask))) == {"forced function with a text outside the region": 1}


@pytest.mark.parametrize(("part", "count"), [("train", 1), ("id", 1), ("train, id", 2)])
def test_empty_parts_are_named(clean, part, count):
    split, nothing = clean["root"], np.empty(0, dtype=np.int64)
    if "train" in part:
        split = replace(split, train=nothing, targets=nothing)
    if "id" in part:
        split = replace(split, tests=split.tests | {"id": nothing})
    assert failed(split) == {f"empty part {part}": count}
    with pytest.raises(SplitError, match=f"empty part {part}"):
        audit(split).require()


def test_all_leaks_are_reported_together(clean, corpus4):
    split = clean["root"]
    product = np.flatnonzero(corpus4.class_id[corpus4.class_index] == split.tests["forced"][0])[0]
    leaky = with_training(split, product)
    with pytest.raises(SplitError, match=r"tested function in training: 1 .* \| .*held-out text in training: 1"):
        audit(leaky).require()


def test_many_offenders_are_counted_and_a_few_named(clean, corpus4):
    split = clean["random"]
    leaky = with_training(split, *split.reserved[:50])
    counted = {check: (num, len(names)) for check, num, names in audit(leaky).findings}
    assert counted["reserved function in training"] == (50, 3)


def test_another_grammar_or_corpus_is_refused(clean, corpus3):
    with pytest.raises(ArtifactError, match="draw it again"):
        audit(clean["root"], RATIONAL)
    with pytest.raises(ArtifactError, match="another corpus"):
        audit_corpus(clean["root"], corpus3)
