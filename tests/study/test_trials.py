"""One experiment as a value: what decides its results decides its key, and each of its steps is done once."""

import json
from dataclasses import asdict, fields, replace

import numpy as np
import pandas as pd
import pytest
from torch import nn

from synthlab.errors import ConfigurationError, SplitError
from synthlab.language import grammar as grammars
from synthlab.language.grammar import POLYNOMIAL, Grammar, register
from synthlab.language.operator import ADD, MULTIPLY, SUBTRACT, Operator
from synthlab.learning import evaluation, networks
from synthlab.learning.run import Run
from synthlab.presets import RUN_SCHEMA, ModelConfig, TrainingConfig
from synthlab.spaces.space import Space
from synthlab.splits.density import density_settings, training_diversity
from synthlab.splits.mcd import mcd_settings
from synthlab.splits.regions import Region
from synthlab.splits.split import Split
from synthlab.splits.support import support_settings
from synthlab.study import workspace as workspaces
from synthlab.study.trials import Measures, Outcomes, Trial, draw_split, final_loss, run_trial, spaces_read
from synthlab.study.workspace import Universe, Workspace
from synthlab.universe.corpus import Corpus

ROOT = support_settings(Region(rule="root", root="*"), num_test=30, reserved=0.25)
BASE = Trial(
    tags={"group": "support", "region": "product", "seed": 0}, universe=Universe(max_size=3), kind="support",
    settings=ROOT, model=ModelConfig(width=8, layers=1, heads=2, room=1),
    training=TrainingConfig(num_steps=4, batch_size=16, num_checks=0),
)  # fmt: skip


@pytest.fixture
def languages(monkeypatch):
    """Grammars registered here are forgotten again."""
    monkeypatch.setattr(grammars, "_REGISTRY", dict(grammars._REGISTRY))


@pytest.fixture
def trainings(monkeypatch):
    """Seeds of the trainings that really took place."""
    done, original = [], evaluation.train

    def counted(corpus, split, model, training, **flags):
        done.append(training.seed)
        return original(corpus, split, model, training, **flags)

    monkeypatch.setattr(evaluation, "train", counted)
    return done


# ---------------------------------------------------------------- identity

OTHER = {
    "universe": {"grammar": "rational", "max_size": 4, "measure": "nodes"},
    "model": {
        "width": 16, "layers": 2, "heads": 4, "network": "encoder-decoder", "encoding": "floats",
        "notation": "postfix", "tied": True, "room": 2,
    },
    "training": {
        "num_steps": 5, "batch_size": 17, "learning_rate": 1e-3, "weight_decay": 0.0, "warmup": 0.1, "schedule": "wsd",
        "decay": 0.3, "clip": 0.0, "num_checks": 1, "seed": 1,
    },
    "measures": {"num_samples": 3, "extra_size": 1, "details": True},
}  # fmt: skip
SETTINGS = {
    "region": Region(rule="root", root="+").settings(), "region_text": "root operator +", "num_train": 50,
    "num_test": 31, "regime": "class", "num_cells": 7, "reserved": 0.3, "policy": "random", "seed": 1,
    "match": ["size"], "isolated": True, "share_alone": 0.1, "cells": "grid", "concentration": 0.5, "match_size": True,
}  # fmt: skip


def variants():
    """The base trial with one thing changed, for everything that there is to change."""
    yield "the base", BASE
    for part, changes in OTHER.items():
        assert {f.name for f in fields(getattr(BASE, part))} == set(changes)  # nothing new goes untested
        for name, value in changes.items():
            yield f"{part}.{name}", replace(BASE, **{part: replace(getattr(BASE, part), **{name: value})})
    assert set(SETTINGS) == set(ROOT)
    for name, value in SETTINGS.items():
        yield f"settings.{name}", replace(BASE, settings=ROOT | {name: value})
    held = Region(rule="cluster", held=(1, 2)), Region(rule="cluster", held=(1, 3)), Region(rule="cluster", seed=9)
    for region in held:
        yield region.describe() + str(region.held), replace(BASE, settings=support_settings(region))
    density = density_settings(regime="dual", num_train=50)
    yield "kind", replace(BASE, kind="density", settings=density)
    for name in density.keys() - {"policy", "cells"}:
        value = "class" if name == "regime" else True if name == "match_size" else density[name] + 1
        yield f"density.{name}", replace(BASE, kind="density", settings=density | {name: value})
    yield "mcd", replace(BASE, kind="mcd", settings=mcd_settings(num_train=50))
    yield "mcd.seed", replace(BASE, kind="mcd", settings=mcd_settings(num_train=50, seed=1))


