"""Which trials a preset consists of: the claims first, regions of equal mass, and controls that change one thing."""

from collections import Counter
from dataclasses import asdict, replace

import numpy as np
import pytest

from synthlab.errors import ConfigurationError
from synthlab.presets import TrainingConfig, get_preset, tuned_learning_rate
from synthlab.splits.density import REGIMES
from synthlab.splits.regions import Region, hold_out
from synthlab.store import Store
from synthlab.study.designs import (
    VARIANTS,
    density_controls,
    density_trials,
    drawn_regions,
    flagship_trial,
    grammar_trials,
    scaling_trials,
    study_of,
    support_controls,
    support_trials,
    universe_of,
)
from synthlab.study.workspace import SPACES, Workspace

TOLERANCE = {"syntactic": 0.02, "semantic": 0.02, "shape": 0.1}


def small(name, **changes):
    """A preset on the 3-leaf universes, whose few trees without labels are half of the programs each."""
    preset = get_preset(name)
    further = tuple((grammar, 3) for grammar, _ in preset.further_grammars)
    return replace(preset, max_size=3, region_mass=0.5, further_grammars=further, **changes)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    return Workspace(Store(tmp_path_factory.mktemp("designs")))


@pytest.fixture(scope="module")
def paper(workspace):
    return study_of(small("paper"), workspace)


def counts(study):
    return Counter((t.tags["group"], t.tags["seed"]) for t in study.trials)


# ---------------------------------------------------------------- whole studies


@pytest.mark.parametrize(
    ("name", "changes", "density", "support", "scaling"),
    [
        ("tiny", {}, 5 + 1 + 1, 1 + 2 + 1, 4),
        ("quick", {}, 5 + 2 + 1 + 1, 1 + 2 * 2 + 2 * 1 + 1 + 3 + 2 + 2, 6),
        ("paper", {}, 5 + 4 + 2 + 4, 3 + 2 * 4 + 2 * 2 + 2 + 7 + 2 + 2, 7 * 3),
        ("cluster", {"shapes": 0}, 5 + 4 + 2 + 4, 3 + 2 * 4 + 2 * 2 + 7 + 2 + 2, 7 * 3),
    ],
)
def test_every_seed_has_as_many_trials_of_every_group(workspace, name, changes, density, support, scaling):
    preset = small(name, **changes)
    study = study_of(preset, workspace)
    each = {"density": density, "support": support, "scaling": scaling}
    assert counts(study) == {(group, seed): num for group, num in each.items() for seed in preset.seeds}
    assert preset.seeds == {"cluster": tuple(range(10)), "paper": (0, 1, 2)}.get(name, (0,)) and study.name == name
    for trial in study.trials:
        assert trial.tags["seed"] == trial.settings["seed"] == trial.training.seed and trial.training.num_checks == 0
        assert trial.tags["grammar"] == trial.universe.grammar
        assert trial.universe == universe_of(preset) or trial.tags["grammar"] == "rational"


def test_the_paper_has_the_size_that_its_claims_need(paper):
    table = paper.frame()
    base = table[(table["group"] == "support") & (table["variant"] == "base") & (table["grammar"] == "polynomial")]
    for space in ("syntactic", "semantic"):
        drawn = base[(base["space"] == space) & base["region"].str.contains("cluster")]
        assert drawn["region"].nunique() == len(drawn) >= 12
    scaling = [t for t in paper.trials if t.tags["group"] == "scaling"]
    grid = {(t.model.name, t.settings["num_train"], t.tags["seed"]) for t in scaling}
    sizes, budgets, seeds = (len({cell[k] for cell in grid}) for k in range(3))
    assert len(grid) == len(scaling) == sizes * budgets * seeds and sizes >= 7 and budgets >= 3 and seeds >= 2
    rational = table[table["grammar"] == "rational"]
    assert set(rational["space"]) == {"syntactic", "semantic"} and set(rational["seed"]) == {0, 1, 2}
    assert set(base["region"][base["space"] == "syntactic"]) >= {f"root operator {root}" for root in "+-*"}


