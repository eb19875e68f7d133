"""Nothing of a run is lost: kills, damage, full and read-only disks, other processes, other settings."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest
import torch
from learning.runs import LONGER, MODEL, SHORT, checkpoints, in_child, run, spy

from synthlab.durable import exclusive, require_writable
from synthlab.errors import ArtifactError, ConfigurationError, InUseError
from synthlab.learning import checkpoints as module
from synthlab.learning import evaluation
from synthlab.learning.progress import METRICS_FILE, read_metrics
from synthlab.learning.run import Run
from synthlab.learning.training import forget, run_folder
from synthlab.presets import ModelConfig
from synthlab.store import Store


@pytest.fixture(scope="module")
def whole(corpus3, split3, tmp_path_factory):
    """The run that was never disturbed."""
    return run(corpus3, split3, tmp_path_factory.mktemp("whole"), LONGER)


def stop_at(monkeypatch, step):
    """Raise before a step, as a crash would."""

    def fail():
        raise RuntimeError("power cut")

    return spy(monkeypatch, at=step, do=fail)


def cut_off(corpus, split, folder, config, step):
    with pytest.MonkeyPatch.context() as patch:
        stop_at(patch, step)
        with pytest.raises(RuntimeError, match="power cut"):
            run(corpus, split, folder, config)
    return sorted(p for p in checkpoints(folder) if p.suffix == ".ckpt")


def same(one, other):
    assert one.weights == other.weights and one.history.equals(other.history) and one.answers.equals(other.answers)
    assert (
        one.key == other.key and one.cost["tokens"] == other.cost["tokens"] and one.cost["flops"] == other.cost["flops"]
    )


# ---------------------------------------------------------------- kills


def test_killed_twice_ends_bitwise_as_if_never_stopped(whole, corpus3, split3, tmp_path):
    for kill_at, steps in ((70, 50), (53, 100)):
        code, printed, _ = in_child(corpus3, split3, tmp_path, LONGER, kill_at=kill_at)
        assert code == -signal.SIGKILL and printed == ""
        newest = module.files(run_folder(corpus3, split3, MODEL, LONGER, Store(tmp_path)))[0]
        assert newest.name == f"step-{steps:09d}.ckpt"
    code, printed, problems = in_child(corpus3, split3, tmp_path, LONGER)
    assert code == 0, problems
    assert json.loads(printed) == {"key": whole.key, "steps_here": 10}
    same(Run.load(Store(tmp_path), whole.key), whole)


def test_training_leaves_the_random_numbers_of_the_caller_alone(corpus3, split3, tmp_path):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    run(corpus3, split3, tmp_path, replace(SHORT, num_steps=3))
    assert torch.equal(torch.rand(3), expected)


# ---------------------------------------------------------------- damage


def test_two_checkpoints_are_kept_and_the_one_before_serves_where_the_last_is_damaged(whole, corpus3, split3, tmp_path):
    first, last = cut_off(corpus3, split3, tmp_path, LONGER, 105)
    assert (first.name, last.name) == ("step-000000050.ckpt", "step-000000100.ckpt")
    last.write_bytes(last.read_bytes()[:-100])
    with (
        pytest.MonkeyPatch.context() as patch,
        pytest.warns(UserWarning, match=r"000100.ckpt is damaged.*going on from step-000000050"),
    ):
        seen = spy(patch)
        resumed = run(corpus3, split3, tmp_path, LONGER)
    assert len(seen) == 60
    same(resumed, whole)


@pytest.mark.parametrize("place", ["format", "header", "content", "length"])
def test_a_flipped_bit_anywhere_is_noticed(corpus3, split3, tmp_path, place):
    (path,) = cut_off(corpus3, split3, tmp_path, LONGER, 60)
    content = bytearray(path.read_bytes())
    start = content.index(b"\n") + 1
    positions = {
        "format": 3,
        "header": content.index(b"sha256") + 12,
        "content": len(content) - 5000,
        "length": start + 12,
    }
    content[positions[place]] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(ArtifactError, match=r"no checkpoint in .* is whole: delete the folder and train again"):
        run(corpus3, split3, tmp_path, LONGER)


@pytest.mark.parametrize(
    "content", [b"", b"\n\n", b"synthlab checkpoint 1\n{}\n", b"synthlab checkpoint 1\n[1]\nx", b"PK\x03\x04"]
)
def test_what_is_no_checkpoint_is_no_checkpoint(tmp_path, content):
    path = tmp_path / "step-000000001.ckpt"
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match="is damaged"):
        module.unsealed(path, {"corpus": 1})


def test_a_checkpoint_of_another_run_is_refused_with_both_values_before_any_step(
    corpus3, split3, tmp_path, monkeypatch
):
    (path,) = cut_off(corpus3, split3, tmp_path / "one", LONGER, 60)
    other = replace(LONGER, learning_rate=1e-3)
    folder = run_folder(corpus3, split3, MODEL, other, Store(tmp_path / "two"))
    folder.mkdir(parents=True)
    (folder / path.name).write_bytes(path.read_bytes())
    seen = spy(monkeypatch)
    with pytest.raises(ArtifactError, match=r"belongs to another run \(training .*0\.004.* instead of .*0\.001"):
        run(corpus3, split3, tmp_path / "two", other)
    assert seen == []


def test_the_identity_names_grammar_corpus_and_split(corpus3, split3, tmp_path):
    (path,) = cut_off(corpus3, split3, tmp_path, LONGER, 60)
    about = json.loads(path.read_bytes().split(b"\n", 2)[1])["identity"]
    assert about["corpus"] == corpus3.identity and about["split"] == split3.key
    for name in ("corpus", "split", "model", "training"):
        with pytest.raises(ArtifactError, match=rf"belongs to another run \({name} "):
            module.newest(path.parent, about | {name: "other"})


# ---------------------------------------------------------------- disks


def test_a_disk_that_fills_while_saving_keeps_the_old_checkpoint_whole(whole, corpus3, split3, small_disk):
    folder = small_disk.root / "store"
    with pytest.MonkeyPatch.context() as patch:
        kept = {}

        def fill():
            kept.update({p: p.read_bytes() for p in checkpoints(folder) if p.suffix == ".ckpt"})
            small_disk.fill(leaving=8192)

        seen = spy(patch, at=99, do=fill)
        with pytest.raises(ArtifactError, match=r"needs .* MB, 0\.0 MB are free: make room, run again"):
            run(corpus3, split3, folder, LONGER)
    assert len(seen) == 100 and [p.name for p in kept] == ["step-000000050.ckpt"]
    small_disk.make_room()
    left = {p: p.read_bytes() for p in checkpoints(folder) if p.suffix == ".ckpt"}
    assert left == kept
    same(run(corpus3, split3, folder, LONGER), whole)


def test_a_read_only_folder_is_refused_at_the_start(corpus3, split3, small_disk, monkeypatch):
    folder = small_disk.root / "store"
    folder.mkdir()
    if not small_disk.read_only():  # without the right to mount: what cannot be a folder
        (folder / "checkpoints").write_text("in the way")
    seen = spy(monkeypatch)
    with pytest.raises(ArtifactError, match=r"cannot be written \(.*\): mend that, or use another store"):
        run(corpus3, split3, folder, SHORT)
    assert seen == []


def test_too_little_room_for_checkpoints_is_refused_at_the_start(corpus3, split3, small_disk, monkeypatch):
    seen = spy(monkeypatch)
    with pytest.raises(ArtifactError, match=r"needs 29\.\d MB, .* MB are free"):
        run(corpus3, split3, small_disk.root / "store", SHORT, ModelConfig(width=256, layers=1))
    assert seen == []


def test_a_probe_leaves_nothing_behind(tmp_path):
    require_writable(tmp_path / "new", 100)
    assert list((tmp_path / "new").iterdir()) == []
    with pytest.raises(ArtifactError, match="make room"):
        require_writable(tmp_path / "new", 1 << 60)


# ---------------------------------------------------------------- one writer

HOLD = """
import sys, time
from pathlib import Path
from unittest.mock import Mock
from synthlab.durable import exclusive
with exclusive(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def holder(corpus3, split3, tmp_path):
    """A living process that holds the folder of a run."""
    folder = run_folder(corpus3, split3, MODEL, SHORT, Store(tmp_path))
    child = subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "held\n"
    yield child
    child.kill()
    child.wait()


def test_a_run_that_another_process_trains_is_refused_and_taken_over_when_that_is_gone(
    holder, corpus3, split3, tmp_path
):
    with pytest.raises(ArtifactError, match=rf"in use by process {holder.pid} on \S+ since \d{{4}}-.*wait for it"):
        run(corpus3, split3, tmp_path, SHORT)
    holder.kill()  # without a chance to tidy up
    holder.wait()
    assert run(corpus3, split3, tmp_path, SHORT).steps_done == 60


def test_who_asks_for_a_run_that_another_process_trains_gets_it_when_it_is_done(
    holder, corpus3, split3, tmp_path, monkeypatch, capsys
):
    store, looks = Store(tmp_path), []

    def look_again(seconds):
        looks.append(seconds)
        if len(looks) == 2:  # the other process ends as one that has finished the run
            holder.kill()
            holder.wait()
            run(corpus3, split3, tmp_path, SHORT).save(store)

    monkeypatch.setattr(evaluation.time, "sleep", look_again)
    monkeypatch.setattr(evaluation, "train", spied := Mock(wraps=evaluation.train))
    got = evaluation.train_cached(corpus3, split3, MODEL, SHORT, store=store, progress=False)
    assert got.steps_done == 60 and len(looks) == spied.call_count == 2  # refused twice, never trained here
    assert capsys.readouterr().out.count(f"in use by process {holder.pid}") == 1


def test_nobody_waits_for_a_lock_of_another_machine(corpus3, split3, tmp_path, monkeypatch):
    folder = run_folder(corpus3, split3, MODEL, SHORT, Store(tmp_path))
    folder.mkdir(parents=True)
    (folder / "running.json").write_text(json.dumps({"process": 1, "host": "elsewhere", "since": "2026-01-01"}))
    monkeypatch.setattr(evaluation.time, "sleep", Mock(side_effect=AssertionError("waits")))
    with pytest.raises(InUseError, match=r"process 1 on elsewhere .* delete running\.json"):
        evaluation.train_cached(corpus3, split3, MODEL, SHORT, store=Store(tmp_path), progress=False)


def test_a_run_that_another_process_took_up_is_not_forgotten(holder, corpus3, split3, tmp_path):
    folder = run_folder(corpus3, split3, MODEL, SHORT, Store(tmp_path))
    forget(folder)
    assert (folder / "running.json").exists()
    holder.kill()
    holder.wait()
    forget(folder)
    assert not folder.exists()


def test_a_lock_of_another_machine_stands_and_a_damaged_one_does_not(tmp_path):
    path = tmp_path / "running.json"
    path.write_text(json.dumps({"process": 1, "host": "elsewhere", "since": "2026-01-01 00:00:00"}))
    with pytest.raises(ArtifactError, match="process 1 on elsewhere since 2026-01-01"), exclusive(tmp_path):
        pass
    for content in ("", "[]", '{"process": "x"}', json.dumps({"process": os.getpid(), "started": 1.0})):
        path.write_text(content)
        with exclusive(tmp_path):
            assert json.loads(path.read_text())["process"] == os.getpid()
        assert not path.exists()


# ---------------------------------------------------------------- compiled, streamed


@pytest.mark.parametrize("order", [("eager", False), (False, "eager")])
def test_compiled_and_plain_checkpoints_load_into_each_other(whole, corpus3, split3, tmp_path, order):
    torch._dynamo.reset()
    with pytest.MonkeyPatch.context() as patch:
        stop_at(patch, 60)
        with pytest.raises(RuntimeError, match="power cut"):
            run(corpus3, split3, tmp_path, LONGER, compiled=order[0])
    resumed = run(corpus3, split3, tmp_path, LONGER, compiled=order[1])
    for name, weight in resumed.model().state_dict().items():
        torch.testing.assert_close(weight, whole.model().state_dict()[name], atol=1e-5, rtol=1e-4)


def test_weights_of_a_compiled_module_load_strictly(whole):
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


def test_a_streamed_run_is_the_same_run_and_resumes_as_one(whole, corpus3, split3, tmp_path, monkeypatch):
    same(run(corpus3, split3, tmp_path / "one", LONGER, streamed=True), whole)
    original, count = module.Keeper.on_train_batch_end, []

    def fail(self, trainer, *others):
        original(self, trainer, *others)
        count.append(1)
        if len(count) == 60:
            raise RuntimeError("power cut")

    with monkeypatch.context() as patch:
        patch.setattr(module.Keeper, "on_train_batch_end", fail)
        with pytest.raises(RuntimeError, match="power cut"):
            run(corpus3, split3, tmp_path / "two", LONGER, streamed=True)
    same(run(corpus3, split3, tmp_path / "two", LONGER), whole)


# ---------------------------------------------------------------- what a run says of itself


def test_metrics_can_be_read_while_it_trains_and_hold_every_row_once_after_a_resume(whole, corpus3, split3, tmp_path):
    folder, read = run_folder(corpus3, split3, MODEL, LONGER, Store(tmp_path)), []
    assert read_metrics(folder).empty
    with pytest.MonkeyPatch.context() as patch:

        def look():
            read.append(read_metrics(folder))
            raise RuntimeError("power cut")

        spy(patch, at=58, do=look)
        with pytest.raises(RuntimeError, match="power cut"):
            run(corpus3, split3, tmp_path, LONGER)
    seen = read[0]
    assert set(seen["name"]) >= {"loss", "id", "forced", "flops", "tokens_per_second"}
    assert seen[seen["name"] == "id"]["step"].tolist() == [55] and (seen["seconds"].diff().dropna() >= 0).all()
    with pytest.MonkeyPatch.context() as patch:
        spy(patch, at=58, do=lambda: read.append(read_metrics(folder)))  # step 108 of the run
        run(corpus3, split3, tmp_path, LONGER)
    again = read[1]
    losses = again[again["name"] == "loss"]
    expected = whole.history[(whole.history["name"] == "loss") & (whole.history["step"] <= losses["step"].max())]
    assert losses["step"].tolist() == expected["step"].tolist() and len(losses) >= 6
    np.testing.assert_allclose(losses["value"], expected["value"])
    assert again["seconds"].is_monotonic_increasing and (again["seconds"].diff().dropna() >= 0).all()
    before = again[again["step"] <= 50].reset_index(drop=True)
    pd.testing.assert_frame_equal(before, seen[seen["step"] <= 50].reset_index(drop=True))  # the times of then


def test_a_torn_line_of_the_metrics_is_passed_over(tmp_path):
    (tmp_path / METRICS_FILE).write_text("step,name,value,seconds\n1,loss,2.0,0.1\n10,lo")
    assert read_metrics(tmp_path)["step"].tolist() == [1]


def test_who_watches_is_told_at_every_check(corpus3, split3, tmp_path):
    told = []
    finished = run(corpus3, split3, tmp_path, SHORT, watch=told.append)
    assert [len(t) for t in told] == sorted(len(t) for t in told) and told[-1].equals(finished.history)
    assert [set(t.loc[t["name"] == "id", "step"]) for t in told] == [{20}, {20, 40}, {20, 40, 60}]


def test_the_message_of_an_interruption_says_how_to_go_on(corpus3, split3, tmp_path, monkeypatch, capsys):
    spy(monkeypatch, at=7, do=lambda: signal.raise_signal(signal.SIGINT))
    assert run(corpus3, split3, tmp_path, SHORT).steps_done == 7
    printed = capsys.readouterr()
    assert "interrupted at step 7 of 60: kept, run the same again to go on" in printed.out + printed.err


# ---------------------------------------------------------------- memory

STARVED = """
import json, resource, sys
import psutil, torch
torch.set_num_threads(1)
from synthlab.errors import ConfigurationError
from synthlab.learning import training
from synthlab.presets import ModelConfig, TrainingConfig
from synthlab.splits.split import Split
from synthlab.store import Store
from synthlab.universe.corpus import Corpus
store = Store(sys.argv[1])
corpus, split = Corpus.load(store, sys.argv[2]), Split.load(store, sys.argv[3])

def train(batch_size):
    config = TrainingConfig(num_steps=2, batch_size=batch_size, num_checks=0)
    return training.train(corpus, split, ModelConfig(width=256, layers=2), config, store=store, progress=False)

train(8)  # loads every library before the limit
resource.setrlimit(resource.RLIMIT_AS, (psutil.Process().memory_info().vms + (1 << 30),) * 2)
try:
    train(1 << 15)
except ConfigurationError as error:
    print(error)
print(train(16).steps_done)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the limit on memory is Linux's")
def test_out_of_memory_suggests_a_smaller_batch_which_works_in_the_same_process(corpus4, split4, tmp_path):
    store = Store(tmp_path)
    command = [sys.executable, "-c", STARVED, str(tmp_path), corpus4.save(store), split4.save(store)]
    answer = subprocess.run(command, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr[-2000:]
    assert re.fullmatch(
        r"out of device memory with batches of 32768: use batch_size=16384, or a smaller model\n2\n", answer.stdout
    )


def test_other_errors_of_the_runtime_pass(corpus3, split3, tmp_path, monkeypatch):
    stop_at(monkeypatch, 3)
    with pytest.raises(RuntimeError, match="power cut"):
        run(corpus3, split3, tmp_path, SHORT)


def test_a_batch_of_one_can_only_shrink_the_model(monkeypatch, corpus3, split3, tmp_path):
    def starve():
        raise torch.OutOfMemoryError("CUDA out of memory")

    spy(monkeypatch, at=1, do=starve)
    with warnings.catch_warnings(), pytest.raises(ConfigurationError, match="batches of 1: use a smaller model"):
        run(corpus3, split3, tmp_path, replace(SHORT, batch_size=1))


# ---------------------------------------------------------------- endings


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_by_user_or_scheduler_keeps_the_step(whole, corpus3, split3, tmp_path, monkeypatch, number):
    with monkeypatch.context() as patch:
        spy(patch, at=37, do=lambda: signal.raise_signal(number))
        part = run(corpus3, split3, tmp_path, LONGER)
    assert part.steps_done == 37 and not part.finished
    assert signal.getsignal(number) is not None
    same(run(corpus3, split3, tmp_path, LONGER), whole)


def test_a_loss_that_is_no_number_ends_the_run_and_names_its_step(corpus3, split3, tmp_path):
    wild = replace(SHORT, learning_rate=1e30, clip=0.0, warmup=0.0)
    with pytest.raises(ConfigurationError, match=r"the loss is not a number at step \d+: lower learning_rate"):
        run(corpus3, split3, tmp_path, wild)


def test_what_a_killed_writer_left_is_cleared_away(corpus3, split3, tmp_path):
    folder = run_folder(corpus3, split3, MODEL, SHORT, Store(tmp_path))
    folder.mkdir(parents=True)
    left = folder / f".tmp-{socket.gethostname()}-999999999-abc"
    left.write_bytes(b"half")
    run(corpus3, split3, tmp_path, SHORT)
    assert not left.exists()


def test_a_damaged_checkpoint_is_none_of_those_kept(whole, corpus3, split3, tmp_path):
    _, last = cut_off(corpus3, split3, tmp_path, LONGER, 105)
    last.write_bytes(b"torn")
    with pytest.warns(UserWarning, match="is damaged"):
        same(run(corpus3, split3, tmp_path, LONGER), whole)
    kept = sorted(p.name for p in checkpoints(tmp_path) if p.suffix == ".ckpt")
    assert kept == ["step-000000100.ckpt", "step-000000110.ckpt"]


def test_a_lock_is_taken_over_by_one_of_two(tmp_path):
    """Both have read the dead holder; the second must not take away the lock of the first."""
    from synthlab import durable

    path = tmp_path / "running.json"
    path.write_text(json.dumps({"process": 999999999, "started": 0.0, "host": socket.gethostname()}))
    original, mine = durable.is_alive, []

    def and_another_comes_first(holder):
        if not mine:
            mine.append(durable._lock())
            durable._clear(path)
            assert durable._claimed(path, mine[0])
            return False
        return original(holder)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(durable, "is_alive", and_another_comes_first)
        durable._clear(path)
    assert path.read_bytes() == mine[0]
    with pytest.raises(ArtifactError, match="in use by process"), exclusive(tmp_path):
        pass
    path.unlink()
    with exclusive(tmp_path):
        path.write_bytes(b"{}")  # somebody else's by now
    assert path.read_bytes() == b"{}"


def test_metrics_that_cannot_be_written_end_no_run(whole, corpus3, split3, tmp_path, monkeypatch):
    original = Path.open

    def full(self, mode="r", *others, **options):
        if self.name == METRICS_FILE and "a" in mode:
            raise OSError(28, "No space left on device")
        return original(self, mode, *others, **options)

    monkeypatch.setattr(Path, "open", full)
    same(run(corpus3, split3, tmp_path, LONGER), whole)
    assert not list(tmp_path.rglob(METRICS_FILE))
