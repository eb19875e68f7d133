"""All contests of a preset as tables: what notebook 08 and the claims about search read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

import pandas as pd

from synthlab.language.grammar import POLYNOMIAL, RATIONAL
from synthlab.presets import Preset
from synthlab.search.budget import Budget
from synthlab.search.library import Library
from synthlab.search.symbolic import LibraryLookup
from synthlab.store import content_key
from synthlab.study.contests import SOURCES_SCHEMA, UNIVERSE, Contest, scaling_contests, trained, universe_contest
from synthlab.study.designs import root_trial
from synthlab.study.expert_iteration import ExpertIteration, expert_iteration
from synthlab.study.larger_contest import FORMULAS, LARGER, formulas_contest, larger_contest
from synthlab.study.workspace import Workspace

RESULTS, SETUPS, SCALING = "search-results", "search-setups", "search-scaling"
ROUNDS, ROUND_COSTS = "search-rounds", "search-round-costs"
TABLES = (RESULTS, SETUPS, SCALING, ROUNDS, ROUND_COSTS)
"""Names of the tables."""


def search_key(preset: Preset) -> str:
    """Key of all that decides the tables but the seeds, so that more seeds belong to the same contests."""
    described = {
        "preset": preset.name, "contests": asdict(preset.contests), "model": asdict(preset.model),
        "short": asdict(preset.short), "scaling": asdict(preset.scaling),
        "trial": root_trial(preset, 0).key, "solvers": SOURCES_SCHEMA,
    }  # fmt: skip
    return content_key("search", 1, described)


def search_tables(preset: Preset, workspace: Workspace, *, progress: bool = False) -> dict[str, pd.DataFrame]:
    """Hold all contests that were not held yet, and put their tables together.

    Returns
    -------
    dict
        By the names in `TABLES`: what solvers solved and spent (seed, grammar, arena, part, method, kind, columns of
        `solvers.solve`), what each needed before (seed, grammar, arena, method, kind, costs), the scaling grid with
        and without search (`contests.scaling_contest`), and expert iteration (`expert_iteration.ExpertIteration`).
    """
    held = list(_held(preset, workspace, progress))
    results, setups = ([_tagged(frame(contest), tags) for tags, contest in held] for frame in (_results, _setups))
    found = {seed: iterated(preset, workspace, seed, progress=progress) for seed in preset.seeds}
    rounds, costs = ([frame(f).assign(seed=s) for s, f in found.items()] for frame in (_results, lambda f: f.costs))
    scaling = [scaling_contests(preset, workspace, progress=progress)]
    tables = (pd.concat(frames, ignore_index=True) for frames in (results, setups, scaling, rounds, costs))
    return {name: _compact(table) for name, table in zip(TABLES, tables, strict=True)}


def _held(preset: Preset, workspace: Workspace, progress: bool) -> Iterator[tuple[dict[str, Any], Contest]]:
    """Contests with the tags of their rows."""
    for seed in preset.seeds:
        tags = {"seed": seed, "grammar": preset.grammar, "arena": UNIVERSE}
        yield tags, universe_contest(preset, workspace, seed, progress=progress)
        for arena in preset.contests.larger:
            tags = {"seed": seed, "grammar": arena.grammar, "arena": LARGER}
            yield tags, larger_contest(preset, arena, workspace, seed, progress=progress)
    for grammar in (POLYNOMIAL.name, RATIONAL.name):
        tags = {"seed": preset.seeds[0], "grammar": grammar, "arena": FORMULAS}
        yield tags, formulas_contest(preset, workspace, grammar, progress=progress)


def _results(found: Contest | ExpertIteration) -> pd.DataFrame:
    return found.results


def _setups(contest: Contest) -> pd.DataFrame:
    return contest.setups


def iterated(preset: Preset, workspace: Workspace, seed: int, *, progress: bool = False) -> ExpertIteration:
    """Expert iteration on the split that holds out the preset's first region, with a library as the expert."""
    trial, asked = root_trial(preset, seed), preset.contests
    corpus, split, _ = trained(workspace, trial)
    expert = LibraryLookup(Library.build(corpus.grammar, asked.library, corpus.measure))
    return expert_iteration(
        corpus, split, trial.model, trial.training, expert, Budget(seconds=asked.rounds_seconds),
        store=workspace.store, rounds=asked.rounds, seed=seed, progress=progress,
    )  # fmt: skip


def _tagged(frame: pd.DataFrame, tags: Mapping[str, Any]) -> pd.DataFrame:
    """Tags as leading columns."""
    first = pd.DataFrame({name: [value] * len(frame) for name, value in tags.items()}, index=frame.index)
    return pd.concat([first, frame], axis=1)


def _compact(frame: pd.DataFrame) -> pd.DataFrame:
    """Times to a tenth of a millisecond, the rest in small types."""
    columns = {name: frame[name].round(4) for name in ("seconds", "agreement") if name in frame}
    return frame.assign(**columns)
