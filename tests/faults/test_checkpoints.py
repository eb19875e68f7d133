"""Checkpoints of other runs, of compiled networks, on disks that fail, and of losses that are no numbers."""

import json
import shutil
import subprocess
from dataclasses import replace

import pytest
import torch
from faults import deeds
from learning.runs import checkpoints, spy

from synthlab.errors import ArtifactError, ConfigurationError
from synthlab.language.grammar import RATIONAL
from synthlab.learning import checkpoints as module
from synthlab.learning import training
from synthlab.learning.evaluation import train_cached
from synthlab.learning.run import Run
from synthlab.presets import ModelConfig
from synthlab.splits.regions import Region
from synthlab.splits.support import support_settings, support_split
from synthlab.store import Store
from synthlab.universe.corpus import build_corpus

EVERY = 5


@pytest.fixture(autouse=True)
def often(monkeypatch):
    """A checkpoint every five steps."""
    original = training.Keeper.__init__
    monkeypatch.setattr(training.Keeper, "__init__", lambda self, folder, _: original(self, folder, EVERY))


@pytest.fixture(scope="module")
def whole(corpus3, split3, tmp_path_factory):
    """The run that was never disturbed."""
    return run(corpus3, split3, tmp_path_factory.mktemp("whole"))


def run(corpus, split, folder, training_config=deeds.SHORT, model=deeds.MODEL, **options):
    return training.train(corpus, split, model, training_config, store=Store(folder), progress=False, **options)


def kept(folder):
    return sorted(p for p in checkpoints(folder) if p.suffix == ".ckpt")


def cut_off(corpus, split, folder, step=12, **options):
    """Fail before a step; the checkpoints that are left."""

    def fail():
        raise RuntimeError("power cut")

    with pytest.MonkeyPatch.context() as patch:
        spy(patch, at=step, do=fail)
        with pytest.raises(RuntimeError, match="power cut"):
            run(corpus, split, folder, **options)
    return kept(folder)


def same(one, other):
    assert one.weights == other.weights and one.history.equals(other.history) and one.answers.equals(other.answers)
    assert one.key == other.key and one.cost["tokens"] == other.cost["tokens"]


# ---------------------------------------------------------------- of another run


def others(corpus3, split3):
    """Runs that differ from the usual one in one thing, by that thing."""
    rational = build_corpus(RATIONAL, 2)
    smaller = build_corpus(corpus3.grammar, 2)
    region = support_settings(Region(rule="root", root="+"), reserved=0.25, num_test=60)
    few = support_settings(Region(rule="root", root="*"), reserved=0.25, num_test=4)
    usual = (deeds.SHORT, deeds.MODEL)
    return {
        "another grammar": (rational, support_split(rational, {}, few), *usual),
        "another bound": (smaller, support_split(smaller, {}, few), *usual),
        "another split": (corpus3, support_split(corpus3, {}, region), *usual),
        "another model": (corpus3, split3, deeds.SHORT, ModelConfig(width=8, layers=2, heads=2)),
        "another rate": (corpus3, split3, replace(deeds.SHORT, learning_rate=1e-3), deeds.MODEL),
        "another seed": (corpus3, split3, replace(deeds.SHORT, seed=1), deeds.MODEL),
    }


@pytest.mark.fault("a checkpoint of another grammar, corpus or run")
def test_a_checkpoint_of_another_run_is_refused_before_the_first_step_with_both_values(
    corpus3, split3, tmp_path, monkeypatch, fired
):
    path = cut_off(corpus3, split3, tmp_path / "mine")[-1]
    mine = json.loads(path.read_bytes().split(b"\n", 2)[1])["identity"]
    seen = spy(monkeypatch)
    found = others(corpus3, split3)
    for what, (corpus, split, config, model) in found.items():
        described = json.loads(json.dumps(Run.describe(corpus.identity, split.key, model, config)))
        folder = training.run_folder(corpus, split, model, config, Store(tmp_path / what))
        folder.mkdir(parents=True)
        shutil.copy(path, folder)
        with pytest.raises(ArtifactError, match=r"belongs to another run \(.*\): move it away$") as refused:
            run(corpus, split, tmp_path / what, config, model)
        differing = [name for name in described if described[name] != mine[name]]
        assert differing and all(
            f"{name} {mine[name]} instead of {described[name]}" in str(refused.value) for name in differing
        )
        assert seen == [] and (folder / path.name).read_bytes() == path.read_bytes()  # it is somebody's, and stays
    fired(len(found))


