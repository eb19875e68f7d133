"""Learning: training against a bare loop and the device's matrix products, decoding, and data on the device.

Everything is measured in one process on the device at hand: a GPU if there is one, else the processor.
"""

from __future__ import annotations

import contextlib
import copy
import gc
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from benchmarks.bare import LOGGED, BareLoop, decode_without_cache, synchronise, widest_tie
from benchmarks.measure import alternated, check, load, median_ratio, rate, summary, timed

from synthlab.assessment.tasks import Tasks, tasks_by_part
from synthlab.language.grammar import PAD, POLYNOMIAL
from synthlab.language.interpreter import grid_outputs
from synthlab.learning import checkpoints, training
from synthlab.learning.batches import DeviceData, Order, Place, StreamedData, training_data
from synthlab.learning.costs import device_name, step_flops
from synthlab.learning.decoding import decode
from synthlab.learning.networks import Synthesizer
from synthlab.learning.run import Run
from synthlab.presets import ModelConfig, TrainingConfig
from synthlab.splits.regions import Region
from synthlab.splits.split import Split
from synthlab.splits.support import support_settings, support_split
from synthlab.store import Store
from synthlab.universe.corpus import Corpus, build_corpus, function_table

Case = tuple[str, int, int, bool]
"""Model, batch, steps a block, and whether it is compiled."""

ENDLESS = 1_000_000
"""Steps that a run is asked for, so that nothing of its end falls into the steps that are timed."""
WARMUP = 100
"""Steps with a rising rate, without which large models diverge and their losses cannot be compared."""
_PRODUCTS = 10
_ALIKE = {"cpu": (1e-3, 1e-3), "cuda": (3e-2, 1e-1)}
"""How far the losses of the first and the tenth step may differ, as a share, by rounding of float32 or bfloat16."""
_TIE = {"cpu": 1e-3, "cuda": 0.5}
"""Logits that rounding may turn around, when tokens are computed one by one or all at once."""
_EQUAL = 1e-4

LEAST_RATIO, MOST_GIGABYTES, MOST_DECODING_S = 0.95, 1.0, 0.5
LEAST_SHARES = {"512x8": 0.45, "768x12": 0.55}
DECODED, FUNCTION_LEAVES = ("256x6", 100_000), 7
"""Targets: training against a bare loop; memory; seconds of decoding; shares of the ceiling by model."""


def measured(repeats: int, cpu: dict[str, Any], cuda: dict[str, Any]) -> dict[str, Any]:
    """All sections, at the sizes of the device at hand; what libraries print goes to standard error."""
    with contextlib.redirect_stdout(sys.stderr):
        return _measured(repeats, cuda if torch.cuda.is_available() else cpu)


def _measured(repeats: int, sizes: dict[str, Any]) -> dict[str, Any]:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    before, (cases, left_out) = load(), possible(sizes["cases"], device)
    corpus, split = real_split(sizes["leaves"], sizes["programs"])
    rows, run = [], None
    for name, batch, steps, compiled in cases:
        print(f"learning: training {name} ...", file=sys.stderr, flush=True)
        row, trained = bench_training(corpus, split, name, batch, steps, sizes["blocks"], compiled, device)
        rows.append({**row, **ceiling_share(repeats, sizes["product"], row, device)})
        run = run or trained
    assert run is not None
    print("learning: decoding, memory, streaming ...", file=sys.stderr, flush=True)
    results = {
        "device": device_name(device), "kind": device.type, "torch": torch.__version__,
        "threads": torch.get_num_threads(), "left_out": left_out, "training": rows,
        "decoding": bench_decoding(repeats, run, corpus, split, sizes["tasks"], sizes["samples"], device),
        "memory": bench_resident(sizes["function_leaves"], run.model_config, device),
        "streaming": bench_streamed(
            repeats, corpus, split, run.model_config, sizes["streamed_batch"], sizes["streamed_batches"], device
        ),
    }  # fmt: skip
    return {**results, "targets": targets(results), "load": {"before": before, "after": load()}}


