"""Training learns, refuses leaks, repeats bitwise, and goes on exactly where it was cut off."""

import signal
import threading
from dataclasses import replace

import numpy as np
import pytest
import safetensors.torch
import torch
from learning.runs import MODEL, SHORT, checkpoints, run, spy

from synthlab.assessment.tasks import tasks_of
from synthlab.errors import ArtifactError, ConfigurationError, SplitError
from synthlab.language.grammar import PAD, POLYNOMIAL
from synthlab.learning import training as module
from synthlab.learning.batches import Place, training_data
from synthlab.learning.costs import step_flops
from synthlab.learning.decoding import decode
from synthlab.learning.evaluation import train_cached
from synthlab.learning.networks import Synthesizer
from synthlab.learning.run import Run
from synthlab.presets import ModelConfig, TrainingConfig
from synthlab.splits.regions import Region
from synthlab.splits.support import support_settings, support_split
from synthlab.store import Store
from synthlab.universe.corpus import build_corpus


@pytest.fixture(scope="module")
def uninterrupted(corpus3, split3, tmp_path_factory):
    """The reference run, and the batches that it saw."""
    with pytest.MonkeyPatch.context() as patch:
        seen = spy(patch)
        return run(corpus3, split3, tmp_path_factory.mktemp("whole"), SHORT), seen


def fail():
    raise RuntimeError("power cut")


def interrupt():
    assert threading.current_thread() is threading.main_thread()
    signal.raise_signal(signal.SIGINT)


# ---------------------------------------------------------------- learning


def test_the_loss_falls_and_the_checks_are_written_down(uninterrupted, split3):
    history = uninterrupted[0].history
    loss = history[history["name"] == "loss"].set_index("step")["value"]
    assert loss.index.tolist() == [1, 10, 20, 30, 40, 50, 60]
    assert loss[1] == pytest.approx(np.log(8), abs=0.5) and loss[60] < 0.75 * loss[1]
    checks = history[history["name"] != "loss"]
    assert set(checks["name"]) == set(split3.tests) and set(checks["step"]) == {20, 40, 60}
    assert checks["value"].between(0, 1).all()


def test_a_tiny_universe_is_learned_by_heart(tmp_path):
    corpus = build_corpus(POLYNOMIAL, 2)
    settings = support_settings(Region(rule="root", root="*"), reserved=0.2, policy="minimal inside the support")
    split = support_split(corpus, {}, settings)
    training = TrainingConfig(num_steps=160, batch_size=48, learning_rate=1e-2, num_checks=0)
    learned = run(corpus, split, tmp_path, training, ModelConfig(width=32, layers=1)).model()
    shown = tasks_of(corpus, corpus.class_id[corpus.class_index[split.train]])
    written = decode(learned, shown).prefix
    right = [np.array_equal(w, corpus.prefix[c]) for w, c in zip(written, shown.class_id, strict=True)]
    assert np.mean(right) > 0.9 and len(right) >= 20


def test_every_kind_of_weight_is_trained(uninterrupted):
    torch.manual_seed(SHORT.seed)
    before = Synthesizer(MODEL, POLYNOMIAL, 3).state_dict()
    after = safetensors.torch.load(uninterrupted[0].weights)
    assert set(before) == set(after)
    assert [n for n in before if torch.equal(before[n], after[n])] == []


# ---------------------------------------------------------------- leaks


@pytest.mark.parametrize("leak", ["tested", "held out", "target"])
def test_a_leaking_split_is_refused_before_anything_is_written(corpus3, split3, tmp_path, leak):
    twin = np.flatnonzero(corpus3.class_index == corpus3.class_rows(split3.tests["id"][:1])[0])[-1]
    held_out = np.flatnonzero(split3.held_out(corpus3.num_programs))[0]
    planted = {"tested": twin, "held out": held_out, "target": split3.train[0]}[leak]
    train_ids = np.append(split3.train, planted)
    targets = np.append(split3.targets, split3.train[1] if leak == "target" else planted)
    with pytest.raises(SplitError, match="the split leaks"):
        run(corpus3, replace(split3, train=train_ids, targets=targets), tmp_path, SHORT)
    assert list(tmp_path.iterdir()) == []


