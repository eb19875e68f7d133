"""Complete settings by name: `tiny` (tests), `quick` (two CPU cores), `paper` (one GPU), `cluster`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeVar

from synthlab.arenas import PAPER_CONTESTS, TINY_CONTESTS, Contests
from synthlab.errors import ConfigurationError
from synthlab.ranges import require_choices, require_kinds, require_range, require_share

Configuration = TypeVar("Configuration", "ModelConfig", "TrainingConfig")


RUN_SCHEMA = 3
"""Version of trained runs: training differently makes other runs, and other results of whoever trains them."""
NETWORKS = ("decoder", "encoder-decoder")
"""Networks that come with synthlab; others are registered by `learning.networks.register_network`."""
ENCODINGS = ("features", "floats")
"""How the numbers of the grid are shown to a network."""
NOTATIONS = ("prefix", "postfix", "infix")
"""How programs are written as tokens."""
SCHEDULES = ("cosine", "wsd")
"""Learning rates over time: cosine decay to zero, or warm-up, stable, linear decay to zero."""
_HEAD_WIDTH = 128


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """What is trained: the size of the network, what it reads and what it writes.

    Parameters
    ----------
    width, layers, heads
        Size of the transformer; an encoder-decoder has so many layers in either half.
    network
        ``decoder``, ``encoder-decoder``, or a name given to `learning.networks.register_network`.
    encoding
        ``features`` (sign, logarithm, remainders) or ``floats`` (sign, mantissa digits, exponent).
    notation
        ``prefix``, ``postfix`` or ``infix``.
    tied
        Whether the embedding of tokens also weighs the logits.
    room
        How much larger than the universe's bound an answer may be.
    """

    width: int = 96
    layers: int = 3
    heads: int = 4
    network: str = "decoder"
    encoding: str = "features"
    notation: str = "prefix"
    tied: bool = False
    room: int = 0

    def __post_init__(self) -> None:
        require_kinds(self)
        require_range(self, width=(1, math.inf), layers=(1, math.inf), heads=(1, math.inf), room=(0, math.inf))
        if self.width % self.heads:
            raise ConfigurationError(
                f"model {self.width}x{self.layers}: width must be a multiple of {self.heads} heads"
            )
        require_choices(self, encoding=ENCODINGS, notation=NOTATIONS)

    @property
    def name(self) -> str:
        """Width and depth, and whatever else is not as by default."""
        default = {"network": "decoder", "encoding": "features", "notation": "prefix"}
        words = [getattr(self, n) for n, usual in default.items() if getattr(self, n) != usual]
        words += ["tied"] * self.tied + [f"N+{self.room}"] * bool(self.room)
        heads = [f"{self.heads} heads"] * (self.heads != _usual_heads(self.width))
        return " ".join([f"{self.width}x{self.layers}", *heads, *words])

    @classmethod
    def parse(cls, text: str, **changes: Any) -> ModelConfig:
        """Model of a name such as ``96x3``; four heads, or as many as divide the width, none wider than 128."""
        width, _, layers = text.partition("x")
        if not (width.isdecimal() and layers.isdecimal() and text.isascii()):
            raise ConfigurationError(f"model {text!r}: write <width>x<layers>, for example 96x3")
        return cls(width=int(width), layers=int(layers), heads=_usual_heads(int(width)), **changes)


def _usual_heads(width: int) -> int:
    if width > 4 * _HEAD_WIDTH and width % _HEAD_WIDTH == 0:
        return width // _HEAD_WIDTH
    return next(h for h in (4, 2, 1) if width % h == 0)


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How a model is trained: AdamW, linear warm-up, decay to zero, clipped gradients.

    Parameters
    ----------
    num_steps, batch_size
        Length, and programs a step (over all devices).
    learning_rate
        The highest one; `tuned_learning_rate` knows measured ones.
    weight_decay
        Of matrices; vectors are not decayed.
    warmup
        Share of the steps with a rising rate.
    schedule, decay
        ``cosine``, or ``wsd``: constant, then linear to zero over the last share `decay` of the steps.
    clip
        Largest norm of the gradient; 0 for none.
    num_checks
        How often pass@1 is looked at.
    seed
        Of the weights, and of the order of the data.
    """

    num_steps: int = 1000
    batch_size: int = 256
    learning_rate: float = 2e-3
    weight_decay: float = 0.05
    warmup: float = 0.05
    schedule: str = "cosine"
    decay: float = 0.2
    clip: float = 1.0
    num_checks: int = 8
    seed: int = 0

    def __post_init__(self) -> None:
        require_kinds(self)
        some, any_number = (1, math.inf), (0, math.inf)
        require_range(self, num_steps=some, batch_size=some, num_checks=any_number, seed=any_number)
        require_range(self, weight_decay=any_number, clip=any_number, decay=(0, 1))
        if self.learning_rate <= 0 or not 0 <= self.warmup < 1:
            raise ConfigurationError(
                f"learning_rate {self.learning_rate}, warmup {self.warmup}: a positive rate, and a share in [0, 1)"
            )
        require_choices(self, schedule=SCHEDULES)
        if self.schedule == "wsd" and not 0 < self.decay <= 1 - self.warmup + 1e-9:
            raise ConfigurationError(f"decay {self.decay} is a share of the steps: over 0, at most {1 - self.warmup:g}")

    def rate(self, step: int) -> float:
        """Learning rate of a step (0 is the first) as a share of the highest one."""
        warmup = max(1, round(self.warmup * self.num_steps))
        if step < warmup:
            return (step + 1) / warmup
        left = max(0.0, (self.num_steps - step) / max(1, self.num_steps - warmup))
        if self.schedule == "cosine":
            return 0.5 * (1 - math.cos(math.pi * left))
        return min(1.0, max(0.0, (self.num_steps - step) / max(1, round(self.decay * self.num_steps))))


