"""Why a run succeeds or fails: what it copies, what makes tasks hard, and whether it knows when it is right."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from synthlab.assessment.correctness import SOLVED, Evaluation
from synthlab.assessment.metrics import wilson
from synthlab.assessment.tasks import Candidates
from synthlab.errors import ArtifactError, ConfigurationError
from synthlab.language.grammar import PAD, Grammar
from synthlab.language.measure import sizes_of
from synthlab.language.program import prefix_lengths
from synthlab.spaces.compounds import compound_bags
from synthlab.spaces.neighbors import distinct_vectors
from synthlab.spaces.space import SEMANTIC, Space
from synthlab.splits.matching import texts_per_class
from synthlab.splits.proximity import nearest_places, trained_places
from synthlab.splits.split import Split, learned_texts
from synthlab.universe.corpus import Corpus
from synthlab.universe.counting import rank

COPIED = ("tree", "subtrees", "shape")
"""What of an answer can be known from training, from the most to the least."""

_MOST_VALUES = 12
_NUM_BINS = 8
_ROWS_AT_ONCE = 1 << 19

# ---------------------------------------------------------------- what is copied


def novelty(corpus: Corpus, split: Split, candidates: Candidates) -> pd.DataFrame:
    """What of every candidate was there in the training targets.

    The written tree is the first complete one, as for `check`. If it is in training, so are its subtrees; if these
    are, its shape need not be, and a known shape says nothing of the labels.

    Parameters
    ----------
    corpus, split
        The universe, and what was learned from it: the split's targets, or all texts that may be drawn as such
        (`learned_texts`).
    candidates
        What was written.

    Returns
    -------
    pandas.DataFrame
        One row per candidate, in their order: task, rank, grammatical, and three flags that are false for
        ungrammatical candidates. tree_in_training: the text itself is a target. subtrees_in_training: every
        depth-2 compound of the tree (`compound_bags`: an operator, its children, and theirs) occurs somewhere in a
        target; a tree too shallow for one is judged by its depth-1 compound, a leaf by its token.
        shape_in_training: a target is the same tree up to the labels, that is, up to leaves and operators of
        equal arity.

    Raises
    ------
    ArtifactError
        If the split was drawn on another corpus.
    """
    _require_same(corpus, split)
    grammar, trained = corpus.grammar, learned_texts(corpus, split)
    lengths = prefix_lengths(grammar, candidates.prefix)
    grammatical = lengths > 0
    inside = np.arange(candidates.prefix.shape[1]) < lengths[grammatical, None]
    written = np.where(inside, candidates.prefix[grammatical], PAD).astype(np.uint8)
    unique, inverse = np.unique(written, axis=0, return_inverse=True)
    known = {
        "tree": _known_trees(corpus, trained, unique),
        "subtrees": _known_subtrees(corpus, trained, unique),
        "shape": _known_shapes(corpus, trained, unique),
    }
    table = pd.DataFrame({"task": candidates.task, "rank": candidates.rank, "grammatical": grammatical})
    for name in COPIED:
        flags = np.zeros(len(candidates), dtype=bool)
        flags[grammatical] = known[name][inverse]
        table[f"{name}_in_training"] = flags
    return table


def _require_same(corpus: Corpus, split: Split) -> None:
    if split.corpus != corpus.identity:
        raise ArtifactError("the split was drawn on another corpus: load that one, or draw it again")


def _known_trees(corpus: Corpus, trained: np.ndarray, prefix: np.ndarray) -> np.ndarray:
    """Which texts are among the trained ids; larger ones than the universe holds are not."""
    known = np.zeros(len(prefix), dtype=bool)
    listed = sizes_of(corpus.grammar, prefix, corpus.measure) <= corpus.max_size
    known[listed] = np.isin(rank(corpus.grammar, prefix[listed], corpus.max_size, corpus.measure), trained)
    return known


def _known_subtrees(corpus: Corpus, trained: np.ndarray, prefix: np.ndarray) -> np.ndarray:
    """Which texts have all their tokens and compounds in training.

    A compound holds its smaller compounds and tokens, so that the largest decide wherever there are such.
    """
    bags, tokens = compound_bags(corpus.grammar, prefix), np.zeros(256, dtype=bool)
    tokens[PAD] = True
    unseen = set(bags.names)
    for start in range(0, len(trained), _ROWS_AT_ONCE):
        block = corpus.prefix[trained[start : start + _ROWS_AT_ONCE]]
        tokens |= np.bincount(block.ravel(), minlength=256) > 0
        if unseen:
            unseen.difference_update(compound_bags(corpus.grammar, block).names)
    is_unseen = np.array([name in unseen for name in bags.names], dtype=np.int64)
    return tokens[prefix].all(axis=1) & (bags.occurrences @ is_unseen == 0)


def _known_shapes(corpus: Corpus, trained: np.ndarray, prefix: np.ndarray) -> np.ndarray:
    """Which texts share the sequence of arities, which is a tree without its labels, with a trained one."""
    trained_shapes = [
        np.unique(_shapes(corpus.grammar, corpus.prefix[trained[start : start + _ROWS_AT_ONCE]]))
        for start in range(0, len(trained), _ROWS_AT_ONCE)
    ]
    return np.isin(_shapes(corpus.grammar, prefix), np.unique(np.concatenate(trained_shapes)))


def _shapes(grammar: Grammar, prefix: np.ndarray) -> np.ndarray:
    """Arities plus one of every text as bytes (P,): NumPy drops the zeros at the end, which are the padding."""
    codes = np.zeros(256, dtype=np.uint8)
    codes[: len(grammar.arities)] = grammar.arities + 1
    return np.ascontiguousarray(codes[prefix]).view(f"S{prefix.shape[1]}")[:, 0]


def copying_table(evaluation: Evaluation, novelty_frame: pd.DataFrame) -> pd.DataFrame:
    """How much of success, and of failure, is copying: what of the first answers was there in training.

    A split that does not leak has no solved task whose whole tree is in training, for its test functions have no
    text there; then that row proves it, and the others tell a recombination of known pieces from new ones.

    Parameters
    ----------
    evaluation
        Outcomes of one test set; every task counts once, those without an answer do not.
    novelty_frame
        From `novelty`, of the same candidates.

    Returns
    -------
    pandas.DataFrame
        outcome (solved, failed), copied (tree, subtrees, shape), share, ci_low, ci_high (95 %, Wilson), num_tasks;
        NaN where there is no such task.

    Raises
    ------
    ConfigurationError
        If the frame is that of other candidates.
    """
    candidates = evaluation.candidates
    same = len(novelty_frame) == len(candidates) and all(
        np.array_equal(novelty_frame[name], getattr(candidates, name)) for name in ("task", "rank")
    )
    if not same:
        raise ConfigurationError("the novelty frame is that of other candidates: make it from evaluation.candidates")
    first = candidates.rank == 0
    solved, shown = evaluation.status[first] == SOLVED, novelty_frame[first]
    rows = []
    for outcome, chosen in (("solved", solved), ("failed", ~solved)):
        for name in COPIED:
            flags, num = shown[f"{name}_in_training"].to_numpy()[chosen], int(chosen.sum())
            share, interval = (flags.mean(), wilson(int(flags.sum()), num)) if num else (np.nan, (np.nan, np.nan))
            rows.append((outcome, name, share, *interval, num))
    return pd.DataFrame(rows, columns=["outcome", "copied", "share", "ci_low", "ci_high", "num_tasks"])


# ---------------------------------------------------------------- what makes tasks hard


def task_properties(corpus: Corpus, split: Split, spaces: Mapping[str, Space]) -> pd.DataFrame:
    """What may make a task hard, for every function of every test set.

    ``results.merge(task_properties(...))`` joins it to the results of a run by part, class_id and leaves.

    Parameters
    ----------
    corpus, split
        The universe and its split.
    spaces
        Spaces by name; the distance in each is measured where the minimal text or the function stands.

    Returns
    -------
    pandas.DataFrame
        part, class_id, leaves (of the minimal text), class_size (number of texts), texts_in_support (texts outside
        the held-out region) and, per space, ``<space>_distance`` to the nearest text learned, in units of the
        space; places that agree to four decimals are one.

    Raises
    ------
    ArtifactError
        If the split or a space belongs to another corpus.
    """
    _require_same(corpus, split)
    tests = {part: np.unique(ids) for part, ids in split.tests.items() if len(ids)}
    classes = np.unique(np.concatenate([np.empty(0, dtype=np.int64), *tests.values()]))
    rows = corpus.class_rows(classes)
    table = pd.DataFrame({
        "class_id": classes,
        "leaves": corpus.class_leaves[rows],
        "class_size": corpus.multiplicity[rows],
        "texts_in_support": texts_per_class(corpus, ~split.held_out(corpus.num_programs))[rows],
    })  # fmt: skip
    trained = learned_texts(corpus, split)
    for name, space in spaces.items():
        if space.corpus_key != corpus.key:
            raise ArtifactError(f"the {name} space was fitted on another corpus: fit it on this one")
        places, _ = trained_places(corpus, space, trained)
        first, _ = distinct_vectors(places)  # of millions of texts, few stand at places of their own
        queries = space.coordinates[rows if space.kind == SEMANTIC else classes]
        table[f"{name}_distance"] = nearest_places(places[first], queries)[0] if len(classes) else np.empty(0)
    parts = [table[np.isin(classes, ids)].assign(part=part) for part, ids in tests.items()]
    together = pd.concat(parts or [table.assign(part="")], ignore_index=True)
    return together[["part", *table.columns]]


def success_by(table: pd.DataFrame, column: str, *, num_bins: int | None = None) -> pd.DataFrame:
    """pass@1 against a number, part by part.

    Whole numbers of at most 12 different values are shown one by one; others in bins of about equally many tasks,
    which every part has for itself, since a shift moves the values that it can be asked at. Equal values
    share a bin. Tasks without a value (NaN) are left out.

    Parameters
    ----------
    table
        Results: the column and ``solved``; also ``part``, and ``weight``, how often a test set drew a task. Where
        ``class_id`` repeats within a part (several runs), its rows count as one task.
    column
        What success may depend on: leaves, class_size, syntactic_distance, ...
    num_bins
        Bins per part; by default 8, or the values themselves.

    Returns
    -------
    pandas.DataFrame
        part, low, high, middle (least, largest and median value in the bin), pass_at_1, ci_low, ci_high, num_tasks.
        The interval is Wilson's (95 %), for weighted tasks with Kish's effective number of them (1965).

    Raises
    ------
    ConfigurationError
        If the table lacks a column, or holds something else than numbers, or there are no bins.
    """
    missing = [name for name in (column, "solved") if name not in table]
    if missing:
        raise ConfigurationError(f"the results lack {', '.join(missing)}: merge them with task_properties")
    if not pd.api.types.is_numeric_dtype(table[column]):
        raise ConfigurationError(f"{column!r} holds no numbers: choose a numeric column")
    known = table[table[column].notna()]
    known = known if "part" in known else known.assign(part="all")
    is_whole = not pd.api.types.is_float_dtype(known[column])
    if num_bins is None and not (is_whole and known[column].nunique() <= _MOST_VALUES):
        num_bins = _NUM_BINS
    rows = []
    for part, group in known.groupby("part", sort=False, observed=True):
        for _, members in group.groupby(_bins(group[column].to_numpy(), num_bins)):
            values = members[column].astype(float)
            rows.append((part, values.min(), values.max(), values.median(), *_pass_at_1(members)))
    columns = ["part", "low", "high", "middle", "pass_at_1", "ci_low", "ci_high", "num_tasks"]
    return pd.DataFrame(rows, columns=columns)


def _bins(values: np.ndarray, num_bins: int | None) -> np.ndarray:
    """Bin of every value, ascending: about equally many values in each, equal values in one; None separates all."""
    if num_bins is not None and num_bins < 1:
        raise ConfigurationError(f"{num_bins} bins: use at least 1")
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    if num_bins is None:
        return inverse
    middle = (np.cumsum(counts) - counts / 2) / len(values)  # share of the values up to the middle of each
    return (middle * num_bins).astype(np.int64)[inverse]


def _pass_at_1(members: pd.DataFrame) -> tuple[float, float, float, int]:
    """Weighted share solved, its interval, and the number of tasks."""
    solved = members["solved"].to_numpy(float)
    weight = members["weight"].to_numpy(float) if "weight" in members else np.ones(len(members))
    share = float(np.average(solved, weights=weight))
    tasks = members["class_id"].to_numpy() if "class_id" in members else np.arange(len(members))
    total = np.bincount(np.unique(tasks, return_inverse=True)[1], weights=weight)
    effective = total.sum() ** 2 / (total**2).sum()
    return share, *wilson(share * effective, effective), len(total)


# ---------------------------------------------------------------- whether it knows when it is right


def calibration(evaluation: Evaluation, *, num_bins: int = 10) -> pd.DataFrame:
    """Whether the probability that a solver gives to its first answer is the chance that this is right.

    The probability is that of one text, while right is every text of the function: a solver that spreads its belief
    over many right texts is more often right than it says. Overconfidence is therefore sure where it shows, and
    underconfidence in part a matter of counting.

    Parameters
    ----------
    evaluation
        Outcomes of one test set; every task with a first answer of known probability counts once.
    num_bins
        Bins of about equally many tasks (Nguyen and O'Connor, 2015).

    Returns
    -------
    pandas.DataFrame
        confidence (mean probability), accuracy (share solved), ci_low, ci_high (95 %, Wilson), num_tasks.

    Raises
    ------
    ConfigurationError
        If the solver gave no probabilities.
    """
    log_probability, solved = _first_answers(evaluation)
    confidence, rows = np.exp(log_probability), []
    bins = _bins(confidence, num_bins)
    for number in np.unique(bins):
        members = bins == number
        right, num = int(solved[members].sum()), int(members.sum())
        rows.append((confidence[members].mean(), right / num, *wilson(right, num), num))
    return pd.DataFrame(rows, columns=["confidence", "accuracy", "ci_low", "ci_high", "num_tasks"])


def _first_answers(evaluation: Evaluation) -> tuple[np.ndarray, np.ndarray]:
    """Log-probability of the first answers that have one, and whether they are right."""
    candidates = evaluation.candidates
    first = (candidates.rank == 0) & ~np.isnan(candidates.log_probability)
    if not first.any():
        raise ConfigurationError("no first answer has a probability: evaluate a solver that gives log_probability")
    return candidates.log_probability[first], evaluation.status[first] == SOLVED


def expected_calibration_error(table: pd.DataFrame) -> float:
    """Mean distance of confidence and accuracy over the tasks of a `calibration` table (Naeini et al., AAAI 2015)."""
    gap = (table["confidence"] - table["accuracy"]).abs()
    return float(np.average(gap, weights=table["num_tasks"]))


def failure_detection_auc(evaluation: Evaluation) -> float:
    """Chance that a solved task has a more probable first answer than an unsolved one (AUROC, ties count half).

    1 if a threshold on the probability tells all failures, 1/2 if it tells nothing; NaN if all tasks had one outcome.

    Raises
    ------
    ConfigurationError
        If the solver gave no probabilities.
    """
    log_probability, solved = _first_answers(evaluation)
    if solved.all() or not solved.any():
        return float("nan")
    # a certain failure may be -inf, which the library refuses; ranks are all that counts
    return float(roc_auc_score(solved, pd.Series(log_probability).rank()))
