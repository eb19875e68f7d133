"""Training with Lightning: one module, one Trainer, and the run that comes out.

A run is resumed exactly: the order of the data and all randomness of a step are pure functions of (seed, step),
and checkpoints hold weights, optimizer, schedule and history. Ctrl-C ends training at the next step and keeps
what was learned.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytorch_lightning as pl
import safetensors.torch
import torch
from pytorch_lightning.strategies.launchers import _MultiProcessingLauncher
from pytorch_lightning.utilities import rank_zero_only
from torch import Tensor
from torch.nn import functional as F

from synthlab.assessment.tasks import Tasks, tasks_by_part
from synthlab.deadline import time_is_up
from synthlab.durable import exclusive, remove_leftovers, require_writable
from synthlab.errors import ConfigurationError, InUseError
from synthlab.language.grammar import Grammar
from synthlab.learning.batches import Batches, Data, Order, training_data
from synthlab.learning.checkpoints import KEPT, Keeper, SealedCheckpoints, newest
from synthlab.learning.costs import device_name, free_bytes, step_flops
from synthlab.learning.encoding import IGNORED, token_targets
from synthlab.learning.guards import interrupts, own_state, quiet, within_memory
from synthlab.learning.model import num_parameters
from synthlab.learning.networks import Synthesizer
from synthlab.learning.progress import Bar, Progress, Watch
from synthlab.learning.run import Run
from synthlab.presets import NETWORKS, ModelConfig, TrainingConfig
from synthlab.splits.audit import audit_corpus
from synthlab.splits.split import Split
from synthlab.store import Store, content_key
from synthlab.universe.corpus import Corpus

_CHECK_TASKS = 200
_WORTH_COMPILING = 1e15
_BYTES_PER_WEIGHT = 12
"""Of a checkpoint: the weight and AdamW's two moments."""
_ALL = slice(None)
FLAGS = ("accelerator", "devices", "num_nodes", "strategy", "precision", "profiler", "benchmark", "deterministic")
"""Flags of the Trainer that say where a run is trained, not what."""
_WORD = (1 << 64) - 1


class SynthesisModule(pl.LightningModule):
    """Cross-entropy on program tokens, AdamW, and the schedule of the configuration."""

    def __init__(self, model: Synthesizer, data: Data, config: TrainingConfig) -> None:
        super().__init__()
        self.model, self.data, self.config = model, data, config
        self.order = Order(len(data), config.batch_size, config.num_steps, config.seed)
        # every process makes the same data and masks: nothing to send, and not every type could be sent
        self._ddp_params_and_buffers_to_ignore = [name for name, _ in self.named_buffers()]

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        # networks that draw random numbers (dropout) must do the same after a resume
        mixed = seed_step(self.device, self.config.seed, self.trainer.global_step, self.trainer.global_rank)
        if self.model.config.network not in NETWORKS:  # which may draw them from anywhere
            random.seed(mixed)
            np.random.seed(mixed & 0xFFFFFFFF)  # noqa: NPY002

    def training_step(self, fetched: Any, _: int) -> dict[str, Tensor]:
        loss, tokens = program_loss(self.model, self.data, fetched, self.share, self.trainer.world_size)
        return {"loss": loss, "tokens": tokens}

    @property
    def share(self) -> slice:
        """Items of every batch that this process works on."""
        return slice(self.trainer.global_rank, None, self.trainer.world_size)

    def configure_optimizers(self) -> Any:
        optimizer = new_optimizer(self.model, self.config)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, self.config.rate)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        # here and not by the Trainer, which refuses to clip for fused optimizers in mixed precision
        if self.config.clip:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        # a step can spoil weights though its loss was a number, and nothing could go on from them
        if not all(bool(weight.isfinite().all()) for weight in self.model.parameters()):
            raise ConfigurationError(
                f"weights are not finite after step {self.trainer.global_step}: lower learning_rate, or set clip"
            )
        checkpoint["state_dict"] = {f"model.{n}": w for n, w in self.model.state_dict().items()}

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        # of data on the device a batch is only its numbers, which `Data.batch` moves itself
        return super().transfer_batch_to_device(batch, device, dataloader_idx) if self.data.streams else batch

    def train_dataloader(self) -> Batches:
        return Batches(self.data, self.order, self.trainer.global_step, self.share)


