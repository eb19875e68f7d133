"""What a study would take: exact operations, the minutes of a given rate, and a warning before memory runs out."""

import resource
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from synthlab.errors import ConfigurationError
from synthlab.language.grammar import POLYNOMIAL
from synthlab.learning import evaluation, networks
from synthlab.learning.costs import step_flops
from synthlab.learning.model import num_parameters
from synthlab.learning.networks import Synthesizer
from synthlab.presets import ModelConfig, TrainingConfig
from synthlab.study import execution, planning
from synthlab.study.planning import plan, summary, training_bytes
from synthlab.study.study import Study
from synthlab.study.trials import Trial
from synthlab.study.workspace import Universe, Workspace

MODEL = ModelConfig(width=16, layers=1)


def trial(model=MODEL, seed=0, **training):
    return Trial(
        tags={"group": "support", "seed": seed}, universe=Universe(max_size=3), kind="support", settings={},
        model=model, training=TrainingConfig(**({"num_steps": 10, "batch_size": 8, "seed": seed} | training)),
    )  # fmt: skip


@pytest.fixture
def workspace(store, monkeypatch):
    """Where nothing may be drawn, trained or measured."""

    def never(*arguments, **options):
        raise AssertionError("a plan does nothing")

    monkeypatch.setattr(evaluation, "train", never)
    monkeypatch.setattr(execution, "run_trial", never)
    monkeypatch.setattr(Workspace, "corpus", never)
    return Workspace(store)


def planned(workspace, *trials, rate=1e9):
    return plan(Study("mine", trials), workspace, flops_per_second=rate)


def test_operations_are_those_of_a_step_times_the_steps_and_grow_with_both(workspace):
    trials = [trial(), trial(num_steps=30), trial(batch_size=24), trial(ModelConfig(width=32, layers=2), seed=1)]
    table = planned(workspace, *trials)
    for row, one in zip(table.itertuples(), trials, strict=True):
        model = Synthesizer(one.model, POLYNOMIAL, 3)
        assert row.flops == step_flops(model, one.training.batch_size) * one.training.num_steps
        assert row.parameters == num_parameters(model) == sum(p.numel() for p in model.parameters())
    first, *others = table["flops"]
    assert others[:2] == [3 * first, 3 * first] and others[2] > first
    assert table["state"].tolist() == ["open"] * 4 and table["trial"].tolist() == [t.key for t in trials]
    assert not workspace.store.root.exists() or not list(workspace.store.root.rglob("*.parquet"))


def test_a_given_rate_is_used_exactly(workspace):
    for rate in (1e6, 2.5e14):
        table = planned(workspace, trial(), trial(num_steps=30), rate=rate)
        assert table["minutes"].tolist() == pytest.approx((table["flops"] / rate / 60).tolist(), rel=1e-12)


@pytest.mark.parametrize("rate", [0, -1e9, float("nan"), float("inf")])
def test_rates_that_are_none_are_refused(workspace, rate):
    with pytest.raises(ConfigurationError, match="operations a second: use a positive rate"):
        planned(workspace, trial(), rate=rate)


def test_without_a_rate_a_few_steps_are_timed_and_no_randomness_is_used_up(workspace):
    torch.manual_seed(7)
    expected = torch.rand(3).tolist()
    torch.manual_seed(7)
    table = planned(workspace, trial(), trial(num_steps=1000), trial(batch_size=800), rate=None)
    assert torch.rand(3).tolist() == expected
    short, long, large = table["minutes"]
    assert 0 < short < 1 and long == pytest.approx(100 * short) and large > short


def test_what_is_done_costs_no_more(workspace, monkeypatch):
    done, todo = trial(), trial(seed=1)
    monkeypatch.setattr(type(workspace.store), "has", lambda _, stage, key: (stage, key) == ("outcomes", done.key))
    table = planned(workspace, done, todo)
    assert table["state"].tolist() == ["done", "open"] and table["minutes"][0] == 0 < table["minutes"][1]
    assert table["flops"][0] == table["flops"][1]  # what it took stays
    text = summary(table)
    assert text.startswith("1 of 2 trials to run") and f"{table['flops'][1]:.2e} FLOPs" in text
    monkeypatch.setattr(type(workspace.store), "has", lambda *_: True)
    assert summary(planned(workspace, done, todo)).startswith("0 of 2 trials to run, 0.00e+00 FLOPs, 0 minutes")


