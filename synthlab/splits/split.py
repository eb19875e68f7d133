"""The carrier of a split: which programs are trained on, and which functions are tested."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd

from synthlab.errors import ArtifactError, ConfigurationError, SplitError
from synthlab.language.measure import smallest_size
from synthlab.spaces.space import SEMANTIC, Space
from synthlab.splits.boundaries import Boundary
from synthlab.store import Carrier
from synthlab.universe.corpus import Corpus

RANDOM_TEXT = "random"
POLICIES = ("as sampled", "minimal", "minimal inside the support", RANDOM_TEXT)
"""Which text of a function is learned: the one drawn, the least of all, the least that may be trained on, or
another one that may be trained on every epoch."""


@dataclass(frozen=True, eq=False)
class Split(Carrier):
    """Training programs and test tasks that share no function.

    Attributes
    ----------
    kind
        ``density``, ``support``, ``mcd`` (maximum compound divergence), or ``practice`` (`study.practice`).
    corpus
        Identity of the universe it was drawn from.
    settings
        Everything that decides the draw, as JSON.
    train
        Ids of the training programs, in the order drawn.
    targets
        Ids of the texts the model learns to write for them (equal to `train` for "as sampled"; for "random" the
        ones of the first draw, see `learned_texts`).
    tests
        Class ids per test set; density tests may repeat a class, which weighs it.
    reserved
        Class ids that no training program may compute, drawn before anything else.
    region
        Held-out programs as packed bits over ids; empty where no region is held out.
    boundaries
        The surface of the region in each space that decides it, so that it can be asked of any text.
    """

    stage: ClassVar[str] = "split"
    schema: ClassVar[int] = 4

    kind: str
    corpus: dict[str, Any]
    settings: dict[str, Any]
    train: np.ndarray
    targets: np.ndarray
    tests: dict[str, np.ndarray]
    reserved: np.ndarray
    region: np.ndarray
    boundaries: dict[str, Boundary] = field(default_factory=dict)

    @staticmethod
    def describe(kind: str, corpus: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
        """Identity of a split before it is drawn."""
        return {"kind": kind, "corpus": corpus, "settings": json.loads(json.dumps(settings, default=_plain))}

    @property
    def identity(self) -> dict[str, Any]:
        return self.describe(self.kind, self.corpus, self.settings)

    @property
    def label(self) -> str:
        return self.kind

    def payload(self) -> dict[str, np.ndarray]:
        fixed = {name: getattr(self, name) for name in ("train", "targets", "reserved", "region")}
        surfaces = {
            f"boundary-{kind}-{name}": numbers
            for kind, boundary in self.boundaries.items()
            for name, numbers in boundary.numbers.items()
        }
        return fixed | {f"test-{name}": ids for name, ids in self.tests.items()} | surfaces

    @classmethod
    def restore(cls, identity: dict[str, Any], payload: dict[str, Any]) -> Self:
        tests = {n.removeprefix("test-"): payload.pop(n) for n in list(payload) if n.startswith("test-")}
        surfaces: dict[str, dict[str, np.ndarray]] = {}
        for entry in [name for name in payload if name.startswith("boundary-")]:
            _, kind, name = entry.split("-", 2)
            surfaces.setdefault(kind, {})[name] = payload.pop(entry)
        settings = identity["settings"]
        boundaries = {kind: Boundary(settings["region"]["rule"], numbers) for kind, numbers in surfaces.items()}
        return cls(identity["kind"], identity["corpus"], settings, tests=tests, boundaries=boundaries, **payload)

    @property
    def joint_shift(self) -> bool:
        """Whether the other space may shift as well; true unless the split was isolated by resampling."""
        return self.kind == "support" and not self.settings.get("isolated", False)

    def held_out(self, num_programs: int) -> np.ndarray:
        """Region as a mask over program ids, bool (P,)."""
        if not len(self.region):
            return np.zeros(num_programs, dtype=bool)
        return np.unpackbits(self.region, count=num_programs).astype(bool)

    def frame(self) -> pd.DataFrame:
        """Parts with their number of items and of distinct functions or texts."""
        rows = [("train", len(self.train), len(np.unique(self.train)))]
        rows += [(name, len(ids), len(np.unique(ids))) for name, ids in self.tests.items()]
        return pd.DataFrame(rows, columns=["part", "items", "distinct"])

    def histogram(self, corpus: Corpus) -> pd.DataFrame:
        """Share of each minimal size in every part, so that no comparison hides a shift of size."""
        if self.corpus != corpus.identity:
            raise ArtifactError("the split was drawn on another corpus: load that one, or draw it again")
        parts = {"train": corpus.class_index[self.train]}
        parts |= {name: corpus.class_rows(ids) for name, ids in self.tests.items()}
        tables, smallest = [], smallest_size(corpus.measure)
        for name, rows in parts.items():
            counts = np.bincount(corpus.minimal_size[rows], minlength=corpus.max_size + 1)[smallest:]
            tables.append(
                pd.DataFrame(
                    {
                        "part": name,
                        corpus.measure: np.arange(smallest, corpus.max_size + 1),
                        "items": counts,
                        "share": counts / max(1, counts.sum()),
                    }
                )
            )
        return pd.concat(tables, ignore_index=True)

    def __repr__(self) -> str:
        tests = ", ".join(f"{n} {len(ids):,}" for n, ids in self.tests.items())
        label = ", joint shift" if self.joint_shift else ""
        policy = self.settings["policy"]
        return f"Split({self.kind}{label}, targets {policy}: train {len(self.train):,}; {tests})"


def _plain(value: Any) -> Any:
    """NumPy scalars as Python numbers, so that settings are JSON."""
    return value.item()


def with_spaces(
    settings: dict[str, Any], corpus: Corpus, spaces: Mapping[str, Space], used: Sequence[str]
) -> dict[str, Any]:
    """Settings with the keys of the spaces that decide the draw: other spaces make another split.

    Raises
    ------
    ConfigurationError
        If a space is not there, or is not what its name says.
    ArtifactError
        If a space belongs to another corpus.
    """
    missing = [kind for kind in used if kind not in spaces]
    if missing:
        raise ConfigurationError(f"the split needs the {' and '.join(missing)} space: add it to the spaces")
    for name in used:
        if spaces[name].corpus_key != corpus.key:
            raise ArtifactError(f"the {name} space was fitted on another corpus: fit it on this one")
        if (spaces[name].kind == SEMANTIC) != (name == SEMANTIC):
            raise ConfigurationError(f"the space named {name} is a {spaces[name].kind} one: name it so")
    return settings | {"spaces": {kind: spaces[kind].key for kind in used}} if used else settings


def check_sizes(settings: Mapping[str, Any]) -> None:
    """Refuse settings of a split that no split can have, whatever its kind: numbers, shares, switches, the policy.

    Raises
    ------
    ConfigurationError
        Naming the setting.
    """
    for name in {
        "num_train",
        "num_programs",
        "num_test",
        "num_cells",
        "num_starts",
        "num_sweeps",
        "seed",
    } & settings.keys():
        number = settings[name]
        if number is None and name in ("num_train", "num_programs"):  # all there are
            continue
        if isinstance(number, bool) or not isinstance(number, int | np.integer):
            raise ConfigurationError(f"{name} {number!r}: use a whole number")
        if number < (name != "seed"):
            raise ConfigurationError(f"{name} {number}: use {int(name != 'seed')} or more")
    for name in {"reserved", "test_share", "max_atom_divergence", "share_alone", "concentration"} & settings.keys():
        number = settings[name]
        if isinstance(number, bool) or not isinstance(number, int | float | np.floating) or not np.isfinite(number):
            raise ConfigurationError(f"{name} {number!r}: use a number")
        if name in ("reserved", "test_share", "max_atom_divergence") and not 0 < number < 1:
            raise ConfigurationError(f"{name} {number}: use a number between 0 and 1")
    for name in {"match_size", "isolated", "control"} & settings.keys():
        if not isinstance(settings[name], bool | np.bool_):
            raise ConfigurationError(f"{name} {settings[name]!r}: use True or False")
    if settings["policy"] not in POLICIES:
        raise ConfigurationError(f"target policy {settings['policy']!r}: choose from {', '.join(POLICIES)}")


def reserve_classes(corpus: Corpus, share: float, seed: int) -> np.ndarray:
    """Mask of classes (C,) drawn before anything else, stratified by minimal size; poles excluded."""
    if not 0 < share < 1:
        raise ConfigurationError(f"reserved share {share}: use a number between 0 and 1")
    reserved = stratified_classes(corpus, share, np.random.default_rng([seed, 1]))
    if not reserved.any():
        raise SplitError(f"{share} of {int(corpus.is_task.sum())} classes reserves none: raise the share")
    return reserved


def stratified_classes(corpus: Corpus, share: float, generator: np.random.Generator) -> np.ndarray:
    """Mask of classes (C,) drawn with the same share of every minimal size; poles excluded."""
    drawn = np.zeros(corpus.num_classes, dtype=bool)
    for size in range(smallest_size(corpus.measure), corpus.max_size + 1):
        rows = np.flatnonzero((corpus.minimal_size == size) & corpus.is_task)
        drawn[generator.permutation(rows)[: round(share * len(rows))]] = True
    return drawn


def training_pool(corpus: Corpus, reserved: np.ndarray, held_out: np.ndarray) -> np.ndarray:
    """Ids of programs that may be trained on: defined on the grid, not reserved, not held out."""
    usable = np.append(corpus.is_task & ~reserved, False)  # class -1 reads the last entry
    return np.flatnonzero(usable[corpus.class_index] & ~held_out)


def check_pool(num_pool: int, num_train: int, detail: str) -> None:
    """Refuse to draw more training programs than there are.

    Raises
    ------
    SplitError
        With all counts.
    """
    if not num_pool:
        raise SplitError(f"nothing is left to train on ({detail}): hold out or reserve less")
    if not 0 < num_train <= num_pool:
        raise SplitError(f"{num_train:,} training programs asked of a pool of {num_pool:,} ({detail}): lower num_train")


def choose_targets(corpus: Corpus, train: np.ndarray, pool: np.ndarray, policy: str) -> np.ndarray:
    """Text to learn for every training program, by policy (see `POLICIES`); `pool` may be trained on, ascending.

    Raises
    ------
    SplitError
        If the least text of a function lies outside the pool: learning it would give the held-out region away.
    """
    if policy not in POLICIES:
        raise ConfigurationError(f"target policy {policy!r}: choose from {', '.join(POLICIES)}")
    if policy in ("as sampled", RANDOM_TEXT):
        return train.copy()
    classes, first = np.unique(corpus.class_index[pool], return_index=True)  # pool is ascending: the first is least
    inside = pool[first[np.searchsorted(classes, corpus.class_index[train])]]
    outside = int((inside != corpus.class_id[corpus.class_index[train]]).sum())
    if policy == "minimal" and outside:
        raise SplitError(
            f"{outside:,} of {len(train):,} training programs have their minimal text outside the support: "
            "use the policy 'minimal inside the support'"
        )
    return inside


def learned_texts(corpus: Corpus, split: Split) -> np.ndarray:
    """Ids of every text that a model of this split may be taught, ascending.

    They are its targets, unless another text is drawn every epoch: then all texts of their functions outside
    the held-out region, or, where compounds are held out instead, those drawn.
    """
    if split.settings["policy"] != RANDOM_TEXT or split.kind == "mcd":
        return np.unique(split.targets)
    taught = np.zeros(corpus.num_classes + 1, dtype=bool)  # class -1 reads the last entry
    taught[corpus.class_index[split.targets]] = True
    return np.flatnonzero(taught[corpus.class_index] & ~split.held_out(corpus.num_programs))