def test_a_split_of_another_universe_is_refused(corpus4, split3, tmp_path):
    with pytest.raises(ArtifactError, match="another corpus"):
        run(corpus4, split3, tmp_path, SHORT)


# ---------------------------------------------------------------- repeatable and resumable


def test_a_seeded_run_repeats_bitwise(uninterrupted, corpus3, split3, tmp_path):
    torch.manual_seed(1234)
    again = run(corpus3, split3, tmp_path, SHORT)
    whole = uninterrupted[0]
    assert again.weights == whole.weights and again.history.equals(whole.history) and again.key == whole.key
    assert run(corpus3, split3, tmp_path, replace(SHORT, num_steps=2, seed=3)).weights != whole.weights


def test_a_finished_run_is_let_go_when_it_is_saved_and_not_before(corpus3, split3, tmp_path, monkeypatch):
    store, training = Store(tmp_path), replace(SHORT, num_steps=55)
    arguments = (corpus3, split3, MODEL, training)
    with monkeypatch.context() as patch:

        def fail(self, store):
            raise ArtifactError("disk full")

        patch.setattr(Run, "save", fail)
        with pytest.raises(ArtifactError, match="disk full"):
            train_cached(*arguments, store=store, progress=False)
    assert any(p.name == "step-000000055.ckpt" for p in checkpoints(tmp_path))
    with monkeypatch.context() as patch:
        seen = spy(patch)
        again = train_cached(*arguments, store=store, progress=False)
    assert seen == [] and again.steps_done == 55 and checkpoints(tmp_path) == []
    assert again.weights == run(corpus3, split3, tmp_path / "other", training).weights


@pytest.mark.parametrize("step", [7, 50, 53, 59])
def test_interrupted_training_keeps_a_usable_run_and_goes_on_bitwise(
    uninterrupted, corpus3, split3, tmp_path, monkeypatch, step
):
    whole, expected = uninterrupted
    handler = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patch:
        first = spy(patch, at=step, do=interrupt)
        part = run(corpus3, split3, tmp_path, SHORT)
    assert signal.getsignal(signal.SIGINT) is handler
    assert part.steps_done == step == len(first) and part.key != whole.key and "interrupted" in repr(part)
    assert len(decode(part.model(), tasks_of(corpus3, split3.tests["id"]))) == 49
    with monkeypatch.context() as patch:
        second = spy(patch)
        resumed = run(corpus3, split3, tmp_path, SHORT)
    assert first + second == expected
    assert resumed.weights == whole.weights and resumed.history.equals(whole.history)
    assert resumed.steps_done == 60 and resumed.key == whole.key and resumed.finished and not part.finished


def test_three_interruptions_in_a_row_change_nothing(uninterrupted, corpus3, split3, tmp_path, monkeypatch):
    taken = []
    for _ in range(3):
        with monkeypatch.context() as patch:
            seen = spy(patch, at=13, do=interrupt)
            run(corpus3, split3, tmp_path, SHORT)
            taken += seen
    with monkeypatch.context() as patch:
        last = spy(patch)
        resumed = run(corpus3, split3, tmp_path, SHORT)
    assert taken + last == uninterrupted[1] and len(last) == 60 - 39
    assert resumed.weights == uninterrupted[0].weights and resumed.history.equals(uninterrupted[0].history)


@pytest.mark.parametrize("step", [20, 51, 60])
def test_a_crash_repeats_only_the_steps_after_the_checkpoint(
    uninterrupted, corpus3, split3, tmp_path, monkeypatch, step
):
    whole, expected = uninterrupted
    with monkeypatch.context() as patch:
        first = spy(patch, at=step, do=fail)
        with pytest.raises(RuntimeError, match="power cut"):
            run(corpus3, split3, tmp_path, SHORT)
    with monkeypatch.context() as patch:
        second = spy(patch)
        resumed = run(corpus3, split3, tmp_path, SHORT)
    saved = 50 if step > 50 else 0
    assert first == expected[:step] and second == expected[saved:]
    assert resumed.weights == whole.weights and resumed.history.equals(whole.history)


