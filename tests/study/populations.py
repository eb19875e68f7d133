"""Result tables of studies whose truth is known: effects are chosen, outcomes are drawn."""

import numpy as np
import pandas as pd
from scipy.special import expit, logit

REGIMES = ("random", "syntactic", "semantic", "dual", "class")
DIFFICULTY = 0.8  # standard deviation of classes, in logits


def _lead(table, **tags):
    return table.assign(**tags)


def density_table(
    scores, *, seeds=3, num=300, seed_noise=0.0, policies=("as sampled",), tests=REGIMES, num_train=50_000,
    num_cells=100, generator=None,
):  # fmt: skip
    """Density trials: `scores` maps a regime to its chance on every test, or to a function of the test."""
    generator = generator or np.random.default_rng(0)
    tables = []
    for seed in range(seeds):
        hardness = {test: generator.normal(0, DIFFICULTY, num) for test in tests}
        for policy in policies:
            for regime, score in scores.items():
                luck = generator.normal(0, seed_noise)
                for test in tests:
                    chance = score(test) if callable(score) else score
                    solved = generator.random(num) < expit(logit(chance) + luck + hardness[test])
                    tables.append(pd.DataFrame({
                        "trial": f"d{num_train}{num_cells}{regime}{policy}{seed}", "group": "density",
                        "grammar": "polynomial", "seed": seed, "model": "64x2", "num_train": num_train,
                        "regime": regime, "policy": policy, "num_cells": num_cells, "part": test,
                        "class_id": np.arange(num), "leaves": 4, "weight": generator.integers(1, 4, num),
                        "solved": solved,
                    }))  # fmt: skip
    return pd.concat(tables, ignore_index=True)


def support_table(
    parts, *, regions=6, seeds=3, num=150, space="syntactic", variant="base", grammar="polynomial", region_noise=0.0,
    generator=None, samples=0, prefix="r",
):  # fmt: skip
    """Support trials: `parts` maps a part to its chance; every region lies in one seed and shifts the forced parts."""
    generator = generator or np.random.default_rng(0)
    tables = []
    for region in range(regions):
        luck = generator.normal(0, region_noise)
        for part, chance in parts.items():
            at = chance if "forced" not in part or chance in (0, 1) else expit(logit(chance) + luck)
            solved = generator.random(num) < at
            known = generator.random(num) < 0.7
            tables.append(pd.DataFrame({
                "trial": f"{prefix}{space}{variant}{grammar}{region}", "group": "support", "grammar": grammar,
                "seed": region % seeds, "model": "64x2", "num_train": 200_000, "space": space,
                "region": f"{prefix} {space} {region}", "variant": variant, "part": part,
                "class_id": np.arange(num) + 10_000 * ("forced" in part), "leaves": generator.integers(3, 6, num),
                "degree": generator.integers(1, 4, num), "texts": generator.integers(1, 200, num), "weight": 1,
                "solved": solved, "root_given": solved.astype(float), "num_samples": samples,
                "num_correct": generator.binomial(samples, at, num), "subtrees_in_training": known,
                "tree_in_training": False, "shape_in_training": True,
                "syntactic_distance": generator.gamma(2, 0.2, num), "semantic_distance": generator.gamma(2, 1, num),
                "shape_distance": generator.gamma(2, 0.1, num), "edit_distance": generator.integers(1, 5, num),
                "novel_compounds": generator.integers(0, 3, num) / 3, "log_probability": -generator.gamma(1, 1, num),
            }))  # fmt: skip
    return pd.concat(tables, ignore_index=True)


ALL_PARTS = ("id", "open", "forced", "matched_id", "matched_forced")


def five_parts(control, forced):
    """Chances of all parts from two."""
    return {part: forced if "forced" in part else control for part in ALL_PARTS}


def task_population(
    *, trials=6, num=600, size=-1.0, shift=1.0, structure=0.0, root=0.0, texts=0.0, fewer=0.0, generator=None
):  # fmt: skip
    """Support trials whose drop has known causes.

    Success is logistic in leaves (slope `size`) and in log2 of the texts (slope `texts`); forced tasks have `shift`
    more leaves, 2^`fewer` times fewer texts, `structure` lower logits, and lose a share `root` of their answers
    unless the root token is given.
    """
    generator = generator or np.random.default_rng(0)
    tables = []
    for trial in range(trials):
        table = support_table({"id": 0.5, "forced": 0.5}, regions=1, num=num, generator=generator)
        forced = (table["part"] == "forced").to_numpy()
        many = len(table)
        leaves = np.clip(np.round(generator.normal(3 + shift * forced, 1)), 1, 6)
        log_texts = generator.normal(6 - fewer * forced, 1.5)
        logits = 1 + size * (leaves - 3) + texts * (log_texts - 6) - structure * forced
        given = generator.random(many) < expit(logits)
        tables.append(table.assign(
            trial=f"t{trial}", region=f"r{trial}", seed=trial % 3, leaves=leaves, texts=np.exp2(log_texts),
            degree=np.clip(leaves - generator.integers(0, 3, many), 0, 6), root_given=given.astype(float),
            solved=given & (generator.random(many) >= root * forced),
        ))  # fmt: skip
    return pd.concat(tables, ignore_index=True)


def scaling_table(law, *, seeds=3, num=300, sizes=8, forced=0.7, noise=0.0, generator=None):
    """Scaling trials: ID success is a function of log10 compute; forced keeps a share of it."""
    generator = generator or np.random.default_rng(0)
    tables = []
    for seed in range(seeds):
        for number, flops in enumerate(np.geomspace(1e12, 1e16, sizes)):
            luck = generator.normal(0, noise)
            for part in ("id", "forced", "matched_id", "matched_forced"):
                share = forced(np.log10(flops)) if callable(forced) else forced
                chance = np.clip((law(np.log10(flops)) + luck) * (share if "forced" in part else 1), 0, 1)
                tables.append(pd.DataFrame({
                    "trial": f"s{seed}{number}", "group": "scaling", "grammar": "polynomial", "seed": seed,
                    "model": f"{2**number}x2", "num_train": 200_000, "space": "syntactic", "region": f"r {seed}",
                    "flops": flops, "parameters": 10.0 * flops, "part": part, "class_id": np.arange(num),
                    "weight": 1, "solved": generator.random(num) < chance,
                }))  # fmt: skip
    return pd.concat(tables, ignore_index=True)