def real_split(leaves: int, num_train: int) -> tuple[Corpus, Split]:
    """The polynomial universe without the texts whose root is ``*``."""
    corpus = build_corpus(POLYNOMIAL, leaves)
    settings = support_settings(Region(rule="root", root="*"), reserved=0.25, num_train=num_train)
    return corpus, support_split(corpus, {}, settings)


def possible(cases: list[Case], device: torch.device) -> tuple[list[Case], list[str]]:
    """Cases that this machine can run, and names of the others; without a compiler at all, uncompiled ones."""
    if not any(compiled for *_, compiled in cases) or can_compile(device):
        return cases, []
    left_out = [f"{name} compiled" for name, *_, compiled in cases if compiled]
    return [case for case in cases if not case[-1]] or [(*case[:-1], False) for case in cases], left_out


def can_compile(device: torch.device) -> bool:
    """Whether inductor works here: on a processor it needs a C++ compiler, on a GPU a C compiler."""
    try:
        torch.compile(lambda x: x.sin() + 1)(torch.zeros(8, device=device))
    except Exception as error:
        print(f"learning: nothing is compiled, because {type(error).__name__}", file=sys.stderr)
        return False
    return True


def emptied(device: torch.device) -> None:
    """Let go of what a measurement left on the device, and of its compiled code, which has a limit of its own."""
    torch.compiler.reset()
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


# ---------------------------------------------------------------- training


def bench_training(
    corpus: Corpus, split: Split, name: str, batch: int, steps: int, blocks: int, compiled: bool, device: torch.device
) -> tuple[dict[str, Any], Run]:
    """Steps of `learning.training.train` and of the bare loop, in blocks that take turns; and the run."""
    model = ModelConfig.parse(name)
    config = TrainingConfig(
        num_steps=ENDLESS, batch_size=batch, learning_rate=1e-3, warmup=WARMUP / ENDLESS, schedule="wsd", num_checks=0
    )
    bare, before = BareLoop(corpus, split, model, config, device, compiled), load()
    turns = Turns(bare, steps, blocks)
    run = interleaved(corpus, split, model, config, compiled, turns)
    check_losses(run, bare, device)
    flops, size = step_flops(bare.model, bare.order.batch_size), bare.order.batch_size
    tokens = size * float((corpus.prefix[split.targets] != PAD).sum(axis=1).mean())

    def rates(seconds: list[float]) -> dict[str, float]:
        timing = summary([s / steps for s in seconds])
        return {**timing, "samples_per_s": rate(size, timing), "tokens_per_s": rate(tokens, timing),
                "tflops": rate(flops, timing) / 1e12}  # fmt: skip

    ratios = [theirs / ours for ours, theirs in zip(turns.ours, turns.bare, strict=True)]
    kept = checkpoints.SECONDS_BETWEEN
    row = {
        "model": name, "parameters": run.cost["parameters"], "batch": size, "steps_a_block": steps, "blocks": blocks,
        "compiled": compiled, "precision": run.cost["precision"], "synthlab": rates(turns.ours),
        "bare": rates(turns.bare), "ratio": statistics.median(ratios), "least": min(ratios), "most": max(ratios),
        "checkpoint_s": turns.checkpoint_s,
        "with_checkpoints": statistics.median(ratios) * kept / (kept + turns.checkpoint_s),
        "load": {"before": before, "after": load()},
    }  # fmt: skip
    del bare, turns
    emptied(device)
    return row, run


