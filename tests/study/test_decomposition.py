"""Shares of a drop whose causes were put there; Shapley shares by brute force over all orders."""

from itertools import combinations, permutations

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from study.populations import task_population

from synthlab.assessment import metrics
from synthlab.errors import ConfigurationError
from synthlab.study import decomposition as module
from synthlab.study.decomposition import (
    LABELS,
    ORDER,
    OTHER,
    ROOT,
    SIZE,
    STRUCTURE,
    TEXTS,
    TOTAL,
    decompose,
    semantic_structure,
    shapley,
    syntactic_structure,
)
from synthlab.study.evidence import interval


@pytest.fixture(autouse=True)
def fewer_replicates(monkeypatch):
    monkeypatch.setattr(metrics, "NUM_REPLICATES", 800)


def shares(**causes):
    """Estimates by share for a population with known causes."""
    found = decompose(task_population(**causes), "syntactic")
    draws = found.average | {STRUCTURE: found.structure, TOTAL: found.total}
    return {name: interval(d) for name, d in draws.items()}


# ---------------------------------------------------------------- known causes


def test_a_drop_of_size_alone_belongs_to_size():
    found = shares()
    assert found[TOTAL].value > 0.15
    assert found[SIZE].value == pytest.approx(found[TOTAL].value, abs=0.03) and found[SIZE].low > 0.1
    assert found[STRUCTURE].low <= 0 <= found[STRUCTURE].high
    assert all(abs(found[name].value) < 0.02 for name in (ROOT, TEXTS, OTHER, LABELS))


def test_a_drop_of_structure_alone_is_left_for_structure():
    found = shares(size=0.0, shift=0.0, structure=1.5)
    assert found[STRUCTURE].value == pytest.approx(found[TOTAL].value, abs=0.03) and found[STRUCTURE].low > 0.2
    assert all(abs(found[name].value) < 0.02 for name in ORDER)


def test_both_causes_get_their_parts():
    """Without structure the drop is that of size; structure is the rest."""
    of_size = shares()[TOTAL].value
    found = shares(structure=1.0)
    assert found[SIZE].value == pytest.approx(of_size, abs=0.04)
    assert found[STRUCTURE].value == pytest.approx(found[TOTAL].value - of_size, abs=0.04)
    assert found[STRUCTURE].low > 0.05 and found[SIZE].low > 0.1


def test_fewer_texts_are_told_from_size():
    found = shares(size=0.0, shift=0.0, texts=0.6, fewer=3.0)
    assert found[TEXTS].value == pytest.approx(found[TOTAL].value, abs=0.05) and found[TEXTS].low > 0.1
    assert found[STRUCTURE].low <= 0 <= found[STRUCTURE].high


def test_a_wall_at_the_first_token_falls_when_it_is_given():
    """Half of the right answers are lost unless the root is given: that is what the root token costs."""
    table = task_population(size=0.0, shift=0.0, root=0.5)
    found = decompose(table, "syntactic")
    gain = table.groupby("part")[["root_given", "solved"]].mean().astype(float)
    expected = (gain["root_given"] - gain["solved"])["forced"] - (gain["root_given"] - gain["solved"])["id"]
    assert found.ordered[ROOT].value == pytest.approx(expected, abs=1e-5) and expected > 0.25
    assert found.average[ROOT].value == pytest.approx(expected, abs=0.02)
    assert interval(found.structure).low <= 0 <= interval(found.structure).high


def test_nothing_is_found_where_nothing_was_put():
    assert all(found.low <= 0 <= found.high or abs(found.value) < 0.01 for found in shares(size=0, shift=0).values())


# ---------------------------------------------------------------- arithmetic


def test_shares_add_up_in_every_replicate():
    found = decompose(task_population(structure=0.5, root=0.2, trials=4, num=200), "syntactic")
    for kind in (found.ordered, found.average):
        assert tuple(kind) == ORDER
        for part in ("replicates", "within"):
            together = sum(getattr(d, part) for d in kind.values()) + getattr(found.structure, part)
            np.testing.assert_allclose(together, getattr(found.total, part), atol=1e-9)
        assert sum(d.value for d in kind.values()) + found.structure.value == pytest.approx(found.total.value)
    frame = found.frame()
    assert frame["share"].tolist() == [*ORDER, STRUCTURE, TOTAL]
    assert frame["average"][:-1].sum() == pytest.approx(frame["average"].iloc[-1])
    assert (frame["low"] <= frame["average"]).all() and (frame["ordered"] <= frame["ordered_high"]).all()


def test_the_total_is_the_plain_difference_of_means_averaged_over_trials():
    table = task_population(trials=3, num=150)
    means = table.groupby(["trial", "part"])["solved"].mean().unstack()
    found = decompose(table, "syntactic")
    assert found.total.value == pytest.approx((means["id"] - means["forced"]).mean(), abs=1e-6)