def test_what_is_done_first_answers_the_claims(paper, workspace):
    preset, keys = small("paper"), [t.key for t in paper.trials]
    claims = [
        *density_trials(preset, 0), *support_trials(preset, workspace, 0), *scaling_trials(preset, workspace, 0),
    ]  # fmt: skip
    assert keys[: len(claims)] == [t.key for t in claims]
    assert [t.tags["group"] for t in claims] == ["density"] * 5 + ["support"] * 11 + ["scaling"] * 7
    for shorter in ({"seeds": (0,), "scaling_sizes": (None,)}, {"seeds": (0, 1), "scaling_sizes": (None,)}):
        prefix = [t.key for t in study_of(replace(preset, **shorter), workspace).trials]
        assert keys[: len(prefix)] == prefix
    seeds = [t.tags["seed"] for t in paper.trials]
    usual = len(keys) - 2 * 7 * 3  # the other budgets of all seeds come last
    assert seeds[:usual] == sorted(seeds[:usual])
    default = get_preset("paper").support_train
    assert {t.settings["num_train"] for t in paper.trials[usual:]} == {50_000, 1_000_000} and default == 200_000


def test_a_longer_list_of_seeds_keeps_the_trials_of_a_shorter_one(workspace):
    one, two = (study_of(small("quick", seeds=seeds), workspace) for seeds in ((3,), (3, 1)))
    assert [t.key for t in two.trials[: len(one.trials)]] == [t.key for t in one.trials]
    assert not {t.key for t in two.trials[len(one.trials) :]} & {t.key for t in one.trials}


def test_studies_are_the_same_in_every_process(paper, workspace):
    again = study_of(small("paper"), Workspace(workspace.store))
    assert [t.key for t in again.trials] == [t.key for t in paper.trials]


# ---------------------------------------------------------------- regions


def test_drawn_regions_are_distinct_of_equal_mass_and_named_apart(paper, workspace):
    seen = {}
    for trial in paper.trials:
        if "region" in trial.tags and "clusters" in trial.tags["region"]:
            name = (trial.universe, trial.tags["space"], trial.tags["region"])
            region = Region(**trial.settings["region"])
            assert seen.setdefault(name, region).settings() == region.settings()  # one name, one region
            assert region.space == trial.tags["space"] and name[2].startswith(region.space)
    masks = {}
    for (universe, space, name), region in seen.items():
        corpus = workspace.corpus(universe)
        inside = hold_out(region, corpus, workspace.spaces(universe, SPACES)).inside
        mass = inside.mean()
        if space == "semantic":
            mass = len(set(corpus.class_index[inside & (corpus.class_index >= 0)])) / corpus.num_classes
        assert abs(mass - 0.5) <= TOLERANCE[space] + 1e-9
        assert masks.setdefault((universe, space, np.packbits(inside).tobytes()), name) == name or space == "shape"
    kinds = Counter((universe.grammar, space) for universe, space, _ in seen)
    assert kinds == {
        ("polynomial", "syntactic"): 12, ("polynomial", "semantic"): 12, ("polynomial", "shape"): 6,
        ("rational", "syntactic"): 3, ("rational", "semantic"): 3,
    }  # fmt: skip


def test_regions_of_one_seed_differ_and_the_first_stay_the_first(workspace):
    preset = small("paper")
    for space in SPACES:
        num = preset.shapes if space == "shape" else 4
        for seed in (0, 2):
            drawn = list(drawn_regions(preset, workspace, universe_of(preset), space, seed, num))
            assert [name for name, _ in drawn] == [f"{space} clusters {seed}.{k}" for k in range(num)]
            assert len({region.held for _, region in drawn}) == num
            for fewer in range(num):
                first = drawn_regions(preset, Workspace(workspace.store), universe_of(preset), space, seed, fewer)
                assert list(first) == drawn[:fewer]
    larger = replace(preset, num_regions=6)
    more = list(drawn_regions(larger, workspace, universe_of(preset), "syntactic", 0, 6))
    assert more[:4] == list(drawn_regions(preset, workspace, universe_of(preset), "syntactic", 0, 4))


# ---------------------------------------------------------------- density


def test_density_trials_are_all_regimes_and_their_controls_change_one_thing():
    preset = replace(get_preset("paper"), seeds=(0, 3))
    trials = density_trials(preset, 3)
    assert [t.tags["regime"] for t in trials] == [t.settings["regime"] for t in trials] == list(REGIMES)
    usual = {t.tags["regime"]: t for t in trials}
    for t in trials:
        assert t.kind == "density" and t.settings["num_train"] == 50_000 and t.settings["num_cells"] == 1000
        assert (t.tags["policy"], t.tags["num_cells"]) == ("as sampled", 1000) and t.settings["policy"] == "as sampled"
        assert t.training == replace(preset.short, seed=3, num_checks=0) and t.model == preset.model
    controls, changed = density_controls(preset, 3), Counter()
    for t in controls:
        base = usual[t.tags["regime"]]
        (field,) = [name for name in base.settings if t.settings[name] != base.settings[name]]
        changed[field] += 1
        assert (t.model, t.training, t.measures) == (base.model, base.training, base.measures)
        assert t.tags.get(field, t.settings[field]) == t.settings[field]
    assert changed == {"policy": 4, "num_cells": 2, "num_train": 4}