def test_a_summary_counts_the_workers(workspace):
    table = planned(workspace, trial(), trial(seed=1), rate=planned(workspace, trial())["flops"][0] / 3600)
    assert table["minutes"].tolist() == pytest.approx([60, 60])
    assert "120 minutes of training with 1 at a time" in summary(table)
    assert "40 minutes of training with 3 at a time" in summary(table, 3)


# ---------------------------------------------------------------- memory


def needed(model=MODEL, **training):
    one = trial(model, **training)
    return training_bytes(one, num_parameters(Synthesizer(model, POLYNOMIAL, 3)))


def test_memory_grows_with_the_batch_and_with_every_size_of_the_model():
    base = needed()
    for larger in (
        needed(batch_size=16), needed(replace(MODEL, width=32)), needed(replace(MODEL, layers=2)),
        needed(replace(MODEL, heads=8)), needed(replace(MODEL, network="encoder-decoder")),
        needed(replace(MODEL, room=3)),
    ):  # fmt: skip
        assert larger > base
    assert needed(num_steps=10_000) == base
    grows = [needed(batch_size=size) for size in (100, 200, 300)]
    assert grows[2] - grows[1] == pytest.approx(grows[1] - grows[0], abs=2)


def test_memory_is_that_of_the_weights_and_of_the_published_formula():
    """Korthikanti et al. (2023): s b h (34 + 5 a s / h) bytes a layer in 16 bits; a CPU has 32."""
    num, batch = num_parameters(Synthesizer(MODEL, POLYNOMIAL, 3)), 1000
    rows, tokens, vocabulary = 6, 5, 8  # patches are rows of the grid
    length = rows + tokens
    layer = 2 * length * batch * 16 * (34 + 5 * 4 * length / 16)
    expected = 16 * num + layer + 2 * 4 * batch * tokens * vocabulary
    assert needed(batch_size=batch) == pytest.approx(expected, rel=1e-6)


def test_what_does_not_fit_is_flagged_with_the_mend(workspace):
    greedy = trial(seed=1, batch_size=10**9)
    table = planned(workspace, trial(), greedy)
    assert table["fits"].tolist() == [True, False] and table["memory_mb"][1] > 1e6
    text = summary(table)
    assert text.endswith("; 1 would not fit this device (16x1): lower batch_size or width") and "\n" not in text
    shown = table.astype(object).where(table.notna(), None)  # as the command line prints it
    assert summary(shown) == text


def test_a_model_that_is_larger_than_the_memory_is_counted_and_not_made(workspace):
    absurd = ModelConfig(width=1 << 15, layers=24, heads=32)  # 310 billion weights
    resident = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (resident + (2 << 30), before[1]))  # so that a failure harms nobody else
    try:
        table = planned(workspace, trial(), trial(absurd, seed=1), rate=None)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
    assert table["fits"].tolist() == [True, False]
    assert table["parameters"][1] > 12 * 24 * (1 << 30) and table["memory_mb"][1] > 16e-6 * table["parameters"][1]
    assert table["flops"][1] > 1e3 * table["flops"][0] and table["minutes"].isna().tolist() == [False, True]
    assert "1 would not fit this device (32768x24 32 heads): lower batch_size or width" in summary(table)


def test_networks_of_ones_own_are_planned_at_their_own_size(workspace, monkeypatch):
    class Wide(nn.Module):
        def __init__(self, config, shape):
            super().__init__()
            if config.width < 32:
                raise ValueError("too narrow for this network")
            self.embed = nn.Embedding(shape.vocabulary + 1, config.width)
            self.head = nn.Linear(config.width, shape.vocabulary)
            self.start_token = shape.vocabulary

        def forward(self, patches, tokens):
            before = nn.functional.pad(tokens[:, :-1], (1, 0), value=self.start_token)
            return self.head(self.embed(before))

    monkeypatch.setattr(networks, "_BUILDERS", dict(networks._BUILDERS))
    networks.register_network("wide", Wide)
    table = planned(workspace, trial(ModelConfig(width=32, layers=1, network="wide")))
    assert table["fits"].tolist() == [True] and table["parameters"].tolist() == [9 * 32 + 33 * 8]


def test_memory_of_a_gpu_is_asked_of_the_gpu(workspace, monkeypatch):
    monkeypatch.setattr(planning, "_free_bytes", lambda: 10**6)
    assert not planned(workspace, trial(batch_size=512))["fits"].any()
    one = training_bytes(trial(batch_size=10**6), 0)
    monkeypatch.setattr(planning, "_on_gpu", lambda: True)
    assert 0.5 < training_bytes(trial(batch_size=10**6), 0) / one < 0.7  # 16 bits, but for the logits
