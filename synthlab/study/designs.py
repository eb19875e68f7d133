"""The trials of a preset, in order of importance: what is done at any time answers the first questions first.

A seed redraws everything: reserved functions, training programs, weights, and the regions that are held out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace
from typing import Any

from synthlab.errors import ConfigurationError
from synthlab.presets import ModelConfig, Preset, TrainingConfig, tuned_learning_rate
from synthlab.spaces.space import SEMANTIC, SYNTACTIC
from synthlab.splits.boundaries import num_places
from synthlab.splits.comparable import regions
from synthlab.splits.density import REGIMES, density_settings
from synthlab.splits.regions import SHAPE, Region
from synthlab.splits.support import support_settings
from synthlab.study.study import Study
from synthlab.study.trials import Measures, Trial
from synthlab.study.workspace import Universe, Workspace

BASE = "base"
DENSITY, SUPPORT, SCALING = "density", "support", "scaling"
VARIANTS: dict[str, dict[str, Any]] = {
    BASE: {},
    "isolated": {"isolated": True, "regime": "random", "num_train": None},
    "postfix": {"notation": "postfix"},
    "infix": {"notation": "infix"},
    "room": {"room": 2},
    "floats": {"encoding": "floats"},
    "encoder-decoder": {"network": "encoder-decoder"},
    "tied": {"tied": True},
    "minimal inside the support": {"policy": "minimal inside the support"},
    "random": {"policy": "random"},
}
"""What a variant changes, of `ModelConfig` or of `support_settings`. Answers of ``room`` may have two more leaves."""
_MODEL_FIELDS = {field.name for field in fields(ModelConfig)}
_TOLERANCE = 0.02
_SHAPE_TOLERANCE = 0.1  # trees without labels stand at few places, each of much mass


def study_of(preset: Preset, workspace: Workspace) -> Study:
    """All trials of a preset.

    The first seed answers the paper's claims, then come its controls and other grammars; then the other seeds alike,
    and last the further sizes of the scaling grid.
    """
    trials: list[Trial] = []
    for seed in preset.seeds:
        trials += [
            *density_trials(preset, seed), *support_trials(preset, workspace, seed),
            *scaling_trials(preset, workspace, seed), *density_controls(preset, seed),
            *support_controls(preset, workspace, seed), *grammar_trials(preset, workspace, seed),
        ]  # fmt: skip
    for seed in preset.seeds:
        for size in preset.scaling_sizes[1:]:
            trials += scaling_trials(preset, workspace, seed, size)
    return Study(preset.name, tuple(trials))


def universe_of(preset: Preset) -> Universe:
    """The universe of a preset."""
    return Universe(grammar=preset.grammar, max_size=preset.max_size, measure=preset.measure)


# ---------------------------------------------------------------- density


def density_trials(preset: Preset, seed: int) -> list[Trial]:
    """One trial per training regime; its parts are the test regimes."""
    return [_density(preset, seed, regime) for regime in REGIMES]


def density_controls(preset: Preset, seed: int) -> list[Trial]:
    """Minimal targets, other numbers of cells, and more programs drawn at random."""
    return [
        *(_density(preset, seed, regime, policy="minimal") for regime in preset.crossed_regimes),
        *(_density(preset, seed, "dual", num_cells=num) for num in preset.cell_counts),
        *(_density(preset, seed, "random", num_train=num) for num in preset.random_sizes),
    ]


def _density(
    preset: Preset, seed: int, regime: str, *, policy: str = "as sampled", num_cells: int | None = None,
    num_train: int | None = None,
) -> Trial:  # fmt: skip
    cells, programs = num_cells or preset.num_cells, num_train or preset.density_train
    settings = density_settings(
        regime=regime, num_train=programs, num_test=preset.num_test, num_cells=cells, policy=policy, seed=seed
    )
    tags = {
        "group": DENSITY, "grammar": preset.grammar, "seed": seed, "regime": regime, "policy": policy,
        "num_cells": cells,
    }  # fmt: skip
    return Trial(
        tags=tags, universe=universe_of(preset), kind="density", settings=settings, model=preset.model,
        training=_training(preset, seed),
    )  # fmt: skip


def _training(preset: Preset, seed: int) -> TrainingConfig:
    """The short training without looks on the way: outcomes are measured at the end."""
    return replace(preset.short, seed=seed, num_checks=0)


# ---------------------------------------------------------------- support


def region_settings(preset: Preset, region: Region, **settings: Any) -> dict[str, Any]:
    """Settings of a support split around a region, with the preset's shares unless given."""
    fixed: dict[str, Any] = dict(
        num_test=preset.num_test, num_cells=preset.num_cells, reserved=preset.reserved,
        regime=preset.support_regime, num_train=preset.support_train,
    )  # fmt: skip
    return support_settings(region, **(fixed | settings))


def support_trials(preset: Preset, workspace: Workspace, seed: int) -> list[Trial]:
    """One trial per held-out region: the preset's own, and those of equal mass that the seed draws in either space."""
    universe = universe_of(preset)
    fixed = [Region(**settings) for settings in preset.regions]
    named = [(region.describe(), region) for region in fixed]
    for space in (SYNTACTIC, SEMANTIC):
        named += drawn_regions(preset, workspace, universe, space, seed, preset.num_regions)
    return [_support(preset, universe, name, region, seed) for name, region in named]


