"""The carrier of both metric spaces: coordinates, axes, and how much each axis explains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
from scipy.linalg import eigh

from synthlab.errors import ConfigurationError
from synthlab.store import Carrier
from synthlab.universe.corpus import Corpus

SYNTACTIC, SEMANTIC = "syntactic", "semantic"
_SPARE_AXES = 32


@dataclass(frozen=True, eq=False)
class Space(Carrier):
    """Places of programs (syntactic) or of classes (semantic).

    Attributes
    ----------
    kind
        ``syntactic`` (one row per program) or ``semantic`` (one row per class).
    corpus_key, settings
        What it was fitted on, and how.
    coordinates
        (rows, axes) float32; NaN rows for classes with a pole on the grid.
    explained
        Share of the total (squared length, or variance) per axis, (axes,).
    axes
        Loadings (features, axes): pq-grams or grid points.
    features
        What the loadings refer to, one text per feature.
    """

    stage: ClassVar[str] = "space"

    kind: str
    corpus_key: str
    settings: dict[str, Any]
    coordinates: np.ndarray
    explained: np.ndarray
    axes: np.ndarray
    features: tuple[str, ...]

    @staticmethod
    def describe(kind: str, corpus_key: str, settings: dict[str, Any]) -> dict[str, Any]:
        """Identity of a space before it is fitted."""
        return {"kind": kind, "corpus": corpus_key, "settings": settings}

    @property
    def identity(self) -> dict[str, Any]:
        return self.describe(self.kind, self.corpus_key, self.settings)

    @property
    def label(self) -> str:
        return self.kind

    def payload(self) -> dict[str, np.ndarray | pd.DataFrame]:
        features = pd.DataFrame({"feature": list(self.features)})
        return {"coordinates": self.coordinates, "explained": self.explained, "axes": self.axes, "features": features}

    @classmethod
    def restore(cls, identity: dict[str, Any], payload: dict[str, Any]) -> Self:
        features = tuple(payload.pop("features")["feature"])
        return cls(identity["kind"], identity["corpus"], identity["settings"], features=features, **payload)

    @property
    def num_axes(self) -> int:
        """Number of axes kept."""
        return self.coordinates.shape[1]

    def axis(self, number: int) -> np.ndarray:
        """Coordinate of every row along one axis.

        Raises
        ------
        ConfigurationError
            If the space has no such axis.
        """
        if not 0 <= number < self.num_axes:
            raise ConfigurationError(f"axis {number}: the {self.kind} space has axes 0 to {self.num_axes - 1}")
        return self.coordinates[:, number]

    def of_programs(self, corpus: Corpus, program_ids: np.ndarray) -> np.ndarray:
        """Coordinates of programs, whichever the space's rows are; NaN where undefined."""
        if self.kind == SYNTACTIC:
            return self.coordinates[program_ids]
        classes = corpus.class_index[program_ids]
        return np.where((classes >= 0)[:, None], self.coordinates[classes], np.nan)

    def loadings(self, axis: int, num: int = 6) -> pd.DataFrame:
        """Features that pull hardest along an axis, so that it gets a name."""
        self.axis(axis)
        order = np.argsort(-np.round(np.abs(self.axes[:, axis]), 6), kind="stable")[:num]
        return pd.DataFrame({"feature": [self.features[k] for k in order], "loading": self.axes[order, axis]})

    def frame(self) -> pd.DataFrame:
        """Variance explained per axis."""
        return pd.DataFrame(
            {"axis": np.arange(self.num_axes), "explained": self.explained, "cumulative": np.cumsum(self.explained)}
        )

    def __repr__(self) -> str:
        return f"Space({self.kind}: {len(self.coordinates):,} rows, {self.num_axes} axes, {self.explained.sum():.1%})"


def principal_axes(gram: np.ndarray, num_axes: int) -> tuple[np.ndarray, np.ndarray]:
    """Leading axes of a symmetric matrix (F, F): share of the trace per axis, and loadings (F, axes).

    Only the upper end of the spectrum is computed, a little beyond what is kept, so that an eigenspace that
    straddles the last axis is complete.
    """
    first = max(0, len(gram) - max(num_axes, 1) - _SPARE_AXES)
    squares, vectors = eigh(gram, subset_by_index=[first, len(gram) - 1])
    return leading_axes(squares, vectors, num_axes, total=float(np.trace(gram)))


def leading_axes(
    squares: np.ndarray, vectors: np.ndarray, num_axes: int, total: float | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Axes of largest eigenvalue in a form that does not depend on the machine.

    A grammar whose leaves or operators can be swapped has eigenspaces of several dimensions, in which a
    solver returns any basis. There the basis is fixed by the features themselves: again and again, the
    feature that the eigenspace holds best (the first of equals) gives the next axis. Signs are such that
    the largest loading (the first of equals) is positive.

    Parameters
    ----------
    squares, vectors
        Ascending eigenvalues (K,) and eigenvectors (F, K), as `numpy.linalg.eigh` gives them.
    num_axes
        Axes to keep; fewer if the rank is smaller.
    total
        What shares refer to; the sum of the eigenvalues by default.

    Returns
    -------
    tuple
        Share of the total per axis (axes,), and loadings (F, axes).
    """
    if num_axes < 1:
        raise ConfigurationError(f"a space of {num_axes} axes has no places: keep at least 1")
    squares, vectors = squares[::-1], vectors[:, ::-1].copy()
    rank = int((squares > 1e-9 * squares[0]).sum())
    kept = min(num_axes, rank)
    start = 0
    while start < kept:
        stop = start + 1
        while stop < rank and squares[stop] > squares[start] * (1 - 1e-7):
            stop += 1
        if stop > start + 1:
            vectors[:, start:stop] = _canonical_basis(vectors[:, start:stop])
        start = stop
    axes = vectors[:, :kept]
    largest = np.argmax(np.round(np.abs(axes), 6), axis=0)
    return squares[:kept] / (squares.sum() if total is None else total), axes * np.sign(axes[largest, np.arange(kept)])


def _canonical_basis(basis: np.ndarray) -> np.ndarray:
    remaining, chosen = basis.copy(), []
    for _ in range(basis.shape[1]):
        lengths = np.round(np.linalg.norm(remaining, axis=1), 6)
        feature = int(np.argmax(lengths))
        direction = basis @ remaining[feature]
        direction /= np.linalg.norm(direction)
        chosen.append(direction)
        inside = basis.T @ direction
        remaining = remaining - np.outer(remaining @ inside, inside)
    return np.stack(chosen, axis=1)
