"""Practice: classes of a split's tests on which search may work, and the split that teaches what it found.

A practiced class is tested no longer, and a tested one is never practiced: the two share no function. The derived
split has a kind of its own, since texts inside the held-out region are taught on purpose.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

import numpy as np
import pandas as pd

from synthlab.assessment.correctness import SOLVED, check
from synthlab.assessment.tasks import Candidates, Tasks
from synthlab.errors import ConfigurationError, SplitError
from synthlab.language.grammar import PAD
from synthlab.language.identity import fingerprints, grid_codes
from synthlab.language.measure import max_length
from synthlab.language.program import infix_texts
from synthlab.search.problem import Result
from synthlab.splits.audit import AuditReport, audit_corpus
from synthlab.splits.evidence import NUM_NAMED, finding
from synthlab.splits.split import RANDOM_TEXT, Split
from synthlab.universe.corpus import Corpus
from synthlab.universe.counting import rank, unrank

KIND = "practice"


@dataclass(frozen=True, eq=False)
class Practice:
    """Which classes are practiced, and which are still tested.

    Attributes
    ----------
    parent
        Key of the split whose tests they were.
    seed
        Of the draw.
    classes
        Practiced class ids by the test that they were taken from.
    tests
        Class ids of every test of the split that are not practiced; matched tests stay pairs.
    """

    parent: str
    seed: int
    classes: dict[str, np.ndarray]
    tests: dict[str, np.ndarray]

    @property
    def practiced(self) -> np.ndarray:
        """All practiced class ids, ascending."""
        return np.sort(np.concatenate(list(self.classes.values())))

    @property
    def tested(self) -> np.ndarray:
        """All tested class ids, ascending."""
        return np.unique(np.concatenate(list(self.tests.values())))

    @property
    def identity(self) -> dict[str, Any]:
        """What decides it, as JSON."""
        return {"parent": self.parent, "seed": self.seed, "parts": list(self.classes)}


def draw_practice(corpus: Corpus, split: Split, parts: Sequence[str], seed: int) -> Practice:
    """Halve the classes of some tests of a support split, by minimal size; odd ones are tested.

    Parameters
    ----------
    corpus, split
        The universe, and the split.
    parts
        Tests to be halved, without a class in common.
    seed
        Decides which half is practiced.

    Raises
    ------
    ConfigurationError
        If the split is no support split or teaches other texts every epoch, or the tests do not exist or overlap.
    SplitError
        If a test is too small to be halved.
    """
    if split.kind != "support" or split.settings["policy"] == RANDOM_TEXT:
        raise ConfigurationError(
            f"a {split.kind} split with targets {split.settings['policy']!r}: practice needs a support split whose "
            "training texts stay the same"
        )
    unknown = [part for part in parts if part not in split.tests]
    if unknown or not parts:
        raise ConfigurationError(f"no tests {', '.join(unknown)!r} to practice: choose from {', '.join(split.tests)}")
    asked = np.concatenate([split.tests[part] for part in parts])
    shared = len(asked) - len(np.unique(asked))
    if shared or seed < 0:
        raise ConfigurationError(
            f"the tests {', '.join(parts)} share {shared} classes and the seed is {seed}: practice tests without a "
            "common class, with a seed from 0 on"
        )
    # what is practiced of a test does not depend on what else is practiced
    classes = {part: _half(corpus, split.tests[part], np.random.default_rng([seed, *part.encode()])) for part in parts}
    tests = _without(split.tests, np.concatenate(list(classes.values())))
    for part in parts:
        if not len(classes[part]) or part not in tests:
            raise SplitError(f"{len(split.tests[part])} classes of {part} cannot be halved by size: test more")
    return Practice(split.key, seed, classes, tests)


def _half(corpus: Corpus, ids: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Half of some classes, rounded down within every minimal size, ascending."""
    sizes = corpus.minimal_size[corpus.class_rows(ids)]
    drawn = [
        generator.permutation(np.sort(ids[sizes == size]))[: int((sizes == size).sum()) // 2]
        for size in np.unique(sizes)
    ]
    return np.sort(np.concatenate([np.empty(0, dtype=np.int64), *drawn]))


def _without(tests: Mapping[str, np.ndarray], practiced: np.ndarray) -> dict[str, np.ndarray]:
    """Tests without the practiced classes, empty ones left out; pairs lose both members."""
    kept = {name: ~np.isin(ids, practiced) for name, ids in tests.items()}
    pairs = [name for name in kept if name.startswith("matched_")]
    if pairs:
        kept |= dict.fromkeys(pairs, reduce(np.logical_and, [kept[name] for name in pairs]))
    return {name: tests[name][mask] for name, mask in kept.items() if mask.any()}


def check_share(share: float) -> None:
    """Refuse a share of found programs that leaves no room for others.

    Raises
    ------
    ConfigurationError
        If it is negative, or 1 or more.
    """
    if not 0 <= share < 1:
        raise ConfigurationError(f"share {share} of found programs in a batch: use one from 0 to below 1")


def teachable(corpus: Corpus, split: Split, practice: Practice, found: np.ndarray) -> np.ndarray:
    """Which found programs (K,) may be taught.

    One that is right on the grid may still be another function than its task: not if that one is tested or reserved,
    or has no value somewhere on the grid.
    """
    rows = corpus.class_index[found]
    usable = np.append(corpus.is_task, False)  # class -1 reads the last entry
    usable[corpus.class_rows(_reserved(split, practice))] = False
    return np.asarray(usable[rows])


def _reserved(split: Split, practice: Practice) -> np.ndarray:
    """Class ids that no training program may compute: all that are tested, and reserved ones not practiced."""
    return np.union1d(np.setdiff1d(split.reserved, practice.practiced), practice.tested)


def practice_split(corpus: Corpus, split: Split, practice: Practice, found: np.ndarray, share: float) -> Split:
    """The split with found programs beside its training programs, for the classes that are still tested.

    Parameters
    ----------
    corpus, split, practice
        The universe, the split, and what of its tests is practiced.
    found
        Ids of found programs.
    share
        Of the training items that found programs make up, repeated equally often (give or take one) as far as they
        are fewer; each is an item once at least.

    Raises
    ------
    SplitError
        If it leaks (`audit_practice`), or nothing was found.
    """
    check_share(share)
    found = np.unique(found)
    if not len(found):
        raise SplitError("nothing was found to be taught: train on the split itself")
    num = max(len(found), round(share / (1 - share) * len(split.train)))
    order = np.random.default_rng([practice.seed, 12]).permutation(found)
    taught = np.resize(order, num)
    settings = split.settings | {
        "parent": split.key,
        KIND: {
            "seed": practice.seed, "share": share, "found": found.tolist(),
            "classes": {part: ids.tolist() for part, ids in practice.classes.items()},
        },
    }  # fmt: skip
    derived = replace(
        split, kind=KIND, settings=settings, train=np.concatenate([split.train, taught]),
        targets=np.concatenate([split.targets, taught]), tests=dict(practice.tests),
        reserved=_reserved(split, practice),
    )  # fmt: skip
    audit_practice(derived, split, corpus).require()
    return derived


def audit_practice(derived: Split, split: Split, corpus: Corpus) -> AuditReport:
    """Check a split that teaches found programs: nothing leaks, and nothing but these was changed.

    Beside the checks of every split (`splits.audit.audit`; whoever trains on it repeats those): no practiced
    function is tested; training is that of the parent and found programs, all of which have the outputs of a
    practiced class; every class tested is one of the parent's test and reserved; and what the parent reserves is
    practiced or still reserved. Functions and outputs are computed anew from ids.

    Raises
    ------
    ArtifactError
        If one of them belongs to another corpus.
    """
    grammar, bound = corpus.grammar, (corpus.max_size, corpus.measure)

    def texts(ids: np.ndarray) -> np.ndarray:
        return unrank(grammar, ids, *bound)

    about = derived.settings[KIND]
    found = np.array(about["found"], dtype=np.int64)
    practiced = np.array(sorted(set().union(*about["classes"].values())), dtype=np.int64)
    tested = np.unique(np.concatenate(list(derived.tests.values())))
    keys = {name: fingerprints(grammar, texts(ids), corpus.seed) for name, ids in
            {"practiced": practiced, "tested": tested}.items()}  # fmt: skip
    outputs = _rows_among(grid_codes(grammar, texts(found)), grid_codes(grammar, texts(practiced)))
    num = min(len(split.train), len(derived.train))
    altered = np.ones(len(split.train), dtype=bool)
    altered[:num] = (derived.train[:num] != split.train[:num]) | (derived.targets[:num] != split.targets[:num])
    extra = derived.train[num:]
    strange = ~np.isin(extra, found) | (derived.targets[num:] != extra)
    foreign = [ids[~np.isin(ids, split.tests.get(part, ()))] for part, ids in derived.tests.items()]
    kept = np.union1d(derived.reserved, practiced)
    own = [
        ("split of another parent", np.arange(int(derived.settings["parent"] != split.key))),
        ("practiced function that is tested", practiced[_rows_among(keys["practiced"], keys["tested"])]),
        ("training item of the parent that was altered", split.train[altered]),
        ("training item that was not found", extra[strange]),
        ("found program without the outputs of a practiced class", found[~outputs]),
        ("found program that is not taught", np.setdiff1d(found, extra)),
        ("test class that the parent does not test", np.concatenate(foreign)),
        ("test class that is not reserved", np.setdiff1d(tested, derived.reserved)),
        ("reserved class that is neither practiced nor reserved", np.setdiff1d(split.reserved, kept)),
    ]
    findings = [finding(check, grammar, len(ids), texts(ids[:NUM_NAMED])) for check, ids in own]
    return AuditReport((*audit_corpus(derived, corpus).findings, *findings))


def _rows_among(rows: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Mask of rows (n,) that are among others."""
    _, numbers = np.unique(np.concatenate([rows, others]), axis=0, return_inverse=True)
    numbers = numbers.reshape(-1)
    return np.isin(numbers[: len(rows)], numbers[len(rows) :])


# ---------------------------------------------------------------- what search answered


def answered(tasks: Tasks, results: Sequence[Result]) -> pd.DataFrame:
    """What a solver answered, judged anew.

    Returns
    -------
    pandas.DataFrame
        One row per task: class_id, leaves, found (a program within the bound that is right on the grid), right (it
        is the same function), program_id (-1 without), program, seconds, tested, tokens, flops, stopped.
    """
    grammar, width = tasks.grammar, max_length(tasks.grammar, tasks.max_size, tasks.measure)
    programs = [() if r.program is None else r.program.prefix for r in results]
    prefix = np.full((len(tasks), max([width, *map(len, programs)])), PAD, dtype=np.uint8)
    for row, tokens in enumerate(programs):
        prefix[row, : len(tokens)] = tokens
    numbers = np.arange(len(tasks))
    judged = check(tasks, Candidates(numbers, np.zeros_like(numbers), prefix, np.full(len(tasks), np.nan)))
    found, ids, texts = judged.on_grid, np.full(len(tasks), -1), np.full(len(tasks), "", dtype=object)
    ids[found] = rank(grammar, prefix[found, :width], tasks.max_size, tasks.measure)
    texts[found] = infix_texts(grammar, prefix[found, :width])
    axes = {"seconds": float, "tested": np.int64, "tokens": np.int64, "flops": float}
    return pd.DataFrame({
        "class_id": tasks.class_id, "leaves": tasks.class_leaves, "found": found,
        "right": found & (judged.status == SOLVED), "program_id": ids, "program": texts,
        **{axis: np.array([getattr(r.cost, axis) for r in results], dtype=kind) for axis, kind in axes.items()},
        "stopped": np.array([r.stopped for r in results], dtype=object),
    })  # fmt: skip
