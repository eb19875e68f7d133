"""Verdicts on tables whose effect is known."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from synthlab.assessment import metrics
from synthlab.assessment.metrics import Estimate
from synthlab.study.claims import (
    EXPLORATORY,
    OPEN,
    REFUTED,
    SUPPORTED,
    claims_table,
    density_claim,
    forced_claim,
    scaling_claim,
    verdict,
)


@pytest.fixture(autouse=True)
def fewer_replicates(monkeypatch):
    monkeypatch.setattr(metrics, "NUM_REPLICATES", 300)


def alternating(share, num):
    """0 and 1 such that every stretch has nearly the same share of ones."""
    return np.diff(np.floor(np.arange(num + 1) * share + 1e-9)).astype(bool)


def support_table(control, forced, *, regions=4, num=150, space="syntactic"):
    """Results of regions whose matched parts have known success."""
    tables = [
        pd.DataFrame({
            "space": space, "region": f"{space} {region}", "seed": 0, "part": part, "class_id": np.arange(num),
            "solved": alternating(share, num),
        })
        for region in range(regions)
        for part, share in (("matched_id", control), ("matched_forced", forced), ("id", 0.99), ("forced", 0.01))
    ]  # fmt: skip
    return pd.concat(tables, ignore_index=True)


# ---------------------------------------------------------------- verdicts


@pytest.mark.parametrize(
    ("low", "high", "above", "expected"),
    [
        (0.1, 0.4, True, SUPPORTED),
        (0.1, 0.4, False, REFUTED),
        (-0.4, -0.1, True, REFUTED),
        (-0.4, -0.1, False, SUPPORTED),
        (-0.1, 0.1, True, OPEN),
        (-0.1, 0.1, False, OPEN),
        (0.0, 0.1, True, OPEN),
        (-0.1, 0.0, False, OPEN),
        (np.nan, np.nan, True, OPEN),
    ],
)
def test_a_verdict_needs_the_whole_interval_on_one_side(low, high, above, expected):
    assert verdict(Estimate(0.0, low, high, 10), 0.0, above=above) == expected
    shifted = Estimate(0.0, low - 0.3, high - 0.3, 10)
    assert verdict(shifted, -0.3, above=above) == expected or low in (0.0, -0.1)  # rounding at the bound itself


# ---------------------------------------------------------------- support


@pytest.mark.parametrize(
    ("control", "forced", "num", "expected"),
    [(0.8, 0.2, 150, SUPPORTED), (0.8, 0.75, 150, REFUTED), (0.8, 0.55, 40, OPEN), (0.9, 0.0, 150, SUPPORTED)],
)
def test_syntactic_novelty_costs_over_thirty_percent(control, forced, num, expected):
    claim = forced_claim(support_table(control, forced, num=num), "syntactic")
    assert claim.verdict == expected + EXPLORATORY
    assert float(claim.points.split()[0]) == pytest.approx(forced - control, abs=0.02)
    assert float(claim.relative.split()[0]) == pytest.approx(forced / control - 1, abs=0.03)
    assert (claim.num_runs, claim.num_tasks) == (4, num)


@pytest.mark.parametrize(
    ("control", "forced", "num", "expected"),
    [(0.8, 0.75, 150, SUPPORTED), (0.8, 0.2, 150, REFUTED), (0.8, 0.55, 40, OPEN), (0.5, 0.7, 150, SUPPORTED)],
)
def test_semantic_novelty_costs_under_thirty_percent(control, forced, num, expected):
    assert (
        forced_claim(support_table(control, forced, num=num, space="semantic"), "semantic").verdict
        == expected + EXPLORATORY
    )


def test_a_claim_reads_its_own_space_and_the_matched_parts_only():
    both = pd.concat([support_table(0.8, 0.2), support_table(0.6, 0.6, space="semantic")])
    assert forced_claim(both, "syntactic") == forced_claim(support_table(0.8, 0.2), "syntactic")
    assert forced_claim(both, "semantic").verdict == SUPPORTED + EXPLORATORY


def test_regions_that_disagree_leave_a_claim_open():
    """Many tasks cannot make up for few regions."""
    tables = [support_table(0.8, forced, regions=1, num=400) for forced in (0.75, 0.05)]
    apart = pd.concat([t.assign(region=str(k)) for k, t in enumerate(tables)])
    assert forced_claim(apart, "syntactic").verdict == OPEN + EXPLORATORY
    alike = pd.concat([tables[1].assign(region=str(k)) for k in range(2)])
    assert forced_claim(alike, "syntactic").verdict == SUPPORTED + EXPLORATORY


def test_three_seeds_are_no_longer_exploratory():
    seeds = pd.concat([support_table(0.8, 0.2).assign(seed=seed) for seed in range(3)])
    assert forced_claim(seeds, "syntactic").verdict == SUPPORTED
    assert forced_claim(seeds[seeds["seed"] < 2], "syntactic").verdict == SUPPORTED + EXPLORATORY


def test_nothing_solved_on_both_sides_is_open():
    claim = forced_claim(support_table(0.0, 0.0, num=20), "syntactic")
    assert (claim.verdict, claim.relative) == (OPEN + EXPLORATORY, "n/a")


# ---------------------------------------------------------------- density


def density_table(random, dual, num=200):
    tables = [
        pd.DataFrame({
            "train_regime": regime, "seed": seed, "part": "class", "class_id": np.arange(num),
            "solved": alternating(share, num),
        })
        for regime, share in (("random", random), ("dual", dual), ("class", 1.0))
        for seed in range(3)
    ]  # fmt: skip
    return pd.concat(tables, ignore_index=True)


@pytest.mark.parametrize(
    ("random", "dual", "expected"), [(0.4, 0.7, SUPPORTED), (0.7, 0.4, REFUTED), (0.5, 0.5, OPEN), (0.5, 0.52, OPEN)]
)
def test_dual_sampling_against_random_sampling(random, dual, expected):
    claim = density_claim(density_table(random, dual))
    assert claim.verdict == expected
    assert float(claim.points.split()[0]) == pytest.approx(dual - random, abs=0.01)
    assert (claim.num_runs, claim.num_tasks) == (6, 200)


# ---------------------------------------------------------------- scaling


def scaling_table(law, seeds):
    flops = np.geomspace(1e9, 1e13, 8)
    points = [
        pd.DataFrame({"flops": flops, "success": law(np.log(flops)), "part": part, "seed": seed})
        for part in ("id", "forced")
        for seed in range(seeds)
    ]
    return pd.concat(points, ignore_index=True)


def line(x):
    return 0.05 * x - 0.9


def curve(x):
    return expit(0.8 * x - 19)


@pytest.mark.parametrize(("law", "seeds", "expected"), [(curve, 3, REFUTED), (curve, 2, OPEN), (line, 3, OPEN)])
def test_the_line_in_log_compute_is_refuted_by_a_better_law_only(law, seeds, expected):
    claim = scaling_claim(scaling_table(law, seeds))
    assert claim.verdict == (expected if seeds >= 3 else expected + EXPLORATORY)
    assert claim.num_runs == 8 * seeds
    if law is line:
        assert claim.points == f"{0.05 * np.log(10):.3f} per decade" and "log-linear 0.000" in claim.control


def test_other_parts_do_not_count():
    table = scaling_table(line, 3)
    table.loc[table["part"] == "forced", "success"] = curve(np.log(table["flops"]))
    assert scaling_claim(table, "id").verdict == OPEN
    assert scaling_claim(table, "forced").verdict == REFUTED


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_saturated_runs_leave_the_claim_open(value):
    claim = scaling_claim(scaling_table(lambda x: np.full(len(x), value), 3))
    assert (claim.verdict, claim.control) == (OPEN, "saturated for every size")


# ---------------------------------------------------------------- table


def test_claims_are_rows():
    claims = [density_claim(density_table(0.4, 0.7)), scaling_claim(scaling_table(line, 1))]
    table = claims_table(claims)
    assert table["name"].tolist() == ["density", "scaling"]
    assert table["verdict"].tolist() == [SUPPORTED, OPEN + EXPLORATORY]
    assert claims_table([]).columns.tolist() == table.columns.tolist()
