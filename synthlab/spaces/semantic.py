"""Where a function stands by what it computes: outputs -> scaling -> z-score per grid point -> PCA."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from synthlab.errors import ConfigurationError
from synthlab.language.identity import grid_codes
from synthlab.spaces.space import SEMANTIC, Space, check_num_axes, principal_axes
from synthlab.universe.corpus import Corpus

SCALINGS = ("asinh", "rank", "raw")
"""Outputs as asinh(v), as their rank among all classes at the same grid point, or as they are."""

_ROWS_AT_ONCE = 1 << 16
_SAME = 1e-9  # outputs so near to each other (relatively) are ties: two texts of a class may round differently
_SMALLEST = 1e-140  # of smaller values, and of their inverses, the squares are no longer exact

Blocks = Callable[[], Iterator[np.ndarray]]


def fit_semantic(corpus: Corpus, *, num_axes: int = 32, scaling: str = "asinh") -> Space:
    """Fit the semantic space on every class once, however many texts it has.

    Classes without a value at some grid points are placed by the others: a missing value takes no part in
    mean and deviation and scores 0. The space's `model` says how many each class lacks (``masked``); a
    class without any value is neither fitted nor placed. A grid point at which all classes agree carries
    no information: it scores 0 and is marked ``(constant)`` among the features.

    Parameters
    ----------
    corpus
        The universe.
    num_axes
        Axes to keep; fewer if the matrix has a smaller rank.
    scaling
        ``asinh``; ``rank``, average ranks per grid point from 0 to 1; or ``raw``.

    Raises
    ------
    ConfigurationError
        If fewer than two classes are defined anywhere on the grid, or for an unknown scaling.
    """
    if scaling not in SCALINGS:
        raise ConfigurationError(f"unknown scaling {scaling!r}: choose from {', '.join(SCALINGS)}")
    check_num_axes(num_axes)
    masked = np.isnan(corpus.outputs).sum(axis=1)
    placed = np.flatnonzero(masked < corpus.outputs.shape[1])
    if len(placed) < 2:
        raise ConfigurationError(f"{len(placed)} classes are defined on the grid: at least 2 are needed")
    model = rank_tables(corpus.outputs) if scaling == "rank" else {}

    def blocks() -> Iterator[np.ndarray]:
        for start in range(0, len(placed), _ROWS_AT_ONCE):
            yield scaled(corpus.outputs[placed[start : start + _ROWS_AT_ONCE]], scaling, model)

    mean, deviation = moments(blocks)
    gram = sum(scores.T @ scores for scores in (z_scores(block, mean, deviation) for block in blocks()))
    explained, axes = principal_axes(gram / len(placed), num_axes)
    coordinates = np.full((corpus.num_classes, axes.shape[1]), np.nan, dtype=np.float32)
    for number, block in enumerate(blocks()):
        rows = placed[number * _ROWS_AT_ONCE : (number + 1) * _ROWS_AT_ONCE]
        coordinates[rows] = z_scores(block, mean, deviation) @ axes
    model |= {
        "mean": mean, "deviation": deviation, "masked": masked.astype(np.uint16),
        "grammar": np.frombuffer(corpus.grammar.digest.encode(), np.uint8),
    }  # fmt: skip
    names = _point_names(corpus, deviation == 0)
    return Space(SEMANTIC, corpus.key, semantic_settings(num_axes, scaling), coordinates, explained, axes, names, model)


def moments(blocks: Blocks) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation of every column (G,) over the values that exist; deviation 0 where all values agree.

    Parameters
    ----------
    blocks
        Gives the rows in blocks (B, G), as often as it is called; NaN where there is no value.
    """
    with np.errstate(over="ignore"):
        count, total, largest = _summed((~np.isnan(b), b, np.abs(b)) for b in blocks())
    count, unit = np.maximum(count, 1), np.ones(len(largest))
    extreme = (largest > 1 / _SMALLEST) | ((largest > 0) & (largest < _SMALLEST))
    if extreme.any():  # sums or squares would overflow or vanish, but not in units of a power of two
        unit[extreme] = np.ldexp(1.0, np.frexp(largest[extreme])[1] - 1)
        total = _summed((~np.isnan(b), b / unit) for b in blocks())[1]
    mean = total / count
    squares = _summed(((b / unit - mean) ** 2,) for b in blocks())[0]
    deviation = np.sqrt(squares / count)
    deviation = np.where(deviation <= 1e-12 * (largest / unit), 0.0, deviation)  # equal but for rounding
    return mean * unit, deviation * unit


