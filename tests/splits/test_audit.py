"""Planted leaks of every kind must be caught and named; clean splits must pass."""

from dataclasses import replace

import numpy as np
import pytest

from synthlab.errors import ArtifactError, SplitError
from synthlab.language.grammar import POLYNOMIAL, RATIONAL, Grammar, register
from synthlab.language.operator import ADD, DIVIDE, SUBTRACT
from synthlab.spaces.semantic import fit_semantic
from synthlab.spaces.syntactic import fit_syntactic
from synthlab.splits.audit import audit, audit_corpus
from synthlab.splits.boundaries import Boundary
from synthlab.splits.density import density_settings, density_split
from synthlab.splits.regions import Region
from synthlab.splits.split import Split, learned_texts
from synthlab.splits.support import support_settings, support_split
from synthlab.universe.corpus import build_corpus

REGIMES = ("random", "dual", "class")
ROOT = Region(rule="root", root="*")
QUANTILE = Region(rule="quantile", axis=0, quantile=0.7)
SEMANTIC = Region(space="semantic", rule="quantile", axis=0, quantile=0.7)


@pytest.fixture(scope="module")
def clean(corpus4, spaces4):
    def draw(region, policy="as sampled"):
        settings = support_settings(region, num_train=5000, num_test=400, reserved=0.25, policy=policy)
        return support_split(corpus4, spaces4, settings)

    splits = {"root": draw(ROOT), "quantile": draw(QUANTILE), "outputs": draw(SEMANTIC, "minimal inside the support")}
    for regime in REGIMES:
        settings = density_settings(regime=regime, num_train=2000, num_test=100, num_cells=10, policy="minimal")
        splits[regime] = density_split(corpus4, spaces4, settings)
    return splits


def failed(split):
    """Failed checks of leaks and the number of their offenders; what else a plant breaks is in tests/faults."""
    others = ("does not teach", "without its pair")
    return {check: num for check, num, _ in audit(split).findings if num and not check.endswith(others)}


TREE, TEXT = "tested tree in training, but for the order of operands", "tested text in training"
TWIN = ("tested function in training", "tested function on hidden inputs in training", "reserved function in training")


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
    assert len(report.findings) >= (17 if clean[name].kind == "support" else 11)


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
    found = failed(leaky)
    assert found.pop(TREE, 1) == 1 and found == dict.fromkeys(TWIN, 1)
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
    assert failed(leaky) == dict.fromkeys((*TWIN, TREE, TEXT, "target computes another function"), 1)


def test_a_tested_tree_with_swapped_operands_is_caught_as_such(clean, corpus4):
    split = clean["root"]
    outside = ~split.held_out(corpus4.num_programs)
    for function in split.tests["id"].tolist():
        one = corpus4.program(function)
        twins = np.flatnonzero((corpus4.class_id[corpus4.class_index] == function) & outside)
        tokens = {t: sorted(corpus4.program(t).prefix) for t in twins.tolist() if t != function}
        for twin in (t for t, found in tokens.items() if found == sorted(one.prefix)):
            found = failed(with_training(split, twin))
            assert {check: found[check] for check in TWIN} == dict.fromkeys(TWIN, 1) and TEXT not in found
            if TREE in found:
                return
    raise AssertionError("no tested function has a text with swapped operands")


def test_a_tested_text_in_training_is_caught_as_such(clean):
    split = clean["dual"]
    leaky = with_training(split, split.tests["dual"][0])
    assert failed(leaky) == dict.fromkeys((*TWIN, TREE, TEXT), 1)


@pytest.mark.parametrize("part", ["id", "open", "matched_id"])
def test_a_tested_function_that_was_not_reserved_is_caught(clean, corpus4, part):
    split = clean["root"]
    outside = np.flatnonzero(~split.held_out(corpus4.num_programs))
    known = np.concatenate([split.reserved, corpus4.class_id[corpus4.class_index[split.train]]])
    free = np.setdiff1d(np.unique(corpus4.class_id[corpus4.class_index[outside]]), known)[0]
    leaky = replace(split, tests=split.tests | {part: np.append(split.tests[part], free)})
    assert failed(leaky).pop("test function that was not reserved") == 1


def test_functions_that_agree_on_hidden_inputs_are_caught_where_identity_cannot_see_it(corpus4, monkeypatch):
    """With a blind identity the second check still finds the twin."""
    settings = density_settings(regime="random", num_train=2000, num_test=100, num_cells=10)
    split = density_split(corpus4, {"syntactic": fit_syntactic(corpus4), "semantic": fit_semantic(corpus4)}, settings)
    function = split.tests["random"][0]
    twin = other_text(corpus4, function, np.ones(corpus4.num_programs, dtype=bool))
    leaky = with_training(split, twin)

    def blind(_grammar, prefix, _seed):
        return np.random.default_rng(len(prefix)).integers(1, 1 << 60, size=(len(prefix), 2), dtype=np.uint64)

    monkeypatch.setattr("synthlab.splits.evidence.fingerprints", blind)
    assert failed(leaky)["tested function on hidden inputs in training"] >= 1


