"""Studies are grids of trials; what is done is loaded, and a study that was cut off goes on."""

import signal
from dataclasses import replace

import pytest

from synthlab.learning import evaluation, training
from synthlab.presets import ModelConfig, TrainingConfig, get_preset
from synthlab.splits.density import REGIMES
from synthlab.splits.regions import Region
from synthlab.splits.split import Split
from synthlab.splits.support import support_settings
from synthlab.study.runs import (
    Outcomes,
    Trial,
    density_trials,
    draw_split,
    flagship_trial,
    run_study,
    run_trial,
    scaling_trials,
    support_trials,
)

SETTINGS = support_settings(Region(rule="root", root="*"), num_test=30, reserved=0.25)


def trial(seed, **settings):
    return Trial(
        tags={"region": "product", "seed": seed}, kind="support", settings=SETTINGS,
        model=ModelConfig(width=8, layers=1, heads=2),
        training=TrainingConfig(num_steps=4, batch_size=16, num_checks=0, seed=seed), **settings,
    )  # fmt: skip


@pytest.fixture
def trainings(monkeypatch):
    """Seeds of the trainings that really took place."""
    done, original = [], evaluation.train

    def counted(corpus, split, model, training, **flags):
        done.append(training.seed)
        if training.seed == 99:
            raise RuntimeError("power cut")
        return original(corpus, split, model, training, **flags)

    monkeypatch.setattr(evaluation, "train", counted)
    return done


def test_a_second_call_trains_nothing_and_gives_the_same(corpus3, store, trainings):
    trials = [trial(0), trial(1)]
    results, costs = run_study(corpus3, {}, store, trials, progress=False)
    again, costs_again = run_study(corpus3, {}, store, trials, progress=False)
    assert trainings == [0, 1]
    assert results.equals(again) and costs.equals(costs_again)
    assert results.groupby("seed", sort=False)["part"].unique().map(set).tolist() == [set(results["part"])] * 2
    assert costs["seed"].tolist() == [0, 1] and (costs["flops"] > 0).all() and costs["run"].nunique() == 2
    assert store.verify() == []


def test_a_study_that_was_cut_off_goes_on(corpus3, store, trainings):
    with pytest.raises(RuntimeError, match="power cut"):
        run_study(corpus3, {}, store, [trial(0), trial(1), trial(99)], progress=False)
    results, _ = run_study(corpus3, {}, store, [trial(0), trial(1), trial(2)], progress=False)
    assert trainings == [0, 1, 99, 2]
    assert results["seed"].unique().tolist() == [0, 1, 2]


def test_trials_that_share_a_run_train_once(corpus3, store, trainings):
    greedy, sampled = trial(0), trial(0, num_samples=3, temperature=1.0)
    results, costs = run_study(corpus3, {}, store, [greedy, sampled], progress=False)
    assert trainings == [0] and costs["run"].nunique() == 1
    assert set(results["num_samples"]) == {1, 3} and len(results) % 2 == 0


def test_results_carry_the_tags_and_cost_names_its_run_and_split(corpus3, store):
    outcome = run_trial(corpus3, {}, store, trial(3))
    table, (cost,) = outcome.frame(), outcome.cost.to_dict("records")
    assert set(table["region"]) == {"product"} and set(table["seed"]) == {3}
    split = Split.load(store, cost["split"])
    assert {p: len(t) for p, t in table.groupby("part")} == {p: len(ids) for p, ids in split.tests.items()}
    assert store.has("run", cost["run"]) and cost["samples"] == 4 * 16
    loaded = Outcomes.load(store, outcome.key)
    assert loaded.identity == outcome.identity and loaded.frame().equals(table)


def test_a_split_is_drawn_once(corpus3, store):
    one = draw_split(corpus3, {}, store, "support", SETTINGS)
    again = draw_split(corpus3, None, store, "support", SETTINGS)
    assert again.key == one.key and again.train.tolist() == one.train.tolist()
    other = draw_split(corpus3, {}, store, "support", SETTINGS | {"seed": 5})
    assert other.key != one.key and other.train.tolist() != one.train.tolist()


# ---------------------------------------------------------------- grids


@pytest.fixture
def preset():
    return replace(get_preset("paper"), seeds=(0, 3))


def test_density_trials_are_all_regimes_by_all_seeds(preset):
    trials = density_trials(preset)
    assert [(t.tags["train_regime"], t.tags["seed"]) for t in trials] == [(r, s) for s in (0, 3) for r in REGIMES]
    for t in trials:
        assert (t.kind, t.settings["regime"]) == ("density", t.tags["train_regime"])
        assert t.settings["seed"] == t.training.seed == t.tags["seed"]
        assert t.settings["num_train"] == 50_000 and t.training.num_steps == preset.short.num_steps


def test_support_trials_are_all_regions_by_all_seeds(preset):
    trials = support_trials(preset)
    assert len(trials) == 2 * len(preset.regions) == len({(t.tags["region"], t.tags["seed"]) for t in trials})
    for t in trials:
        assert t.settings["region_text"] == t.tags["region"] and t.settings["region"]["space"] == t.tags["space"]
        assert t.settings["seed"] == t.training.seed == t.tags["seed"] and t.settings["reserved"] == preset.reserved


def test_scaling_trials_are_all_sizes_by_all_seeds_on_one_region(preset):
    trials = scaling_trials(preset)
    assert len(trials) == 2 * len(preset.scaling_models)
    assert (
        {t.tags["model"] for t in trials} == {m.name for m in preset.scaling_models} == {t.model.name for t in trials}
    )
    assert len({t.settings["region_text"] for t in trials}) == 1
    assert all(t.settings["seed"] == t.training.seed == t.tags["seed"] for t in trials)


def test_the_flagship_is_the_longest_run_on_the_first_region(preset):
    flagship = flagship_trial(preset)
    assert flagship.model == preset.flagship_model and flagship.training == preset.flagship
    assert flagship.tags["region"] == Region(**preset.regions[0]).describe() == "root operator *"
    assert flagship.training.num_steps >= max(preset.short.num_steps, preset.scaling.num_steps)


def test_half_a_run_is_no_result(corpus3, store, monkeypatch):
    trials = [trial(seed) for seed in (0, 1)]
    steps = trials[0].training.num_steps
    original, seen = training.program_loss, []

    def watched(*arguments):
        seen.append(1)
        if len(seen) == 2:
            signal.raise_signal(signal.SIGINT)
        return original(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(training, "program_loss", watched)
        with pytest.raises(KeyboardInterrupt):
            run_study(corpus3, {}, store, trials, progress=False)
    assert len(seen) == 2 < steps and not list((store.root / Outcomes.stage).glob("*"))
    _, costs = run_study(corpus3, {}, store, trials, progress=False)
    assert len(set(costs["samples"])) == 1 and costs["samples"][0] % steps == 0
