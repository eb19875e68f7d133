"""A learned sense of what is left: how likely two halves of a library complete some wanted outputs.

The guide is a small network that reads wanted outputs and estimates the odds that they are ``a op b`` with a and b
in a library. It learns from targets made of three parts, ``s op (a op b)``: taking s off leaves something that can be
completed, taking anything else off hardly ever does. So it judges the rests that a search could go on with, before
any of them costs a hundred thousand look-ups (value functions over partial programs: Ellis et al. 2019, REPL).
"""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, Self

import numpy as np
import pandas as pd

from synthlab.compiling import numba
from synthlab.errors import ConfigurationError
from synthlab.language.grammar import Grammar
from synthlab.language.residues import PRIME, combine_arrays
from synthlab.search.budget import Cost
from synthlab.search.library import Library
from synthlab.search.meeting import moves, rests
from synthlab.store import Carrier

_MODULI = (2, 3, 5, 7)
_HIDDEN = (128, 64)
_NEGATIVES = 4
_MOST_ROWS = 1 << 13
_LEAST_SPREAD = 1e-3


class Guide(Protocol):
    """What a search asks of a guide."""

    @property
    def training(self) -> Cost:
        """What training took."""
        ...

    def __call__(self, codes: np.ndarray, known: np.ndarray) -> np.ndarray:
        """Log-odds (M,) that wanted outputs (M, G), known where the mask says, are two halves away."""
        ...


# ---------------------------------------------------------------- features


@numba.njit(cache=True, nogil=True)
def _fractions(codes, known, tops, bottoms):
    """Numerators and denominators of residues (M, G) by half an extended Euclid (Wang 1981); 0 / 0 where unknown or
    beyond 2^30."""
    bound = 1 << 30
    for row in range(codes.shape[0]):
        for g in range(codes.shape[1]):
            tops[row, g] = bottoms[row, g] = 0
            if not known[row, g] or codes[row, g] >= np.uint64(PRIME):
                continue
            r0, r1, t0, t1 = PRIME, np.int64(codes[row, g]), 0, 1
            if r1 > PRIME - bound:
                r1, t1 = PRIME - r1, -1  # small negative numbers need no steps
            while r1 >= bound:
                quotient = r0 // r1
                r0, r1 = r1, r0 - quotient * r1
                t0, t1 = t1, t0 - quotient * t1
            if -bound < t1 < bound and t1 != 0:
                tops[row, g], bottoms[row, g] = (r1, t1) if t1 > 0 else (-r1, -t1)


