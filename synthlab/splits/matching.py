"""What else differs between the parts of a split: histograms, and subsets with equal ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction

import numpy as np
import pandas as pd

from synthlab.errors import ArtifactError, ConfigurationError
from synthlab.language.grammar import PAD, Grammar
from synthlab.language.identity import ResiduePoints
from synthlab.language.interpreter import evaluate
from synthlab.language.residues import combine_arrays
from synthlab.language.tracing import SUBTRACT
from synthlab.splits.constructs import count_tokens
from synthlab.splits.split import Split
from synthlab.universe.corpus import Corpus

MATCHED_BY = ("size", "degree", "texts")
"""What matched tests have in common unless told otherwise."""
_MAX_DEGREE = 60


def texts_per_class(corpus: Corpus, programs: np.ndarray) -> np.ndarray:
    """Number of texts of every class (C,) among the programs of a mask."""
    chosen = corpus.class_index[programs & (corpus.class_index >= 0)]
    return np.bincount(chosen, minlength=corpus.num_classes)


def text_bins(counts: np.ndarray) -> np.ndarray:
    """Numbers of texts in bins of a factor of four: 1-3, 4-15, 16-63, ...; -1 for none."""
    return np.where(counts > 0, np.log2(np.maximum(counts, 1)).astype(np.int64) // 2, -1)


def _numbered(vectors: np.ndarray) -> np.ndarray:
    """A number per distinct row."""
    return np.unique(vectors, axis=0, return_inverse=True)[1].reshape(-1)


def _token_counts(corpus: Corpus, rows: np.ndarray, tokens: slice) -> np.ndarray:
    return _numbered(count_tokens(corpus.grammar, corpus.prefix[corpus.class_id[rows]])[:, tokens])


_PROPERTIES: dict[str, Callable[[Corpus, np.ndarray, np.ndarray], np.ndarray]] = {
    "size": lambda corpus, rows, texts: corpus.minimal_size[rows],
    "degree": lambda corpus, rows, texts: total_degrees(corpus)[rows],
    "texts": lambda corpus, rows, texts: text_bins(texts[rows]),
    "root": lambda corpus, rows, texts: corpus.root[corpus.class_id[rows]].astype(np.int64),
    "operators": lambda corpus, rows, texts: _token_counts(corpus, rows, slice(corpus.grammar.num_terminals, None)),
    "labels": lambda corpus, rows, texts: _token_counts(corpus, rows, slice(corpus.grammar.num_terminals)),
}
PROPERTIES = tuple(_PROPERTIES)
"""What classes can be matched by: minimal size, total degree, number of texts, and of the minimal text its root,
how often it has each operator, and how often each leaf."""


def check_properties(names: Sequence[str]) -> None:
    """Refuse unknown properties.

    Raises
    ------
    ConfigurationError
        Naming the known ones.
    """
    for name in names:
        if name not in _PROPERTIES:
            raise ConfigurationError(f"cannot match by {name!r}: choose from {', '.join(PROPERTIES)}")


def matched_tests(
    corpus: Corpus,
    tests: Mapping[str, np.ndarray],
    texts: Mapping[str, np.ndarray],
    seed: int,
    by: Sequence[str] = MATCHED_BY,
    strata: Mapping[str, np.ndarray] | None = None,
) -> dict[str, np.ndarray]:
    """Subsets of two test sets with exactly one joint histogram, as ``matched_<name>``.

    Entry k of one subset lies in the same bin as entry k of the other; as many pairs are kept as there are.

    Parameters
    ----------
    corpus
        The universe.
    tests
        Class rows of two test sets, by name.
    texts
        Per name, how many texts of every class (C,) count as right answers.
    seed
        Decides which are kept.
    by
        Properties in the joint histogram, of `PROPERTIES`.
    strata
        Further bins of the entries of each test set.
    """
    check_properties(by)
    first, second = tests
    columns = []
    both = np.concatenate([tests[first], tests[second]])
    is_first = np.arange(len(both)) < len(tests[first])
    for name in by:
        counts = [_PROPERTIES[name](corpus, both, texts[part]) for part in (first, second)]
        columns.append(np.where(is_first, *counts))
    if strata is not None:
        columns.append(np.concatenate([strata[first], strata[second]]))
    cells = _numbered(np.stack(columns, axis=1)) if columns else np.zeros(len(both), dtype=np.int64)
    generator = np.random.default_rng([seed, 4])
    pairs = paired_by_cell(cells[is_first], cells[~is_first], generator)
    return {f"matched_{name}": tests[name][chosen] for name, chosen in zip((first, second), pairs, strict=True)}


def paired_by_cell(
    first: np.ndarray, second: np.ndarray, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Positions in two lists of cells that pair items of one cell, as many as there are, in random order within it."""
    pairs: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    for cell in np.unique(np.concatenate([first, second])):
        alike = [np.flatnonzero(cells == cell) for cells in (first, second)]
        num = min(map(len, alike))
        for found, positions in zip(pairs, alike, strict=True):
            found.append(generator.permutation(positions)[:num])
    one, two = (np.concatenate([np.empty(0, dtype=np.int64), *found]) for found in pairs)
    return one, two