def root_trial(preset: Preset, seed: int, variant: str = BASE) -> Trial:
    """The support trial of the preset's first region, or a variant of it."""
    region = Region(**preset.regions[0])
    return _support(preset, universe_of(preset), region.describe(), region, seed, variant)


def support_controls(preset: Preset, workspace: Workspace, seed: int) -> list[Trial]:
    """Isolated splits, regions of trees without labels, and variants of model and targets."""
    universe = universe_of(preset)
    trials = []
    for space in (SYNTACTIC, SEMANTIC):
        for name, region in drawn_regions(preset, workspace, universe, space, seed, preset.isolated):
            trials.append(_support(preset, universe, name, region, seed, "isolated"))
    for name, region in drawn_regions(preset, workspace, universe, SHAPE, seed, preset.shapes):
        trials.append(_support(preset, universe, name, region, seed))
    for variant in preset.variants:
        (chosen,) = drawn_regions(preset, workspace, universe, SYNTACTIC, seed, 1)
        trials.append(_support(preset, universe, *chosen, seed, variant))
    return trials + [root_trial(preset, seed, variant) for variant in preset.root_variants]


def grammar_trials(preset: Preset, workspace: Workspace, seed: int) -> list[Trial]:
    """One region per space in every further grammar."""
    trials = []
    for grammar, max_size in preset.further_grammars:
        universe = Universe(grammar=grammar, max_size=max_size)
        for space in (SYNTACTIC, SEMANTIC):
            for name, region in drawn_regions(preset, workspace, universe, space, seed, 1):
                trials.append(_support(preset, universe, name, region, seed))
    return trials


def drawn_regions(
    preset: Preset, workspace: Workspace, universe: Universe, space: str, seed: int, num: int
) -> Iterator[tuple[str, Region]]:
    """The first regions of equal mass that a seed draws in a space, with names that tell draws apart."""
    if not num:
        return
    key = (universe, space, seed, preset.region_mass, preset.region_clusters)
    if len(workspace.drawn.get(key, ())) < num:
        most = max(num, preset.num_regions)
        workspace.drawn[key] = _draw_regions(preset, workspace, universe, space, seed, most)
    drawn = workspace.drawn[key][:num]
    for number, region in enumerate(drawn):
        yield f"{space} clusters {seed}.{number}", region


def _draw_regions(
    preset: Preset, workspace: Workspace, universe: Universe, space: str, seed: int, num: int
) -> list[Region]:
    corpus, spaces = workspace.corpus(universe), workspace.spaces(universe, (space,))
    num_clusters, tolerance = preset.region_clusters, _TOLERANCE
    if space == SHAPE:
        num, tolerance = max(1, preset.shapes), _SHAPE_TOLERANCE
        num_clusters = min(num_clusters, num_places(spaces[space], seed))
    return regions(
        corpus, spaces, space, preset.region_mass, num, num_clusters=num_clusters, tolerance=tolerance, seed=seed
    )


def _support(
    preset: Preset, universe: Universe, name: str, region: Region, seed: int, variant: str = BASE
) -> Trial:  # fmt: skip
    if variant not in VARIANTS:
        raise ConfigurationError(f"unknown variant {variant!r}: choose from {', '.join(VARIANTS)}")
    changes = VARIANTS[variant]
    of_model = {k: v for k, v in changes.items() if k in _MODEL_FIELDS}
    of_split = {k: v for k, v in changes.items() if k not in _MODEL_FIELDS}
    model = replace(preset.model, **of_model)
    samples = preset.num_samples if variant == BASE else 0
    return Trial(
        tags={
            "group": SUPPORT, "grammar": universe.grammar, "seed": seed, "space": region.space, "region": name,
            "variant": variant,
        },
        universe=universe, kind="support", settings=region_settings(preset, region, seed=seed, **of_split),
        model=model, training=_training(preset, seed),
        measures=Measures(num_samples=samples, extra_size=model.room, details=True),
    )  # fmt: skip


def flagship_trial(preset: Preset) -> Trial:
    """The preset's longest run, on its first region."""
    region, seed = Region(**preset.regions[0]), preset.flagship.seed
    return Trial(
        tags={"group": "flagship", "region": region.describe(), "space": region.space, "seed": seed},
        universe=universe_of(preset), kind="support", settings=region_settings(preset, region, seed=seed),
        model=preset.flagship_model, training=preset.flagship,
    )  # fmt: skip


# ---------------------------------------------------------------- scaling


def scaling_trials(
    preset: Preset, workspace: Workspace, seed: int, num_train: int | None = None
) -> list[Trial]:  # fmt: skip
    """One trial per model size, on the first syntactic region that the seed draws, at the rate of its width."""
    universe = universe_of(preset)
    chosen = list(drawn_regions(preset, workspace, universe, SYNTACTIC, seed, 1))
    return [_scaling(preset, universe, *chosen[0], seed, model, num_train) for model in preset.scaling_models]


def _scaling(
    preset: Preset, universe: Universe, name: str, region: Region, seed: int, model: ModelConfig, num_train: int | None
) -> Trial:
    asked = {} if num_train is None else {"num_train": num_train}
    rate = tuned_learning_rate(model.width)
    return Trial(
        tags={"group": SCALING, "grammar": universe.grammar, "seed": seed, "space": region.space, "region": name},
        universe=universe, kind="support", settings=region_settings(preset, region, seed=seed, **asked), model=model,
        training=replace(preset.scaling, seed=seed, learning_rate=rate, num_checks=0),
    )  # fmt: skip
