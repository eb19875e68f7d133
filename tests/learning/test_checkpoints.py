"""Nothing of a run is lost: kills, damage, full and read-only disks, other processes, other settings."""

import json
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest
import torch
from learning.runs import LONGER, MODEL, SHORT, checkpoints, run, spy

from synthlab.durable import require_writable
from synthlab.errors import ArtifactError, InUseError
from synthlab.learning import checkpoints as module
from synthlab.learning import evaluation
from synthlab.learning.progress import METRICS_FILE, read_metrics
from synthlab.learning.training import forget, run_folder
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


# ---------------------------------------------------------------- disks


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


# ---------------------------------------------------------------- endings


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


def test_metrics_that_cannot_be_written_end_no_run(whole, corpus3, split3, tmp_path, monkeypatch):
    original = Path.open

    def full(self, mode="r", *others, **options):
        if self.name == METRICS_FILE and "a" in mode:
            raise OSError(28, "No space left on device")
        return original(self, mode, *others, **options)

    monkeypatch.setattr(Path, "open", full)
    same(run(corpus3, split3, tmp_path, LONGER), whole)
    assert not list(tmp_path.rglob(METRICS_FILE))
