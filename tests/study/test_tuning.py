"""What models are tuned with: trials that change one thing, tables by hand, and the committed measurements."""

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from synthlab.presets import LEARNING_RATES, get_preset, tuned_learning_rate
from synthlab.study.designs import flagship_trial, universe_of
from synthlab.study.tuning import (
    SPLIT_SEED,
    VARIANTS,
    best_rates,
    learning_rate_study,
    tuning_table,
    variant_study,
)

RESULTS = Path(__file__).resolve().parents[2] / "data" / "results" / "quick"


def test_rates_are_crossed_with_sizes_and_nothing_else_changes():
    preset = get_preset("quick")
    study = learning_rate_study(preset)
    assert len(study.trials) == len(preset.tuned_models) * len(preset.learning_rates)
    assert {(t.model, t.training.learning_rate) for t in study.trials} == {
        (m, r) for m in preset.tuned_models for r in preset.learning_rates
    }
    assert len({replace(t.training, learning_rate=1.0) for t in study.trials}) == 1
    assert len({str(t.settings) for t in study.trials}) == 1
    for t in study.trials:
        assert t.tags == {
            "group": "learning-rates", "width": t.model.width, "learning_rate": t.training.learning_rate
        }  # fmt: skip
        assert t.universe == universe_of(preset) and t.training.num_checks == 0
    assert study.frame()["model"].tolist() == [m.name for m in preset.tuned_models for _ in preset.learning_rates]


def test_every_variant_changes_one_thing():
    preset = replace(get_preset("quick"), variant_seeds=2)
    trials = variant_study(preset).trials
    assert len(trials) == 2 * len(VARIANTS)
    for seed in (0, 1):
        usual, *others = (t for t in trials if t.tags["seed"] == seed)
        assert usual.tags["variant"] == "default" and usual.model == preset.model
        assert usual.settings["seed"] == SPLIT_SEED + seed and usual.training.seed == seed
        for trial in others:
            fields = asdict(trial.model).items() ^ asdict(usual.model).items()
            policies = {str(trial.settings["policy"]), str(usual.settings["policy"])}
            assert len(fields) // 2 + len(policies) - 1 == 1
            assert trial.training == usual.training and trial.tags["group"] == "variants"
    some = variant_study(preset, ["tied", "default"]).trials
    assert [t.tags["variant"] for t in some] == ["tied", "default"] * 2
    assert {t.key for t in some} < {t.key for t in trials}


def test_other_grammars_and_presets_have_studies_of_their_own():
    quick = get_preset("quick")
    names = {
        study(preset).name
        for study in (learning_rate_study, variant_study)
        for preset in (quick, replace(quick, grammar="rational"), get_preset("tiny"))
    }
    assert len(names) == 3
    rational = learning_rate_study(replace(quick, grammar="rational"))
    assert not {t.key for t in rational.trials} & {t.key for t in learning_rate_study(quick).trials}


def test_models_are_tuned_on_classes_of_no_other_study():
    for name in ("tiny", "quick", "paper", "cluster"):
        preset = get_preset(name)
        seeds = {t.settings["seed"] for t in [*learning_rate_study(preset).trials, *variant_study(preset).trials]}
        assert min(seeds) >= SPLIT_SEED > max([*preset.seeds, flagship_trial(preset).settings["seed"]])


def test_tables_hold_shares_and_means_by_hand():
    results = pd.DataFrame({
        "variant": ["a"] * 4 + ["b"] * 4, "seed": [0, 0, 1, 1] * 2, "part": ["id", "forced", "id", "id"] * 2,
        "class_id": [1, 2, 1, 3] * 2, "solved": [True, False, True, False, False, True, False, False],
    })  # fmt: skip
    costs = pd.DataFrame({
        "variant": ["a", "a", "b", "b"], "seed": [0, 1, 0, 1], "final_loss": [1.0, 3.0, 5.0, 5.0],
        "parameters": [10, 10, 20, 20], "flops": [1, 1, 2, 2], "tokens": [60, 60, 80, 80], "samples": [10, 10, 20, 20],
    })  # fmt: skip
    table = tuning_table(results, costs, ("variant",), ("seed",)).set_index("variant")
    assert table["pass_at_1"].tolist() == pytest.approx([2 / 3, 0.0])
    assert table["final_loss"].tolist() == [12.0, 20.0]  # nats per program: of 6 and 4 tokens
    assert table["parameters"].tolist() == [10, 20] and table["flops"].tolist() == [1, 2]
    assert (table["low"] <= table["pass_at_1"]).all() and (table["pass_at_1"] <= table["high"]).all()


def test_the_best_rate_has_the_least_loss_and_says_whether_it_was_bracketed():
    table = pd.DataFrame({
        "model": ["s"] * 3 + ["l"] * 3, "width": [16] * 3 + [64] * 3, "learning_rate": [1e-3, 2e-3, 4e-3] * 2,
        "final_loss": [3.0, 2.0, 2.5, 1.0, 1.5, 2.0],
    })  # fmt: skip
    best = best_rates(table).set_index("model")
    assert best["learning_rate"].tolist() == [2e-3, 1e-3] and best["inside"].tolist() == [True, False]


def test_losses_of_other_targets_are_left_out_and_a_diverged_one_is_never_best():
    name = "targets: random each epoch"
    results = pd.DataFrame({"variant": ["default", name], "part": "id", "class_id": [1, 1], "solved": [True, False]})
    costs = pd.DataFrame({"variant": ["default", name], "final_loss": [1.0, 1.0], "parameters": 1, "flops": 1,
                          "tokens": 5, "samples": 1})  # fmt: skip
    losses = tuning_table(results, costs, ("variant",))["final_loss"]
    assert losses[0] == 5.0 and np.isnan(losses[1])
    table = pd.DataFrame({"model": "s", "width": 16, "learning_rate": [1e-3, 2e-3, 1.0], "final_loss": [2, 1, np.nan]})
    assert best_rates(table)["learning_rate"].tolist() == [2e-3]


def test_the_rates_in_use_are_the_committed_measurements():
    best = best_rates(pd.read_parquet(RESULTS / "learning-rates.parquet"))
    assert tuple(zip(best["width"], best["learning_rate"], strict=True)) == LEARNING_RATES


def test_a_width_between_takes_the_nearest_and_a_wider_one_less():
    for width, rate in LEARNING_RATES:
        assert tuned_learning_rate(width) == rate
    widest, rate = LEARNING_RATES[-1]
    assert tuned_learning_rate(4 * widest) == rate / 4
    assert tuned_learning_rate(1) == LEARNING_RATES[0][1]