def changed(config: Configuration, changes: Mapping[str, str]) -> Configuration:
    """A configuration with some fields read from text, each as the type that its field has.

    Raises
    ------
    ConfigurationError
        For a field that does not exist, or a value that is none of its type.
    """
    known: dict[str, Any] = {f.name: getattr(config, f.name) for f in fields(config)}
    values: dict[str, Any] = {}
    for name, text in changes.items():
        if name not in known:
            raise ConfigurationError(f"{type(config).__name__} has no {name!r}: choose from {', '.join(known)}")
        kind = type(known[name])
        try:
            values[name] = _TRUTH[text.lower()] if kind is bool else kind(text)
        except (KeyError, ValueError) as error:
            raise ConfigurationError(f"{name}={text!r}: use a value like {known[name]!r}") from error
    return replace(config, **values)


_TRUTH = {"true": True, "false": False}


LEARNING_RATES = ((32, 1.6e-2), (64, 8e-3), (128, 2e-3))
"""Measured by `python -m synthlab tune quick`: the rate of the least final loss by width."""


def tuned_learning_rate(width: int) -> float:
    """Measured learning rate, between measured widths on a straight line in logarithms; beyond, falling with the width.

    Narrower models than measured take the rate of the narrowest.
    """
    widest, rate = LEARNING_RATES[-1]
    if width > widest:
        return rate * widest / width
    place, last = math.log(max(width, LEARNING_RATES[0][0])), (0.0, 0.0)
    for known, tuned in LEARNING_RATES:
        point = math.log(known), math.log(tuned)
        if place <= point[0]:
            share = 1.0 if place == point[0] else (place - last[0]) / (point[0] - last[0])
            rate = math.exp(last[1] + share * (point[1] - last[1]))
            break
        last = point
    return float(f"{rate:.3g}")


