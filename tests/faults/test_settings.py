"""Settings out of range, of another kind, or against each other: refused before any work, naming them.

The cases are made from the fields themselves, so a new field is tried as soon as it is there.
"""

import types
import typing
from dataclasses import MISSING, fields, replace

import pytest

from synthlab.__main__ import main
from synthlab.arenas import Contests, LargerArena
from synthlab.errors import ConfigurationError, SplitError, SynthlabError
from synthlab.presets import ModelConfig, Preset, TrainingConfig, changed, get_preset
from synthlab.search.budget import Budget
from synthlab.splits.compositional import compositional_settings
from synthlab.splits.density import density_settings, density_split
from synthlab.splits.mcd import mcd_settings, mcd_split
from synthlab.splits.regions import Region
from synthlab.splits.support import support_settings, support_split
from synthlab.study.trials import Measures, Trial
from synthlab.study.workspace import Universe

FAULT = "contradictory settings"
NAN, INF = float("nan"), float("inf")
OTHER_KINDS = {
    int: ["3", 2.5, NAN, INF, True, [], {}],
    float: ["0.5", NAN, INF, -INF, True, [], {}],
    bool: ["yes", 2, 0.5, []],
    str: [3, NAN, True, [], ()],
    dict: [3, "x", []],
    tuple: [3, "word", NAN, {}, {1}],
}
CONFIGURATIONS = {
    config: config() for config in (ModelConfig, TrainingConfig, LargerArena, Contests, Region)
} | {Preset: get_preset("tiny")}  # fmt: skip
NUMBERED_BY_SPACES = {"axis", "box", "direction"}  # which refuse axes that they lack, and say which they have