@pytest.mark.fault("a checkpoint of another grammar, corpus or run")
@pytest.mark.parametrize("name", ["corpus", "split", "model", "training", "steps"])
def test_a_header_that_is_passed_off_as_another_is_still_compared_in_every_part(corpus3, split3, tmp_path, fired, name):
    path = cut_off(corpus3, split3, tmp_path)[-1]
    about = json.loads(path.read_bytes().split(b"\n", 2)[1])["identity"]
    for identity in (about | {name: "other"}, {k: v for k, v in about.items() if k != name}, about | {"more": 1}):
        with pytest.raises(ArtifactError, match="belongs to another run"):
            module.newest(path.parent, identity)
    assert module.newest(path.parent, about) == path
    fired(3)


# ---------------------------------------------------------------- compiled and plain


@pytest.mark.fault("compiled and plain checkpoints")
@pytest.mark.parametrize("order", [("eager", False), (False, "eager")], ids=["to plain", "to compiled"])
def test_compiled_and_plain_checkpoints_load_into_each_other(whole, corpus3, split3, tmp_path, fired, order):
    torch._dynamo.reset()
    path = cut_off(corpus3, split3, tmp_path, compiled=order[0])[-1]
    content = module.unsealed(path, json.loads(path.read_bytes().split(b"\n", 2)[1])["identity"])
    assert b"_orig_mod" not in content
    resumed = run(corpus3, split3, tmp_path, compiled=order[1])
    for name, weight in resumed.model().state_dict().items():
        torch.testing.assert_close(weight, whole.model().state_dict()[name], atol=1e-5, rtol=1e-4)
    fired()


@pytest.mark.fault("compiled and plain checkpoints")
def test_weights_of_a_compiled_module_load_strictly(whole, fired):
    weights = {f"network._orig_mod.{n.removeprefix('network.')}": w for n, w in whole.model().state_dict().items()}
    again = whole.model()
    with torch.no_grad():
        for weight in again.parameters():
            weight.zero_()
    again.load_weights(weights)
    assert all(torch.equal(w, whole.model().state_dict()[n]) for n, w in again.state_dict().items())
    for wrong in (dict(list(weights.items())[1:]), weights | {"network.other": torch.zeros(1)}):
        with pytest.raises(ArtifactError, match="belong to another model"):
            again.load_weights(wrong)
    fired(3)


# ---------------------------------------------------------------- folders that cannot be written


@pytest.mark.fault("a folder that cannot be written")
def test_a_read_only_folder_is_refused_at_the_start(corpus3, split3, small_disk, monkeypatch, fired):
    folder = small_disk.root / "store"
    folder.mkdir()
    if not small_disk.read_only():  # without the right to mount: what cannot be a folder
        (folder / "checkpoints").write_text("in the way")
    seen = spy(monkeypatch)
    with pytest.raises(ArtifactError, match=r"cannot be written \(.*\): mend that, or use another store"):
        run(corpus3, split3, folder)
    assert seen == []
    fired()


@pytest.mark.fault("a folder that cannot be written")
@pytest.mark.parametrize("how", ["read-only", "gone"])
def test_a_save_that_fails_midway_stops_the_run_loudly_and_the_checkpoint_before_stays(
    whole, corpus3, split3, small_disk, fired, how
):
    root = small_disk.root / "store"
    folder = training.run_folder(corpus3, split3, deeds.MODEL, deeds.SHORT, Store(root))
    aside, before = small_disk.root / "aside", {}

    def spoil():
        before.update({p: p.read_bytes() for p in kept(root)})
        if how == "gone":
            folder.rename(aside)
            folder.write_text("in the way")
        elif not small_disk.read_only():
            pytest.skip("a disk cannot be made read-only here")

    with pytest.MonkeyPatch.context() as patch:
        seen = spy(patch, at=2 * EVERY, do=spoil)  # the step before a checkpoint
        with pytest.raises(ArtifactError, match=r"cannot be written \(.*\): mend that, or use another store$"):
            train_cached(corpus3, split3, deeds.MODEL, deeds.SHORT, store=Store(root), progress=False)
    assert len(seen) == 2 * EVERY and [p.name for p in before] == ["step-000000005.ckpt"]
    if how == "gone":
        folder.unlink()
        aside.rename(folder)
    else:
        subprocess.run(["mount", "-o", "remount,rw", str(small_disk.root)], check=True)
    assert {p: p.read_bytes() for p in kept(root)} == before
    same(run(corpus3, split3, root), whole)  # in the same process: no lock is left
    fired()


