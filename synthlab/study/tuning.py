"""What to train with: learning rates by width, and what encoding, notation, network and targets are worth.

Models are tuned on splits of their own seeds, which no other study uses; the reserved classes of two seeds
overlap by chance, in the share that is reserved.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from synthlab.assessment.metrics import summarize
from synthlab.presets import Preset
from synthlab.splits.regions import Region
from synthlab.study.designs import region_settings, universe_of
from synthlab.study.study import Study
from synthlab.study.trials import Trial

SPLIT_SEED = 1000
VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "encoder-decoder": {"network": "encoder-decoder"},
    "floats": {"encoding": "floats"},
    "postfix": {"notation": "postfix"},
    "infix": {"notation": "infix"},
    "tied": {"tied": True},
    "targets: minimal inside the support": {"policy": "minimal inside the support"},
    "targets: random each epoch": {"policy": "random"},
}
"""Every variant changes one field of `ModelConfig`, or the policy of the split.

An encoder-decoder has twice the layers of a decoder of its name, and other encodings have other first layers:
compare the parameters and FLOPs beside them.
"""


def learning_rate_study(preset: Preset) -> Study:
    """One short run per model size and learning rate."""
    trials = [
        Trial(
            tags={"group": "learning-rates", "width": model.width, "learning_rate": rate},
            universe=universe_of(preset),
            kind="support",
            settings=_settings(preset, 0),
            model=model,
            training=replace(preset.short, learning_rate=rate, num_checks=0),
        )
        for model in preset.tuned_models
        for rate in preset.learning_rates
    ]
    return Study(f"{preset.name}-{preset.grammar}", tuple(trials))


def variant_study(preset: Preset, names: Sequence[str] = tuple(VARIANTS)) -> Study:
    """One short run per variant and seed, equally many steps each; a seed redraws split and weights."""
    trials = []
    for seed in range(preset.variant_seeds):
        for name in names:
            changes = dict(VARIANTS[name])
            policy = changes.pop("policy", "as sampled")
            trials.append(
                Trial(
                    tags={"group": "variants", "variant": name, "seed": seed},
                    universe=universe_of(preset),
                    kind="support",
                    settings=_settings(preset, seed, policy=policy),
                    model=replace(preset.model, **changes),
                    training=replace(preset.short, seed=seed, num_checks=0),
                )
            )
    return Study(f"{preset.name}-{preset.grammar}", tuple(trials))


def _settings(preset: Preset, seed: int, **changes: Any) -> dict[str, Any]:
    return region_settings(preset, Region(**preset.regions[0]), seed=SPLIT_SEED + seed, **changes)


def tuning_table(
    results: pd.DataFrame, costs: pd.DataFrame, by: Sequence[str], levels: Sequence[str] = ()
) -> pd.DataFrame:
    """pass@1 on reserved functions beside the final training loss, size and compute.

    Returns
    -------
    pandas.DataFrame
        The columns of `by`, then pass_at_1, low, high, num_tasks, final_loss, parameters, flops; the last
        three are means over seeds. The loss is in nats per program, which is comparable across notations; it is
        missing for other target policies, whose texts have another entropy.
    """
    solved = summarize(results[results["part"] == "id"], by, levels=levels)
    costs = costs.assign(final_loss=costs["final_loss"] * costs["tokens"] / costs["samples"])
    if "variant" in by:
        other = costs["variant"].map(lambda name: "policy" in VARIANTS.get(name, {}))
        costs["final_loss"] = costs["final_loss"].mask(other)
    means = costs.groupby(list(by), sort=False)[["final_loss", "parameters", "flops"]].mean()
    return solved.merge(means.reset_index(), on=list(by))


def best_rates(table: pd.DataFrame) -> pd.DataFrame:
    """The learning rate with the least final loss of every model: model, width, learning_rate, final_loss, inside.

    `inside` says whether rates on both sides were tried and were worse.
    """
    rows = []
    for (model, width), group in table.groupby(["model", "width"], sort=False):
        best = group.iloc[int(group["final_loss"].fillna(np.inf).to_numpy().argmin())]
        rate, rates = best["learning_rate"], group["learning_rate"]
        rows.append((model, width, rate, best["final_loss"], bool(rates.min() < rate < rates.max())))
    return pd.DataFrame(rows, columns=["model", "width", "learning_rate", "final_loss", "inside"])
