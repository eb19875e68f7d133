"""Complete settings by name: `tiny` (tests), `quick` (two CPU cores), `paper` (one GPU), `cluster`."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from synthlab.errors import ConfigurationError


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Size of the transformer; its name is ``<width>x<layers>``."""

    width: int = 96
    layers: int = 3
    heads: int = 4

    def __post_init__(self) -> None:
        if min(self.width, self.layers, self.heads) < 1 or self.width % self.heads:
            raise ConfigurationError(
                f"model {self.width}x{self.layers}: width must be a multiple of {self.heads} heads"
            )

    @property
    def name(self) -> str:
        """Width and depth."""
        return f"{self.width}x{self.layers}"

    @classmethod
    def parse(cls, text: str) -> ModelConfig:
        """Model of a name such as ``96x3``; four heads, or as many as divide the width."""
        width, _, layers = text.partition("x")
        if not (width.isdecimal() and layers.isdecimal() and text.isascii()):
            raise ConfigurationError(f"model {text!r}: write <width>x<layers>, for example 96x3")
        heads = next(h for h in (4, 2, 1) if int(width) % h == 0)
        return cls(width=int(width), layers=int(layers), heads=heads)


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How a model is trained: AdamW, linear warm-up, cosine decay to zero, gradients clipped at 1."""

    num_steps: int = 1000
    batch_size: int = 256
    learning_rate: float = 2e-3
    weight_decay: float = 0.05
    warmup: float = 0.05
    num_checks: int = 8
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.num_steps, self.batch_size) < 1 or not 0 < self.learning_rate < math.inf:
            raise ConfigurationError("training needs at least one step, one sample a batch and a positive rate")
        if self.seed < 0 or not 0 <= self.weight_decay < math.inf:
            raise ConfigurationError("seed and weight decay cannot be negative")
        if not 0 <= self.warmup < 1 or self.num_checks < 0:
            raise ConfigurationError("warmup is a share of the steps in [0, 1); num_checks cannot be negative")


MEASURES = ("leaves", "nodes", "depth")
"""Measures of size."""


@dataclass(frozen=True, kw_only=True)
class Preset:
    """All settings of the lab.

    Parameters
    ----------
    name, grammar, max_size, measure
        Which universe: the grammar, the bound N, and its measure (leaves, nodes or depth).
    map_points
        Points drawn on each UMAP map.
    regions
        Held-out regions as keyword arguments of `splits.regions.Region`; the first is the flagship's.
    reserved
        Share of classes reserved in support splits.
    support_regime, support_train
        How the programs of support splits are drawn, and how many (None for the whole pool).
    flagship_model, flagship
        The run of notebook 04.
    model, short
        Model and training of the many runs of notebooks 05 and 06.
    density_train, num_cells
        Training programs and cells of the density regimes.
    scaling_models, scaling
        Model sizes of notebook 07 and their training.
    seeds
        Seeds of the many runs.
    num_test
        Largest test set.
    num_samples
        Samples per task for pass@k.
    search_seconds, search_tasks
        Budget per task, and number of tasks, of notebook 08.
    needs_gpu
        Whether notebooks show committed results instead of training where no GPU is found.
    """

    name: str
    grammar: str = "polynomial"
    max_size: int = 4
    measure: str = "leaves"
    map_points: int = 3000
    regions: tuple[dict[str, Any], ...] = field(
        default_factory=lambda: (
            {"space": "syntactic", "rule": "root", "root": "*"},
            {"space": "syntactic", "rule": "cluster"},
            {"space": "syntactic", "rule": "quantile", "axis": 1},
            {"space": "semantic", "rule": "cluster"},
            {"space": "semantic", "rule": "quantile", "axis": 0},
        )
    )
    reserved: float = 0.15
    support_regime: str = "random"
    support_train: int | None = None
    flagship_model: ModelConfig = ModelConfig()
    flagship: TrainingConfig = TrainingConfig()
    model: ModelConfig = ModelConfig(width=64, layers=2)
    short: TrainingConfig = TrainingConfig()
    density_train: int = 10_000
    num_cells: int = 100
    scaling_models: tuple[ModelConfig, ...] = ()
    scaling: TrainingConfig = TrainingConfig()
    seeds: tuple[int, ...] = (0,)
    num_test: int = 1000
    num_samples: int = 16
    search_seconds: float = 1.0
    search_tasks: int = 100
    needs_gpu: bool = False


def tiny() -> Preset:
    """The quick universe with training cut to seconds: what the tests run."""
    short = TrainingConfig(num_steps=150, batch_size=64, learning_rate=4e-3, num_checks=2)
    sizes = tuple(ModelConfig(width=w, layers=1, heads=2) for w in (8, 16, 24, 32))
    return replace(
        quick(), name="tiny", map_points=400, flagship_model=ModelConfig(width=32, layers=1), flagship=short,
        model=ModelConfig(width=16, layers=1), short=short, scaling_models=sizes, scaling=short, seeds=(0,),
        num_test=200, num_samples=4, search_seconds=0.5, search_tasks=10,
    )  # fmt: skip


def quick() -> Preset:
    """Two CPU cores, a quarter of an hour; everything but the flagship run is exploratory.

    A quarter of the classes is reserved instead of 15 %, so that over 300 of 2,217 remain as ID test; the
    programs of support splits are drawn equally from all classes, since their tests are.
    """
    sizes = tuple(ModelConfig(width=w, layers=n) for w, n in ((16, 1), (32, 1), (32, 2), (64, 2), (96, 3)))
    short = TrainingConfig(num_steps=800, batch_size=128, learning_rate=4e-3, num_checks=2)
    return Preset(
        name="quick", reserved=0.25, flagship_model=ModelConfig(width=64, layers=2),
        flagship=TrainingConfig(num_steps=5000, batch_size=128, learning_rate=4e-3), support_regime="class",
        support_train=20_000, model=ModelConfig(width=64, layers=2), short=short, scaling_models=sizes, scaling=short,
    )  # fmt: skip


def paper() -> Preset:
    """One GPU: the universe of 3.63 million programs, three seeds."""
    sizes = tuple(
        ModelConfig(width=w, layers=n)
        for w, n in ((64, 2), (128, 3), (192, 4), (256, 6), (384, 6), (512, 8), (768, 12))
    )
    return Preset(
        name="paper", max_size=5, map_points=20_000, flagship_model=ModelConfig(width=256, layers=6),
        flagship=TrainingConfig(num_steps=6000, batch_size=2048, learning_rate=1e-3),
        model=ModelConfig(width=256, layers=6), density_train=50_000,
        short=TrainingConfig(num_steps=2500, batch_size=2048, learning_rate=1e-3), num_cells=1000, scaling_models=sizes,
        scaling=TrainingConfig(num_steps=2500, batch_size=2048, learning_rate=1e-3), seeds=(0, 1, 2), num_test=2000,
        num_samples=64, search_tasks=500, needs_gpu=True,
    )  # fmt: skip


def cluster() -> Preset:
    """The paper's settings with more seeds, for a machine with several GPUs."""
    return replace(paper(), name="cluster", seeds=tuple(range(10)))


_PRESETS: dict[str, Callable[[], Preset]] = {p.__name__: p for p in (tiny, quick, paper, cluster)}


def get_preset(name: str) -> Preset:
    """Preset of a name.

    Raises
    ------
    ConfigurationError
        For an unknown name.
    """
    if name not in _PRESETS:
        raise ConfigurationError(f"unknown preset {name!r}: choose from {', '.join(_PRESETS)}")
    return _PRESETS[name]()