@pytest.mark.fault("disk full")
def test_a_disk_that_fills_while_saving_keeps_the_old_checkpoint_whole(whole, corpus3, split3, small_disk, fired):
    folder, before = small_disk.root / "store", {}

    def fill():
        before.update({p: p.read_bytes() for p in kept(folder)})
        small_disk.fill(leaving=8192)

    with pytest.MonkeyPatch.context() as patch:
        seen = spy(patch, at=2 * EVERY - 1, do=fill)
        with pytest.raises(ArtifactError, match=r"needs .* MB, 0\.0 MB are free: make room, run again"):
            run(corpus3, split3, folder)
    assert len(seen) == 2 * EVERY and [p.name for p in before] == ["step-000000005.ckpt"]
    small_disk.make_room()
    assert {p: p.read_bytes() for p in kept(folder)} == before
    same(run(corpus3, split3, folder), whole)
    fired()


@pytest.mark.fault("disk full")
def test_too_little_room_for_checkpoints_is_refused_at_the_start(corpus3, split3, small_disk, monkeypatch, fired):
    seen = spy(monkeypatch)
    with pytest.raises(ArtifactError, match=r"needs 29\.\d MB, .* MB are free"):
        run(corpus3, split3, small_disk.root / "store", model=ModelConfig(width=256, layers=1))
    assert seen == []
    fired()


# ---------------------------------------------------------------- losses that are no numbers


@pytest.mark.fault("NaN or infinity in grid, data or loss")
@pytest.mark.parametrize("step", [1, 4, 13, 29, 30])
@pytest.mark.parametrize("factor", [float("nan"), float("inf"), 1e30], ids=str)
def test_weights_that_blow_up_at_any_step_end_the_run_and_spoil_nothing_that_is_kept(
    whole, corpus3, split3, tmp_path, monkeypatch, fired, step, factor
):
    original, count = training.program_loss, []

    def spoiled(model, *others):
        count.append(1)
        if len(count) == step:
            with torch.no_grad():
                next(p for p in model.parameters() if p.ndim > 1).mul_(factor)
        return original(model, *others)

    store = Store(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(training, "program_loss", spoiled)
        with pytest.raises(ConfigurationError, match=r"at step \d+|after step \d+") as refused:
            train_cached(corpus3, split3, deeds.MODEL, deeds.SHORT, store=store, progress=False)
    assert "lower learning_rate, or set clip" in str(refused.value) and "\n" not in str(refused.value)
    assert not store.has(Run.stage, whole.key)
    same(run(corpus3, split3, tmp_path), whole)  # from the last checkpoint of healthy weights
    fired()


@pytest.mark.fault("NaN or infinity in grid, data or loss")
@pytest.mark.parametrize("step", [7, 30])
def test_a_gradient_that_is_no_number_is_noticed_though_its_loss_is_one(
    whole, corpus3, split3, tmp_path, monkeypatch, fired, step
):
    original, count = training.SynthesisModule.on_before_optimizer_step, []

    def spoiled(self, optimizer):
        count.append(1)
        if len(count) == step:
            next(self.model.parameters()).grad.fill_(float("inf"))
        original(self, optimizer)

    with monkeypatch.context() as patch:
        patch.setattr(training.SynthesisModule, "on_before_optimizer_step", spoiled)
        with pytest.raises(ConfigurationError, match=r"(at|after) step \d+: lower learning_rate, or set clip"):
            run(corpus3, split3, tmp_path)
    assert max(int(p.stem[5:]) for p in kept(tmp_path)) < step
    same(run(corpus3, split3, tmp_path), whole)
    fired()