def new_optimizer(model: torch.nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    """AdamW whose vectors (biases, norms) are not decayed."""
    decayed = [p for p in model.parameters() if p.ndim > 1]
    plain = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    groups = [group for group in groups if group["params"]]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.98), fused=True)


def program_loss(
    model: torch.nn.Module, data: Data, fetched: Any, share: slice = _ALL, num_processes: int = 1
) -> tuple[Tensor, Tensor]:
    """Mean cross-entropy per program token of a batch, and its number of tokens.

    Of several processes each returns the part of its share times their number, so that the mean of their
    gradients is the gradient of the whole batch however its tokens are shared.
    """
    patches, text = data.batch(fetched, share)
    targets = token_targets(text)
    num_tokens, own = (targets != IGNORED).sum(), targets[share]
    logits = model(patches, own.clamp(min=0))
    total = F.cross_entropy(logits.flatten(0, 1), own.flatten(), ignore_index=IGNORED, reduction="sum")
    return total * (num_processes / num_tokens), num_tokens


def seed_step(device: torch.device, *keys: int) -> int:
    """Make PyTorch's random numbers of a step a function of some keys alone; returns the seed."""
    mixed = 0
    for key in keys:  # the finalizer of SplitMix64 (Steele et al., 2014); cheap, since it runs at every step
        mixed = (mixed + key + 0x9E3779B97F4A7C15) & _WORD
        mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _WORD
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _WORD
        mixed ^= mixed >> 31
    mixed >>= 1
    torch.default_generator.manual_seed(mixed)
    if device.type == "cuda":
        torch.cuda.default_generators[device.index or 0].manual_seed(mixed)
    return mixed


def train(
    corpus: Corpus,
    split: Split,
    model_config: ModelConfig,
    training: TrainingConfig,
    *,
    store: Store | None = None,
    progress: bool = True,
    watch: Watch | None = None,
    streamed: bool | None = None,
    compiled: bool | str | None = None,
    **trainer_flags: Any,
) -> Run:
    """Train a model on a split, or resume where an earlier call was cut off.

    Parameters
    ----------
    corpus, split, model_config, training
        What to train on, what, and how. The split is audited first; a leak refuses the training.
    store
        Where checkpoints are kept while the run goes on.
    progress
        Show a progress bar.
    watch
        Called with the history so far (step, name, value) at every check, for live figures.
    streamed
        Make batches anew instead of keeping the data on the device; by default where it would not fit.
    compiled
        Compile the network, or name a backend of `torch.compile`; by default on a GPU where it pays.
    **trainer_flags
        Flags of `pytorch_lightning.Trainer` that say where to train (`FLAGS`), for example ``devices=4``.

    Returns
    -------
    Run
        Finished, or as far as it got before Ctrl-C. Its folder stays, so that it can be saved before it is let go
        (`forget`); trained again, a finished run is made from its last checkpoint.

    Raises
    ------
    SplitError
        If the audit of the split fails.
    ConfigurationError
        If the network does not fit, the outputs overflow its encoding, or the device has too little memory.
    ArtifactError
        If the folder cannot be written, another process trains the run, or its checkpoints are damaged or another's.
    KeyboardInterrupt
        After a second Ctrl-C, or one that came when the last step was done: nothing of the run is lost.
    """
    audit_corpus(split, corpus).require()

    def data(model: Synthesizer) -> Data:
        free = free_bytes(_device())
        return training_data(corpus, split, model, seed=training.seed, streamed=streamed, free_bytes=free)

    return fit(
        corpus.identity, split.key, model_config, training, grammar=corpus.grammar, data=data,
        tests=tasks_by_part(corpus, split), store=store, progress=progress, watch=watch, compiled=compiled,
        **trainer_flags,
    )  # fmt: skip


