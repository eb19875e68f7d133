"""Training with Lightning: one module, one Trainer, and the run that comes out.

A run is resumed exactly: the order of the data is a pure function of (seed, step), and the checkpoint
holds weights, optimizer and schedule. Ctrl-C ends training at the next step and keeps what was learned.
"""

from __future__ import annotations

import io
import platform
import shutil
import signal
import time
import types
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pytorch_lightning as pl
import safetensors.torch
import torch
from pytorch_lightning.callbacks import ModelCheckpoint, TQDMProgressBar
from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.plugins.io import CheckpointIO
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.data import DataLoader
from torch.utils.flop_counter import FlopCounterMode

from synthlab.assessment.correctness import SOLVED, check
from synthlab.assessment.tasks import Tasks, tasks_by_part
from synthlab.durable import write_atomically
from synthlab.errors import ArtifactError
from synthlab.learning.batches import DeviceData, Order
from synthlab.learning.decoding import decode
from synthlab.learning.encoding import IGNORED, token_targets
from synthlab.learning.model import Synthesizer, num_parameters
from synthlab.learning.run import Run, new_model, run_key
from synthlab.presets import ModelConfig, TrainingConfig
from synthlab.splits.audit import audit_corpus
from synthlab.splits.split import Split
from synthlab.store import Store
from synthlab.universe.corpus import Corpus

_CHECK_TASKS = 200


class SynthesisModule(pl.LightningModule):
    """Cross-entropy on program tokens; AdamW with linear warm-up and cosine decay to zero."""

    def __init__(self, model: Synthesizer, data: DeviceData, config: TrainingConfig) -> None:
        super().__init__()
        self.model, self.data, self.config = model, data, config

    def training_step(self, index: Tensor, _: int) -> Tensor:
        loss = program_loss(self.model, self.data, index)
        self.log("loss", loss, prog_bar=True)
        return loss

    def configure_optimizers(self) -> Any:
        decayed = [p for p in self.model.parameters() if p.ndim > 1]
        plain = [p for p in self.model.parameters() if p.ndim <= 1]
        groups = [{"params": decayed, "weight_decay": self.config.weight_decay}, {"params": plain, "weight_decay": 0.0}]
        optimizer = torch.optim.AdamW(groups, lr=self.config.learning_rate, betas=(0.9, 0.98))
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, self._rate)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _rate(self, step: int) -> float:
        warmup = max(1, round(self.config.warmup * self.config.num_steps))
        if step < warmup:
            return (step + 1) / warmup
        progress = (step - warmup) / max(1, self.config.num_steps - warmup)
        return 0.5 * (1 + float(torch.cos(torch.tensor(torch.pi * min(1.0, progress)))))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["state_dict"] = {f"model.{n}": w for n, w in self.model.state_dict().items()}

    def train_dataloader(self) -> DataLoader[Tensor]:
        config = self.config
        order = Order(
            len(self.data), config.batch_size, config.num_steps, config.seed, self.trainer.global_step,
            process=self.trainer.global_rank, num_processes=self.trainer.world_size,
        )  # fmt: skip
        return DataLoader(order, batch_size=None)


def program_loss(model: Synthesizer, data: DeviceData, index: Tensor) -> Tensor:
    """Mean cross-entropy per program token of one batch."""
    rows, prefix = data.batch(index)
    targets = token_targets(prefix)
    logits = model(rows, targets)
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED)


