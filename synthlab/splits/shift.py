"""How far every test part of a split lies from what is trained on, in every space and in what texts are made of.

Training programs stand for themselves in a syntactic space, and for their class in the semantic one, where a class that
is trained on with many texts counts as often. A test class is its minimal text, or itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]
from tqdm.auto import tqdm

from synthlab.errors import ArtifactError, ConfigurationError, SplitError
from synthlab.spaces.compounds import divergences
from synthlab.spaces.space import Space
from synthlab.splits.distances import TwoSample, energy_distance, mmd, sliced_wasserstein
from synthlab.splits.neighbors import density_coverage, knn_ratios
from synthlab.splits.separability import AUC, classifier_auc
from synthlab.splits.split import Split
from synthlab.universe.corpus import Corpus

__all__ = ["AUC", "FAST_MEASURES", "MEASURES", "TEXT", "classifier_auc", "fast_shift", "shift_report"]

TEXT = "text"
"""What a report calls the place of measures on texts."""
_COLUMNS = ["space", "part", "measure", "value", "p_value", "num_train", "num_test"]
_FAST_DIRECTIONS = 32


@dataclass(frozen=True, eq=False)
class _Pair:
    """Training and one test part: vectors (texts for measures of texts), and the class of every item."""

    train: np.ndarray
    test: np.ndarray
    train_classes: np.ndarray
    test_classes: np.ndarray

    @property
    def counts(self) -> tuple[int, int]:
        return len(self.train), len(self.test)


_Found = list[tuple[float, float, int, int]]
"""Value, p-value, training and test items of every measure of a family."""
_Family = Callable[[_Pair], _Found]
_Families = dict[tuple[str, ...], _Family]
_Places = Callable[[np.ndarray], np.ndarray]
"""Vectors, or texts, of some programs."""


def _of_two_samples(measure: Callable[..., TwoSample], pair: _Pair, **options: int) -> _Found:
    found = measure(pair.train, pair.test, **options)
    return [(found.value, found.p_value, *pair.counts)]


def _of_transport(pair: _Pair, **options: int) -> _Found:
    return [(sliced_wasserstein(pair.train, pair.test, **options), np.nan, *pair.counts)]


def _of_classifier(pair: _Pair, *, seed: int) -> _Found:
    found = classifier_auc(pair.train, pair.test, pair.train_classes, pair.test_classes, seed=seed)
    return [(found.value, np.nan, found.num_first, found.num_second)]


def _of_neighbors(pair: _Pair) -> _Found:
    return [(float(median), np.nan, *pair.counts) for median in knn_ratios(pair.train, pair.test).median]


def _of_coverage(pair: _Pair, *, seed: int) -> _Found:
    found = density_coverage(pair.train, pair.test, equal_numbers=True, seed=seed)
    return [(value, np.nan, found.num_first, found.num_second) for value in (found.density, found.coverage)]


_ENERGY, _MMD, _TRANSPORT, _CLASSIFIER = ("energy",), ("mmd",), ("sliced_wasserstein",), ("classifier_auc",)
_NEIGHBORS, _COVERAGE = ("knn_ratio_1", "knn_ratio_5"), ("density", "coverage")
_DIVERGENCES = ("atom_divergence", "compound_divergence")
FAST_MEASURES = (*_ENERGY, *_TRANSPORT, *_NEIGHBORS)
"""Measures of a live reading, in every space."""
MEASURES = (*_ENERGY, *_MMD, *_TRANSPORT, *_CLASSIFIER, *_NEIGHBORS, *_COVERAGE, *_DIVERGENCES)
"""Measures of a report: the divergences are of texts, the others of places in every space."""


def shift_report(
    split: Split,
    corpus: Corpus,
    spaces: Mapping[str, Space],
    *,
    sample: int = 10_000,
    permutations: int = 200,
    seed: int = 0,
    measures: Sequence[str] | None = None,
    progress: bool = True,
) -> pd.DataFrame:
    """Distance of every test part from training, by every measure in every space.

    The part `id` is the control: minimal texts of classes drawn uniformly differ from trained texts too.
    P-values take items as independent, which the texts of one class are not. Density and coverage compare
    equal numbers of distinct places, so that 1 and 0.97 mean equal laws whatever the parts' sizes.

    Parameters
    ----------
    split, corpus, spaces
        The split, its universe, and spaces by the name they get in the report.
    sample
        Training programs, and items of each part, that are compared; drawn uniformly by seed.
    permutations
        For the p-values of energy distance and MMD; 0 leaves them out.
    seed
        Decides every draw.
    measures
        Some of `MEASURES`; all by default.
    progress
        Show a progress bar.

    Returns
    -------
    pandas.DataFrame
        space ("text" for divergences of texts), part, measure, value, p_value (NaN where there is none),
        num_train, num_test (items compared). The value is NaN where a part has too few items.

    Raises
    ------
    ArtifactError
        If the split or a space belongs to another corpus.
    ConfigurationError
        For unknown measures, or a sample of nothing.
    """
    chosen = MEASURES if measures is None else tuple(measures)
    unknown = [name for name in chosen if name not in MEASURES]
    if unknown:
        raise ConfigurationError(f"unknown measure {unknown[0]!r}: choose from {', '.join(MEASURES)}")
    spatial = _spatial(permutations, seed)
    textual: _Families = {_DIVERGENCES: partial(_of_texts, corpus)}
    programs = _drawn_of(split, corpus, spaces, sample, seed)
    places = _places(corpus, spaces) | {TEXT: lambda ids: corpus.prefix[ids]}
    families = {name: _asked(textual if name == TEXT else spatial, chosen) for name in places}
    table = _compared(corpus, programs, places, families, progress)
    return table[table["measure"].isin(chosen)].reset_index(drop=True)


def _spatial(permutations: int, seed: int) -> _Families:
    return {
        _ENERGY: partial(_of_two_samples, energy_distance, permutations=permutations, seed=seed),
        _MMD: partial(_of_two_samples, mmd, permutations=permutations, seed=seed),
        _TRANSPORT: partial(_of_transport, seed=seed),
        _CLASSIFIER: partial(_of_classifier, seed=seed),
        _NEIGHBORS: _of_neighbors,
        _COVERAGE: partial(_of_coverage, seed=seed),
    }


def fast_shift(
    split: Split, corpus: Corpus, spaces: Mapping[str, Space], *, sample: int = 1000, seed: int = 0
) -> pd.DataFrame:
    """A live reading of a split: energy distance, sliced Wasserstein and neighbour ratios of small samples.

    Parameters, columns and errors are those of `shift_report`; there are no p-values.
    """
    return shift_of_drawn(_drawn_of(split, corpus, spaces, sample, seed), corpus, spaces, seed=seed)


def shift_of_drawn(programs: Drawn, corpus: Corpus, spaces: Mapping[str, Space], *, seed: int = 0) -> pd.DataFrame:
    """The reading of `fast_shift` for programs that are drawn already (`draw`)."""
    spatial: _Families = {
        _ENERGY: partial(_of_two_samples, energy_distance, permutations=0, seed=seed),
        _TRANSPORT: partial(_of_transport, num_directions=_FAST_DIRECTIONS, seed=seed),
        _NEIGHBORS: _of_neighbors,
    }
    places = _places(corpus, spaces)
    with threadpool_limits(1):  # threads that wait for a core would be felt, and samples are small
        return _compared(corpus, programs, places, dict.fromkeys(places, spatial), progress=False)


def _of_texts(corpus: Corpus, pair: _Pair) -> _Found:
    found = divergences(corpus.grammar, pair.train, pair.test)
    return [(value, np.nan, *pair.counts) for value in (found.atom, found.compound)]


def _asked(families: _Families, measures: Sequence[str]) -> _Families:
    return {names: family for names, family in families.items() if set(names) & set(measures)}


def _places(corpus: Corpus, spaces: Mapping[str, Space]) -> dict[str, _Places]:
    return {name: partial(space.of_programs, corpus) for name, space in spaces.items()}


@dataclass(frozen=True, kw_only=True, eq=False)
class Drawn:
    """Ids of programs drawn from training, and from each test part that is not empty."""

    train: np.ndarray
    tests: dict[str, np.ndarray]


def draw(
    num_train: int,
    chosen: Callable[[np.ndarray], np.ndarray],
    tests: Mapping[str, np.ndarray],
    *,
    sample: int,
    seed: int,
) -> Drawn:
    """Uniform samples of what a split trains on and tests.

    Parameters
    ----------
    num_train, chosen
        How many programs are trained on, and the ids of those at some positions among them: nobody need list them.
    tests
        Ids of every test part.
    sample, seed
        Items of each at most, and the draw.

    Raises
    ------
    ConfigurationError
        For a sample of nothing.
    """
    if sample < 1:
        raise ConfigurationError(f"a sample of {sample} items: compare at least 1")

    def positions(num: int, stream: int) -> np.ndarray:
        generator = np.random.default_rng([seed, stream])
        return np.arange(num) if num <= sample else generator.choice(num, sample, replace=False)

    return Drawn(
        train=chosen(positions(num_train, 6)),
        tests={name: ids[positions(len(ids), 7)] for name, ids in tests.items() if len(ids)},
    )


def _drawn_of(split: Split, corpus: Corpus, spaces: Mapping[str, Space], sample: int, seed: int) -> Drawn:
    if split.corpus != corpus.identity:
        raise ArtifactError("the split was drawn on another corpus: load that one, or draw it again")
    for name, space in spaces.items():
        if space.corpus_key != corpus.key:
            raise ArtifactError(f"the {name} space was fitted on another corpus: fit it again")
    return draw(len(split.train), split.train.__getitem__, split.tests, sample=sample, seed=seed)


def _compared(
    corpus: Corpus, programs: Drawn, places: Mapping[str, _Places], families: Mapping[str, _Families], progress: bool
) -> pd.DataFrame:
    """Rows of every family of measures, for every place (a space or the texts) and part."""
    rows = []
    num_measured = sum(len(programs.tests) * len(families[name]) for name in places)
    with tqdm(total=num_measured, desc="shift", disable=not progress) as bar:
        for name, places_of in places.items():
            train = places_of(programs.train)
            for part, ids in programs.tests.items():
                classes = (corpus.class_index[chosen] for chosen in (programs.train, ids))
                pair = _Pair(train, places_of(ids), *classes)
                for measures, family in families[name].items():
                    found = _found(family, pair, len(measures))
                    rows += [(name, part, measure, *row) for measure, row in zip(measures, found, strict=True)]
                    bar.update()
    return pd.DataFrame(rows, columns=_COLUMNS)


def _found(family: _Family, pair: _Pair, num_measures: int) -> _Found:
    try:
        return family(pair)
    except SplitError:  # too few items: the other parts and measures are still worth reading
        return [(np.nan, np.nan, *pair.counts)] * num_measures