# ---------------------------------------------------------------- with the spaces at hand


def test_spatial_regions_are_asked_again_of_freshly_embedded_texts(clean, corpus4, spaces4):
    for name in ("root", "quantile", "outputs"):
        report = audit_corpus(clean[name], corpus4, spaces4)
        assert report.passed, report.frame()
        assert len(report.findings) == len(audit(clean[name]).findings) + (name != "root")
        assert audit_corpus(clean[name], corpus4).findings == report.findings  # fitted by itself


@pytest.mark.parametrize("region", [
    Region(rule="cluster"), Region(rule="shell"), Region(rule="ball", centre="x * y"), Region(rule="hull"),
    Region(space="semantic", rule="cluster"), Region(space="both", rule="quantile"),
    Region(direction=((0, 1.0), (3, 1.0))),
], ids=lambda r: f"{r.space}-{r.rule}")  # fmt: skip
def test_every_rule_passes_its_own_audit(corpus4, spaces4, region):
    split = support_split(corpus4, spaces4, support_settings(region, num_train=3000, num_test=300, reserved=0.25))
    report = audit_corpus(split, corpus4, spaces4)
    assert report.passed, report.frame()


def test_a_mask_that_forgets_its_region_is_caught_by_the_surface(clean, corpus4, spaces4):
    split = clean["quantile"]
    mask = split.held_out(corpus4.num_programs)
    values = spaces4["syntactic"].axis(0)
    banned = np.concatenate([split.reserved, *split.tests.values()])
    allowed = mask & ~np.isin(corpus4.class_id[corpus4.class_index], banned)
    deep = int(np.flatnonzero(allowed)[np.argmax(values[allowed])])
    mask[deep] = False
    forgetful = replace(with_training(split, deep), region=np.packbits(mask))
    found = {c: n for c, n, _ in audit(forgetful, spaces=spaces4).findings if n}
    assert found["saved mask that is not the surface's"] == 1
    assert "held-out text in training" not in found


def test_a_mask_that_makes_open_functions_forced_is_caught(clean, corpus4, spaces4):
    for name, whose in (("root", "region"), ("quantile", "surface")):
        split = clean[name]
        opened = split.tests["open"][:20]
        mask = split.held_out(corpus4.num_programs) | np.isin(corpus4.class_id[corpus4.class_index], opened)
        kept = {part: np.setdiff1d(ids, opened) for part, ids in split.tests.items()}
        forged = replace(split, region=np.packbits(mask), tests=kept | {"forced": np.append(kept["forced"], opened)})
        assert {c: n for c, n, _ in audit(forged, spaces=spaces4).findings if n}[
            f"saved mask that is not the {whose}'s"
        ] >= 20


def test_a_forged_surface_does_not_help(clean, corpus4, spaces4):
    split = clean["quantile"]
    far = Boundary("quantile", split.boundaries["syntactic"].numbers | {"bound": np.array(1e9)})
    nothing = np.packbits(np.zeros(corpus4.num_programs, dtype=bool))
    forged = replace(split, region=nothing, boundaries={"syntactic": far})
    found = {c: n for c, n, _ in audit(forged, spaces=spaces4).findings if n}
    assert found["saved mask that is not the surface's"] > 100


@pytest.mark.parametrize("part", ["matched_forced", "matched_id", "open"])
def test_every_test_is_held_to_its_definition(clean, corpus4, part):
    split = clean["root"]
    unreachable = np.intersect1d(split.tests["forced"], split.reserved)[:5]
    outside = ~split.held_out(corpus4.num_programs)
    trained = corpus4.class_id[corpus4.class_index[split.train]]
    reachable = np.setdiff1d(np.unique(corpus4.class_id[corpus4.class_index[outside]]), trained)[-5:]
    wrong = reachable if part == "matched_forced" else unreachable
    found = failed(replace(split, tests=split.tests | {part: np.append(split.tests[part], wrong)}))
    side = "with" if part == "matched_forced" else "without"
    assert found[f"{part} function {side} a text outside the region"] == 5


def test_what_is_no_function_or_has_poles_is_caught():
    whole = Grammar(name="poles", variables=("x", "y"), constants=(1,), operators=(ADD, SUBTRACT, DIVIDE))
    corpus = build_corpus(register(whole), 3)
    spaces = {"syntactic": fit_syntactic(corpus), "semantic": fit_semantic(corpus)}
    split = density_split(corpus, spaces, density_settings(regime="random", num_train=60, num_test=10, num_cells=4))
    assert audit(split).passed
    nowhere = np.flatnonzero(corpus.class_index < 0)[:3]
    assert failed(with_training(split, *nowhere))["training text that is no function"] == 3
    poles = corpus.class_id[~corpus.is_task][:4]
    tested = replace(split, tests=split.tests | {"dual": np.append(split.tests["dual"], [*poles, *nowhere])})
    assert failed(tested)["test function with a pole on the grid"] >= 4
    assert failed(tested)["class id that is no function"] == 3