def wrong_values(hint):
    """Values that cannot be of an annotated type."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return wrong_values(next(kind for kind in inner if kind is not types.NoneType))
    kind = origin or hint
    found = list(OTHER_KINDS.get(kind, [3, "x", None, {}]))
    if kind is tuple and inner[-1] is Ellipsis:
        found += [(value,) for value in wrong_values(inner[0]) if value not in (2,)]
    return found


def cases():
    for config, given in CONFIGURATIONS.items():
        hints = typing.get_type_hints(config)
        for field in fields(config):
            for value in wrong_values(hints[field.name]):
                yield config, given, field.name, value


@pytest.mark.fault(FAULT)
def test_every_field_of_every_configuration_refuses_what_is_not_of_its_kind(fired):
    accepted, unnamed, num = [], [], 0
    for config, given, name, value in cases():
        num += 1
        try:
            replace(given, **{name: value})
            accepted.append((config.__name__, name, value))
        except ConfigurationError as error:
            if name.rstrip("s") not in str(error) or "\n" in str(error):
                unnamed.append((config.__name__, name, value, str(error)))
    assert accepted == [] and unnamed == []
    assert num > 400 and all(f.default is not MISSING or f.name == "name" or f.default_factory is not MISSING
                             for config in CONFIGURATIONS for f in fields(config))  # fmt: skip
    fired(num)


@pytest.mark.fault(FAULT)
def test_every_count_refuses_to_be_negative(fired):
    """No field of a configuration counts below zero, nor does any share or rate."""
    accepted, num = [], 0
    for config, given in CONFIGURATIONS.items():
        for field in fields(config):
            hint = typing.get_type_hints(config)[field.name]
            text = str(hint)
            if ("int" not in text and "float" not in text) or "dict" in text or field.name in NUMBERED_BY_SPACES:
                continue
            value = (-1,) if typing.get_origin(hint) is tuple else -1
            if "tuple[tuple" in text or (typing.get_origin(hint) is tuple and "float" in text):
                value = (-1.0,)
            num += 1
            try:
                replace(given, **({"rule": "cluster"} if field.name == "held" else {}), **{field.name: value})
                accepted.append((config.__name__, field.name))
            except ConfigurationError:
                pass
    assert accepted == [] and num > 60
    fired(num)


CONTRADICTIONS = {
    "heads that do not divide the width": (lambda: ModelConfig(width=10, heads=4), "width .* 4 heads"),
    "no layers": (lambda: ModelConfig(layers=0), "layers 0"),
    "unknown encoding": (lambda: ModelConfig(encoding="bits"), "unknown encoding 'bits'"),
    "unknown notation": (lambda: ModelConfig(notation="polish"), "unknown notation"),
    "unknown schedule": (lambda: TrainingConfig(schedule="linear"), "unknown schedule"),
    "a warm-up of all steps": (lambda: TrainingConfig(warmup=1.0), "warmup"),
    "warm-up and decay of more than all steps": (
        lambda: TrainingConfig(schedule="wsd", warmup=0.5, decay=0.6), "decay 0.6"),
    "a batch of nothing": (lambda: TrainingConfig(batch_size=0), "batch_size 0"),
    "no steps": (lambda: TrainingConfig(num_steps=0), "num_steps 0"),
    "everything reserved": (lambda: replace(get_preset("tiny"), reserved=1.0), "reserved 1.0"),
    "an unknown regime": (lambda: replace(get_preset("tiny"), support_regime="fair"), "support_regime 'fair'"),
    "an unknown crossed regime": (lambda: replace(get_preset("tiny"), crossed_regimes=("fair",)), "crossed_regimes"),
    "an unknown measure": (lambda: replace(get_preset("tiny"), measure="tokens"), "measure 'tokens'"),
    "a seed twice": (lambda: replace(get_preset("tiny"), seeds=(0, 0)), "seeds"),
    "no seeds": (lambda: replace(get_preset("tiny"), seeds=()), "seeds"),
    "more isolated regions than regions": (lambda: replace(get_preset("tiny"), isolated=9), "isolated 9"),
    "a library as large as the tasks": (lambda: LargerArena(size=6, library=6), "library of 6"),
    "a region in no known space": (lambda: Region(space="latent"), "unknown space"),
    "a text rule of outputs": (lambda: Region(space="semantic", rule="root"), "syntactic"),
    "a box of another rule": (lambda: Region(box=((0, 0.0, 1.0),)), "box belongs to the rule"),
    "all clusters": (lambda: Region(rule="cluster", num_held=20), "20 of 20 clusters"),
    "a shell inside out": (lambda: Region(rule="shell", inner=0.9, outer=0.1), "shell from 0.9 to 0.1"),
    "a box of numbers that are none": (lambda: Region(rule="box", box=((0, NAN, 1.0),)), "box"),
    "isolated in both spaces": (lambda: support_settings(Region(space="both"), isolated=True), "both spaces"),
    "isolated by density": (lambda: support_settings(Region(), isolated=True, regime="dual"), "isolation"),
    "isolated with matched sizes": (lambda: support_settings(Region(), isolated=True, match_size=True), "isolation"),
    "isolated with any text": (lambda: support_settings(Region(), isolated=True, policy="random"), "isolated"),
    "alone without the rule": (lambda: support_settings(Region(), share_alone=0.2), "share_alone"),
    "an unknown property": (lambda: support_settings(Region(), match=("colour",)), "cannot match by 'colour'"),
    "an unknown category": (lambda: compositional_settings("haiku", None, 3), "unknown category"),
    "density without a number": (lambda: density_settings(regime="random", num_train=None), "num_train"),
    "larger answers than there is room for": (
        lambda: Trial(tags={}, universe=Universe(grammar="polynomial", max_size=3, measure="leaves"), kind="support",
                      settings={}, model=ModelConfig(room=1), training=TrainingConfig(),
                      measures=Measures(extra_size=2)), "room for 1"),
    "a budget of no number": (lambda: Budget(seconds=NAN), "seconds|budget|number"),
    "a field that does not exist": (lambda: changed(ModelConfig(), {"depth": "3"}), "no 'depth'"),
    "a value of no kind": (lambda: changed(TrainingConfig(), {"num_steps": "many"}), "num_steps='many'"),
}  # fmt: skip


@pytest.mark.fault(FAULT)
@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_what_contradicts_itself_is_refused_with_both_sides(name, fired):
    make, named = CONTRADICTIONS[name]
    with pytest.raises(ConfigurationError, match=named) as caught:
        make()
    assert "\n" not in str(caught.value)
    fired()


SETTINGS = {
    "density": lambda **given: density_settings(**({"regime": "random", "num_train": 50} | given)),
    "support": lambda **given: support_settings(Region(), **given),
    "mcd": lambda **given: mcd_settings(**given),
}
WRONG = {
    "num_train": [0, -1, 2.5, "3", True, NAN], "num_test": [0, -1, None, 2.5, "3", True], "seed": [-1, None, 0.5, "0"],
    "num_cells": [0, None, 2.5, True], "reserved": [0, 1, -0.1, 1.5, NAN, INF, "0.2", None, True],
    "policy": ["shortest", None, 3], "regime": ["fair", None], "cells": ["hexagons", None],
    "concentration": [-1.0, NAN, INF, "1", None], "match_size": ["yes", None, 1], "isolated": ["yes", None, 1],
    "share_alone": [-0.1, 1.0, NAN, "0.1"], "match": [["colour"]], "num_programs": [0, -1, 0.5, True],
    "num_starts": [0, 2.5], "num_sweeps": [0, "9"], "test_share": [0, 1, NAN], "control": ["no", None],
    "max_atom_divergence": [0, 1, NAN, "0"],
}  # fmt: skip


@pytest.mark.fault(FAULT)
@pytest.mark.parametrize("kind", SETTINGS)
def test_every_setting_of_a_split_is_checked_when_it_is_said(kind, fired):
    import inspect

    make = {"density": density_settings, "support": support_settings, "mcd": mcd_settings}[kind]
    names = [name for name in inspect.signature(make).parameters if name != "region"]
    assert set(names) <= set(WRONG), "a new setting needs wrong values here"
    num = 0
    for name in names:
        for value in WRONG[name]:
            with pytest.raises(ConfigurationError) as caught:
                SETTINGS[kind](**{name: value})
            assert name.removeprefix("num_").split("_")[0] in str(caught.value).replace("isolation", "isolated"), (
                name,
                value,
            )
            num += 1
    fired(num)


@pytest.mark.fault(FAULT)
def test_what_only_a_universe_can_refuse_is_refused_with_its_numbers(corpus3, fired):
    beyond = {
        "a space that is not there": lambda: support_split(corpus3, {}, support_settings(Region())),
        "more programs than there are": lambda: support_split(
            corpus3, {}, support_settings(Region(rule="root"), num_train=10**6)),
        "no spaces for density": lambda: density_split(corpus3, {}, density_settings(regime="dual", num_train=9)),
        "more programs of an mcd split": lambda: mcd_split(corpus3, mcd_settings(num_programs=10**6)),
        "an operator that is not there": lambda: support_split(
            corpus3, {}, support_settings(Region(rule="root", root="/"))),
        "a size beyond the bound": lambda: support_split(
            corpus3, {}, support_settings(Region(rule="size", size=3))),
    }  # fmt: skip
    for name, draw in beyond.items():
        with pytest.raises((ConfigurationError, SplitError, SynthlabError)) as caught:
            draw()
        assert "\n" not in str(caught.value) and len(str(caught.value)) > 20, name
    fired(len(beyond))


COMMANDS = [
    ("split", "--reserved", "1"), ("split", "--reserved", "nan"), ("split", "--seed", "-1"),
    ("split", "--isolated", "--regime", "dual"), ("split", "--kind", "support", "--region", "share=2"),
    ("split", "--kind", "support", "--region", "colour=red"), ("split", "--train", "0"),
    ("split", "--concentration", "-1"), ("split", "--quantile", "1.5"),
    ("enumerate", "--leaves", "0"), ("enumerate", "--leaves", "2", "--nodes", "3"),
]  # fmt: skip


@pytest.mark.fault(FAULT)
def test_the_command_line_refuses_them_before_any_work(tmp_path, monkeypatch, capsys, fired):
    monkeypatch.setenv("SYNTHLAB_STORE", str(tmp_path / "store"))
    accepted = []
    for command, *options in COMMANDS:
        small = [] if command == "enumerate" else ["--preset", "tiny", "--leaves", "2"]
        try:
            code = main([command, *small, *options, "--json"])
        except SystemExit as exit:  # argparse
            code = exit.code
        if code != 2 or not capsys.readouterr().err.strip():
            accepted.append((command, *options))
    assert accepted == []
    assert not (tmp_path / "store" / "split").exists()
    fired(len(COMMANDS))
