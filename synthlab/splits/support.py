"""Support shifts: a region of a space is never trained on; what of it can still be reached?

Test sets (classes): `id` reserved, with a text outside the region; `open` reserved, with texts on both
sides (syntactic regions); `forced` all texts up to N inside the region; `matched_id` and `matched_forced`
subsets of id and forced with one joint histogram (of size, degree and number of texts, unless told otherwise).
In an isolated split training, id and forced cannot be told apart in the other space; it has no open tests, and its
matched tests are matched by histogram only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from synthlab.errors import ConfigurationError, SplitError
from synthlab.spaces.space import SEMANTIC, Space
from synthlab.splits.density import draw_by_regime, draw_settings, regime_spaces
from synthlab.splits.isolation import isolate
from synthlab.splits.matching import MATCHED_BY, check_properties, matched_tests, texts_per_class
from synthlab.splits.regions import BOTH, HeldOut, Region, hold_out
from synthlab.splits.split import (
    RANDOM_TEXT,
    Split,
    check_pool,
    check_sizes,
    choose_targets,
    reserve_classes,
    training_pool,
    with_spaces,
)
from synthlab.universe.corpus import Corpus

RESERVED_SHARE = 0.15


def support_settings(
    region: Region,
    *,
    num_train: int | None = None,
    num_test: int = 1000,
    regime: str = "random",
    num_cells: int = 100,
    reserved: float = RESERVED_SHARE,
    policy: str = "as sampled",
    seed: int = 0,
    match: Sequence[str] = MATCHED_BY,
    isolated: bool = False,
    cells: str = "kmeans",
    concentration: float = 0.0,
    match_size: bool = False,
    share_alone: float = 0.0,
) -> dict[str, Any]:
    """Settings of a support split, for its key.

    Parameters
    ----------
    region, reserved
        What is held out, and the share of classes kept for tests before anything else is drawn.
    num_train, num_test
        Training programs, None for the whole pool (of an isolated split: as many as leave half of the tasks); and
        the largest test set.
    regime, num_cells, cells, concentration, match_size
        How training programs are drawn; see `density_settings`.
    policy, seed
        Which text of a class is learned (`choose_targets`); decides every draw.
    match
        Properties with one joint histogram in the matched tests, of `matching.PROPERTIES`.
    isolated
        Resample training, id and forced until the other space cannot tell them apart (AUC <= .55).
    share_alone
        For regions of rule ``composed``: share of the training programs that show the operator alone, repeated
        if there are few.

    Raises
    ------
    ConfigurationError
        For a setting out of range, an unknown property, or isolation of what it cannot be had for.
    """
    settings = dict(
        region=region.settings(), region_text=region.describe(), num_train=num_train, num_test=num_test, regime=regime,
        num_cells=num_cells, reserved=reserved, policy=policy, seed=seed, match=list(match), isolated=isolated,
        share_alone=share_alone, cells=cells, concentration=concentration, match_size=match_size,
    )  # fmt: skip
    _check_settings(region, settings)
    return settings


def _check_settings(region: Region, settings: Mapping[str, Any]) -> None:
    """Refuse what no region, or not this one, can be held out with."""
    check_properties(settings["match"])
    check_sizes(settings)
    regime_spaces(settings["regime"])
    draw_settings(settings["cells"], settings["concentration"], settings["match_size"])
    isolated, share_alone, policy = (settings[name] for name in ("isolated", "share_alone", "policy"))
    if isolated and (settings["regime"] != "random" or settings["match_size"]):
        raise ConfigurationError(
            "isolation decides how training programs are drawn: use regime 'random' without match_size"
        )
    if isolated and region.space == BOTH:
        raise ConfigurationError("a region of both spaces leaves no other space to isolate it in: choose one space")
    if isolated and policy == RANDOM_TEXT:
        raise ConfigurationError(f"an isolated split teaches the texts that it drew: not the policy {policy!r}")
    if not 0 <= share_alone < 1 or (share_alone and (region.rule != "composed" or isolated)):
        raise ConfigurationError(
            f"share_alone {share_alone}: a share below 1 of a region of rule 'composed' that is not isolated"
        )


def support_split(
    corpus: Corpus, spaces: Mapping[str, Space], settings: dict[str, Any], *, held: HeldOut | None = None
) -> Split:
    """Draw a support split around a held-out region.

    Parameters
    ----------
    corpus, spaces
        The universe and its spaces by kind.
    settings
        From `support_settings`.
    held
        The region as it lies in the universe (`hold_out`), if that is known already.

    Raises
    ------
    SplitError
        If the region is empty, holds everything, leaves a pool smaller than the training set, or cannot be isolated.
    """
    region = Region(**settings["region"])
    _check_settings(region, settings)
    settings = with_spaces(settings, corpus, spaces, support_spaces(settings))
    held = hold_out(region, corpus, spaces) if held is None else held
    if held.region.settings() != region.settings():
        raise SplitError(f"the mask is that of {held.region.describe()}, not of {region.describe()}: hold it out anew")
    held_out = held.inside
    num_held = int(held_out.sum())
    check_region(region, num_held, corpus)
    seed = settings["seed"]
    reserved = reserve_classes(corpus, settings["reserved"], seed)
    pool = training_pool(corpus, reserved, held_out)
    num_train = len(pool) if settings["num_train"] is None else settings["num_train"]
    check_pool(len(pool), num_train, taken(corpus, num_held, reserved))
    outside, inside = texts_per_class(corpus, ~held_out), texts_per_class(corpus, held_out)
    tests = tested_classes(corpus, reserved, inside, outside, is_semantic=region.space == SEMANTIC)
    strata = None
    if settings["isolated"]:
        train, tests, strata = _isolated(corpus, spaces, region, pool, tests, settings)
    else:
        train = _drawn(corpus, spaces, pool, settings)
    pair = {name: tests[name] for name in ("id", "forced")}
    texts = {"id": outside, "forced": corpus.multiplicity}
    matched = matched_tests(corpus, pair, texts, seed, settings["match"], strata)
    tests = _at_most(tests | matched, settings["num_test"], seed)
    return Split(
        "support",
        corpus.identity,
        settings,
        train,
        choose_targets(corpus, train, pool, settings["policy"]),
        {name: corpus.class_id[rows] for name, rows in tests.items()},
        corpus.class_id[reserved],
        np.packbits(held_out),
        held.surfaces,
    )


def support_spaces(settings: dict[str, Any]) -> tuple[str, ...]:
    """Names of the spaces that a support split of these settings reads."""
    region = Region(**settings["region"])
    other = (region.other_space,) if settings["isolated"] else ()
    return tuple(dict.fromkeys((*region.kinds, *regime_spaces(settings["regime"]), *other)))


def check_region(region: Region, num_held: int, corpus: Corpus) -> None:
    """Refuse a region that holds out no program of a universe, or every one.

    Raises
    ------
    SplitError
        With the counts.
    """
    if num_held in (0, corpus.num_programs):
        where = "the whole universe" if num_held else "empty"
        raise SplitError(
            f"the region ({region.describe()}) is {where}: {num_held:,} of "
            f"{corpus.num_programs:,} programs; move its bounds"
        )


def taken(corpus: Corpus, num_held: int, reserved: np.ndarray) -> str:
    """What is not trained on, in words: programs held out, and classes of a mask (C,) reserved."""
    return (
        f"{num_held:,} of {corpus.num_programs:,} programs are held out and "
        f"{int(reserved.sum()):,} of {corpus.num_classes:,} classes reserved"
    )


def _drawn(corpus: Corpus, spaces: Mapping[str, Space], pool: np.ndarray, settings: dict[str, Any]) -> np.ndarray:
    num = len(pool) if settings["num_train"] is None else settings["num_train"]
    if not settings["share_alone"]:
        return draw_by_regime(corpus, spaces, pool, settings["regime"], num, settings)
    token = corpus.grammar.index[settings["region"]["operator"]]
    taught = choose_targets(corpus, pool, pool, settings["policy"])
    shows = (corpus.prefix[taught] == token).any(axis=1)  # what is learned shows it, not only what was drawn
    alone, rest = pool[shows], pool[~shows]
    if settings["num_train"] is None:
        num = int(len(rest) / (1 - settings["share_alone"]))
    num_alone = round(settings["share_alone"] * num)
    if not len(alone):
        raise SplitError(
            f"no text of the pool of {len(pool):,} shows {settings['region']['operator']} alone: reserve fewer"
        )
    if num - num_alone > len(rest):
        raise SplitError(
            f"{num - num_alone:,} programs without {settings['region']['operator']} asked of {len(rest):,}: "
            "lower num_train"
        )
    generator = np.random.default_rng([settings["seed"], 10])
    repeated = np.resize(generator.permutation(alone), num_alone)
    drawn = draw_by_regime(corpus, spaces, rest, settings["regime"], num - num_alone, settings)
    return generator.permutation(np.concatenate([drawn, repeated]))


def _isolated(
    corpus: Corpus, spaces: Mapping[str, Space], region: Region, pool: np.ndarray, tests: dict[str, np.ndarray],
    settings: dict[str, Any],
) -> tuple[np.ndarray, dict[str, np.ndarray], dict[str, np.ndarray]]:  # fmt: skip
    """Training ids, test classes and their strata, alike in the other space."""
    texts = choose_targets(corpus, pool, pool, settings["policy"])
    pair = {name: tests[name] for name in ("id", "forced")}
    found = isolate(corpus, spaces[region.other_space], texts, pair, settings["num_train"], settings["seed"])
    return pool[found.train], {name: pair[name][rows] for name, rows in found.tests.items()}, found.strata


def tested_classes(
    corpus: Corpus, reserved: np.ndarray, inside: np.ndarray, outside: np.ndarray, *, is_semantic: bool
) -> dict[str, np.ndarray]:
    """Rows of the classes of every test set, before any is drawn or matched.

    Parameters
    ----------
    corpus, reserved
        The universe, and a mask (C,) of its reserved classes.
    inside, outside
        Texts of every class (C,) in the region and outside it.
    is_semantic
        Whether the region is one of classes, which leaves no open tests.
    """
    leaves, enters = outside > 0, inside > 0
    tests = {"id": reserved & leaves, "forced": enters & ~leaves & corpus.is_task}
    if not is_semantic:
        tests["open"] = reserved & leaves & enters
    return {name: np.flatnonzero(mask) for name, mask in tests.items()}


def _at_most(tests: dict[str, np.ndarray], num_test: int, seed: int) -> dict[str, np.ndarray]:
    """Uniform subsets of at most `num_test` classes; matched pairs stay pairs."""
    order = {name: np.random.default_rng([seed, 6]).permutation(len(rows))[:num_test] for name, rows in tests.items()}
    return {name: rows[order[name]] for name, rows in tests.items()}


def region_map(corpus: Corpus, split: Split, program_ids: np.ndarray) -> pd.Series:
    """Part of the split that each program belongs to: train, reserved, held out, or unused."""
    held_out = split.held_out(corpus.num_programs)[program_ids]
    reserved = np.isin(corpus.class_index[program_ids], corpus.class_rows(split.reserved))
    trained = np.isin(program_ids, split.train)
    return pd.Series(np.select([held_out, reserved, trained], ["held out", "reserved", "train"], "unused"))