def test_other_spaces_than_those_of_the_split_are_refused(clean, corpus4, spaces4):
    other = spaces4 | {"syntactic": fit_syntactic(corpus4, p=1, q=2)}
    with pytest.raises(ArtifactError, match="drawn with syntactic space"):
        audit(clean["quantile"], spaces=other)
    assert audit(clean["root"], spaces=other).passed  # reads no space


def test_a_split_that_only_says_it_is_isolated_is_caught(clean, corpus4, spaces4):
    split = clean["root"]
    keys = {"semantic": spaces4["semantic"].key}
    boastful = replace(split, settings=split.settings | {"isolated": True, "spaces": keys})
    found = {c: n for c, n, _ in audit(boastful, spaces=spaces4).findings if n}
    assert [check.split(" (")[0] for check in found] == ["isolated split that the other space separates"]


# ---------------------------------------------------------------- the rest


def test_a_target_that_computes_something_else_is_caught(clean, corpus4):
    split = clean["random"]
    changed = split.targets.copy()
    other = next(t for t in split.targets if corpus4.class_index[t] != corpus4.class_index[split.train[7]])
    changed[7] = other
    report = audit(replace(split, targets=changed))
    assert failed(replace(split, targets=changed)) == {"target computes another function": 1}
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
    assert failed(forgetful) == {"held-out text in training": 1, "saved mask that is not the region's": len(inside)}


@pytest.mark.parametrize("name", ["root", "quantile"])
def test_a_forced_function_with_a_text_outside_is_caught(clean, corpus4, name):
    split = clean[name]
    outside = np.flatnonzero(~split.held_out(corpus4.num_programs))
    trained = corpus4.class_id[corpus4.class_index[np.concatenate([split.train, split.targets])]]
    reachable = np.setdiff1d(np.unique(corpus4.class_id[corpus4.class_index[outside]]), np.unique(trained))[-1]
    leaky = replace(split, tests=split.tests | {"forced": np.append(split.tests["forced"], reachable)})
    assert failed(leaky) == {"forced function with a text outside the region": 1}
    (line,) = [names for check, _, names in audit(leaky).findings if check.startswith("forced function with")]
    assert line == (corpus4.program(reachable).infix_text(),)


@pytest.mark.parametrize("name", ["root", "quantile"])
def test_an_id_function_that_cannot_be_written_outside_is_caught(clean, corpus4, name):
    split = clean[name]
    unreachable = np.intersect1d(split.tests["forced"], split.reserved)[:2]
    leaky = replace(split, tests=split.tests | {"id": np.append(split.tests["id"], unreachable)})
    assert failed(leaky) == {"id function without a text outside the region": 2}


def test_a_construct_in_training_is_found_in_the_texts_whatever_the_mask_says(corpus4, spaces4):
    for region in (Region(rule="subtree", subtree="x * y"), Region(rule="order"), Region(rule="composed")):
        split = support_split(corpus4, spaces4, support_settings(region, num_train=3000, num_test=300, reserved=0.25))
        assert audit(split).passed
        mask = split.held_out(corpus4.num_programs)
        banned = np.concatenate([split.reserved, *split.tests.values()])
        planted = np.flatnonzero(mask & ~np.isin(corpus4.class_id[corpus4.class_index], banned))[0]
        forgetful = replace(with_training(split, planted), region=np.packbits(np.zeros_like(mask)))
        assert failed(forgetful)["held-out text in training"] == 1


def test_a_region_that_shrinks_frees_forced_functions(clean, corpus4):
    split = clean["quantile"]
    mask = split.held_out(corpus4.num_programs)
    mask[other_text(corpus4, split.tests["forced"][0], mask)] = False
    found = failed(replace(split, region=np.packbits(mask)))
    assert found.pop("matched_forced function with a text outside the region", 1) == 1
    assert found == {"forced function with a text outside the region": 1}


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


def test_every_text_that_may_be_drawn_is_audited(corpus3, split3, monkeypatch):
    """A text of a trained function that slipped out of the region counts, though no item names it."""
    random = replace(split3, settings=split3.settings | {"policy": "random"})
    assert audit(random).passed
    held = random.held_out(corpus3.num_programs)
    trained = np.unique(corpus3.class_index[random.targets])
    slipped = np.flatnonzero(held & np.isin(corpus3.class_index, trained))[:1]
    assert len(slipped) and slipped[0] not in learned_texts(corpus3, random)
    open_region = held.copy()
    open_region[slipped] = False
    torn = replace(random, region=np.packbits(open_region))
    assert slipped[0] in learned_texts(corpus3, torn)
    assert not audit(torn).passed