def test_everything_that_decides_a_result_decides_the_key():
    keys = {}
    for what, trial in variants():
        assert trial.key == trial.key and len(trial.key) == 16
        assert keys.setdefault(trial.key, what) == what
    assert len(keys) > 45


def test_tags_decide_nothing():
    assert replace(BASE, tags={"group": "scaling", "seed": 7}).key == BASE.key
    assert str(BASE) == "product, 0"


def test_the_meaning_of_a_grammar_decides_the_key_and_its_name_is_not_enough(languages):
    def trial(**changes):
        declared = dict(name="mine", variables=("x", "y"), constants=(1,), operators=(ADD, MULTIPLY)) | changes
        grammars._REGISTRY.pop("mine", None)  # as another session would register it
        register(Grammar(**declared))
        return replace(BASE, universe=Universe(grammar="mine", max_size=3)).key

    skewed = [Operator(symbol="*", arity=2, meaning=lambda a, b: a * b + 1, precedence=MULTIPLY.precedence)]
    keys = [
        trial(), trial(constants=(2,)), trial(variables=("x", "z")), trial(operators=(MULTIPLY, ADD)),
        trial(operators=(ADD, SUBTRACT)), trial(operators=(ADD, *skewed)),
        trial(grid=grammars.Grid.regular(0, 1)),
    ]  # fmt: skip
    assert len(set(keys)) == len(keys) and trial() == keys[0]


@pytest.mark.parametrize("kind", [Corpus, Space, Split, Run, Outcomes], ids=lambda kind: kind.__name__)
def test_the_version_of_every_parent_decides_the_key(kind, monkeypatch):
    before = BASE.key
    monkeypatch.setattr(kind, "schema", kind.schema + 1)
    if kind is Run:  # named where PyTorch is not needed
        assert kind.schema == RUN_SCHEMA + 1
        monkeypatch.setattr("synthlab.study.trials.RUN_SCHEMA", kind.schema)
    assert BASE.key != before


def test_settings_of_every_space_decide_the_key(monkeypatch):
    keys = {BASE.key}
    for name, (kind, settings, fit) in dict(workspaces._SPACES).items():
        changed = settings() | {"num_axes": 5}
        monkeypatch.setitem(workspaces._SPACES, name, (kind, lambda c=changed: c, fit))
        keys.add(BASE.key)
    assert len(keys) == 1 + len(workspaces.SPACES)


def test_the_source_of_a_users_network_decides_the_key(monkeypatch):
    monkeypatch.setattr(networks, "_BUILDERS", dict(networks._BUILDERS))

    class Small(nn.Module):
        def __init__(self, config, shape):
            super().__init__()
            self.core = nn.Linear(3, 3)

    class Large(Small):
        def __init__(self, config, shape):
            super().__init__(config, shape)
            self.more = nn.Linear(3, 3)

    mine, keys = replace(BASE, model=replace(BASE.model, network="mine")), []
    for builder in (Small, Large, Small):
        networks.register_network("mine", builder)
        keys.append(mine.key)
    assert keys[0] == keys[2] and len({BASE.key, *keys}) == 3


def test_the_identity_is_json_and_says_what_was_run():
    identity = json.loads(json.dumps(BASE.identity))
    assert identity["model"] == asdict(BASE.model) and identity["training"] == {
        "schema": RUN_SCHEMA,
        **asdict(BASE.training),
    }
    assert identity["split"]["settings"] == ROOT and identity["universe"]["digest"] == POLYNOMIAL.digest
    assert "tags" not in identity and "product" not in json.dumps(identity)


# ---------------------------------------------------------------- splits


def test_a_split_is_drawn_once(corpus3, store):
    one = draw_split(corpus3, {}, store, "support", ROOT)
    again = draw_split(corpus3, {}, store, "support", ROOT)
    assert again.key == one.key and again.train.tolist() == one.train.tolist()
    assert again.identity == one.identity and len(list((store.root / "split").glob("support-*"))) == 1
    other = draw_split(corpus3, {}, store, "support", ROOT | {"seed": 5})
    assert other.key != one.key and other.train.tolist() != one.train.tolist()