def test_two_crashes_across_epochs_change_nothing(corpus3, split3, tmp_path, monkeypatch):
    training = replace(SHORT, num_steps=110, num_checks=0)
    whole = run(corpus3, split3, tmp_path / "whole", training)
    for at in (53, 52):  # after the checkpoints of steps 50 and 100
        with monkeypatch.context() as patch:
            spy(patch, at=at, do=fail)
            with pytest.raises(RuntimeError, match="power cut"):
                run(corpus3, split3, tmp_path / "cut", training)
    with monkeypatch.context() as patch:
        assert len(spy(patch)) == 0
        seen = spy(patch)
        resumed = run(corpus3, split3, tmp_path / "cut", training)
    assert len(seen) == 10
    assert resumed.weights == whole.weights and resumed.history.equals(whole.history)


def test_settings_have_checkpoints_of_their_own(uninterrupted, corpus3, split3, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        spy(patch, at=5, do=interrupt)
        run(corpus3, split3, tmp_path, replace(SHORT, seed=8))
    assert run(corpus3, split3, tmp_path, SHORT).weights == uninterrupted[0].weights
    folders = {p.parent: p.name for p in checkpoints(tmp_path) if p.name == "step-000000005.ckpt"}
    assert len({p.parent for p in checkpoints(tmp_path)}) == 2 and len(folders) == 1


# ---------------------------------------------------------------- cost and settings


def test_the_cost_is_counted(uninterrupted, split3):
    whole = uninterrupted[0]
    assert whole.cost["parameters"] == 5632 and whole.cost["samples"] == 60 * 32
    assert whole.cost["device"].startswith("CPU") and whole.cost["torch"] == torch.__version__
    assert whole.cost["seconds"] > 0


@pytest.mark.parametrize(("width", "layers"), [(16, 1), (32, 3), (64, 2)])
def test_flops_are_six_per_weight_and_token(width, layers):
    """Weights times the positions that they work on; attention itself adds little at this length."""
    model = Synthesizer(ModelConfig(width=width, layers=layers), POLYNOMIAL, 3)
    rows, length = 6, 5
    weights = rows * 120 * width + (rows + length) * layers * 12 * width**2 + length * width * 8
    found = step_flops(model, 64)
    assert 0.5 < found / (6 * weights * 64) < 2
    assert step_flops(model, 256) == 4 * found
    assert all(p.grad is None for p in model.parameters())


def test_flops_of_a_run_are_those_of_its_steps(uninterrupted):
    step = step_flops(Synthesizer(MODEL, POLYNOMIAL, 3), 32)
    assert uninterrupted[0].cost["flops"] == 60 * step


def test_a_batch_larger_than_the_training_set_is_the_training_set(corpus3, split3, tmp_path):
    few = replace(split3, train=split3.train[:20], targets=split3.targets[:20])
    found = run(corpus3, few, tmp_path, replace(SHORT, num_steps=3, batch_size=500, num_checks=0))
    assert found.cost["samples"] == 3 * 20


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(num_steps=0), "num_steps 0: use 1 or more"),
        (dict(batch_size=0), "batch_size 0: use 1 or more"),
        (dict(learning_rate=0.0), "a positive rate"),
        (dict(learning_rate=-1e-3), "a positive rate"),
        (dict(warmup=1.0), r"a share in \[0, 1\)"),
        (dict(warmup=-0.1), r"a share in \[0, 1\)"),
        (dict(num_checks=-1), "num_checks -1: use 0 or more"),
        (dict(clip=-1.0), "clip -1.0: use 0 or more"),
        (dict(schedule="linear"), "unknown schedule 'linear': choose from cosine, wsd"),
        (dict(schedule="wsd", decay=0.0), "share of the steps"),
        (dict(schedule="wsd", decay=0.96), "share of the steps"),
        (dict(num_steps=10.5), "num_steps 10.5: use a whole number"),
    ],
)
def test_settings_that_cannot_train_are_refused(settings, message):
    with pytest.raises(ConfigurationError, match=message):
        TrainingConfig(**settings)


def test_warm_up_is_linear_and_the_decay_ends_at_zero(corpus3, split3):
    config = TrainingConfig(num_steps=200, warmup=0.1)
    model = Synthesizer(MODEL, POLYNOMIAL, 3)
    module_ = module.SynthesisModule(model, training_data(corpus3, split3, model), config)
    schedule = module_.configure_optimizers()["lr_scheduler"]["scheduler"]
    rates = [schedule.lr_lambdas[0](step) for step in range(201)]
    np.testing.assert_allclose(rates[:20], np.arange(1, 21) / 20)
    np.testing.assert_allclose(rates[20:], [(1 + np.cos(np.pi * k / 180)) / 2 for k in range(181)], atol=1e-6)


