"""Where a function stands by what it computes: outputs -> asinh -> z-score per grid point -> PCA."""

from __future__ import annotations

from typing import Any

import numpy as np

from synthlab.errors import ConfigurationError
from synthlab.spaces.space import SEMANTIC, Space, principal_axes
from synthlab.universe.corpus import Corpus


def fit_semantic(corpus: Corpus, *, num_axes: int = 32) -> Space:
    """Fit the semantic space on every class once, however many texts it has.

    Classes with a pole on the grid are neither fitted nor placed. A grid point at which all classes agree
    carries no information: it scores 0 and is marked ``(constant)`` among the features.

    Raises
    ------
    ConfigurationError
        If fewer than two classes are defined on the grid.
    """
    usable = corpus.is_task
    if usable.sum() < 2:
        raise ConfigurationError(f"{int(usable.sum())} classes are defined on the whole grid: at least 2 are needed")
    scores, constant = z_scores(np.arcsinh(corpus.outputs[usable].astype(np.float64)))
    explained, axes = principal_axes(scores.T @ scores / len(scores), num_axes)
    coordinates = np.full((corpus.num_classes, axes.shape[1]), np.nan, dtype=np.float32)
    coordinates[usable] = scores @ axes
    marks = np.where(constant, " (constant)", "")
    names = [f"{point}{mark}" for point, mark in zip(_point_names(corpus), marks, strict=True)]
    return Space(SEMANTIC, corpus.key, semantic_settings(num_axes), coordinates, explained, axes, tuple(names))


def z_scores(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Columns with mean 0 and variance 1, and which of them were constant (they score 0)."""
    deviation = values.std(axis=0)
    constant = deviation <= 1e-12 * np.abs(values).max(axis=0)  # equal but for rounding
    scores = (values - values.mean(axis=0)) / np.where(constant, 1.0, deviation)
    scores[:, constant] = 0.0
    return scores, constant


def _point_names(corpus: Corpus) -> list[str]:
    variables = corpus.grammar.variables
    return [", ".join(f"{v}={x}" for v, x in zip(variables, p, strict=True)) for p in corpus.grammar.grid.points]


def semantic_settings(num_axes: int = 32) -> dict[str, Any]:
    """Settings that decide the space, for its key."""
    return {"num_axes": num_axes, "scaling": "asinh"}
