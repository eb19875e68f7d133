"""What a trained model is asked on the tests of its split, once per function however many tests hold it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from synthlab.assessment.correctness import SOLVED, Evaluation, check
from synthlab.assessment.diagnostics import COPIED, novelty, task_properties
from synthlab.assessment.tasks import Tasks, tasks_of
from synthlab.errors import SplitError
from synthlab.language.program import Program
from synthlab.spaces.compounds import compound_bags
from synthlab.spaces.space import SYNTACTIC, Space
from synthlab.spaces.validation import tree_edit_distance
from synthlab.splits.matching import texts_per_class, total_degrees
from synthlab.splits.split import Split, learned_texts
from synthlab.study.workspace import SPACES, Workspace
from synthlab.universe.corpus import Corpus

if TYPE_CHECKING:
    from synthlab.learning.networks import Synthesizer
    from synthlab.learning.run import Run
    from synthlab.study.trials import Trial

_CANDIDATES = 3
_ALL_TEXTS = ("forced", "matched_forced")


def measured(workspace: Workspace, trial: Trial, split: Split, run: Run) -> pd.DataFrame:
    """Outcome of every class of every test set.

    Parameters
    ----------
    workspace, trial, split, run
        What was trained on what, and what is asked (`Trial.measures`).

    Returns
    -------
    pandas.DataFrame
        part, class_id, leaves, weight, solved, status, log_probability (of the greedy answer, nats), test_loss (nats
        of the minimal text, teacher-forced), num_correct and num_samples (of independent samples, 0 without). With
        details also degree, texts (right answers outside the region; of forced parts, in it), root_given, three
        flags ``<what>_in_training`` of the greedy answer (`diagnostics.novelty`), ``<space>_distance`` to training,
        edit_distance and novel_compounds (`_hardness`).

    Raises
    ------
    SplitError
        If the split tests nothing.
    """
    from synthlab.learning.evaluation import placed, text_losses

    corpus, asked = workspace.corpus(trial.universe), trial.measures
    tests = {part: ids for part, ids in split.tests.items() if len(ids)}
    if not tests:
        raise SplitError("the split has no test tasks: draw it again")
    tasks = tasks_of(corpus, np.unique(np.concatenate(list(tests.values()))))
    model, limit = placed(run.model()), corpus.max_size + asked.extra_size
    greedy = _judged(model, tasks, limit)
    table = greedy.frame().drop(columns=["weight", "independent"]).assign(num_correct=0, num_samples=0)
    table["log_probability"] = greedy.candidates.log_probability
    table["test_loss"] = text_losses(model, tasks, corpus.prefix[tasks.class_id])
    if asked.num_samples:
        sampled = _judged(model, tasks, limit, num_samples=asked.num_samples, temperature=1.0)
        table["num_correct"], table["num_samples"] = sampled.num_correct(), asked.num_samples
    if asked.details:
        table = table.assign(**_answered(model, corpus, split, greedy, limit))
    frames = [_part(table, part, ids) for part, ids in tests.items()]
    results = pd.concat(frames, ignore_index=True)
    if asked.details:
        results = _with_properties(results, workspace, trial, split)
    return compact(results)


def _part(table: pd.DataFrame, part: str, ids: np.ndarray) -> pd.DataFrame:
    """Rows of one test set, weighted by how often it drew a class."""
    classes, weight = np.unique(ids, return_counts=True)
    rows = np.searchsorted(table["class_id"].to_numpy(), classes)
    found = table.iloc[rows].reset_index(drop=True)
    found.insert(0, "part", part)
    found.insert(3, "weight", weight)
    return found


def _judged(model: Synthesizer, tasks: Tasks, limit: int, **decoding: Any) -> Evaluation:
    from synthlab.learning.decoding import decode

    return check(tasks, decode(model, tasks, max_size=limit, **decoding), max_size=limit)


def _answered(
    model: Synthesizer, corpus: Corpus, split: Split, greedy: Evaluation, limit: int
) -> dict[str, np.ndarray | pd.Series]:
    """Whether the answers were copied, and whether they are right with the root token handed over."""
    copied = novelty(corpus, split, greedy.candidates)
    found: dict[str, Any] = {f"{name}_in_training": copied[f"{name}_in_training"] for name in COPIED}
    found["root_given"] = np.full(len(greedy.tasks), np.nan)
    if model.config.notation == "prefix":
        roots = corpus.root[greedy.tasks.class_id]
        for root in np.unique(roots):
            rows = np.flatnonzero(roots == root)
            given = _judged(model, greedy.tasks.take(rows), limit, first_token=int(root))
            found["root_given"][rows] = given.first_status() == SOLVED
    return found


def _with_properties(results: pd.DataFrame, workspace: Workspace, trial: Trial, split: Split) -> pd.DataFrame:
    """Results with what may make every task hard."""
    corpus, spaces = workspace.corpus(trial.universe), workspace.spaces(trial.universe, SPACES)
    rows = corpus.class_rows(results["class_id"].to_numpy())
    outside = texts_per_class(corpus, ~split.held_out(corpus.num_programs))[rows]
    is_forced = results["part"].isin(_ALL_TEXTS)
    results = results.assign(
        degree=total_degrees(corpus)[rows], texts=np.where(is_forced, corpus.multiplicity[rows], outside)
    )
    distances = task_properties(corpus, split, spaces).drop(columns=["class_size", "texts_in_support"])
    results = results.merge(distances, on=["part", "class_id", "leaves"], how="left", validate="one_to_one")
    classes = np.unique(results["class_id"])
    harder = _hardness(corpus, spaces[SYNTACTIC], split, classes)
    return results.merge(harder, on="class_id", how="left", validate="many_to_one")


def _hardness(corpus: Corpus, space: Space, split: Split, classes: np.ndarray) -> pd.DataFrame:
    """How new the minimal text of every class is.

    Returns
    -------
    pandas.DataFrame
        class_id; edit_distance, the least tree edit distance to the three training texts that lie nearest in the
        syntactic space; novel_compounds, the share of its depth-2 compounds (`compound_bags`) that no training text
        has, 0 where it has none.
    """
    trained = learned_texts(corpus, split)
    edits = _edit_distances(corpus, space, trained, classes)
    return pd.DataFrame({
        "class_id": classes, "edit_distance": edits, "novel_compounds": _novel_compounds(corpus, trained, classes)
    })  # fmt: skip


def _edit_distances(corpus: Corpus, space: Space, trained: np.ndarray, classes: np.ndarray) -> np.ndarray:
    from sklearn.neighbors import NearestNeighbors

    model = NearestNeighbors(n_neighbors=min(_CANDIDATES, len(trained))).fit(space.coordinates[trained])
    near = trained[model.kneighbors(space.coordinates[classes], return_distance=False)]
    programs: dict[int, Program] = {}

    def program(number: int) -> Program:
        if number not in programs:
            programs[number] = corpus.program(number)
        return programs[number]

    return np.array([
        min(tree_edit_distance(program(int(one)), program(int(other))) for other in others)
        for one, others in zip(classes, near, strict=True)
    ])  # fmt: skip


def _novel_compounds(corpus: Corpus, trained: np.ndarray, classes: np.ndarray) -> np.ndarray:
    bags = compound_bags(corpus.grammar, corpus.prefix[classes])
    seen = set(compound_bags(corpus.grammar, corpus.prefix[trained]).names)
    large = np.array([name.count("(") > 1 for name in bags.names], dtype=np.int64)
    novel = np.array([name not in seen for name in bags.names], dtype=np.int64) * large
    total = bags.occurrences @ large
    return np.asarray(bags.occurrences @ novel) / np.maximum(1, total)


_MEASURED = ("log_probability", "test_loss", "novel_compounds")


def compact(results: pd.DataFrame) -> pd.DataFrame:
    """Results in small types: three decimals of what is measured, the smallest integers that hold the counts."""
    columns: dict[str, Any] = {}
    for name in map(str, results):
        column = results[name]
        if name.endswith("_distance") or name in _MEASURED:
            columns[name] = column.astype(np.float64).round(3).astype(np.float32)
        elif pd.api.types.is_integer_dtype(column):
            columns[name] = pd.to_numeric(column, downcast="integer")
        elif name == "root_given":
            columns[name] = column.astype(np.float32)
    return results.assign(**columns)
