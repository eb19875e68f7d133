"""A small study whose outcomes are drawn, not trained: every group, space, variant and part that figures read."""

import numpy as np
import pandas as pd
import pytest

from synthlab.assessment import metrics
from synthlab.study.tables import StudyTables

REGIMES = ("random", "syntactic", "semantic", "dual", "class")
PARTS = ("id", "open", "forced", "matched_id", "matched_forced")
MODELS = {"16x1": 1e10, "32x1": 3e10, "32x2": 1e11, "48x2": 3e11, "64x2": 1e12}


def _outcomes(generator, parts, rates, num=48):
    """One row per part and class, solved with a rate per part."""
    rows = []
    for part, rate in zip(parts, rates, strict=True):
        solved = generator.random(num) < rate
        rows.append(pd.DataFrame({
            "part": part, "class_id": np.arange(num) + 100 * ("forced" in part), "leaves": np.arange(num) % 4 + 1,
            "weight": 1 + np.arange(num) % 3 * (len(parts) > len(set(parts) & set(PARTS))), "solved": solved,
            "test_loss": generator.normal(6, 1, num), "num_correct": 0, "num_samples": 0,
        }))  # fmt: skip
    return pd.concat(rows, ignore_index=True)


def _details(generator, rows):
    num = len(rows)
    return rows.assign(
        num_samples=4, num_correct=generator.integers(0, 4, num) + rows["solved"], degree=generator.integers(0, 4, num),
        texts=generator.integers(1, 99, num), syntactic_distance=generator.random(num) + ~rows["solved"],
        semantic_distance=generator.random(num), shape_distance=generator.random(num),
        edit_distance=generator.integers(0, 5, num), novel_compounds=generator.random(num),
        log_probability=-generator.random(num), root_given=generator.random(num).round(),
    )  # fmt: skip


class _Study:
    def __init__(self):
        self.generator = np.random.default_rng(0)
        self.trials, self.results = [], {"density": [], "support": [], "scaling": []}

    def add(self, rows, **tags):
        key = f"{len(self.trials):016x}"
        fixed = {"grammar": "polynomial", "model": "64x2", "parameters": 109_248, "flops": 1e12, "num_train": 10_000}
        self.trials.append({"trial": key, **fixed, "seconds": 30.5, "device": "CPU", **tags})
        self.results[tags["group"]].append(rows.assign(trial=key))

    def density(self, seed):
        for regime in REGIMES:
            rates = 0.2 + 0.5 * np.array([regime == part for part in REGIMES])
            for changes in ({}, {"policy": "minimal"}, {"num_cells": 400.0}, {"num_train": 40_000}):
                if not changes or regime == "dual" or (regime == "random" and "num_train" in changes):
                    tags = {"policy": "as sampled", "num_cells": 100.0, **changes}
                    rows = _outcomes(self.generator, REGIMES, rates)
                    self.add(rows, group="density", seed=seed, regime=regime, **tags)

    def support(self, seed):
        regions = [("syntactic", "root operator *", "base"), ("syntactic", "root operator *", "postfix")]
        regions += [(space, f"{space} clusters {seed}.0", "base") for space in ("syntactic", "semantic", "shape")]
        for space, region, variant in regions:
            rows = _details(self.generator, _outcomes(self.generator, PARTS, (0.6, 0.5, 0.2, 0.6, 0.2)))
            tags = {"space": space, "region": region, "variant": variant, "seed": seed}
            self.add(rows, group="support", **tags)
            if "clusters" in region and space != "shape":
                self.add(rows, group="support", **(tags | {"grammar": "rational"}))

    def scaling(self, seed):
        for number, (model, flops) in enumerate(MODELS.items()):
            rows = _outcomes(self.generator, PARTS, np.array([0.3, 0.3, 0.1, 0.3, 0.1]) + 0.05 * number)
            tags = {"space": "syntactic", "region": f"syntactic clusters {seed}.0", "seed": seed}
            self.add(rows, group="scaling", model=model, flops=flops, **tags)


@pytest.fixture(scope="session")
def small_study():
    """Two seeds of all three groups."""
    study = _Study()
    for seed in range(2):
        study.density(seed)
        study.support(seed)
        study.scaling(seed)
    results = {group: pd.concat(rows, ignore_index=True) for group, rows in study.results.items()}
    failures = pd.DataFrame(columns=["trial", "group", "reason"])
    return StudyTables(pd.DataFrame(study.trials), results, failures, {"preset": "quick"})


@pytest.fixture(scope="module")
def few_replicates():
    """Bootstraps of 100 replicates instead of 2,000, for all tests of a module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metrics, "NUM_REPLICATES", 100)
        yield


@pytest.fixture(scope="session")
def judged_claims():
    """A claims table with every verdict, unit, and a claim that could not be tested."""
    nan = float("nan")
    rows = [
        ("C1", "Sampling diversely has the best worst case", "", 0.049, 0.008, 0.122, "points", "> 0", 0.03, 0.04,
         "supported", "", 9, 0, 3, 1444, ""),
        ("C2a", "Novelty costs over 30 %", "", -0.12, -0.2, -0.05, "relative", "< -0.3", 0.01, 0.02,
         "not supported (exploratory)", "", 9, 12, 1, 996, "one seed"),
        ("C7", "Success is recombination <b>&", "", 0.95, 0.85, 0.99, "share", "> 0.9", 0.2, 0.4, "undecided", "", 9,
         12, 3, 10, ""),
        ("C6", "One property predicts failure", "", nan, nan, nan, "AUC", "> 0", nan, nan, "undecided (exploratory)",
         "", 0, 0, 0, 0, "nothing is solved"),
    ]  # fmt: skip
    columns = ["name", "claim", "effect", "value", "low", "high", "unit", "bound", "p", "p_holm", "verdict", "controls",
               "runs", "regions", "seeds", "tasks", "note"]  # fmt: skip
    return pd.DataFrame(rows, columns=columns)