def test_shapley_shares_are_averages_over_all_orders():
    generator, players = np.random.default_rng(0), ("a", "b", "c", "d")
    sets = [s for num in range(5) for s in combinations(players, num)]
    worth = {s: generator.normal(size=3) * (len(s) > 0) for s in sets}

    def of(members):
        return worth[tuple(p for p in players if p in members)]

    expected = {p: np.zeros(3) for p in players}
    for order in permutations(players):
        for k, p in enumerate(order):
            expected[p] += (of(order[: k + 1]) - of(order[:k])) / 24
    found = shapley(worth, players)
    for p in players:
        np.testing.assert_allclose(found[p], expected[p], atol=1e-12)


def test_replicates_are_refitted():
    """One Newton step from the fit of the data is the fit of the replicate, as scikit-learn finds it."""
    generator = np.random.default_rng(1)
    num = 1500
    columns = generator.normal(size=(num, 3))
    outcome = (generator.random(num) < 1 / (1 + np.exp(-0.5 - columns @ [1.0, -0.5, 0.0]))).astype(float)
    counts = np.stack([np.ones(num), *(np.bincount(generator.integers(0, num, num), minlength=num) for _ in range(8))])
    found = module._refitted(np.column_stack([np.ones(num), columns]), outcome, counts.astype(np.float32))
    for row, weight in zip(found, counts, strict=True):
        fitted = LogisticRegression(C=1.0, tol=1e-10, max_iter=500).fit(columns, outcome, sample_weight=weight)
        np.testing.assert_allclose(row[1:], fitted.coef_[0], atol=0.012)
        assert row[0] == pytest.approx(fitted.intercept_[0], abs=0.012)
    exact = LogisticRegression(C=1.0, tol=1e-12, max_iter=500).fit(columns, outcome)
    np.testing.assert_allclose(found[0][1:], exact.coef_[0], atol=1e-4)


def test_separable_tasks_have_finite_coefficients():
    columns = np.linspace(-1, 1, 40)
    found = module._refitted(np.column_stack([np.ones(40), columns]), (columns > 0).astype(float), np.ones((2, 40)))
    assert np.isfinite(found).all() and found[0, 1] > 1


def test_regions_that_differ_widen_the_interval():
    alike = decompose(task_population(structure=1.0, trials=4, num=300), "syntactic")
    calm, rough = (task_population(structure=s, trials=2, num=300) for s in (0.0, 2.0))
    apart = decompose(pd.concat([calm, rough.assign(**{c: rough[c] + "'" for c in ("trial", "region")})]), "syntactic")
    width = [interval(d.structure).high - interval(d.structure).low for d in (alike, apart)]
    assert width[1] > 2 * width[0] and apart.structure.num_groups == 4


def test_overlap_is_the_share_within_the_range_of_id():
    near, far = (decompose(task_population(shift=s, trials=2, num=200), "syntactic").overlap for s in (0.0, 3.0))
    assert near > 0.9 > far
    table = task_population(shift=0.0, trials=1, num=200)
    whole = decompose(table, "syntactic").overlap
    table.loc[(table["part"] == "forced") & (table.index % 4 == 0), "leaves"] = 50
    assert decompose(table, "syntactic").overlap == pytest.approx(0.75 * whole, abs=0.02)


# ---------------------------------------------------------------- the claim


def test_the_claim_is_about_what_is_left():
    table = task_population(structure=1.5)
    found = syntactic_structure(table)
    assert (found.name, found.num_runs, found.num_regions, found.num_seeds) == ("C5a", 6, 6, 3)
    assert found.effect.low > 0.1 and found.p_value < 0.02
    names = [name for name, _ in found.controls]
    assert names[0] == TOTAL and set(ORDER) <= set(names)
    with pytest.raises(ConfigurationError, match="no semantic regions were held out"):
        semantic_structure(table)
    assert semantic_structure(table.assign(space="semantic")).effect.value == pytest.approx(
        found.effect.value, abs=0.05
    )


def test_without_answers_to_a_given_root_it_says_so():
    table = task_population(structure=1.0, trials=3, num=200)
    for without in (table.drop(columns="root_given"), table.assign(root_given=np.nan)):
        found = syntactic_structure(without)
        assert "root token is not separated" in found.note and ROOT not in dict(found.controls)
        assert found.effect.low > 0


@pytest.mark.parametrize("solved", [True, False])
def test_id_tasks_of_one_outcome_cannot_be_explained(solved):
    table = task_population(trials=2, num=60)
    table.loc[table["part"] == "id", "solved"] = solved
    with pytest.raises(ConfigurationError, match="id tasks solved and not"):
        decompose(table, "syntactic")


def test_distances_that_are_missing_are_missed():
    table = task_population(trials=2, num=60)
    with pytest.raises(ConfigurationError, match="the results lack shape_distance"):
        decompose(table.drop(columns="shape_distance"), "syntactic")
    table.loc[5, "semantic_distance"] = np.nan
    with pytest.raises(ConfigurationError, match="no size or distance to training"):
        decompose(table, "syntactic")