class Turns:
    """Called before every step of a run: lets the bare loop run in its turn, and ends the run after the last.

    The first block of either is not kept: it compiles, and fills memory.
    """

    def __init__(self, bare: BareLoop, steps: int, blocks: int) -> None:
        self.loop, self.steps, self.last = bare, steps, (blocks + 1) * steps
        self.ours: list[float] = []
        self.bare: list[float] = []
        self.started, self.checkpoint_s = 0.0, 0.0

    def __call__(self, trainer: Any) -> None:
        step = trainer.global_step
        if step % self.steps or step > self.last:
            return
        synchronise(self.loop.device)
        ours = time.perf_counter() - self.started
        if step:
            theirs = self.loop.run(self.steps)
            if step > self.steps:
                self.ours.append(ours)
                self.bare.append(theirs)
        if step == self.last:
            self._finish(trainer)
        self.started = time.perf_counter()

    def _finish(self, trainer: Any) -> None:
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            trainer.save_checkpoint(Path(folder) / "checkpoint")
            self.checkpoint_s = time.perf_counter() - start
        trainer.should_stop = True


def interleaved(
    corpus: Corpus, split: Split, model: ModelConfig, config: TrainingConfig, compiled: bool,
    turns: Callable[[Any], None],
) -> Run:  # fmt: skip
    """A run of synthlab that takes turns. Checkpoints by the minute are kept out: they are timed apart."""

    class TakingTurns(training.SynthesisModule):
        def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
            turns(self.trainer)
            super().on_train_batch_start(batch, batch_idx)

    with (
        tempfile.TemporaryDirectory() as folder,
        mock.patch.object(training, "SynthesisModule", TakingTurns),
        mock.patch.object(checkpoints, "SECONDS_BETWEEN", math.inf),
        mock.patch.object(training, "_say", str),  # that the run was interrupted
    ):
        return training.train(corpus, split, model, config, store=Store(folder), progress=False, compiled=compiled)


def check_losses(run: Run, bare: BareLoop, device: torch.device) -> None:
    """End the benchmark where the first losses of both loops differ: they would not do the same work."""
    history = run.history
    losses = history[history["name"] == "loss"].set_index("step")["value"]
    for step, share in zip((1, LOGGED), _ALIKE[device.type], strict=True):
        ours, theirs = float(losses[step]), float(bare.losses[step])
        check(math.isclose(ours, theirs, rel_tol=share), f"loss of step {step}: {ours} and {theirs}")


def ceiling_share(repeats: int, side: int, row: dict[str, Any], device: torch.device) -> dict[str, Any]:
    """Rate of a square matrix product of the precision trained in, and what training reaches of it."""
    kind = torch.bfloat16 if device.type == "cuda" else torch.float32
    first, second = (torch.randn(side, side, device=device, dtype=kind) for _ in range(2))
    target = torch.empty_like(first)

    def products() -> None:
        for _ in range(_PRODUCTS):
            torch.mm(first, second, out=target)
        synchronise(device)

    products()
    timing = timed(products, repeats)
    tflops = 2 * side**3 * _PRODUCTS / timing["median_s"] / 1e12
    return {
        "ceiling": {**timing, "side": side, "dtype": str(kind).removeprefix("torch."), "tflops": tflops},
        "share": {name: row[name]["tflops"] / tflops for name in ("synthlab", "bare")},
    }  # fmt: skip


# ---------------------------------------------------------------- decoding