MODELS = tuple(
    ModelConfig.parse(name)
    for name in ("64x2", "128x3", "192x4", "256x6", "384x6", "512x8", "768x12", "768x14")
)  # fmt: skip
"""A ladder of sizes from 0.1 to 99 million weights."""

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
    num_regions, region_mass, region_clusters
        Further regions of equal mass that every seed draws in either metric space: how many, which share of
        programs (syntactic) or classes (semantic) each holds out, and of how many clusters they are unions.
    isolated, shapes
        How many of the drawn regions are also held out in isolated splits (per space), and in the space without
        labels.
    variants, root_variants
        Variants of model and targets (`study.designs.VARIANTS`) that are trained on the first drawn syntactic
        region, and on the first of `regions`.
    further_grammars
        Other universes in which regions are drawn: grammar and largest size.
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
    crossed_regimes, cell_counts, random_sizes
        Regimes whose targets are also the minimal texts; further numbers of cells for the regime dual; further
        numbers of training programs for the regime random.
    scaling_models, scaling, scaling_sizes
        Model sizes of notebook 07, their training, and the numbers of training programs they are crossed with (None
        for the preset's).
    seeds
        Seeds of the many runs.
    num_test
        Largest test set.
    num_samples
        Samples per task for pass@k.
    contests
        What model and search are compared on in notebook 08.
    tuned_models, learning_rates
        Sizes and rates that `study.tuning.learning_rate_trials` crosses.
    variant_seeds
        Seeds of every variant of `study.tuning.variant_trials`.
    exploratory
        Whether its verdicts are marked as exploratory whatever the number of seeds: short runs, a small universe.
    needs_gpu
        Whether notebooks show committed results instead of training where no GPU is found.
    """

    name: str
    grammar: str = "polynomial"
    max_size: int = 4
    measure: str = "leaves"
    map_points: int = 3000
    regions: tuple[dict[str, Any], ...] = field(
        default_factory=lambda: ({"space": "syntactic", "rule": "root", "root": "*"},)
    )
    num_regions: int = 0
    region_mass: float = 0.3
    region_clusters: int = 40
    isolated: int = 0
    shapes: int = 0
    variants: tuple[str, ...] = ()
    root_variants: tuple[str, ...] = ()
    further_grammars: tuple[tuple[str, int], ...] = ()
    reserved: float = 0.15
    support_regime: str = "random"
    support_train: int | None = None
    flagship_model: ModelConfig = ModelConfig()
    flagship: TrainingConfig = TrainingConfig()
    model: ModelConfig = ModelConfig(width=64, layers=2)
    short: TrainingConfig = TrainingConfig()
    density_train: int = 10_000
    num_cells: int = 100
    crossed_regimes: tuple[str, ...] = ()
    cell_counts: tuple[int, ...] = ()
    random_sizes: tuple[int, ...] = ()
    scaling_models: tuple[ModelConfig, ...] = ()
    scaling: TrainingConfig = TrainingConfig()
    scaling_sizes: tuple[int | None, ...] = (None,)
    seeds: tuple[int, ...] = (0,)
    num_test: int = 1000
    num_samples: int = 16
    contests: Contests = field(default_factory=Contests)
    tuned_models: tuple[ModelConfig, ...] = ()
    learning_rates: tuple[float, ...] = (1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2, 3.2e-2)
    variant_seeds: int = 3
    exploratory: bool = False
    needs_gpu: bool = False

    def __post_init__(self) -> None:
        require_kinds(self)
        some = ("map_points", "support_train", "density_train", "num_cells", "num_test", "num_samples", "variant_seeds",
                "cell_counts", "random_sizes", "scaling_sizes", "max_size")  # fmt: skip
        require_range(self, **dict.fromkeys(some, (1, math.inf)), region_clusters=(2, math.inf))
        require_range(self, **dict.fromkeys(("num_regions", "isolated", "shapes", "seeds"), (0, math.inf)))
        require_share(self, "reserved", "region_mass")
        require_choices(
            self, measure=MEASURES, support_regime=(*_REGIMES, "class"), crossed_regimes=(*_REGIMES, "class")
        )
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise ConfigurationError(f"seeds {self.seeds!r}: use at least one, each once")
        if self.isolated > self.num_regions:
            raise ConfigurationError(
                f"isolated {self.isolated} of num_regions {self.num_regions}: draw as many regions"
            )
        if min(self.learning_rates, default=1) <= 0:
            raise ConfigurationError(f"learning_rates {self.learning_rates!r}: use positive numbers")


_REGIMES = ("random", "syntactic", "semantic", "dual")


def tiny() -> Preset:
    """The quick universe with training cut to seconds: what the tests run."""
    short = TrainingConfig(num_steps=150, batch_size=64, learning_rate=4e-3, num_checks=2)
    sizes = tuple(ModelConfig(width=w, layers=1, heads=2) for w in (8, 16, 24, 32))
    return replace(
        quick(), name="tiny", map_points=400, flagship_model=ModelConfig(width=32, layers=1), flagship=short,
        model=ModelConfig(width=16, layers=1), short=short, scaling_models=sizes, scaling=short, num_test=200,
        num_regions=1, isolated=0, shapes=0, variants=("postfix",), root_variants=(), further_grammars=(),
        crossed_regimes=("dual",), cell_counts=(), random_sizes=(20_000,), num_samples=4, contests=TINY_CONTESTS,
        tuned_models=sizes[:2], learning_rates=(2e-3, 8e-3), variant_seeds=1,
    )  # fmt: skip


def quick() -> Preset:
    """Two CPU cores, a study of ten minutes a seed, exploratory.

    A quarter of the classes is reserved instead of 15 %, so that over 300 of 2,217 remain as ID test; the
    programs of support splits are drawn equally from all classes, since their tests are.
    """
    names = ("16x1", "32x1", "32x2", "48x2", "64x2", "96x2")
    short = TrainingConfig(num_steps=800, batch_size=128, learning_rate=4e-3, num_checks=2)
    return Preset(
        name="quick", reserved=0.25, flagship_model=ModelConfig(width=64, layers=2),
        flagship=TrainingConfig(num_steps=5000, batch_size=128, learning_rate=4e-3), support_regime="class",
        support_train=20_000, model=ModelConfig(width=64, layers=2), short=short,
        scaling_models=tuple(map(ModelConfig.parse, names)), scaling=short, num_regions=2,
        isolated=1, shapes=1, variants=("postfix", "floats", "minimal inside the support"),
        root_variants=("postfix", "room"), further_grammars=(("rational", 4),), crossed_regimes=("random", "dual"),
        cell_counts=(400,), random_sizes=(40_000,), exploratory=True,
        tuned_models=tuple(ModelConfig.parse(name) for name in ("32x2", "64x2", "128x3")),
    )  # fmt: skip


def paper() -> Preset:
    """One GPU: the universe of 3.63 million programs, three seeds, twelve regions of equal mass per space."""
    sizes = MODELS[:-1]
    short = TrainingConfig(num_steps=2500, batch_size=2048, learning_rate=1e-3)
    variants = ("postfix", "infix", "room", "floats", "encoder-decoder", "minimal inside the support", "random")
    return Preset(
        name="paper", max_size=5, map_points=20_000, flagship_model=ModelConfig(width=256, layers=6),
        flagship=TrainingConfig(num_steps=6000, batch_size=2048, learning_rate=1e-3), support_train=200_000,
        model=ModelConfig(width=256, layers=6), density_train=50_000, short=short, num_cells=1000,
        scaling_models=sizes, scaling=short, scaling_sizes=(None, 50_000, 1_000_000), seeds=(0, 1, 2),
        regions=tuple({"space": "syntactic", "rule": "root", "root": root} for root in "*+-"), num_regions=4,
        isolated=2, shapes=2, variants=variants, root_variants=("postfix", "room"),
        further_grammars=(("rational", 4),), crossed_regimes=_REGIMES, cell_counts=(100, 3000),
        random_sizes=(100_000, 200_000, 400_000, 800_000), num_test=2000, num_samples=64,
        contests=PAPER_CONTESTS, needs_gpu=True, tuned_models=sizes, learning_rates=(2.5e-4, 5e-4, 1e-3, 2e-3, 4e-3),
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