def fractions(codes: np.ndarray, known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Numerators and denominators (M, G) of residues, below 2^30; both 0 where unknown, or where there are none.

    Larger numbers have none, or those of the one small fraction that has the same residue.
    """
    tops, bottoms = np.empty(codes.shape, dtype=np.int64), np.empty(codes.shape, dtype=np.int64)
    _fractions(codes, known, tops, bottoms)
    return tops, bottoms


def _differences(num: int) -> np.ndarray:
    """Matrix of Newton's forward differences: powers of an operator that sees how a polynomial is built."""
    matrix = np.eye(num)
    for order in range(1, num):
        for row in range(num - 1, order - 1, -1):
            matrix[row] -= matrix[row - 1]
    return matrix


def features(grammar: Grammar, codes: np.ndarray, known: np.ndarray) -> np.ndarray:
    """What the network reads of wanted outputs (M, G), float32 (M, F).

    Per point: signed logarithm of the value and of the forward differences over the whole grid, logarithm of the
    denominator, whether it is known, whether the numerator is zero, and its divisibility by small primes. What is
    unknown, or no fraction of 30-bit numbers, counts as 0 / 0, which nothing divides.
    """
    tops, bottoms = fractions(codes, known)
    defined = bottoms != 0
    values = np.divide(tops, bottoms, out=np.zeros(codes.shape), where=defined)
    changes = values.reshape(len(codes), *grammar.grid.shape)
    for axis, num in enumerate(grammar.grid.shape, start=1):
        changes = np.moveaxis(np.moveaxis(changes, axis, -1) @ _differences(num).T, -1, axis)
    parts = [_signed_log(values), _signed_log(changes.reshape(len(codes), -1)), np.log1p(bottoms), known, tops == 0]
    parts += [defined & (tops % modulus == 0) for modulus in _MODULI]
    return np.concatenate([np.asarray(p, dtype=np.float32) for p in parts], axis=1)


def _signed_log(values: np.ndarray) -> np.ndarray:
    return np.sign(values) * np.log1p(np.abs(values))


# ---------------------------------------------------------------- the network


@dataclass(frozen=True, eq=False)
class LearnedGuide(Carrier):
    """A small network as plain arrays.

    Attributes
    ----------
    description
        What it was trained from.
    grammar
        The language.
    layers
        Weights (n, m) and offsets (m,) of every layer; the first one reads standardized features.
    shift, scale
        Mean and inverse spread of the features.
    training
        What training took.
    accuracy
        Area under the ROC curve on targets that it was not trained on.
    """

    stage: ClassVar[str] = "guide"
    schema: ClassVar[int] = 1

    description: dict[str, Any]
    grammar: Grammar
    layers: tuple[tuple[np.ndarray, np.ndarray], ...]
    shift: np.ndarray
    scale: np.ndarray
    training: Cost
    accuracy: float

    def __call__(self, codes: np.ndarray, known: np.ndarray) -> np.ndarray:
        odds = [np.empty(0, dtype=np.float32)]
        for start in range(0, len(codes), _MOST_ROWS):
            rows = slice(start, start + _MOST_ROWS)
            hidden = (features(self.grammar, codes[rows], known[rows]) - self.shift) * self.scale
            for number, (matrix, offset) in enumerate(self.layers, start=1):
                hidden = hidden @ matrix + offset
                if number < len(self.layers):
                    np.maximum(hidden, 0.0, out=hidden)
            odds.append(hidden[:, 0])
        return np.concatenate(odds)

    @property
    def identity(self) -> dict[str, Any]:
        return self.description

    def payload(self) -> dict[str, Any]:
        arrays = {"shift": self.shift, "scale": self.scale}
        for number, (matrix, offset) in enumerate(self.layers):
            arrays |= {f"matrix-{number}": matrix, f"offset-{number}": offset}
        return {**arrays, "about": self.frame()}

    def frame(self) -> pd.DataFrame:
        cost = self.training
        return pd.DataFrame([{
            "seconds": cost.seconds, "programs": cost.programs, "flops": cost.flops, "accuracy": self.accuracy
        }])  # fmt: skip

    @classmethod
    def restore(cls, identity: dict[str, Any], payload: dict[str, Any]) -> Self:
        from synthlab.language.grammar import get_grammar

        about = payload["about"].iloc[0]
        num = sum(name.startswith("matrix-") for name in payload)
        layers = tuple((payload[f"matrix-{n}"], payload[f"offset-{n}"]) for n in range(num))
        cost = Cost(seconds=float(about["seconds"]), programs=int(about["programs"]), flops=float(about["flops"]))
        return cls(
            identity, get_grammar(identity["grammar"]), layers, payload["shift"], payload["scale"], cost,
            float(about["accuracy"]),
        )  # fmt: skip


def guide_settings(
    library: Library, *, part_size: int = 4, num_targets: int = 40_000, num_epochs: int = 12, seed: int = 0
) -> dict[str, Any]:
    """All that decides a guide, as JSON.

    Parameters
    ----------
    library
        The halves; targets have at most `part_size` leaves more than two of its largest functions together.
    part_size
        Largest part that is taken off.
    num_targets, num_epochs, seed
        Training targets, passes over them, and the seed of both.

    Raises
    ------
    ConfigurationError
        For settings that nothing can be learned with, or a grammar without an operator that can be undone.
    """
    if not 1 <= part_size <= library.max_size or num_targets < 100 or num_epochs < 1 or seed < 0:
        raise ConfigurationError(
            f"parts of {part_size}, {num_targets} targets, {num_epochs} passes, seed {seed}: parts come from the "
            "library, 100 targets are few, and there is at least one pass"
        )
    if not moves(library):
        raise ConfigurationError(f"no operator of {library.grammar.name!r} can be undone: search without a guide")
    return {
        "grammar": library.grammar.name, "digest": library.grammar.digest, "measure": library.table.measure,
        "library": library.max_size, "part_size": part_size, "num_targets": num_targets, "num_epochs": num_epochs,
        "hidden": list(_HIDDEN), "seed": seed,
    }  # fmt: skip


def train_guide(library: Library, settings: dict[str, Any]) -> LearnedGuide:
    """Make targets of three parts, and learn which rests two halves of the library complete."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.metrics import roc_auc_score
    from sklearn.neural_network import MLPClassifier

    start, generator = time.perf_counter(), np.random.default_rng(settings["seed"])
    examples, labels = _examples(library, settings["num_targets"], settings["part_size"], generator)
    shift, spread = examples.mean(axis=0), examples.std(axis=0)
    scale = np.where(spread > _LEAST_SPREAD, 1 / (spread + 1e-6), np.float32(0))  # what never varied says nothing
    network = MLPClassifier(
        tuple(settings["hidden"]), batch_size=256, random_state=settings["seed"], max_iter=settings["num_epochs"],
        tol=0.0, n_iter_no_change=settings["num_epochs"],
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the number of passes is the setting
        network.fit((examples - shift) * scale, labels)
    layers = tuple(
        (matrix.astype(np.float32), offset.astype(np.float32))
        for matrix, offset in zip(network.coefs_, network.intercepts_, strict=True)
    )
    weights = sum(matrix.size for matrix, _ in layers)
    cost = Cost(
        seconds=time.perf_counter() - start, programs=4 * settings["num_targets"],
        flops=6.0 * weights * len(examples) * settings["num_epochs"],
    )  # fmt: skip
    guide = LearnedGuide(settings, library.grammar, layers, shift, scale, cost, float("nan"))
    unseen, truth = _rests(library, max(200, settings["num_targets"] // 20), settings["part_size"], generator)
    accuracy = float(roc_auc_score(truth, guide(*unseen)))
    return LearnedGuide(settings, library.grammar, layers, shift, scale, cost, accuracy)


def _examples(
    library: Library, num: int, part_size: int, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    (codes, known), labels = _rests(library, num, part_size, generator)
    return features(library.grammar, codes, known), labels


def _rests(
    library: Library, num: int, part_size: int, generator: np.random.Generator
) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray]:
    """Rests of random targets ``s op (a op b)``: after s was taken off (true), and after other parts (false)."""
    ways, largest = moves(library), library.max_size
    halves = [_draw(library, largest, num, generator, smallest=largest // 2) for _ in range(2)]
    rest = _combined(library, library.codes[halves[0]], library.codes[halves[1]], generator)
    parts, chosen = _draw(library, part_size, num, generator), generator.integers(len(ways), size=num)
    targets = np.full_like(rest, PRIME)
    for number, way in enumerate(ways):
        rows = np.flatnonzero(chosen == number)
        pair = (library.codes[parts[rows]], rest[rows])
        targets[rows] = combine_arrays(way.kind, *(pair if way.side == 0 else pair[::-1]))
    sound = (targets < PRIME).all(axis=1) & (rest < PRIME).all(axis=1)
    asked = [(targets[sound], parts[sound], chosen[sound], True)]
    for _ in range(_NEGATIVES):
        others = _draw(library, part_size, int(sound.sum()), generator)
        asked.append((targets[sound], others, generator.integers(len(ways), size=len(others)), False))
    found, labels = [], []
    for wanted, taken, under, right in asked:
        for number, way in enumerate(ways):
            rows = np.flatnonzero(under == number)
            codes, known, kept = rests(
                library, way, wanted[rows], np.ones((len(rows), rest.shape[1]), bool), taken[rows]
            )
            found.append((codes, known))
            labels.append(np.full(len(kept), right))
    return (np.concatenate([f[0] for f in found]), np.concatenate([f[1] for f in found])), np.concatenate(labels)


def _draw(library: Library, largest: int, num: int, generator: np.random.Generator, smallest: int = 1) -> np.ndarray:
    """Rows of usable functions: a size uniformly, then one of that size."""
    occupied = np.unique(library.table.sizes[library.usable])  # no program has an even number of nodes
    occupied = occupied[(occupied >= smallest) & (occupied <= largest)].astype(np.int64)
    sizes = occupied[generator.integers(0, len(occupied), size=num)]
    low, high = (np.searchsorted(library.table.sizes, sizes, side=side) for side in ("left", "right"))
    rows = generator.integers(low, high)
    while (bad := ~library.usable[rows]).any():
        rows[bad] = generator.integers(low[bad], high[bad])
    return rows


def _combined(library: Library, left: np.ndarray, right: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Outputs of pairs under random operators; 2^61 - 1 where there is none."""
    chosen = generator.choice(np.array([way.kind for way in moves(library)]), size=len(left))
    return combine_arrays(chosen[:, None], left, right)