def fit(
    universe: dict[str, Any],
    key: str,
    model_config: ModelConfig,
    training: TrainingConfig,
    *,
    grammar: Grammar,
    data: Callable[[Synthesizer], Data],
    tests: Mapping[str, Tasks],
    store: Store | None = None,
    progress: bool = True,
    watch: Watch | None = None,
    compiled: bool | str | None = None,
    **trainer_flags: Any,
) -> Run:
    """Train on any items, or resume; whoever calls this has looked for leaks.

    Parameters
    ----------
    universe
        Identity of the universe: grammar, digest, max_size, measure, seed.
    key
        Stands for the training items and the tests: other ones need another key.
    grammar, data
        The language, and what makes the training items of a model.
    tests
        Tasks by part; samples of them are looked at as the model learns.
    model_config, training, store, progress, watch, compiled, **trainer_flags
        As in `train`, which says what is returned and raised.
    """
    described = Run.describe(universe, key, model_config, training)
    folder = folder_of(described, store)
    _require_flags(trainer_flags, training.batch_size)  # before anything is put on a device

    def work() -> Run:
        model = Synthesizer(model_config, grammar, universe["max_size"], universe["measure"])
        model.require_fit()
        require_writable(folder, (KEPT + 1) * _BYTES_PER_WEIGHT * num_parameters(model))
        last = newest(folder, described)
        trained = _Fit(folder, universe, key, SynthesisModule(model, data(model), training), tests)
        trained.compile(compiled)
        return trained.run(last, progress, watch, trainer_flags)

    with _held(folder), own_state(training.seed):
        return within_memory(training.batch_size, work)


def forget(folder: Path) -> None:
    """Delete the checkpoints and metrics of a run that is safe elsewhere, unless another process took it up."""
    with suppress(InUseError), exclusive(folder):
        shutil.rmtree(folder, ignore_errors=True)


def run_folder(
    corpus: Corpus, split: Split, model: ModelConfig, training: TrainingConfig, store: Store | None = None
) -> Path:
    """Where a run under way keeps its checkpoints and metrics."""
    return folder_of(Run.describe(corpus.identity, split.key, model, training), store)


def folder_of(described: dict[str, Any], store: Store | None = None) -> Path:
    """The same for a run that is given by its identity (`Run.describe`)."""
    return (store or Store()).root / "checkpoints" / content_key(Run.stage, Run.schema, described)


