"""What the paper leaves open, as claims: forced against open, copying, data against diversity, samples, robustness."""

from __future__ import annotations

import numpy as np
import pandas as pd

from synthlab.assessment import metrics
from synthlab.assessment.bootstrap import Draws, Resampled, combined
from synthlab.assessment.metrics import pass_at_k
from synthlab.errors import ConfigurationError
from synthlab.study.evidence import Evidence, evidence, interval, mapped, standardized_mean, weakest
from synthlab.study.samples import (
    BASE,
    DROP,
    MATCHED,
    RAW,
    RegimeScores,
    drop_between,
    main_grammar,
    main_size,
    means_by_part,
    regime_scores,
    require_columns,
    require_signal,
    resampled,
    share,
    support_rows,
)
from synthlab.study.scaling import gap_slope
from synthlab.study.verdicts import Control, Finding, claim

RECOMBINED = 0.9
OTHER_QUESTIONS = ("isolated", "room")
"""Variants that change what is asked, not how it is answered; robustness is not judged by them."""

# ---------------------------------------------------------------- C4: forced against open


@claim(
    "C4", "Forced tasks are harder than open ones of equal size and degree: what counts is that no text outside the "
    "region is right", "points", 0.0, above=True,
)  # fmt: skip
def open_against_forced(table: pd.DataFrame) -> Finding:
    """Open, standardised within trials to forced's distribution of (leaves, degree), minus forced; group support."""
    rows = support_rows(main_grammar(table), ("open", "forced"), space="syntactic", needed=("leaves", "degree"))
    require_signal(means_by_part(rows))
    cells = rows.groupby(["leaves", "degree"]).ngroup().to_numpy()
    one_hot = np.eye(cells.max() + 1)[cells]
    solved = rows["solved"].to_numpy(float)[:, None]
    sums = resampled(rows, np.concatenate([one_hot, one_hot * solved], axis=1), seed=0)
    first, second = (np.flatnonzero(sums.groups["part"] == part) for part in ("open", "forced"))
    split = one_hot.shape[1]

    def pair(totals: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Mean of open, of forced, over cells of trials that both have, and the share of forced tasks in them."""
        num, asked = (totals[:, g, :split].reshape(len(totals), -1) for g in (first, second))
        got, found = (totals[:, g, split:].reshape(len(totals), -1) for g in (first, second))
        easier, covered = standardized_mean(got, num, asked)
        harder, _ = standardized_mean(found, asked, np.where(num > 0, asked, 0))
        return easier, harder, covered

    gap = sums.draws(lambda totals: np.subtract(*pair(totals)[:2]), rows["class_id"].nunique())
    if np.isnan(gap.value):
        raise ConfigurationError("open and forced share no size and degree: hold out another region")
    covered = float(pair(sums.observed)[2][0])
    means = means_by_part(rows)
    controls = (
        ("not standardised", interval(means["open"] - means["forced"])),
        ("forced tasks with open ones of their size and degree", f"{covered:.0%}"),
    )
    return Finding(evidence(gap, 0.0), rows, controls)


# ---------------------------------------------------------------- C7: copying and novelty


@claim(
    "C7", "Success on forced tasks is recombination: nine in ten right answers consist of subtrees seen in training",
    "share", RECOMBINED, above=True,
)  # fmt: skip
def recombination(table: pd.DataFrame) -> Finding:
    """Share of right answers all of whose depth-2 subtrees occur in training; forced tasks of group support."""
    flags = ("subtrees_in_training", "tree_in_training", "shape_in_training")
    rows = support_rows(main_grammar(table), RAW, space="syntactic", needed=flags)
    solved, known = rows["solved"].to_numpy(float), rows[list(flags)].to_numpy(float)
    if not solved[rows["part"] == "forced"].any():
        raise ConfigurationError("no forced task was solved, so that no right answer can be looked at: train longer")
    values = np.stack([np.ones(len(rows)), solved, known[:, 0], *(solved[:, None] * known).T], axis=1)
    sums = resampled(rows, values, seed=0)
    of = {part: (sums.groups["part"] == part).to_numpy() for part in RAW}
    right = rows[rows["solved"].astype(bool)].groupby("part")["class_id"].nunique()
    seen = {p: share(sums, of[p], 1, 3, int(right.get(p, 0)), [0, k]) for k, p in enumerate(RAW)}
    controls: list[Control] = [("of right ID answers", interval(seen["id"], (0, 1)))]
    for part in RAW:
        known_solved, new_solved = _solved_where(sums, of[part], int(right.get(part, 0)))
        controls.append((f"{part} answers of known subtrees are right", interval(known_solved, (0, 1))))
        controls.append((f"{part} answers with a new one", interval(new_solved, (0, 1))))
    for column, label in ((4, "whole tree known"), (5, "shape known")):
        found = share(sums, of["forced"], 1, column, int(right["forced"]), [1, column])
        controls.append((f"right forced answers, {label}", interval(found, (0, 1))))
    return Finding(evidence(seen["forced"], RECOMBINED, limits=(0, 1)), rows, tuple(controls))


def _solved_where(sums: Resampled, groups: np.ndarray, num_tasks: int) -> tuple[Draws, Draws]:
    """Share of answers that are right where all their subtrees are known, and where one is new."""
    of = [lambda s, c=c: s[:, groups, c].sum(axis=1) for c in range(4)]  # answers, right, known, known and right
    known = sums.draws(lambda s: of[3](s) / of[2](s), num_tasks)
    return known, sums.draws(lambda s: (of[1](s) - of[3](s)) / (of[0](s) - of[2](s)), num_tasks)


# ---------------------------------------------------------------- C8: data against diversity


@claim(
    "C8", "Random sampling needs more programs to catch up with dual sampling in its worst case", "times the data", 1.0,
    above=True,
)  # fmt: skip
def catching_up(table: pd.DataFrame) -> Finding:
    """At how many times dual's programs random sampling does as well, interpolated in log size; group density.

    The p-value is that of dual against random at equal size, which asks the same and needs no crossing.
    """
    scores, dual, sizes, arms = _random_grid(table)
    start, grid = sizes[0], np.log2(sizes)

    def ratio(score: str) -> Draws:
        curve = [getattr(scores, score)(arm) for arm in (*arms, dual)]
        return combined(curve, lambda s: _crossing(grid, s[..., :-1], s[..., -1]) - np.log2(start))

    ends = (0.0, grid[-1] - np.log2(start))
    found = interval(ratio("worst"), ends)
    gap = evidence(scores.worst(dual) - scores.worst(arms[0]), 0.0)
    proof = mapped(Evidence(found, 0.0, gap.p_above, gap.p_below), np.exp2)
    most = sizes[-1] / start
    note = f"random does not catch up within the grid: more than {most:g} times" if proof.estimate.value >= most else ""
    if not note and proof.estimate.high >= most:
        note = f"the interval reaches the end of the grid: its upper end is more than {most:g}"
    controls = (
        ("dual - random at equal size", gap.estimate),
        ("by the mean of tests", mapped(Evidence(interval(ratio("mean"), ends), 0.0, 1, 1), np.exp2).estimate),
        ("sizes of random", ", ".join(f"{size:g}" for size in sizes)),
    )
    return Finding(proof, scores.rows[scores.rows["arm"].isin([dual, *arms])], controls, note)


def _random_grid(table: pd.DataFrame) -> tuple[RegimeScores, int, np.ndarray, list[int]]:
    """Scores, arm of dual, and sizes and arms of random in the same setting, from dual's size on, ascending.

    Only seeds in which all of them were trained; of several settings that with the most sizes.
    """
    require_columns(table, ["trial", "seed", "regime", "num_train"])
    scores = regime_scores(table[table["regime"].isin(["dual", "random"])])
    best: tuple[int, list[int]] = (-1, [])
    for dual in scores.find(regime="dual"):
        tags = {tag: scores.arms.loc[dual, tag] for tag in ("policy", "num_cells", "model")}
        size = scores.arms["num_train"].astype(float)
        arms = [a for a in scores.find(regime="random", **tags) if size[a] >= size[dual]]
        arms.sort(key=lambda arm: float(size[arm]))
        if arms and size[arms[0]] == size[dual] and len(arms) > len(best[1]):
            best = dual, arms
    dual, arms = best
    if len(arms) < 2:
        raise ConfigurationError("random was trained on no further number of programs: add random_sizes to the preset")
    chosen = scores.rows[scores.rows["arm"].isin([dual, *arms])]
    num_arms = chosen.groupby("seed")["arm"].transform("nunique")
    if (num_arms < len(arms) + 1).all():
        raise ConfigurationError("no seed has dual and all sizes of random: finish the density controls")
    if (num_arms < len(arms) + 1).any() or len(chosen) < len(scores.rows):
        return _random_grid(chosen[num_arms == len(arms) + 1].drop(columns=["arm", "tally", "right"]))
    return scores, dual, scores.arms.loc[arms, "num_train"].astype(float).to_numpy(), arms


def _crossing(grid: np.ndarray, curve: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Where curves (..., K) on an ascending grid first reach a target (...); the grid's ends where they do not.

    More data does not hurt: a curve counts at its largest value so far.
    """
    curve = np.maximum.accumulate(curve, axis=-1)
    reached = curve >= target[..., None]
    right = np.clip(reached.argmax(axis=-1), 1, len(grid) - 1)
    low, high = (np.take_along_axis(curve, k[..., None], axis=-1)[..., 0] for k in (right - 1, right))
    step = np.clip((target - low) / np.where(high > low, high - low, 1), 0, 1)
    place = grid[right - 1] + step * (grid[right] - grid[right - 1])
    return np.where(reached.any(axis=-1), np.where(reached[..., 0], grid[0], place), grid[-1])


# ---------------------------------------------------------------- C9: samples


@claim(
    "C9",
    "Sampling does not climb the wall: pass@k of forced tasks stays under pass@1 of ID",
    "points",
    0.0,
    above=False,
)
def headroom(table: pd.DataFrame) -> Finding:
    """pass@k of matched forced tasks, k all samples, minus greedy pass@1 of matched ID; group support."""
    rows = support_rows(main_grammar(table), MATCHED, space="syntactic", needed=("num_correct", "num_samples"))
    rows = rows[rows["num_samples"] > 0].reset_index(drop=True)
    if rows.empty:
        raise ConfigurationError("no samples were drawn, so that there is no pass@k: set num_samples")
    k = int(rows["num_samples"].min())
    greedy = means_by_part(rows)
    one, many = (means_by_part(rows, _pass_at(rows, num)) for num in (1, k))
    require_signal({"pass@k of forced": many["matched_forced"], "pass@1 of ID": greedy["matched_id"]})
    room = {part: many[part] - one[part] for part in MATCHED}
    controls: tuple[Control, ...] = (
        ("k", str(k)), ("greedy pass@1, forced", interval(greedy["matched_forced"], (0, 1))),
        ("greedy pass@1, ID", interval(greedy["matched_id"], (0, 1))),
        *((f"pass@{k}, {part[8:]}", interval(many[part], (0, 1))) for part in MATCHED),
        ("pass@k - pass@1 of samples, forced", interval(room["matched_forced"])),
        ("that relative to ID's", interval(room["matched_forced"] / room["matched_id"])),
    )  # fmt: skip
    gap = (many["matched_forced"] - greedy["matched_id"]).tasks(rows["class_id"].nunique())
    return Finding(evidence(gap, 0.0), rows, controls)


def _pass_at(rows: pd.DataFrame, k: int) -> pd.Series:
    """Unbiased pass@k of every row, whatever its number of samples."""
    chance = pd.Series(0.0, index=rows.index)
    for num, group in rows.groupby("num_samples"):
        chance[group.index] = pass_at_k(int(str(num)), group["num_correct"].to_numpy(), k)
    return chance


# ---------------------------------------------------------------- C10: scale


@claim(
    "C10",
    "More compute lowers the forced wall: the share of ID success that is lost shrinks",
    "relative per decade",
    0.0,
    above=False,
)
def scale_against_wall(table: pd.DataFrame) -> Finding:
    """Slope of the relative drop from matched ID to matched forced, per tenfold training compute; group scaling."""
    require_columns(table, ["trial", "part", "class_id", "solved", "flops"])
    rows = main_size(main_grammar(table))
    rows = rows[rows["part"].isin(MATCHED)]
    require_signal({"matched tests": Draws(float(rows["solved"].mean()), np.empty(0), np.empty(0), 1, 0)})
    found = gap_slope(rows, *MATCHED, num_replicates=metrics.NUM_REPLICATES)
    controls = (("points per decade", found.points.estimate), ("runs without ID success", str(found.num_left_out)))
    return Finding(found.relative, rows, controls)


# ---------------------------------------------------------------- C11, C12: robustness


@claim(
    "C11",
    "Being forced to write syntactically novel programs costs over 30 % in every grammar",
    "relative",
    DROP,
    above=False,
)
def every_grammar(table: pd.DataFrame) -> Finding:
    """The relative drop of C2a in the grammar where it is smallest; group support."""
    require_columns(table, ["trial", "grammar"])
    return _everywhere({str(g): (rows, BASE) for g, rows in table.groupby("grammar")}, "grammar")


@claim(
    "C12", "It costs over 30 % whatever the encoding, notation, network and target policy", "relative", DROP,
    above=False,
)  # fmt: skip
def every_variant(table: pd.DataFrame) -> Finding:
    """The relative drop of C2a for the variant where it is smallest; group support."""
    require_columns(table, ["trial", "variant"])
    rows = main_grammar(table)
    names = [v for v in rows["variant"].dropna().unique() if v not in OTHER_QUESTIONS]
    return _everywhere({str(v): (rows, str(v)) for v in names}, "variant")


def _everywhere(cases: dict[str, tuple[pd.DataFrame, str]], what: str) -> Finding:
    """The weakest of the relative drops of several cases; a case that cannot be judged is noted."""
    found, controls, rows, reasons = [], list[Control](), [], []
    for k, (name, (table, variant)) in enumerate(cases.items()):
        try:
            drop = drop_between(table, "syntactic", variant=variant, seed=k)
        except ConfigurationError as error:
            reasons.append(f"{name}: {error}")
            continue
        found.append(evidence(drop.relative, DROP, limits=(-1.0, np.inf)))
        controls.append((name, found[-1].estimate))
        rows.append(drop.rows)
    if len(found) < 2:
        raise ConfigurationError("; ".join([f"only {len(found)} {what} to compare: train another one", *reasons]))
    return Finding(weakest(found, above=False), pd.concat(rows), tuple(controls), "; ".join(reasons))
