"""Tables of contests whose outcomes are drawn with chosen chances, with the columns of those of the study."""

import numpy as np
import pandas as pd

# kind, chances (ID, open, forced, larger), seconds and programs tested until found, programs tested a second
METHODS = {
    "model, greedy": ("model", (0.55, 0.5, 0.02, 0.0), 0.004, 1, 0),
    "model, beam": ("model", (0.85, 0.8, 0.05, 0.0), 0.03, 8, 64),
    "model, distinct samples": ("model", (0.88, 0.83, 0.04, 0.01), 0.05, 14, 64),
    "bottom-up enumeration": ("symbolic", (1.0, 1.0, 1.0, 0.0), 0.25, 4_000, 200_000),
    "best-first, PCFG": ("symbolic", (0.97, 0.95, 0.7, 0.0), 0.15, 1_500, 60_000),
    "meet in the middle": ("symbolic", (1.0, 1.0, 1.0, 0.0), 0.002, 30_000, 5_000_000),
    "meet in the middle, two levels": ("symbolic", (1.0, 1.0, 1.0, 0.3), 0.2, 900_000, 3_000_000),
    "best-first, model's PCFG": ("guided", (0.99, 0.97, 0.6, 0.0), 0.1, 700, 60_000),
    "hole completion": ("guided", (1.0, 1.0, 0.96, 0.35), 0.06, 300, 40_000),
    "edits": ("guided", (0.9, 0.87, 0.3, 0.03), 0.2, 900, 20_000),
    "execution-guided beam": ("guided", (0.97, 0.96, 0.85, 0.55), 0.2, 5_000, 90_000),
    "meet in the middle, guided": ("guided", (1.0, 1.0, 1.0, 0.72), 0.12, 60_000, 2_000_000),
    "portfolio": ("guided", (1.0, 1.0, 0.98, 0.78), 0.16, 30_000, 1_000_000),
}
PARTS = ("matched_id", "open", "matched_forced", "larger")
MODELS = {"16x1": 1e10, "32x1": 4e10, "32x2": 1.2e11, "48x2": 4e11, "64x2": 1.1e12, "64x4": 3e12}


def contest_tables(seeds=3, num=(60, 30), grammar="polynomial"):
    """Results and setups of `num` tasks of each part of the universe, and beyond it."""
    generator, results, setups = np.random.default_rng(1), [], []
    for seed in range(seeds):
        for method, looks in METHODS.items():
            for place, part in enumerate(PARTS):
                arena = "larger" if part == "larger" else "universe"
                tags = {"seed": seed, "grammar": grammar, "arena": arena, "method": method, "kind": looks[0]}
                results.append(_answers(generator, place, num[arena == "larger"], looks).assign(**tags, part=part))
            for arena in ("universe", "larger"):
                setups.append({"seed": seed, "grammar": grammar, "arena": arena, "method": method, "kind": looks[0],
                               **_setup(looks[0])})  # fmt: skip
    return pd.concat(results, ignore_index=True), pd.DataFrame(setups)


def _answers(generator, place, num, looks):
    _, chances, seconds, until, rate = looks
    slower = 3.0 if place == 3 else 1.0
    spent = np.maximum(slower * seconds * generator.lognormal(0, 0.6, num), 1e-4)
    solved = (generator.random(num) < chances[place]) & (spent < 1)
    tested = np.ceil(slower * until * generator.lognormal(0, 1.0, num)).astype(int)
    stopped = np.where(solved, "found", "budget spent" if rate > 64 else "search complete")
    spent = np.where(solved | (rate <= 64), spent, 1.002)
    tested = np.where(solved, tested, max(rate, 1))
    looked = tested // 2 if until > 10_000 else 0 * tested
    sizes = np.full(num, 20) if place == 3 else np.where(np.arange(num) % 10 == place, 3, 4)
    return pd.DataFrame({
        "class_id": -2 - np.arange(num) if place == 3 else np.arange(num) + 1000 * place, "leaves": sizes,
        "found": solved, "solved": solved, "stopped": stopped, "agreement": np.where(solved, 1.0, 0.2),
        "seconds": spent.round(4), "programs": tested - looked, "lookups": looked, "tested": tested,
        "tokens": 400 if looks[0] != "symbolic" else 0, "flops": 1e8 if looks[0] != "symbolic" else 0.0,
    })  # fmt: skip


def _setup(kind):
    if kind == "symbolic":
        return {"seconds": 2.0, "programs": 70_000, "lookups": 0, "tokens": 0, "flops": 0.0}
    return {"seconds": 90.0, "programs": 0, "lookups": 0, "tokens": 0, "flops": 1e12}


def scaling_table(seeds=3, num=80):
    """Models of six sizes alone and with search, whose share rises by a chosen slope."""
    generator, tables = np.random.default_rng(2), []
    gains = {("model, beam", "id"): (0.35, 0.14), ("model, beam", "forced"): (0.01, 0.015),
             ("hole completion", "id"): (0.7, 0.11), ("hole completion", "forced"): (0.3, 0.17)}  # fmt: skip
    for seed in range(seeds):
        for model, flops in MODELS.items():
            for (method, part), (level, slope) in gains.items():
                solved = generator.random(num) < level + slope * np.log10(flops / 1e10)
                tables.append(pd.DataFrame({
                    "trial": f"{seed}{model}", "seed": seed, "grammar": "polynomial", "space": "syntactic",
                    "region": f"syntactic clusters {seed}.0", "model": model, "parameters": int(flops / 1e7),
                    "flops": flops, "part": part, "class_id": np.arange(num) + 1000 * (part == "forced"),
                    "leaves": 4, "method": method, "solved": solved, "tested": 16, "seconds": 0.1, "test_flops": 1e7,
                }))  # fmt: skip
    return pd.concat(tables, ignore_index=True)


def rounds_table(seeds=3, num=120):
    """Rounds of expert iteration, whose wall moves by chosen steps."""
    generator, tables = np.random.default_rng(3), []
    steps = {"forced": (0.02, 0.13), "id": (0.62, 0.01), "practice forced": (0.02, 0.2), "practice id": (0.63, 0.05)}
    for seed in range(seeds):
        for arm in ("expert iteration", "placebo"):
            for number in range(4):
                for place, (part, (level, step)) in enumerate(steps.items()):
                    gain = step * number if arm == "expert iteration" else 0.0
                    solved = generator.random(num) < level + gain + generator.normal(0, 0.01)
                    tables.append(pd.DataFrame({
                        "seed": seed, "arm": arm, "round": number, "part": part,
                        "class_id": np.arange(num) + 1000 * place, "leaves": 3 + np.arange(num) % 2, "solved": solved,
                    }))  # fmt: skip
    return pd.concat(tables, ignore_index=True)