def total_degrees(corpus: Corpus) -> np.ndarray:
    """Total degree of every class as a polynomial (C,); -1 where it is none, or its degree exceeds 60.

    Operators without a field function have no degree: all classes of their grammars get -1.

    A polynomial of degree d has vanishing (d+1)-th differences along any line; they are taken modulo the
    prime on a random line, which is exact but for a chance below 1e-17.
    """
    return total_degrees_of(corpus.grammar, corpus.prefix[corpus.class_id])


def total_degrees_of(grammar: Grammar, prefix: np.ndarray) -> np.ndarray:
    """Total degree of the function of every program (P,), as `total_degrees` says it of classes."""
    degree = np.full(len(prefix), -1, dtype=np.int64)
    if not grammar.exact or not len(prefix):
        return degree
    most = int(((prefix < grammar.num_terminals) & (prefix != PAD)).sum(axis=1).max())
    for num_points in (most + 2, _MAX_DEGREE + 2):
        rows = np.flatnonzero(degree < 0)
        degree[rows] = _degrees_on_line(grammar, prefix[rows], num_points)
    return degree


def _degrees_on_line(grammar: Grammar, prefix: np.ndarray, num_points: int) -> np.ndarray:
    """Degrees up to `num_points` - 2 of some programs; -1 where it is larger."""
    draws = np.random.default_rng(5).integers(2, 1 << 60, size=(2, len(grammar.variables)))
    line = [tuple(Fraction(int(a) + t * int(b)) for a, b in zip(*draws, strict=True)) for t in range(num_points)]
    values = evaluate(grammar, prefix, ResiduePoints(grammar, line))
    degree = np.full(len(prefix), -1, dtype=np.int64)
    for order in range(num_points - 1):
        values = combine_arrays(SUBTRACT, values[:, 1:], values[:, :-1])
        degree[(degree < 0) & (values == 0).all(axis=1)] = order
    return degree


# ---------------------------------------------------------------- histograms


def histograms(corpus: Corpus, split: Split) -> pd.DataFrame:
    """Histograms of every part, so that no comparison hides a shift of something else.

    Classes are counted by size, degree, number of texts and root of their minimal text; programs (the texts
    learned, the minimal texts of tests) by their operators and leaf labels.

    Returns
    -------
    pandas.DataFrame
        part, quantity (size, degree, texts, root, operator, label), value (text), items, share; values in
        their natural order.
    """
    if split.corpus != corpus.identity:
        raise ArtifactError("the split was drawn on another corpus: load that one, or draw it again")
    grammar, degree, texts = corpus.grammar, total_degrees(corpus), text_bins(corpus.multiplicity)
    tokens = np.array(grammar.tokens)
    bins = [f"{4**k}-{4 ** (k + 1) - 1}" for k in range(int(texts.max()) + 1)]
    tables = []
    for part, (rows, programs) in _parts(corpus, split).items():
        counts = count_tokens(grammar, corpus.prefix[programs]).sum(axis=0, dtype=np.int64)
        inner = grammar.num_terminals
        root = np.bincount(corpus.root[corpus.class_id[rows]], minlength=len(tokens))
        tables += [
            _shares(part, "size", *np.unique(corpus.minimal_size[rows], return_counts=True)),
            _shares(part, "degree", *np.unique(degree[rows], return_counts=True)),
            _shares(part, "texts", bins, np.bincount(texts[rows], minlength=len(bins))),
            _shares(part, "root", tokens, root),
            _shares(part, "operator", tokens[inner:], counts[inner:]),
            _shares(part, "label", tokens[:inner], counts[:inner]),
        ]
    return pd.concat(tables, ignore_index=True)


def _parts(corpus: Corpus, split: Split) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Class rows and texts of every part."""
    parts = {"train": (corpus.class_index[split.train], split.targets)}
    return parts | {name: (corpus.class_rows(ids), ids) for name, ids in split.tests.items() if len(ids)}


def _shares(part: str, quantity: str, values: Sequence[object] | np.ndarray, items: np.ndarray) -> pd.DataFrame:
    table = pd.DataFrame({"part": part, "quantity": quantity, "value": [str(v) for v in values], "items": items})
    return table.assign(share=table["items"] / max(1, int(items.sum())))
