"""What a support split would be, in milliseconds: its parts counted, sampled and coloured before anything is drawn.

A preview gives what `support_split` gives with ``num_train=None`` and all tests. What does not depend on the region is
computed once, and a change of the region costs one pass over the programs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np
import pandas as pd

from synthlab.compiling import numba
from synthlab.errors import ArtifactError, ConfigurationError
from synthlab.spaces.space import SEMANTIC, Space
from synthlab.splits.density import RESERVED_SHARE as DENSITY_SHARE
from synthlab.splits.density import density_settings
from synthlab.splits.indexed import IndexedSpace
from synthlab.splits.regions import HeldOut, Region, hold_out, texts_in
from synthlab.splits.shift import draw, shift_of_drawn
from synthlab.splits.split import check_pool, check_sizes, reserve_classes
from synthlab.splits.support import RESERVED_SHARE, check_region, support_settings, taken, tested_classes
from synthlab.universe.corpus import Corpus

CODES = ("train", "held out", "reserved", "unused")
"""What the codes of programs and classes mean: may be trained on, inside the region, reserved, or none of these."""
TRAIN, HELD_OUT, RESERVED, UNUSED = range(len(CODES))
TESTS = ("id", "open", "forced")
LIVE_SAMPLE = 200
"""Items of every part that a live reading of the shift compares unless told otherwise."""
_REGIONS_KEPT, _DRAWS_KEPT = 8, 8


@dataclass(frozen=True, kw_only=True, eq=False)
class SplitParts:
    """Parts of the split that a reservation means, and a region if one is held out.

    Attributes
    ----------
    corpus, spaces
        The universe and its spaces by name.
    held
        The region as it lies in the universe; None where nothing is held out.
    reserved
        Reserved classes (C,), bool.
    inside, outside
        Texts of every class (C,) in the region and outside it.
    num_held
        Programs in the region.
    isolated
        Whether training, id and forced are to be resampled, which leaves no open tests; counts are those before it.
    """

    corpus: Corpus
    spaces: Mapping[str, Space]
    held: HeldOut | None
    reserved: np.ndarray
    inside: np.ndarray
    outside: np.ndarray
    num_held: int
    isolated: bool = False

    @cached_property
    def held_out(self) -> np.ndarray:
        """Programs in the region (P,), bool."""
        return np.zeros(self.corpus.num_programs, dtype=bool) if self.held is None else self.held.inside

    @cached_property
    def num_reserved(self) -> int:
        """Reserved classes."""
        return int(np.count_nonzero(self.reserved))

    @cached_property
    def num_pool(self) -> int:
        """Programs that may be trained on."""
        return int(self.outside[self._trained].sum())

    @cached_property
    def tests(self) -> dict[str, np.ndarray]:
        """Class rows of every test part, ascending: id, open (of syntactic regions) and forced (of any region)."""
        if self.held is None:
            return {TESTS[0]: np.flatnonzero(self.reserved)}
        is_semantic = self.held.region.space == SEMANTIC
        found = tested_classes(self.corpus, self.reserved, self.inside, self.outside, is_semantic=is_semantic)
        return {name: found[name] for name in TESTS if name in found and not (self.isolated and name == "open")}

    def rows(self, part: str) -> np.ndarray:
        """Class rows of a test part, ascending.

        Raises
        ------
        ConfigurationError
            For a part that the split does not have.
        """
        if part not in self.tests:
            raise ConfigurationError(f"no test part {part!r}: choose from {', '.join(self.tests)}")
        return self.tests[part]

    def sizes(self) -> dict[str, np.ndarray]:
        """Items by minimal size of their class (max_size + 1,), int64: programs for ``train``, classes for tests."""
        length, sizes = self.corpus.max_size + 1, self.corpus.minimal_size
        pool = np.bincount(sizes[self._trained], weights=self.outside[self._trained], minlength=length)
        tests = {name: np.bincount(sizes[rows], minlength=length) for name, rows in self.tests.items()}
        return {CODES[TRAIN]: pool.astype(np.int64)} | tests

    def program_codes(self, program_ids: np.ndarray) -> np.ndarray:
        """Part of every program (n,), as a place in `CODES`, uint8."""
        outside = self._outside_codes[self.corpus.class_index[program_ids]]
        return np.where(self.held_out[program_ids], np.uint8(HELD_OUT), outside)

    def class_codes(self, rows: np.ndarray) -> np.ndarray:
        """Part of every class (n,), as a place in `CODES`, uint8; held out where all its texts are."""
        return np.where(self.outside[rows] > 0, self._outside_codes[rows], np.uint8(HELD_OUT))

    def examples(self, part: str, num: int = 5, seed: int = 0) -> np.ndarray:
        """Ids of some programs of a part, ascending: uniform over its programs, or minimal texts of a test part.

        Parameters
        ----------
        part
            ``train``, ``held out``, or a test part.
        num, seed
            How many at most, and the draw.

        Raises
        ------
        ConfigurationError
            For a part that the split does not have.
        """
        sizes = {CODES[TRAIN]: self.num_pool, CODES[HELD_OUT]: self.num_held}
        total = sizes[part] if part in sizes else len(self.rows(part))
        chosen = np.sort(np.random.default_rng(seed).choice(total, min(num, total), replace=False))
        if part in sizes:
            return self._programs(CODES.index(part), chosen)
        return self.corpus.class_id[self.rows(part)[chosen]]

    def shift(self, *, sample: int = LIVE_SAMPLE, seed: int = 0) -> pd.DataFrame:
        """The reading of `fast_shift` for the whole pool and all tests.

        Parameters
        ----------
        sample, seed
            Items of each part that are compared, and their draw.

        Returns
        -------
        pandas.DataFrame
            As `shift_report` gives it.

        Raises
        ------
        ConfigurationError
            For a sample of nothing.
        """
        tests = {name: self.corpus.class_id[rows] for name, rows in self.tests.items()}
        drawn = draw(self.num_pool, lambda k: self._programs(TRAIN, k), tests, sample=sample, seed=seed)
        return shift_of_drawn(drawn, self.corpus, self.spaces, seed=seed)

    @cached_property
    def _trained(self) -> np.ndarray:
        """Class rows whose texts outside the region may be trained on."""
        return np.flatnonzero(self._outside_codes[:-1] == TRAIN)

    @cached_property
    def _outside_codes(self) -> np.ndarray:
        """Code of every class's texts outside the region (C + 1,); programs of no class read the last entry."""
        codes = np.where(self.reserved, RESERVED, np.where(self.corpus.is_task, TRAIN, UNUSED))
        return np.append(codes, UNUSED).astype(np.uint8)

    def _programs(self, code: int, positions: np.ndarray) -> np.ndarray:
        """Ids at some positions among all programs of a code."""
        order = np.argsort(positions)
        found = np.empty(len(positions), dtype=np.int64)
        _find(self.corpus.class_index, self.held_out, self._outside_codes, code, positions[order], found)
        ids = np.empty_like(found)
        ids[order] = found
        return ids