class AtomicCheckpoints(CheckpointIO):
    """Checkpoints replaced in one step and read without trusting pickles."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        write_atomically(Path(path), buffer.getvalue())

    def load_checkpoint(
        self, path: Any, map_location: Any | None = None, weights_only: bool | None = True
    ) -> dict[str, Any]:
        try:
            return torch.load(path, map_location=map_location, weights_only=True)
        except Exception as error:
            kind = type(error).__name__
            raise ArtifactError(f"checkpoint {path} cannot be read ({kind}): delete it and train again") from error

    def remove_checkpoint(self, path: Any) -> None:
        Path(path).unlink(missing_ok=True)


class Progress(pl.Callback):
    """Losses at every step, and greedy pass@1 on a fixed sample of every test set a few times a run."""

    def __init__(self, tasks: Mapping[str, Tasks], config: TrainingConfig, stop: Callable[[], bool]) -> None:
        self.tasks, self.stop = tasks, stop
        num = config.num_checks
        self.steps = {round(config.num_steps * k / num) for k in range(1, num + 1)} if num else set()
        self.rows: list[tuple[int, str, float]] = []

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rows = [(int(s), str(n), float(v)) for s, n, v in state_dict["rows"]]

    def on_train_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, *_: Any) -> None:
        step = trainer.global_step
        if step % 10 == 0 or step == 1:
            self.rows.append((step, "loss", float(outputs["loss"])))
        if step in self.steps and isinstance(module, SynthesisModule):
            self._check(step, module.model)
        if self.stop():
            trainer.should_stop = True

    def _check(self, step: int, model: Synthesizer) -> None:
        model.eval()
        for name, tasks in self.tasks.items():
            solved = check(tasks, decode(model, tasks)).first_status() == SOLVED
            self.rows.append((step, name, float(solved.mean())))
        model.train()


def train(
    corpus: Corpus,
    split: Split,
    model_config: ModelConfig,
    training: TrainingConfig,
    *,
    store: Store | None = None,
    progress: bool = True,
    **trainer_flags: Any,
) -> Run:
    """Train a model on a split, or resume where an earlier call was cut off.

    Parameters
    ----------
    corpus, split
        The split is audited first; a leak refuses the training.
    model_config, training
        What to train and how.
    store
        Where checkpoints are kept while the run goes on.
    progress
        Show a progress bar.
    **trainer_flags
        Passed to `pytorch_lightning.Trainer`, for example ``devices=4``.

    Raises
    ------
    SplitError
        If the audit of the split fails.
    """
    audit_corpus(split, corpus).require()
    store = store or Store()
    folder = store.root / "checkpoints" / run_key(corpus, split, model_config, training)
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(training.seed)
    model = new_model(model_config, corpus.grammar, corpus.max_size, corpus.measure)
    module = SynthesisModule(model, DeviceData(corpus, split), training)
    samples = {n: t.sample(_CHECK_TASKS) for n, t in tasks_by_part(corpus, split).items()}
    last = folder / "last.ckpt"
    with _interrupts() as interrupted, _quiet():
        callback = Progress(samples, training, interrupted)
        trainer = _trainer(folder, training, callback, progress, trainer_flags)
        start = time.perf_counter()
        try:
            trainer.fit(module, ckpt_path=last if last.exists() else None, weights_only=True)
        except SystemExit as error:  # what Lightning makes of a second Ctrl-C
            raise KeyboardInterrupt from error
        seconds = time.perf_counter() - start
    if trainer.global_step < training.num_steps:
        trainer.save_checkpoint(last)
    run = _finished(corpus, split, module, trainer, callback, seconds)
    if trainer.global_step >= training.num_steps:
        shutil.rmtree(folder, ignore_errors=True)
    return run


def _trainer(
    folder: Path, training: TrainingConfig, callback: Progress, progress: bool, flags: dict[str, Any]
) -> pl.Trainer:
    on_gpu = torch.cuda.is_available()
    every = max(50, training.num_steps // 10)
    callbacks: list[pl.Callback] = [
        callback,
        ModelCheckpoint(folder, filename="last", every_n_train_steps=every, save_top_k=1, enable_version_counter=False),
    ]
    if progress:
        callbacks.append(TQDMProgressBar(refresh_rate=20))
    defaults = dict(
        accelerator="gpu" if on_gpu else "cpu", devices=1, precision="bf16-mixed" if on_gpu else "32-true",
        max_steps=training.num_steps, max_epochs=-1, gradient_clip_val=1.0, logger=CSVLogger(folder, name="log"),
        callbacks=callbacks, plugins=[AtomicCheckpoints()], enable_progress_bar=progress, log_every_n_steps=10,
        enable_model_summary=False, num_sanity_val_steps=0, use_distributed_sampler=False,
    )  # fmt: skip
    return pl.Trainer(**(defaults | flags))


def _finished(
    corpus: Corpus, split: Split, module: SynthesisModule, trainer: pl.Trainer, callback: Progress, seconds: float
) -> Run:
    config, model = module.config, module.model.cpu()
    batch = min(config.batch_size, len(module.data))
    cost = {
        "parameters": num_parameters(model),
        "flops": step_flops(model, module.data, batch) * trainer.global_step,
        "seconds": seconds,
        "samples": batch * trainer.global_step,
        "device": device_name(trainer.strategy.root_device),
        "torch": torch.__version__,
        "lightning": pl.__version__,
    }
    history = pd.DataFrame(callback.rows, columns=["step", "name", "value"])
    weights = safetensors.torch.save({n: w.contiguous() for n, w in model.state_dict().items()})
    return Run(corpus.identity, split.key, model.config, config, trainer.global_step, weights, history, cost)


def step_flops(model: Synthesizer, data: DeviceData, batch_size: int) -> int:
    """Floating-point operations of one training step, counted by PyTorch on the CPU."""
    data = data.cpu()
    num = min(2, batch_size)
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        program_loss(model, data, torch.arange(num)).backward()
    model.zero_grad(set_to_none=True)
    return counter.get_total_flops() * batch_size // num


def device_name(device: torch.device) -> str:
    """Name of the GPU, or of the processor with its number of threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU {platform.machine()}, {torch.get_num_threads()} threads"


@contextmanager
def _interrupts() -> Iterator[Callable[[], bool]]:
    """Turn Ctrl-C into a flag that is looked at between steps; a second Ctrl-C interrupts at once."""
    seen: list[int] = []

    def note(number: int, frame: types.FrameType | None) -> None:
        if seen:
            raise KeyboardInterrupt
        seen.append(number)

    try:
        previous = signal.signal(signal.SIGINT, note)
    except ValueError:  # not the main thread: leave Ctrl-C to whoever owns it
        yield lambda: False
        return
    try:
        yield lambda: bool(seen)
    finally:
        signal.signal(signal.SIGINT, previous)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence Lightning's hints about workers, devices and tips, which say nothing about the science."""
    import logging

    loggers = [logging.getLogger(n) for n in ("pytorch_lightning", "lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