def _summed(parts: Iterable[tuple[np.ndarray, ...]]) -> list[np.ndarray]:
    """Column sums of the arrays of all blocks without NaN; of a third array the largest values."""
    found: list[np.ndarray] = []
    for arrays in parts:
        rows = [np.nansum(a, axis=0) for a in arrays[:2]] + [np.nanmax(a, axis=0, initial=0) for a in arrays[2:]]
        joined = [np.add, np.add, np.maximum]
        found = [join(f, r) for join, f, r in zip(joined, found, rows, strict=False)] if found else rows
    return found


def z_scores(values: np.ndarray, mean: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """Standard scores (P, G); 0 where a value is missing or the column is constant."""
    scores = (values - mean) / np.where(deviation > 0, deviation, 1.0)
    scores[np.isnan(scores) | (deviation == 0)] = 0.0
    return scores


def scaled(outputs: np.ndarray, scaling: str, model: dict[str, np.ndarray]) -> np.ndarray:
    """Outputs (P, G) as float64 in a scaling; NaN stays NaN.

    Parameters
    ----------
    outputs
        Outputs on the grid.
    scaling
        One of `SCALINGS`.
    model
        For ``rank``, the tables of `rank_tables`. A value that no class has ranks between its neighbours.
    """
    values = outputs.astype(np.float64)
    if scaling == "asinh":
        return np.arcsinh(values)
    if scaling == "rank":
        for point in range(values.shape[1]):
            values[:, point] = _ranks(values[:, point], model, point)
    return values


def rank_tables(outputs: np.ndarray) -> dict[str, np.ndarray]:
    """Distribution of the outputs (C, G) at every grid point.

    Returns
    -------
    dict
        ``rank_values``, the distinct outputs of every point, ascending, one point behind the other;
        ``rank_below``, how many classes have less than each, and behind those of a point how many have a
        value there; ``rank_ends`` (G + 1,), where the points begin and the last ends among the values.
    """
    values, below, ends = [], [], [0]
    for point in range(outputs.shape[1]):
        column = outputs[:, point].astype(np.float64)
        distinct, counts = np.unique(column[~np.isnan(column)], return_counts=True)
        values.append(distinct)
        below.append(np.append(0, np.cumsum(counts)))
        ends.append(ends[-1] + len(distinct))
    return {
        "rank_values": np.concatenate(values), "rank_below": np.concatenate(below), "rank_ends": np.array(ends)
    }  # fmt: skip


def _ranks(column: np.ndarray, model: dict[str, np.ndarray], point: int) -> np.ndarray:
    """Average ranks from 0 to 1 at one grid point."""
    start, stop = model["rank_ends"][point : point + 2]
    values, below = model["rank_values"][start:stop], model["rank_below"][start + point : stop + point + 1]
    width = _SAME * np.abs(column)
    low = below[np.searchsorted(values, column - width, side="left")]
    high = below[np.searchsorted(values, column + width, side="right")]
    ranks = ((low + high - 1) / 2 / max(int(below[-1]) - 1, 1)).clip(0, 1)
    return np.where(np.isnan(column), np.nan, ranks)


def _point_names(corpus: Corpus, constant: np.ndarray) -> tuple[str, ...]:
    variables, marks = corpus.grammar.variables, np.where(constant, " (constant)", "")
    points = (", ".join(f"{v}={x}" for v, x in zip(variables, p, strict=True)) for p in corpus.grammar.grid.points)
    return tuple(f"{point}{mark}" for point, mark in zip(points, marks, strict=True))


def semantic_settings(num_axes: int = 32, scaling: str = "asinh") -> dict[str, Any]:
    """Settings that decide the space, for its key."""
    return {"num_axes": num_axes, "scaling": scaling}


def output_disagreement(corpus: Corpus, first_classes: np.ndarray, second_classes: np.ndarray) -> np.ndarray:
    """Share of grid points at which two classes differ, float64 (n,).

    Outputs are compared exactly (as whole numbers, or modulo a prime), not as rounded floats; grammars
    without exact identity are compared to nine digits. Two missing values are equal.

    Parameters
    ----------
    corpus
        The universe.
    first_classes, second_classes
        Class rows (n,).
    """
    if np.issubdtype(corpus.outputs.dtype, np.integer):
        return (corpus.outputs[first_classes] != corpus.outputs[second_classes]).mean(axis=1)
    classes, rows = np.unique(np.concatenate([first_classes, second_classes]), return_inverse=True)
    codes = grid_codes(corpus.grammar, corpus.prefix[corpus.class_id[classes]])
    first, second = np.split(rows, 2)
    return (codes[first] != codes[second]).mean(axis=1)