class Preview:
    """Regions of a universe and the splits they mean, as fast as they are chosen.

    Parameters
    ----------
    corpus, spaces
        The universe, and its spaces by name.

    Raises
    ------
    ArtifactError
        If a space belongs to another corpus.
    """

    def __init__(self, corpus: Corpus, spaces: Mapping[str, Space]) -> None:
        for name, space in spaces.items():
            if space.corpus_key != corpus.key:
                raise ArtifactError(f"the {name} space was fitted on another corpus: fit it on this one")
        self.corpus, self.spaces = corpus, spaces
        self._indexed = {name: IndexedSpace(space) for name, space in spaces.items()}
        self._counted = lru_cache(_REGIONS_KEPT)(self._count)
        self._reserved = lru_cache(_DRAWS_KEPT)(lambda share, seed: reserve_classes(corpus, share, seed))

    def held(self, region: Region) -> HeldOut:
        """The region as it lies in the universe: what `hold_out` gives.

        Raises
        ------
        ConfigurationError
            For an unknown operator, axis or space.
        """
        return self._counted(region)[0]

    def cluster_labels(self, space_name: str, num_clusters: int, seed: int) -> np.ndarray:
        """Cluster of every row of a space, as regions of rule ``cluster`` number them, int32; -1 without a place.

        Raises
        ------
        ConfigurationError
            For an unknown space, or more clusters than distinct places.
        """
        return self._space(space_name).clusters(num_clusters, seed).labels

    def num_places(self, space_name: str, seed: int) -> int:
        """How many clusters of a seed a space can have.

        Raises
        ------
        ConfigurationError
            For an unknown space.
        """
        return self._space(space_name).num_places(seed)

    def parts(
        self, region: Region, *, reserved: float = RESERVED_SHARE, seed: int = 0, isolated: bool = False
    ) -> SplitParts:
        """Parts of the support split around a region.

        Parameters
        ----------
        region, reserved, seed, isolated
            As for `support_settings`; what is isolated is resampled only when the split is drawn.

        Raises
        ------
        SplitError
            If the region is empty, holds everything, or leaves nothing to train on.
        ConfigurationError
            For settings that `support_split` refuses.
        """
        check_sizes(support_settings(region, reserved=reserved, seed=seed, isolated=isolated))
        held, inside, num_held = self._counted(region)
        check_region(region, num_held, self.corpus)
        return replace(self._divided(held, inside, num_held, self._reserved(reserved, seed)), isolated=isolated)

    def undivided(self, *, reserved: float = DENSITY_SHARE, seed: int = 0) -> SplitParts:
        """Parts of a split without a region: the pool of density splits, and the classes their tests are drawn from.

        Parameters
        ----------
        reserved, seed
            As for `density_settings`.

        Raises
        ------
        SplitError
            If nothing is left to train on.
        ConfigurationError
            For settings that `density_split` refuses.
        """
        check_sizes(density_settings(regime="random", num_train=1, reserved=reserved, seed=seed))
        nothing = np.zeros(self.corpus.num_classes, dtype=np.int64)
        return self._divided(None, nothing, 0, self._reserved(reserved, seed))

    def _divided(self, held: HeldOut | None, inside: np.ndarray, num_held: int, reserved: np.ndarray) -> SplitParts:
        parts = SplitParts(
            corpus=self.corpus,
            spaces=self.spaces,
            held=held,
            reserved=reserved,
            inside=inside,
            outside=self.corpus.multiplicity - inside,
            num_held=num_held,
        )
        check_pool(parts.num_pool, parts.num_pool, taken(self.corpus, num_held, reserved))
        return parts

    def _space(self, name: str) -> IndexedSpace:
        if name not in self._indexed:
            raise ConfigurationError(f"no space {name!r}: choose from {', '.join(self._indexed)}")
        return self._indexed[name]

    def _count(self, region: Region) -> tuple[HeldOut, np.ndarray, int]:
        """A region in the universe, the texts of every class in it (C,), and all programs in it."""
        held = self._hold_out(region)
        texts = np.zeros(self.corpus.num_classes + 1, dtype=np.int64)  # programs of no class add to the last entry
        _add_texts(self.corpus.class_index, held.inside, texts)
        return held, texts[:-1], int(texts.sum())

    def _hold_out(self, region: Region) -> HeldOut:
        if region.rule == "root":  # the first tokens, side by side, are read faster than whole texts
            return HeldOut(region, texts_in(region, self.corpus.grammar, self._roots, self.corpus.measure), {})
        if not IndexedSpace.answers(region) or not self._indexed.keys() >= set(region.kinds):
            return hold_out(region, self.corpus, self.spaces)
        inside, surfaces = np.zeros(self.corpus.num_programs, dtype=bool), {}
        for name in region.kinds:
            rows, surfaces[name] = self._indexed[name].rows_in(region)
            if self.spaces[name].kind == SEMANTIC:
                _add_classes(self.corpus.class_index, np.append(rows, False), inside)
            else:
                inside |= rows
        return HeldOut(region, inside, surfaces)

    @cached_property
    def _roots(self) -> np.ndarray:
        return np.ascontiguousarray(self.corpus.prefix[:, :1])


# ---------------------------------------------------------------- passes over all programs


@numba.njit(cache=True, nogil=True)
def _add_classes(class_index, held, inside):
    """Mark the programs of held classes; class -1 reads the last entry."""
    for program in range(len(class_index)):
        inside[program] |= held[class_index[program]]


@numba.njit(cache=True, nogil=True)
def _add_texts(class_index, inside, texts):
    """Count the texts of every class inside a region; class -1 counts as the last entry."""
    for program in range(len(class_index)):
        texts[class_index[program]] += inside[program]


@numba.njit(cache=True, nogil=True)
def _find(class_index, inside, outside_codes, code, positions, found):
    """Programs at ascending positions among those of a code."""
    place, num_found = 0, 0
    for program in range(len(class_index)):
        if num_found == len(positions):
            return
        here = HELD_OUT if inside[program] else outside_codes[class_index[program]]
        if here == code:
            if place == positions[num_found]:
                found[num_found] = program
                num_found += 1
            place += 1
