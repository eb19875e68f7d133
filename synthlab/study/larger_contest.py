"""Model, search and both on functions that enumeration does not reach, nor meeting in the middle once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

import numpy as np

from synthlab.arenas import LargerArena
from synthlab.assessment.tasks import Tasks
from synthlab.errors import ConfigurationError
from synthlab.language.grammar import PAD, get_grammar
from synthlab.language.identity import fingerprints
from synthlab.presets import Preset, TrainingConfig
from synthlab.search.best_first import BestFirst
from synthlab.search.budget import Budget
from synthlab.search.completion import Completion
from synthlab.search.edits import Edits
from synthlab.search.execution_guided import ExecutionGuidedBeam
from synthlab.search.guide import Guide, LearnedGuide, guide_settings, train_guide
from synthlab.search.library import Library
from synthlab.search.orders import CorrectedOrder, SmallRests
from synthlab.search.portfolio import Portfolio
from synthlab.search.problem import INTERRUPTED, Problem
from synthlab.search.residuals import ResidualSearch
from synthlab.search.symbolic import Enumeration, LibraryLookup
from synthlab.store import Store, content_key
from synthlab.study.contests import GUIDED, MODEL, SOURCES_SCHEMA, SYMBOLIC, Contest, Entrant, cached
from synthlab.study.formulas import formula_tasks
from synthlab.study.larger import larger_tasks
from synthlab.study.workspace import Workspace
from synthlab.universe.hashing import HashIndex
from synthlab.universe.sampling import PCFG, sample_programs

if TYPE_CHECKING:
    from synthlab.learning.run import Run

LARGER, FORMULAS = "larger", "formulas"
GUIDED_SEARCH, SMALL_RESTS = "meet in the middle, guided", "meet in the middle, small rests first"
_FORMULA_PARTS = 3
_AMPLE = Budget(seconds=float("inf"))
_ATTEMPTS = 6


def larger_contest(
    preset: Preset, arena: LargerArena, workspace: Workspace, seed: int, *, progress: bool = False
) -> Contest:
    """All methods on one arena beyond the universe; model and guide are trained for it, on other functions."""
    asked = preset.contests
    settings = {"seconds": asked.seconds, "num_candidates": asked.num_candidates, "model": asdict(preset.model)}
    description = {
        "arena": LARGER, **asdict(arena), "digest": get_grammar(arena.grammar).digest, "seed": seed,
        "training": asdict(preset.short), "solvers": SOURCES_SCHEMA, **settings,
    }  # fmt: skip

    def work() -> Contest:
        grammar = get_grammar(arena.grammar)
        library = Library.build(grammar, arena.library)
        tasks, drawn = hard_tasks(arena, library, seed)
        texts = training_texts(arena, tasks, seed)
        run = train_model(preset, arena, texts, tasks, drawn, workspace.store, seed, progress)
        guide = guide_of(workspace.store, library, arena, seed)
        entrants = larger_entrants(preset, arena, library, texts, run, guide, seed)
        return Contest.held(description, {LARGER: tasks}, entrants, Budget(seconds=asked.seconds), progress=progress)

    return cached(workspace.store, description, work)


def formulas_contest(preset: Preset, workspace: Workspace, grammar: str, *, progress: bool = False) -> Contest:
    """Search without training on well-known formulas of a grammar (`formulas.formula_tasks`)."""
    seconds, size = preset.contests.seconds, preset.contests.library
    digest = get_grammar(grammar).digest
    description = {"arena": FORMULAS, "digest": digest, "seconds": seconds, "library": size, "solvers": SOURCES_SCHEMA}

    def work() -> Contest:
        tasks = formula_tasks(get_grammar(grammar))
        library = Library.build(tasks.grammar, size)
        parts = min(_FORMULA_PARTS, size)
        entrants = [
            (SYMBOLIC, Enumeration()),
            (SYMBOLIC, LibraryLookup(library)),
            (SYMBOLIC, ResidualSearch(library, part_size=parts)),
            (GUIDED, ResidualSearch(library, SmallRests(), part_size=parts, depth=2, name=SMALL_RESTS)),
        ]
        return Contest.held(description, {FORMULAS: tasks}, entrants, Budget(seconds=seconds), progress=progress)

    return cached(workspace.store, description, work)


def hard_tasks(arena: LargerArena, library: Library, seed: int) -> tuple[Tasks, np.ndarray]:
    """Functions of random programs that are not in the library, nor one operator away from two functions in it.

    Returns the tasks and the drawn texts, which are for checks only.

    Raises
    ------
    ConfigurationError
        If hardly any program is so hard.
    """
    once, num = LibraryLookup(library), arena.num_tasks
    for factor in range(1, _ATTEMPTS + 1):
        drawn, texts = larger_tasks(library.grammar, arena.size, 3 * factor * num, seed=seed, beyond=library)
        results = once.solve_all([Problem.of(drawn, row) for row in range(len(drawn))], _AMPLE)
        if any(result.stopped == INTERRUPTED for result in results):
            raise KeyboardInterrupt
        hard = np.array([row for row, result in enumerate(results) if not result.found], dtype=np.int64)
        if len(hard) >= num:
            return drawn.take(hard[:num]), texts[hard[:num]]
    raise ConfigurationError(
        f"{len(hard)} of {len(drawn)} programs of {arena.size} leaves are beyond two functions of {arena.library}: "
        "raise the size, or lower that of the library"
    )


def training_texts(arena: LargerArena, tasks: Tasks, seed: int) -> np.ndarray:
    """Random programs (P, L) of every size from the library's to the largest trained one, without test functions."""
    grammar, sizes = tasks.grammar, range(arena.library, arena.trained_size + 1)
    each = -(-arena.num_trained // len(sizes))
    drawn = [sample_programs(grammar, size, each, seed=1000 * seed + size) for size in sizes]
    width = max(texts.shape[1] for texts in drawn)
    rows = np.concatenate([np.pad(t, ((0, 0), (0, width - t.shape[1])), constant_values=PAD) for t in drawn])
    return rows[HashIndex(tasks.fingerprints).find(fingerprints(grammar, rows)) < 0]


def train_model(
    preset: Preset,
    arena: LargerArena,
    texts: np.ndarray,
    tasks: Tasks,
    drawn: np.ndarray,
    store: Store,
    seed: int,
    progress: bool,
) -> Run:
    """The preset's model, with room for answers as large as the tasks'."""
    from synthlab.learning.sampled import train_on_samples

    model = replace(preset.model, room=arena.size - arena.trained_size)
    training: TrainingConfig = replace(preset.short, num_steps=arena.num_steps, seed=seed, num_checks=0)
    run = train_on_samples(
        tasks.grammar, texts, max_size=arena.trained_size, model_config=model, training=training,
        tests={LARGER: tasks}, texts={LARGER: drawn}, store=store, progress=progress,
    )  # fmt: skip
    if not run.finished:
        raise KeyboardInterrupt
    return run


def guide_of(store: Store, library: Library, arena: LargerArena, seed: int) -> LearnedGuide:
    """Load the guide of an arena, or train it and save it."""
    settings = guide_settings(library, part_size=arena.part_size, num_targets=arena.guide_targets, seed=seed)
    key = content_key(LearnedGuide.stage, LearnedGuide.schema, settings)
    return store.cached(LearnedGuide, key, lambda: train_guide(library, settings))


def larger_entrants(
    preset: Preset, arena: LargerArena, library: Library, texts: np.ndarray, run: Run, guide: LearnedGuide, seed: int
) -> Sequence[Entrant]:
    """Model, symbolic search and both together, for tasks beyond the universe."""
    from synthlab.search.filtering import Filtered
    from synthlab.study.proposers import ModelProposer

    num, grammar = preset.contests.num_candidates, library.grammar
    beam = ModelProposer(run, how="beam", max_size=arena.size)
    distinct = ModelProposer(run, how="distinct", max_size=arena.size, seed=seed)
    completion = Completion(library, beam, num, name="hole completion", meet=True)
    guided = _residuals(library, arena, CorrectedOrder(guide), GUIDED_SEARCH)
    return [
        (MODEL, Filtered(beam, 1, name="model, greedy")),
        (MODEL, Filtered(beam, num, name="model, beam")),
        (MODEL, Filtered(distinct, num, name="model, distinct samples")),
        (SYMBOLIC, Enumeration()),
        (SYMBOLIC, BestFirst(PCFG.fit(grammar, texts))),
        (SYMBOLIC, _residuals(library, arena)),
        (SYMBOLIC, Completion(library, None, num, name="hole completion of random programs", meet=True)),
        (GUIDED, guided),
        (GUIDED, _residuals(library, arena, SmallRests(), SMALL_RESTS)),
        (GUIDED, _residuals(library, arena, guide, "meet in the middle, learned order")),
        (GUIDED, completion),
        (GUIDED, ExecutionGuidedBeam()),
        (GUIDED, Edits(beam, num, rounds=1000, seed=seed, name="edits")),
        (GUIDED, Portfolio([guided, completion], name="portfolio")),
    ]


def _residuals(
    library: Library, arena: LargerArena, guide: Guide | None = None, name: str | None = None
) -> ResidualSearch:
    """Residual search of an arena; with a guide it may take two parts off, without one it would never get there."""
    depth = 1 if guide is None else 2
    largest = library.max_size - 1
    return ResidualSearch(library, guide, part_size=arena.part_size, depth=depth, largest=largest, name=name)