def test_splits_that_cannot_be_named_or_lack_a_space_are_refused(corpus3, store):
    with pytest.raises(ConfigurationError, match="unknown kind of split 'best': choose from density, support, mcd"):
        draw_split(corpus3, {}, store, "best", ROOT)
    dual = density_settings(regime="dual", num_train=50)
    assert set(spaces_read("density", dual)) == {"syntactic", "semantic"} and spaces_read("support", ROOT) == ()
    with pytest.raises(ConfigurationError, match=r"needs the .* space: add it to the spaces"):
        draw_split(corpus3, {}, store, "density", dual)
    with pytest.raises(SplitError, match="lower num_train"):
        draw_split(corpus3, {}, store, "support", ROOT | {"num_train": 10**6})
    assert not list((store.root / "split").glob("*"))


# ---------------------------------------------------------------- one trial


def test_a_trial_is_an_artifact_that_names_its_run_and_split(corpus3, store):
    outcome = run_trial(Workspace(store), BASE)
    assert outcome.key == BASE.key and store.has("outcomes", BASE.key)
    (cost,) = outcome.cost.to_dict("records")
    split = Split.load(store, cost["split"])
    drawn = {part: len(np.unique(ids)) for part, ids in split.tests.items() if len(ids)}
    assert outcome.frame().groupby("part", sort=False).size().to_dict() == drawn
    assert set(outcome.frame()["num_samples"]) == {0} and cost["num_train"] == len(split.train)
    run = Run.load(store, cost["run"])
    assert (cost["samples"], cost["flops"]) == (4 * 16, run.cost["flops"]) and cost["corpus"] == corpus3.key
    assert cost["final_loss"] == final_loss(run.history) and cost["device"] == run.cost["device"]
    loaded = Outcomes.load(store, outcome.key)
    assert loaded.frame().equals(outcome.frame()) and loaded.cost.equals(outcome.cost)
    assert loaded.identity == json.loads(json.dumps(BASE.identity)) and store.verify() == []


def test_trials_that_share_a_run_train_once_and_a_second_call_trains_nothing(store, trainings):
    workspace = Workspace(store)
    sampled = replace(BASE, measures=Measures(num_samples=3))
    greedy, also = run_trial(workspace, BASE), run_trial(workspace, sampled)
    assert trainings == [0] and greedy.cost["run"].equals(also.cost["run"])
    assert set(also.frame()["num_samples"]) == {3}
    columns = ["part", "class_id", "solved", "test_loss", "log_probability"]
    assert greedy.frame()[columns].equals(also.frame()[columns])
    again = run_trial(Workspace(store), BASE)
    assert trainings == [0] and again.frame().equals(greedy.frame())


def test_density_trials_say_how_diverse_their_training_was(store):
    settings = density_settings(regime="semantic", num_train=200, num_test=30, num_cells=5)
    workspace = Workspace(store)
    (cost,) = run_trial(workspace, replace(BASE, kind="density", settings=settings)).cost.to_dict("records")
    spaces, split = workspace.spaces(BASE.universe), Split.load(store, cost["split"])
    (diversity,) = training_diversity(workspace.corpus(BASE.universe), spaces, split).to_dict("records")
    for name in ("effective_classes", "syntactic_spread", "semantic_spread", "text_bits", "mean_leaves"):
        assert cost[name] == diversity[name] > 0
    assert 1 < cost["effective_classes"] <= len(np.unique(workspace.corpus(BASE.universe).class_index[split.train]))


def test_compound_splits_are_trials_too(store):
    settings = mcd_settings(num_train=200, num_test=40, num_programs=None)
    trial = replace(BASE, kind="mcd", settings=settings, measures=Measures(details=True))
    table = run_trial(Workspace(store), trial).frame()
    assert len(table) and {"degree", "texts", "edit_distance"} <= set(table)


def test_the_final_loss_is_that_of_the_last_tenth():
    steps = np.arange(1, 41)
    history = pd.DataFrame({"step": steps, "name": ["loss"] * 40, "value": steps.astype(float)})
    assert final_loss(history) == np.mean([37, 38, 39, 40])
    assert final_loss(history[:3]) == 3.0
    assert np.isnan(final_loss(history.assign(name="id")))
