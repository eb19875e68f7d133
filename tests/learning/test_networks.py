"""Networks of one's own: trained, resumed, stored and decoded like synthlab's; several processes train as one."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from learning.runs import MODEL, SHORT, run, spy
from torch import nn

from synthlab.assessment.tasks import tasks_of
from synthlab.errors import ArtifactError, ConfigurationError
from synthlab.language.grammar import POLYNOMIAL
from synthlab.learning import networks
from synthlab.learning.decoding import decode
from synthlab.learning.evaluation import evaluate_run
from synthlab.learning.model import num_parameters
from synthlab.learning.networks import Synthesizer, network_identity, register_network, switched
from synthlab.learning.run import Run, run_key
from synthlab.presets import MODELS, NETWORKS, ModelConfig, TrainingConfig, changed
from synthlab.store import Store


class Recurrent(nn.Module):
    """A GRU with dropout that knows nothing of caches."""

    def __init__(self, config, shape):
        super().__init__()
        self.grid = nn.Linear(shape.num_patches * shape.patch_features, config.width)
        self.embed = nn.Embedding(shape.vocabulary + 1, config.width)
        self.dropout = nn.Dropout(0.2)
        self.core = nn.GRU(config.width, config.width, batch_first=True)
        self.head = nn.Linear(config.width, shape.vocabulary)
        self.start_token = shape.vocabulary

    def forward(self, patches, tokens):
        before = nn.functional.pad(tokens[:, :-1], (1, 0), value=self.start_token)
        hidden = self.grid(patches.flatten(1))
        return self.head(self.core(self.dropout(self.embed(before)), hidden[None].contiguous())[0])


@pytest.fixture
def recurrent(monkeypatch):
    monkeypatch.setattr(networks, "_BUILDERS", dict(networks._BUILDERS))
    register_network("recurrent", Recurrent)
    return replace(MODEL, network="recurrent")


def test_a_network_of_ones_own_learns_and_answers(recurrent, corpus3, split3, tmp_path):
    finished = run(corpus3, split3, tmp_path, SHORT, recurrent)
    losses = finished.history[finished.history["name"] == "loss"]["value"].tolist()
    assert losses[-1] < 0.8 * losses[0]
    store = Store(tmp_path)
    store.name(finished, "mine")
    loaded = Run.load(store, "mine")
    assert evaluate_run(loaded, corpus3, split3).equals(evaluate_run(finished, corpus3, split3))
    assert repr(loaded).startswith("Run(16x1 recurrent, ")


def test_its_dropout_resumes_bitwise_too(recurrent, corpus3, split3, tmp_path, monkeypatch):
    whole = run(corpus3, split3, tmp_path / "whole", SHORT, recurrent)
    for at in (23, 14):
        with monkeypatch.context() as patch:
            spy(patch, at=at, do=lambda: signal.raise_signal(signal.SIGINT))
            part = run(corpus3, split3, tmp_path / "cut", SHORT, recurrent)
        torch.manual_seed(int(part.steps_done))  # the state of the generator must not matter
    assert part.steps_done == 37
    resumed = run(corpus3, split3, tmp_path / "cut", SHORT, recurrent)
    assert resumed.weights == whole.weights and resumed.history.equals(whole.history)


def test_every_way_of_decoding_works_without_a_cache(recurrent, corpus3, split3, tmp_path):
    model = run(corpus3, split3, tmp_path, SHORT, recurrent).model()
    tasks = tasks_of(corpus3, split3.tests["id"])
    greedy = decode(model, tasks)
    assert np.array_equal(decode(model, tasks, beam=1).prefix, greedy.prefix)
    wide = decode(model, tasks, beam=4, num_samples=2, grammatical=True)
    assert (wide.log_probability[wide.rank == 0] >= wide.log_probability[wide.rank == 1]).all()
    assert len(decode(model, tasks, num_samples=3, temperature=1.0)) == 3 * len(tasks)


def test_its_source_decides_the_key_and_another_is_refused(recurrent, corpus3, split3, tmp_path, monkeypatch):
    class Other(Recurrent):
        """Not the same."""

    finished = run(corpus3, split3, tmp_path, replace(SHORT, num_steps=2), recurrent)
    key = run_key(corpus3, split3, recurrent, SHORT)
    store = Store(tmp_path)
    store.name(finished, "mine")
    register_network("recurrent", Other)
    assert run_key(corpus3, split3, recurrent, SHORT) != key
    with pytest.raises(ArtifactError, match="the run has another network 'recurrent': restore it, or train again"):
        Run.load(store, "mine")
    assert {network_identity(ModelConfig(network=name)) for name in NETWORKS} == {""}


def test_networks_that_cannot_be_used_are_refused(recurrent, corpus3, split3, tmp_path):
    with pytest.raises(ConfigurationError, match="unknown network 'mine': choose from decoder, encoder-decoder"):
        Synthesizer(replace(MODEL, network="mine"), POLYNOMIAL, 3)
    for name in ("decoder", ""):
        with pytest.raises(ConfigurationError, match="choose another name"):
            register_network(name, Recurrent)

    class Narrow(Recurrent):
        def __init__(self, config, shape):
            super().__init__(config, replace(shape, vocabulary=shape.vocabulary - 1))
            self.embed = nn.Embedding(99, config.width)

    register_network("narrow", Narrow)
    with pytest.raises(ConfigurationError, match=re.escape("gives logits (2, 5, 7), not (2, 5, 8)")):
        run(corpus3, split3, tmp_path, SHORT, replace(MODEL, network="narrow"))
    register_network("sourceless", type("Made", (Recurrent,), {"__module__": "nowhere"}))
    with pytest.raises(ConfigurationError, match="has no source: define it in a file or in a notebook"):
        run_key(corpus3, split3, replace(MODEL, network="sourceless"), SHORT)


def test_values_that_a_builder_encloses_and_bases_of_its_classes_decide_the_key_too(recurrent, corpus3, split3):
    def made(rate, base=nn.GRU):
        class Made(Recurrent):
            """With a core of its own."""

            def __init__(self, config, shape):
                super().__init__(config, shape)
                self.core = base(config.width, config.width, batch_first=True)

        def build(config, shape):
            network = Made(config, shape)
            network.dropout.p = rate
            return network

        return build

    keys = []
    for builder in (made(0.1), made(0.1), made(0.2), made(0.1, nn.RNN)):
        register_network("recurrent", builder)
        keys.append(run_key(corpus3, split3, recurrent, SHORT))
    assert len(set(keys[2:])) == 2 and keys[0] not in keys[2:]


def test_addresses_of_what_a_builder_encloses_decide_nothing(recurrent, corpus3, split3):
    def enclosing(helper):
        def build(config, shape):
            return helper(Recurrent(config, shape))

        return build

    keys = set()
    for helper in [lambda network: network for _ in range(2)]:
        assert " at 0x" in repr(helper)
        register_network("recurrent", enclosing(helper))
        keys.add(run_key(corpus3, split3, recurrent, SHORT))
    assert len(keys) == 1


class Flawed(Recurrent):
    """One flaw at a time."""

    flaw = ""

    def __init__(self, config, shape):
        super().__init__(config, shape)
        self.register_buffer("count", torch.zeros(()), persistent=False)

    def forward(self, patches, tokens):
        if self.flaw == "peeks":
            return self.head(self.embed(tokens))
        if self.flaw == "hides":
            self.count += self.training
        if self.flaw == "draws":
            patches = patches * (1 + 0.1 * self.training * (random.random() + np.random.random()))  # noqa: NPY002
        return super().forward(patches, tokens)


@pytest.mark.parametrize(
    ("flaw", "message"),
    [("peeks", "sees the token that it is to predict: shift"), ("hides", "changes a buffer that is not persistent")],
)
def test_flaws_that_would_ruin_a_training_are_refused_before_it(
    recurrent, corpus3, split3, tmp_path, monkeypatch, flaw, message
):
    monkeypatch.setattr(Flawed, "flaw", flaw)
    register_network("flawed", Flawed)
    with pytest.raises(ConfigurationError, match=message):
        run(corpus3, split3, tmp_path, SHORT, replace(MODEL, network="flawed"))


def test_randomness_of_python_and_numpy_resumes_too(recurrent, corpus3, split3, tmp_path, monkeypatch):
    monkeypatch.setattr(Flawed, "flaw", "draws")
    register_network("flawed", Flawed)
    flawed = replace(MODEL, network="flawed")
    random.seed(3)
    expected = random.random()
    random.seed(3)
    whole = run(corpus3, split3, tmp_path / "whole", SHORT, flawed)
    assert random.random() == expected
    with monkeypatch.context() as patch:
        spy(patch, at=23, do=lambda: signal.raise_signal(signal.SIGINT))
        run(corpus3, split3, tmp_path / "cut", SHORT, flawed)
    assert run(corpus3, split3, tmp_path / "cut", SHORT, flawed).weights == whole.weights


def test_a_part_that_is_frozen_stays_so_while_others_are_switched(recurrent):
    model = Synthesizer(recurrent, POLYNOMIAL, 3).train()
    model.network.dropout.eval()
    with switched(model, training=False):
        assert not any(module.training for module in model.modules())
    assert model.network.core.training and not model.network.dropout.training


@pytest.mark.parametrize("builder", [lambda config, shape: None, lambda config, shape: nn.Identity()])
def test_a_builder_that_builds_nothing_to_train_is_refused(recurrent, builder):
    register_network("nothing", builder)
    with pytest.raises(ConfigurationError, match="the builder of network 'nothing' gives no module with weights"):
        Synthesizer(replace(MODEL, network="nothing"), POLYNOMIAL, 3)


# ---------------------------------------------------------------- configurations


def test_a_name_says_what_is_not_as_usual():
    config = ModelConfig.parse("32x2", network="encoder-decoder", notation="infix", tied=True, room=2)
    assert config.name == "32x2 encoder-decoder infix tied N+2" and ModelConfig.parse("768x12").heads == 6
    assert ModelConfig(width=64, layers=2, heads=2).name == "64x2 2 heads"
    with pytest.raises(ConfigurationError, match="width '64': use a whole number"):
        ModelConfig(width="64")
    assert ModelConfig.parse("512x8").heads == 4 and ModelConfig.parse("6x1").heads == 2


def test_fields_are_changed_by_text():
    config = changed(ModelConfig(), {"tied": "true", "notation": "postfix", "room": "2"})
    assert config == ModelConfig(tied=True, notation="postfix", room=2)
    assert changed(TrainingConfig(), {"learning_rate": "1e-3"}).learning_rate == 1e-3
    for changes, message in (
        ({"depth": "3"}, "ModelConfig has no 'depth': choose from width, layers"),
        ({"tied": "perhaps"}, "tied='perhaps': use a value like False"),
        ({"layers": "two"}, "layers='two': use a value like 3"),
        ({"encoding": "bits"}, "unknown encoding 'bits': choose from features, floats"),
        ({"notation": "polish"}, "unknown notation 'polish': choose from prefix, postfix, infix"),
        ({"room": "-1"}, "room -1"),
        ({"heads": "2.0"}, "heads='2.0': use a value like 4"),
    ):
        with pytest.raises(ConfigurationError, match=message):
            changed(ModelConfig(), changes)


def test_room_lets_answers_be_larger_and_counts_them_apart(corpus3, split3, tmp_path):
    roomy = replace(MODEL, room=2)
    finished = run(corpus3, split3, tmp_path, SHORT, roomy)
    assert finished.model().shape.max_tokens == 9 and finished.model().max_size == 5
    sampled = dict(num_samples=40, temperature=2.0)
    strict, loose = (evaluate_run(finished, corpus3, split3, extra_size=n, **sampled) for n in (0, 2))
    assert (loose["num_correct"] >= strict["num_correct"]).all()
    assert (loose["status"] == "too long").sum() < (strict["status"] == "too long").sum()
    with pytest.raises(ConfigurationError, match="the model has room for 2"):
        evaluate_run(finished, corpus3, split3, extra_size=3)


# ---------------------------------------------------------------- several processes


def train_by_command(folder, devices, *options):
    command = [
        sys.executable, "-m", "synthlab", "train", "--json", "--split", "shared", "--model", "16x1", "--steps", "60",
        "--batch-size", "33", "--learning-rate", "4e-3", "--devices", str(devices), "--name", "mine", *options,
    ]  # fmt: skip
    answer = subprocess.run(
        command, capture_output=True, text=True, cwd=Path(__file__).resolve().parents[2],
        env=os.environ | {"SYNTHLAB_STORE": str(folder), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    return answer


def test_two_processes_train_the_run_of_one(corpus3, split3, tmp_path):
    store = Store(tmp_path / "one")
    corpus3.save(store)
    store.name(split3, "shared")
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    runs = []
    for devices, name in ((1, "one"), (2, "two")):
        answer = train_by_command(tmp_path / name, devices)
        assert answer.returncode == 0, answer.stderr[-2000:]
        assert json.loads(answer.stdout)["processes"] == devices
        runs.append(Run.load(Store(tmp_path / name), "mine"))
    one, two = runs
    assert one.key == two.key and one.cost["tokens"] == two.cost["tokens"]
    losses = [r.history[r.history["name"] == "loss"] for r in runs]
    assert losses[1]["step"].tolist() == losses[0]["step"].tolist() == [1, 10, 20, 30, 40, 50, 60]
    np.testing.assert_allclose(losses[1]["value"], losses[0]["value"], rtol=2e-4)
    weights = [r.model().state_dict() for r in runs]
    for name, weight in weights[0].items():
        torch.testing.assert_close(weights[1][name], weight, atol=2e-4, rtol=1e-3)
    checks = [r.history[r.history["name"] != "loss"] for r in runs]
    pd.testing.assert_frame_equal(*[c.reset_index(drop=True) for c in checks], atol=0.03)


def test_what_several_processes_cannot_do_is_refused_before_they_start(corpus3, split3, tmp_path):
    one = replace(SHORT, batch_size=1)
    with pytest.raises(ConfigurationError, match="a batch of 1 cannot be shared by 2 processes: raise batch_size"):
        run(corpus3, split3, tmp_path, one, devices=2)
    with pytest.raises(ConfigurationError, match="several devices need processes of their own: run `python -m synth"):
        run(corpus3, split3, tmp_path, SHORT, devices=2, strategy="ddp_spawn")
    for flags in (dict(accumulate_grad_batches=2), dict(callbacks=[]), dict(max_steps=3), dict(devices=0)):
        with pytest.raises(ConfigurationError, match=r"trainer flag '.*' would change the run or stop it"):
            run(corpus3, split3, tmp_path, SHORT, **flags)
    with pytest.raises(ConfigurationError, match="precision '16-true': use '32-true' or 'bf16-mixed'"):
        run(corpus3, split3, tmp_path, SHORT, precision="16-true")


def test_half_precision_learns_as_well(corpus3, split3, tmp_path):
    full, half = (run(corpus3, split3, tmp_path / p, SHORT, precision=p) for p in ("32-true", "bf16-mixed"))
    assert half.cost["precision"] == "bf16-mixed" and half.weights != full.weights
    losses = [r.history[r.history["name"] == "loss"]["value"].iloc[-1] for r in (full, half)]
    assert losses[1] == pytest.approx(losses[0], rel=0.05)
    assert all(w.dtype == torch.float32 for w in half.model().state_dict().values())


@pytest.mark.parametrize("model", MODELS, ids=lambda m: m.name)
def test_the_ladder_of_sizes_has_the_weights_that_it_says(model):
    with torch.device("meta"):
        weights = num_parameters(Synthesizer(model, POLYNOMIAL, 5))
    assert weights == pytest.approx(12 * model.layers * model.width**2, rel=0.35)
    assert 1e5 < weights < 1.01e8


def test_the_ladder_rises_from_a_tenth_to_a_hundred_million():
    with torch.device("meta"):
        sizes = [num_parameters(Synthesizer(model, POLYNOMIAL, 5)) for model in MODELS]
    assert sizes == sorted(sizes) and round(sizes[0] / 1e6, 1) == 0.1 and round(sizes[-1] / 1e6) == 99