def bench_decoding(
    repeats: int, run: Run, corpus: Corpus, split: Split, num: int, samples: int, device: torch.device
) -> dict[str, Any]:
    """Programs written by a run that learned for a few steps; few tasks, repeated."""
    model, before = run.model().to(device), load()
    tasks = tasks_by_part(corpus, split)["id"]
    tasks = tasks.take(np.resize(np.arange(len(tasks)), num))
    few = tasks.take(slice(0, max(1, num // samples)))
    plain, size = decoding_model(model), rows_at_once(device)
    found = decode(model, tasks).prefix
    expected = decode_without_cache(plain, tasks, size)
    differ, tie = widest_tie(plain, tasks, expected, found)
    check(tie <= _TIE[device.type], f"{differ} of {num} greedy programs differ, logits by up to {tie}")
    both = alternated(
        {"cached": lambda: decode(model, tasks), "plain": lambda: decode_without_cache(plain, tasks, size)}, repeats
    )
    others = {
        "sampled": ({"temperature": 1.0, "num_samples": samples}, samples),
        "beam": ({"beam": samples, "num_samples": samples}, samples),
    }
    return {
        "model": run.model_config.name, "steps": run.steps_done, "tasks": num,
        "distinct": len(np.unique(tasks.class_id)),
        "rows_that_differ": differ, **_rates(num, summary(both["cached"])),
        "plain": _rates(num, summary(both["plain"])), "ratio": median_ratio(both["plain"], both["cached"]),
        **{name: _others(repeats, model, few, *other) for name, other in others.items()},
        "load": {"before": before, "after": load()},
    }  # fmt: skip


def decoding_model(model: Synthesizer) -> Synthesizer:
    """The model in the precision that `decode` uses."""
    return copy.deepcopy(model).to(torch.bfloat16) if next(model.parameters()).is_cuda else model


def rows_at_once(device: torch.device) -> int:
    """Programs that `decode` writes side by side."""
    from synthlab.learning.decoding import _ROWS_AT_ONCE

    return _ROWS_AT_ONCE[device.type]


def _rates(num: int, timing: dict[str, float]) -> dict[str, float]:
    return {**timing, "tasks_per_s": rate(num, timing)}


def _others(repeats: int, model: Synthesizer, tasks: Tasks, settings: dict[str, Any], samples: int) -> dict[str, Any]:
    """Another way of decoding, with several candidates a task."""
    check(len(decode(model, tasks, **settings)) == samples * len(tasks), f"candidates of {settings}")
    timing = timed(lambda: decode(model, tasks, **settings), repeats)
    return {
        "tasks": len(tasks), "samples": samples, **_rates(len(tasks), timing),
        "samples_per_s": rate(samples * len(tasks), timing),
    }  # fmt: skip


# ---------------------------------------------------------------- data


def bench_resident(leaves: int, config: ModelConfig, device: torch.device) -> dict[str, Any]:
    """One minimal text and the outputs of every function up to a size, on the device."""
    seconds, before = dict[str, float](), load()
    with _clocked(seconds, "functions", device):
        table = function_table(POLYNOMIAL, leaves)
    with _clocked(seconds, "texts", device):
        text = table.text()
    num = len(table)
    del table
    with _clocked(seconds, "outputs", device):
        outputs = grid_outputs(POLYNOMIAL, text)
    model, free = Synthesizer(config, POLYNOMIAL, leaves), _allocated(device)
    with _clocked(seconds, "data", device):
        data = DeviceData(model, text, np.arange(num), outputs).to(device)
    items = torch.from_numpy(np.random.default_rng(0).permutation(num)[:1000])
    patches, tokens = data.batch(Place(0, 0, items))
    expected = model.read(torch.from_numpy(outputs[items.numpy()]))
    check(torch.allclose(patches.cpu(), expected, atol=_EQUAL), "patches of resident data")
    check(np.array_equal(tokens.cpu(), text[items.numpy()]), "texts of resident data")
    held = held_bytes(data)
    result = {
        "leaves": leaves, "functions": num, "bytes": held, "bytes_a_function": held / num,
        "outputs": str(data.outputs.dtype).removeprefix("torch."), "seconds": seconds,
        "load": {"before": before, "after": load()},
    }  # fmt: skip
    grown = _allocated(device) - free
    return {**result, "allocated": grown} if grown else result


@contextlib.contextmanager
def _clocked(seconds: dict[str, float], name: str, device: torch.device) -> Iterator[None]:
    start = time.perf_counter()
    yield
    synchronise(device)
    seconds[name] = time.perf_counter() - start


def _allocated(device: torch.device) -> int:
    """Bytes that PyTorch holds on a GPU; it does not count those of the host."""
    return torch.cuda.memory_allocated(device) if device.type == "cuda" else 0


def held_bytes(data: DeviceData | StreamedData) -> int:
    """Bytes of texts, outputs, ids and patches that are kept."""
    if isinstance(data, StreamedData):
        return data.targets.nbytes + data.shown.nbytes
    kept = data._patches
    return data.num_bytes + (0 if kept is None else kept.numel() * kept.element_size())


def bench_streamed(
    repeats: int, corpus: Corpus, split: Split, config: ModelConfig, batch: int, num: int, device: torch.device
) -> dict[str, Any]:
    """Batches made anew on the host, against batches of data that lie on the device."""
    model, before = Synthesizer(config, corpus.grammar, corpus.max_size, corpus.measure), load()
    resident = training_data(corpus, split, model, streamed=False).to(device)
    streamed = training_data(corpus, split, model, streamed=True)
    assert isinstance(resident, DeviceData) and isinstance(streamed, StreamedData)
    places, whole = list(Order(len(resident), batch, num, 0).places()), slice(None)

    def moved(place: Place) -> tuple[torch.Tensor, torch.Tensor]:
        outputs, tokens = streamed.fetch(place, whole)
        return streamed.batch((outputs.to(device), tokens.to(device)))

    def each(make: Callable[[Place], Any]) -> None:
        for place in places:
            make(place)
        synchronise(device)

    for one, other in zip(resident.batch(places[0]), moved(places[0]), strict=True):
        check(torch.allclose(one.float(), other.float(), atol=_EQUAL), "batches on the device and streamed")
    works = {"resident": resident.batch, "fetched": lambda place: streamed.fetch(place, whole), "streamed": moved}
    seconds = alternated({name: lambda m=make: each(m) for name, make in works.items()}, repeats)
    megabytes = {"resident": held_bytes(resident) / 1e6, "streamed": held_bytes(streamed) / 1e6}
    rows = {name: summary(taken) for name, taken in seconds.items()}
    return {
        "batch": len(places[0].items), "batches": num, "items": len(resident), "megabytes": megabytes,
        **{name: {**timing, "batches_per_s": rate(num, timing)} for name, timing in rows.items()},
        "ratio": median_ratio(seconds["resident"], seconds["streamed"]),
        "load": {"before": before, "after": load()},
    }  # fmt: skip


# ---------------------------------------------------------------- targets


def targets(results: dict[str, Any]) -> list[dict[str, Any]]:
    """What was aimed at beside what was measured; None where this device or these sizes do not measure it."""
    found = [
        _target(f"training {title(row)}: ratio", row["ratio"], at_least=LEAST_RATIO) for row in results["training"]
    ]
    on_gpu = results["kind"] == "cuda"
    shares = {row["model"]: row["share"]["synthlab"] for row in results["training"] if on_gpu}
    for name, least in LEAST_SHARES.items():
        found.append(_target(f"training {name}: share of the ceiling", shares.get(name), at_least=least, gpu=True))
    decoding, memory = results["decoding"], results["memory"]
    asked = on_gpu and (decoding["model"], decoding["tasks"]) == DECODED
    seconds = decoding["median_s"] if asked else None
    what = f"decoding {DECODED[1]:,} tasks with {DECODED[0]}: seconds"
    found.append(_target(what, seconds, at_most=MOST_DECODING_S, gpu=True))
    held = memory["bytes"] / 1e9 if memory["leaves"] == FUNCTION_LEAVES else None
    return [*found, _target(f"data of functions of {FUNCTION_LEAVES} leaves: GB", held, at_most=MOST_GIGABYTES)]


def _target(
    name: str, value: float | None, *, at_least: float = -math.inf, at_most: float = math.inf, gpu: bool = False
) -> dict[str, Any]:
    bound = {"at_least": at_least} if at_least > -math.inf else {"at_most": at_most}
    met = None if value is None else at_least <= value <= at_most
    return {"name": name, **bound, "measured": value, "met": met, "needs_gpu": gpu}


def title(row: dict[str, Any]) -> str:
    """A model, the batch, and whether it was compiled."""
    return f"{row['model']}, batch {row['batch']:,}{', compiled' * row['compiled']}"