def test_a_stable_rate_decays_at_the_end_only():
    config = TrainingConfig(num_steps=200, warmup=0.1, schedule="wsd", decay=0.25)
    rates = [config.rate(step) for step in range(201)]
    np.testing.assert_allclose(rates[:20], np.arange(1, 21) / 20)
    assert set(rates[20:151]) == {1.0}
    np.testing.assert_allclose(rates[150:], np.arange(50, -1, -1) / 50)


def test_the_loss_is_the_mean_over_tokens_however_a_batch_is_shared(corpus3, split3):
    torch.manual_seed(0)
    model = Synthesizer(MODEL, POLYNOMIAL, 3)
    data = training_data(corpus3, split3, model)
    place = Place(0, 0, torch.arange(31) * 7)
    seen, text = data.batch(place)
    per_token = [
        -model(seen[k : k + 1], row[None].long())[0].log_softmax(-1)[p, row[p].long()]
        for k, row in enumerate(text) for p in range(len(row)) if row[p] != PAD
    ]  # fmt: skip
    expected = torch.stack(per_token).mean()
    loss, num_tokens = module.program_loss(model, data, place)
    torch.testing.assert_close(loss, expected)
    assert num_tokens == len(per_token)
    for processes in (2, 3, 31):
        shares = [
            module.program_loss(model, data, place, slice(p, None, processes), processes)[0] for p in range(processes)
        ]
        torch.testing.assert_close(torch.stack(shares).mean(), expected)


def test_gradients_are_clipped_to_their_norm(corpus3, split3, tmp_path, monkeypatch):
    norms, original = [], torch.optim.AdamW.step

    def watched(self, closure):
        def and_look():
            loss = closure()
            gradients = [p.grad for group in self.param_groups for p in group["params"]]
            norms.append(float(torch.stack([g.norm() for g in gradients]).norm()))
            return loss

        return original(self, and_look)

    monkeypatch.setattr(torch.optim.AdamW, "step", watched)
    few = replace(SHORT, num_steps=12, num_checks=0)
    run(corpus3, split3, tmp_path / "free", replace(few, clip=0.0))
    free, norms[:] = norms.copy(), []
    run(corpus3, split3, tmp_path / "clipped", replace(few, clip=0.1))
    assert len(free) == len(norms) == 12 and min(free) > 0.1
    assert norms == pytest.approx([0.1] * 12, rel=1e-3)


@pytest.mark.parametrize(
    ("asked", "device", "long", "backend"),
    [(None, "cpu", True, None), (None, "cuda", False, None), (None, "cuda", True, "inductor"),
     (False, "cuda", True, None), (True, "cpu", False, "inductor"), ("eager", "cpu", False, "eager")],
)  # fmt: skip
def test_long_runs_on_a_gpu_are_compiled_and_others_when_asked(
    corpus3, split3, tmp_path, monkeypatch, asked, device, long, backend
):
    model = Synthesizer(MODEL, POLYNOMIAL, 3)
    seen = []
    monkeypatch.setattr(type(model.network), "compile", lambda self, backend, dynamic: seen.append((backend, dynamic)))
    fit = module._Fit(
        tmp_path, corpus3, split3, module.SynthesisModule(model, training_data(corpus3, split3, model), SHORT)
    )
    monkeypatch.setattr(module, "_device", lambda: torch.device(device))
    monkeypatch.setattr(module, "_WORTH_COMPILING", fit.flops * SHORT.num_steps * (0.5 if long else 2))
    fit.compile(asked)
    assert seen == ([] if backend is None else [(backend, False)])


def test_the_randomness_of_a_step_is_that_of_splitmix64():
    with torch.random.fork_rng():
        module.seed_step(torch.device("cpu"), 0)
        assert torch.initial_seed() == 0xE220A8397B1DCDAF >> 1  # the first number of its sequence from 0
        seeds = set()
        for keys in [(s, step, rank) for s in (0, 1, 7) for step in range(50) for rank in (0, 1)]:
            module.seed_step(torch.device("cpu"), *keys)
            seeds.add(torch.initial_seed())
    assert len(seeds) == 300
