"""The carrier of both metric spaces: coordinates, axes, and how much each axis explains."""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self, TypeVar

import numpy as np
import pandas as pd
from scipy.linalg import eigh
from scipy.sparse import csr_array
from scipy.sparse.linalg import LinearOperator, eigsh

from synthlab.compiling import numba
from synthlab.errors import ConfigurationError
from synthlab.spaces.pqgrams import NULL
from synthlab.store import Carrier
from synthlab.universe.corpus import Corpus

T = TypeVar("T")
SYNTACTIC, SEMANTIC = "syntactic", "semantic"
_SPARE_AXES = 32
_MODEL = "model-"
_MAX_GRAM_FEATURES = 4096
_ROWS_WORTH_A_THREAD = 1 << 17
_CLEAR_LOADING = 0.5
_MOST_NAMED = 3


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
        (rows, axes) float32; NaN rows for classes that are undefined on the whole grid.
    explained
        Share of the total (squared length, or variance) per axis, (axes,).
    axes
        Loadings (features, axes): pq-grams or grid points.
    features
        What the loadings refer to, one text per feature.
    model
        What `embedding.embed` needs to place more programs. Syntactic: ``codes`` and ``weights`` of the
        pq-grams. Semantic: ``mean`` and ``deviation`` per grid point, and ``masked``, the number of grid
        points without a value of every class.
    """

    stage: ClassVar[str] = "space"
    schema: ClassVar[int] = 2

    kind: str
    corpus_key: str
    settings: dict[str, Any]
    coordinates: np.ndarray
    explained: np.ndarray
    axes: np.ndarray
    features: tuple[str, ...]
    model: dict[str, np.ndarray] = field(default_factory=dict)

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
        model = {f"{_MODEL}{name}": values for name, values in self.model.items()}
        arrays = {"coordinates": self.coordinates, "explained": self.explained, "axes": self.axes}
        return {**arrays, "features": features, **model}

    @classmethod
    def restore(cls, identity: dict[str, Any], payload: dict[str, Any]) -> Self:
        features = tuple(payload.pop("features")["feature"])
        names = [name for name in payload if name.startswith(_MODEL)]
        model = {name.removeprefix(_MODEL): payload.pop(name) for name in names}
        return cls(
            identity["kind"], identity["corpus"], identity["settings"], features=features, model=model, **payload
        )

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
            asked = self.settings.get("num_axes", self.num_axes)
            rank = f", its rank, of the {asked} asked for" if asked > self.num_axes else ""
            raise ConfigurationError(
                f"axis {number}: the {self.kind} space has axes 0 to {self.num_axes - 1} ({self.num_axes} axes{rank})"
            )
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

    def axis_names(self) -> list[str]:
        """A short name for every axis: the feature that pulls hardest and, after "against", the one that pulls back.

        What pulls back is named if it pulls at least half as hard. Axes of the same name get more and weaker
        features, up to three a side, until they differ, and their numbers if they never do. A pq-gram of a leaf
        is written without its empty base, ``+/x`` for a leaf x below +.
        """
        names = [self._axis_name(axis, 1) for axis in range(self.num_axes)]
        for num in range(2, _MOST_NAMED + 1):
            names = [self._axis_name(a, num) if names.count(n) > 1 else n for a, n in enumerate(names)]
        return [f"{n} (axis {a})" if names.count(n) > 1 else n for a, n in enumerate(names)]

    def _axis_name(self, axis: int, num: int) -> str:
        loadings = np.round(self.axes[:, axis], 6)
        least, sides = _CLEAR_LOADING / num**2 * np.abs(loadings).max(), []
        for pulled in (loadings, -loadings):
            strongest = np.argsort(-pulled, kind="stable")[:num]
            sides.append(", ".join(_shortened(self.features[k]) for k in strongest if pulled[k] >= max(least, 1e-6)))
        return " against ".join(side for side in sides if side)

    def frame(self) -> pd.DataFrame:
        """Variance explained per axis."""
        return pd.DataFrame(
            {"axis": np.arange(self.num_axes), "explained": self.explained, "cumulative": np.cumsum(self.explained)}
        )

    def __repr__(self) -> str:
        return f"Space({self.kind}: {len(self.coordinates):,} rows, {self.num_axes} axes, {self.explained.sum():.1%})"


def _shortened(feature: str) -> str:
    """A feature without repeated nulls above the root and without an empty base."""
    return re.sub(rf"\(({NULL} ?)+\)$", "", re.sub(rf"^({NULL}/)+", f"{NULL}/", feature))


def check_num_axes(num_axes: int) -> None:
    """Refuse a space without axes."""
    if num_axes < 1:
        raise ConfigurationError(f"a space of {num_axes} axes has no places: keep at least 1")


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
    check_num_axes(num_axes)
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


# ---------------------------------------------------------------- sparse matrices


@numba.njit(cache=True, nogil=True)
def _add_gram(starts, columns, values, weights, gram):
    """Add the weighted outer products of sparse rows to the upper half of a matrix (F, F)."""
    most = 0
    for row in range(len(weights)):
        most = max(most, starts[row + 1] - starts[row])
    # unsigned, or every look-up would first ask whether it counts from the end
    chosen, factors = np.empty(most, dtype=np.uint32), np.empty(most)
    for row in range(len(weights)):
        num = starts[row + 1] - starts[row]
        for k in range(num):
            chosen[k], factors[k] = columns[starts[row] + k], values[starts[row] + k]
        for a in range(num):
            weight, line = weights[row] * factors[a], gram[chosen[a]]
            for b in range(a, num):
                line[chosen[b]] += weight * factors[b]


@numba.njit(cache=True, nogil=True)
def _add_product(starts, columns, values, weights, vector, out):
    """Add the Gram matrix of weighted sparse rows, times a vector, to another vector."""
    for row in range(len(weights)):
        inner = 0.0
        for k in range(starts[row], starts[row + 1]):
            inner += values[k] * vector[columns[k]]
        inner *= weights[row]
        for k in range(starts[row], starts[row + 1]):
            out[columns[k]] += values[k] * inner


def in_halves(work: Callable[[int, int], T], num_rows: int) -> list[T]:
    """Results of work on the first and the second half of many rows, in one thread each; of few rows, one result.

    Where the rows are cut depends on nothing else, so that sums of the results are the same on every machine.
    """
    cuts = [0, num_rows] if num_rows < _ROWS_WORTH_A_THREAD else [0, num_rows // 2, num_rows]
    with ThreadPoolExecutor(2) as threads:
        return list(threads.map(work, cuts[:-1], cuts[1:]))


def _summed(kernel: Any, matrix: csr_array, weights: np.ndarray, *arguments: Any, shape: tuple[int, ...]) -> np.ndarray:
    """What a kernel adds up over the rows of a sparse matrix."""

    def part(start: int, stop: int) -> np.ndarray:
        out = np.zeros(shape)
        kernel(matrix.indptr[start : stop + 1], matrix.indices, matrix.data, weights[start:stop], *arguments, out)
        return out

    total, *others = in_halves(part, len(weights))
    for other in others:
        total += other
    return total


def sparse_axes(
    matrix: csr_array,
    num_axes: int,
    *,
    row_scales: np.ndarray | None = None,
    column_weights: np.ndarray | None = None,
    lanczos: bool | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Leading right singular vectors of a sparse matrix, exactly.

    Up to 4,096 columns the Gram matrix is summed and decomposed, which takes as long whatever the spectrum;
    above that, ARPACK's Lanczos iteration multiplies with it without ever forming it. Both give
    the same axes.

    Parameters
    ----------
    matrix
        CSR (P, F), the columns of every row ascending.
    num_axes
        Axes to keep; fewer if the rank is smaller.
    row_scales, column_weights
        Factors of the rows (P,) and columns (F,); 1 by default.
    lanczos
        Which of the two ways; by the number of columns if None.

    Returns
    -------
    tuple
        Share of the total squared length per axis (axes,), and loadings (F, axes).
    """
    check_num_axes(num_axes)
    num_rows, num_features = matrix.shape
    squares = np.ones(num_rows) if row_scales is None else row_scales.astype(np.float64) ** 2
    weights = np.ones(num_features) if column_weights is None else column_weights
    if lanczos is None:
        lanczos = num_features > _MAX_GRAM_FEATURES
    if lanczos:
        return _lanczos_axes(matrix, squares, weights, num_axes)
    gram = _summed(_add_gram, matrix, squares, shape=(num_features, num_features))
    gram *= weights
    gram *= weights[:, None]
    return principal_axes(gram.T, num_axes)  # its lower half, the one that `eigh` reads


def _lanczos_axes(
    matrix: csr_array, squares: np.ndarray, weights: np.ndarray, num_axes: int
) -> tuple[np.ndarray, np.ndarray]:
    num = matrix.shape[1]

    def product(vector: np.ndarray) -> np.ndarray:
        out = _summed(_add_product, matrix, squares, weights * vector.ravel(), shape=(num,))
        return np.asarray(weights * out)

    operator = LinearOperator((num, num), matvec=product, dtype=np.float64)
    start = np.random.default_rng(0).normal(size=num)
    values, vectors = eigsh(operator, min(num_axes + _SPARE_AXES, num - 1), which="LA", v0=start)
    order = np.argsort(values)
    lengths = matrix.multiply(matrix.astype(np.float64)) @ weights**2
    return leading_axes(values[order], vectors[:, order], num_axes, total=float(squares @ lengths))