class _Fit:
    """One call of the Trainer, and the run that it leaves."""

    def __init__(
        self, folder: Path, universe: dict[str, Any], key: str, module: SynthesisModule,
        tests: Mapping[str, Tasks] = MappingProxyType({}),
    ) -> None:  # fmt: skip
        self.folder, self.universe, self.key, self.module, self.tests = folder, universe, key, module, tests
        self.config, self.model_config = module.config, module.model.config
        self.flops = step_flops(module.model, module.order.batch_size)

    def compile(self, compiled: bool | str | None) -> None:
        """Compile the network in place, so that its weights keep their names; by default where it pays."""
        pays = _device().type == "cuda" and self.flops * self.config.num_steps > _WORTH_COMPILING
        if compiled or (compiled is None and pays):
            backend = compiled if isinstance(compiled, str) else "inductor"
            self.module.model.network.compile(backend=backend, dynamic=False)

    def run(self, last: Path | None, progress: bool, watch: Watch | None, flags: dict[str, Any]) -> Run:
        """Train to the end or to Ctrl-C."""
        samples = {n: t.sample(_CHECK_TASKS) for n, t in self.tests.items()}
        keeper = Keeper(self.folder, max(50, self.config.num_steps // 10))
        with interrupts() as interrupted, quiet():
            tracker = Progress(samples, self.config, interrupted, folder=self.folder, flops=self.flops, watch=watch)
            trainer = self._trainer(tracker, keeper, progress, flags)
            try:
                trainer.fit(self.module, ckpt_path=last, weights_only=True)
            except SystemExit as error:  # what Lightning makes of a second Ctrl-C
                raise KeyboardInterrupt from error
            tracker.finish()
            keeper.save(trainer)
        step = trainer.global_step
        if step < self.config.num_steps:
            _say(f"interrupted at step {step} of {self.config.num_steps}: kept, run the same again to go on")
        elif interrupted.seen and not time_is_up():  # too late to stop this run, and meant for whatever comes next
            raise KeyboardInterrupt
        return self._finished(trainer, tracker)

    def _trainer(self, tracker: Progress, keeper: Keeper, progress: bool, flags: dict[str, Any]) -> pl.Trainer:
        on_gpu = _device().type == "cuda"
        identity = Run.describe(self.universe, self.key, self.model_config, self.config)
        defaults = dict(
            accelerator="gpu" if on_gpu else "cpu", devices=1, precision="bf16-mixed" if on_gpu else "32-true",
            max_steps=self.config.num_steps, max_epochs=-1, logger=False,
            callbacks=[tracker, keeper, *([Bar(tracker)] if progress else [])],
            plugins=[SealedCheckpoints(identity)], enable_checkpointing=False, enable_progress_bar=progress,
            enable_model_summary=False, num_sanity_val_steps=0, use_distributed_sampler=False,
        )  # fmt: skip
        trainer = pl.Trainer(**(defaults | flags))
        _require_shared(trainer, self.module.order.batch_size)  # which few items make smaller
        return trainer

    def _finished(self, trainer: pl.Trainer, tracker: Progress) -> Run:
        model, batch, steps = self.module.model.cpu(), self.module.order.batch_size, trainer.global_step
        tokens = int(tracker.num_tokens)
        cost = {
            "parameters": num_parameters(model),
            "flops": self.flops * steps,
            "seconds": tracker.seconds,
            "samples": batch * steps,
            "tokens": tokens,
            "tokens_per_second": tokens / tracker.training_seconds,
            "device": device_name(trainer.strategy.root_device),
            "processes": trainer.world_size,
            "precision": str(trainer.precision),
            "torch": torch.__version__,
            "lightning": pl.__version__,
        }
        weights = safetensors.torch.save({n: w.clone().contiguous() for n, w in model.state_dict().items()})
        return Run(
            self.universe, self.key, self.model_config, self.config, steps, weights, tracker.history,
            tracker.answer_table, cost,
        )  # fmt: skip


def _require_flags(flags: Mapping[str, Any], batch_size: int) -> None:
    """Refuse flags of the Trainer that would not train the run that was asked for."""
    unknown = [name for name in flags if name not in FLAGS]
    if unknown or flags.get("devices", 1) in (0, "0"):
        raise ConfigurationError(
            f"trainer flag {unknown[0] if unknown else 'devices=0'!r} would change the run or stop it: "
            f"choose from {', '.join(FLAGS)}"
        )
    if not flags:
        return
    with quiet():
        trainer = pl.Trainer(
            **flags, logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False
        )
    _require_shared(trainer, batch_size)
    # processes that are forked or spawned from this one would keep losses and answers to themselves
    if isinstance(trainer.strategy.launcher, _MultiProcessingLauncher):
        raise ConfigurationError(
            "several devices need processes of their own: run `python -m synthlab train --devices ...` instead"
        )
    if "precision" in flags and trainer.precision not in ("32-true", "bf16-mixed"):
        raise ConfigurationError(f"precision {trainer.precision!r}: use '32-true' or 'bf16-mixed'")


def _require_shared(trainer: pl.Trainer, batch_size: int) -> None:
    if batch_size < trainer.world_size:
        raise ConfigurationError(
            f"a batch of {batch_size} cannot be shared by {trainer.world_size} processes: "
            "raise batch_size or lower devices"
        )


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """The run's folder for this process alone; a helper process of several works for the one that holds it."""
    with nullcontext() if getattr(rank_zero_only, "rank", 0) > 0 else exclusive(folder):
        remove_leftovers(folder)
        yield


def _say(message: str) -> None:
    from tqdm.auto import tqdm

    tqdm.write(f"synthlab: {message}")
