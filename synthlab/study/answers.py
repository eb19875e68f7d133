"""What a trained run answers to every test task, and what it might have answered to one of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from synthlab.assessment.correctness import STATUSES, Evaluation, check
from synthlab.assessment.diagnostics import task_properties
from synthlab.assessment.tasks import tasks_by_part, tasks_of
from synthlab.errors import ConfigurationError, SplitError
from synthlab.spaces.space import Space
from synthlab.splits.split import Split
from synthlab.study.proposers import ModelProposer
from synthlab.universe.corpus import Corpus

if TYPE_CHECKING:
    from synthlab.learning.run import Run

NO_ANSWER = -1
"""In the column ``answer`` of a task to which nothing was submitted."""
_WRITTEN = ["class_id", "target", "written"]


def judged_answers(run: Run, corpus: Corpus, split: Split, *, progress: bool = True) -> dict[str, Evaluation]:
    """The greedy answer of a run to every task of every test set, judged.

    Raises
    ------
    ArtifactError
        If the run was trained on another universe or split.
    SplitError
        If the split has no tasks.
    """
    from tqdm.auto import tqdm

    from synthlab.learning.decoding import decode
    from synthlab.learning.evaluation import placed

    run.require_corpus(corpus)
    run.require_split(split)
    parts = tasks_by_part(corpus, split)
    if not parts:
        raise SplitError("the split has no test tasks: draw it again")
    model, judged = placed(run.model()), {}
    with tqdm(total=sum(map(len, parts.values())), desc="answers", unit=" tasks", disable=not progress) as bar:
        for part, tasks in parts.items():
            judged[part] = check(tasks, decode(model, tasks))
            bar.update(len(tasks))
    return judged


def answer_table(
    corpus: Corpus, split: Split, spaces: Mapping[str, Space], evaluations: Mapping[str, Evaluation]
) -> pd.DataFrame:
    """Outcomes of all test sets beside what may have made their tasks hard.

    Parameters
    ----------
    corpus, split, spaces
        The universe, its split, and where distances to training are measured.
    evaluations
        By part, of this split.

    Returns
    -------
    pandas.DataFrame
        One row per part and class: part, class_id, weight, solved, status, size (of the minimal text), log_probability
        (of the first answer), answer (its row among the part's candidates, or `NO_ANSWER`), and the columns of
        `diagnostics.task_properties`.

    Raises
    ------
    ConfigurationError
        If a part is none of the split, or other functions were asked.
    """
    tables = [_outcomes(corpus, split, part, evaluation) for part, evaluation in evaluations.items()]
    if not tables:
        raise ConfigurationError("there are no evaluations: give those of at least one part")
    properties = task_properties(corpus, split, spaces)
    table = pd.concat(tables, ignore_index=True).merge(properties, on=["part", "class_id", "leaves"], how="left")
    return table.assign(size=corpus.minimal_size[corpus.class_rows(table["class_id"].to_numpy())])


def _outcomes(corpus: Corpus, split: Split, part: str, evaluation: Evaluation) -> pd.DataFrame:
    asked = split.tests.get(part, np.empty(0, dtype=np.int64))
    if not np.array_equal(np.unique(asked), evaluation.tasks.class_id):
        raise ConfigurationError(f"the answers of part {part!r} are not to this split: judge the run on it again")
    candidates, num = evaluation.candidates, len(evaluation.tasks)
    first = np.flatnonzero(candidates.rank == 0)
    answer, log_probability = np.full(num, NO_ANSWER), np.full(num, np.nan)
    answer[candidates.task[first]], log_probability[candidates.task[first]] = first, candidates.log_probability[first]
    table = evaluation.frame()[["class_id", "leaves", "weight", "solved", "status"]]
    return table.assign(part=part, answer=answer, log_probability=log_probability)


def answer_texts(corpus: Corpus, evaluations: Mapping[str, Evaluation], rows: pd.DataFrame) -> pd.DataFrame:
    """Minimal text and first answer of a few tasks, which would take too long for all.

    Parameters
    ----------
    corpus, evaluations
        As in `answer_table`.
    rows
        Some rows of it.

    Returns
    -------
    pandas.DataFrame
        class_id, target, written (empty without an answer), with the index of the rows.
    """
    table = pd.DataFrame({"class_id": rows["class_id"], "target": "", "written": ""}, index=rows.index)[_WRITTEN]
    table["target"] = corpus.frame(rows["class_id"].to_numpy())["program"].to_numpy()
    for part, group in rows[rows["answer"] != NO_ANSWER].groupby("part", observed=True):
        candidates = evaluations[str(part)].candidates.take(group["answer"].to_numpy())
        table.loc[group.index, "written"] = candidates.frame(corpus.grammar)["program"].to_numpy()
    return table


def likeliest_answers(proposer: ModelProposer, corpus: Corpus, class_id: int, num: int) -> pd.DataFrame:
    """The programs that a model proposes for one function, each judged.

    Parameters
    ----------
    proposer
        Sees the outputs alone.
    corpus, class_id
        Which function is asked.
    num
        Proposals, at most.

    Returns
    -------
    pandas.DataFrame
        rank (from 1), program, log_probability, status; texts that a beam did not find are left out.
    """
    tasks = tasks_of(corpus, np.array([class_id]))
    candidates = proposer.candidates(tasks, num)
    evaluation = check(tasks, candidates)
    table = candidates.frame(corpus.grammar).assign(status=np.array(STATUSES)[evaluation.status])
    table = table[~np.isneginf(table["log_probability"])].sort_values("rank", ignore_index=True)
    return table.assign(rank=table["rank"] + 1)[["rank", "program", "log_probability", "status"]]