# ---------------------------------------------------------------- support


def test_support_trials_are_the_presets_regions_and_the_drawn_ones(workspace):
    preset = small("paper")
    trials = support_trials(preset, workspace, 1)
    assert [t.tags["region"] for t in trials] == [
        *(f"root operator {root}" for root in "*+-"), *(f"syntactic clusters 1.{k}" for k in range(4)),
        *(f"semantic clusters 1.{k}" for k in range(4)),
    ]  # fmt: skip
    for t in trials:
        assert t.settings["region"]["space"] == t.tags["space"] and t.tags["variant"] == "base"
        assert (t.settings["reserved"], t.settings["num_train"]) == (preset.reserved, preset.support_train)
        assert t.measures.details and t.measures.num_samples == preset.num_samples and t.measures.extra_size == 0


def test_variants_change_what_they_say_on_a_region_of_the_base(workspace):
    preset = small("paper", variants=tuple(VARIANTS.keys() - {"base", "isolated"}))
    base = {t.tags["region"]: t for t in support_trials(preset, workspace, 0)}
    controls = support_controls(preset, workspace, 0)
    found = Counter((t.tags["space"], t.tags["variant"]) for t in controls)
    assert found == Counter(
        {("syntactic", "isolated"): 2, ("semantic", "isolated"): 2, ("shape", "base"): 2}
    ) + Counter([("syntactic", name) for name in (*preset.variants, "postfix", "room")])
    for t in (t for t in controls if t.tags["space"] != "shape"):
        usual = base[t.tags["region"]]
        changes = {
            name: value
            for one, other in ((t.settings, usual.settings), (asdict(t.model), asdict(usual.model)))
            for name, value in one.items()
            if value != other[name]
        }
        expected = {
            k: v for k, v in VARIANTS[t.tags["variant"]].items() if (usual.settings | asdict(usual.model))[k] != v
        }
        assert changes == expected != {} and t.training == usual.training
        assert t.measures.extra_size == t.model.room and t.measures.details and t.measures.num_samples == 0
    rooms = [t for t in controls if t.tags["variant"] == "room"]
    assert [t.tags["region"] for t in rooms] == ["syntactic clusters 0.0", "root operator *"] and rooms[
        0
    ].model.room == 2


def test_unknown_variants_are_refused(workspace):
    with pytest.raises(ConfigurationError, match="unknown variant 'best': choose from base, isolated, postfix"):
        support_controls(small("tiny", variants=("best",)), workspace, 0)


def test_other_grammars_have_a_region_in_either_space(workspace):
    trials = grammar_trials(small("quick"), workspace, 0)
    assert [(t.universe.grammar, t.universe.max_size, t.tags["space"]) for t in trials] == [
        ("rational", 3, "syntactic"), ("rational", 3, "semantic")
    ]  # fmt: skip
    assert grammar_trials(small("tiny"), workspace, 0) == []


# ---------------------------------------------------------------- scaling


def test_scaling_trials_are_all_sizes_on_one_region_at_tuned_rates(workspace):
    preset = small("paper", scaling=TrainingConfig(num_steps=77, learning_rate=0.5, batch_size=33))
    first = support_trials(preset, workspace, 2)[3]
    for asked in (None, 1234):
        trials = scaling_trials(preset, workspace, 2, asked)
        assert [t.model for t in trials] == list(preset.scaling_models)
        for t in trials:
            rate = tuned_learning_rate(t.model.width)
            assert t.training == replace(preset.scaling, seed=2, num_checks=0, learning_rate=rate)
            assert t.settings == first.settings | {"num_train": preset.support_train if asked is None else asked}
            assert t.tags["region"] == first.tags["region"] == "syntactic clusters 2.0"
    assert len({t.training.learning_rate for t in trials}) > 3


def test_the_flagship_is_the_longest_run_on_the_first_region():
    preset = replace(get_preset("paper"), seeds=(0, 3))
    flagship = flagship_trial(preset)
    assert flagship.model == preset.flagship_model and flagship.training == preset.flagship
    assert flagship.tags["region"] == Region(**preset.regions[0]).describe() == "root operator *"
    assert flagship.settings["seed"] == preset.flagship.seed and flagship.universe == universe_of(preset)
    assert flagship.training.num_steps >= max(preset.short.num_steps, preset.scaling.num_steps)
