"""Claims about search on tables whose truth is known, their error rates, and what each says when pieces are missing."""

import inspect

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from synthlab.assessment import metrics
from synthlab.errors import ConfigurationError
from synthlab.study.claims import FAMILY, claims_table
from synthlab.study.gains import ALONE, COMPLETED
from synthlab.study.races import COMMAND, Race
from synthlab.study.search_claims import (
    GUIDED,
    ITERATED,
    PLACEBO,
    UNLEARNED,
    guided_search,
    search_against_compute,
    wall_moved,
)
from synthlab.study.verdicts import EXPLORATORY, NOT_SUPPORTED, SUPPORTED, UNDECIDED, claim_or_reason

TWO_LEVELS, BEAM = "meet in the middle, two levels", "model, beam"
CLAIMS = (guided_search, search_against_compute, wall_moved)


@pytest.fixture(autouse=True)
def fewer_replicates(monkeypatch):
    monkeypatch.setattr(metrics, "NUM_REPLICATES", 300)


def judged(found):
    return claims_table([found])["verdict"].iloc[0]


def test_names_are_those_of_the_tables_makers():
    from synthlab.study import contests, expert_iteration, larger_contest, races, search_claims, search_study

    assert (races.MODEL, races.SYMBOLIC) == (contests.MODEL, contests.SYMBOLIC)
    assert search_claims._LARGER == larger_contest.LARGER
    assert (GUIDED, UNLEARNED) == (larger_contest.GUIDED_SEARCH, larger_contest.SMALL_RESTS)
    assert (ITERATED, PLACEBO) == (expert_iteration.ITERATED, expert_iteration.PLACEBO)
    assert {name for claim, names in FAMILY if claim in CLAIMS for name in names} == set(search_study.TABLES)
    source = inspect.getsource(contests.scaling_contest)
    assert f'"{ALONE}"' in source and f'"{COMPLETED}"' in source


# ---------------------------------------------------------------- C13: populations


def race_table(
    guided, opponents, *, seeds=3, num=60, seconds=1.0, rates=None, seed_noise=0.0, grammar="polynomial", generator=None
):  # fmt: skip
    """Contests beyond the universe: share of tasks that each method solves in its time; half of what is hard is shared.

    Times are log-normal, so that a method that solves more also solves sooner; `rates` are tests per second.
    """
    generator, tables = generator or np.random.default_rng(0), []
    for seed in range(seeds):
        hard = generator.normal(size=num)
        for method, (kind, chance) in {GUIDED: ("guided", guided), **opponents}.items():
            effort = (hard + generator.normal(size=num)) / np.sqrt(2) + generator.normal(0, seed_noise)
            time = seconds * np.exp(2 * (effort - norm.ppf(chance)))
            solved = time <= seconds
            spent = np.where(solved, time, 1.003 * seconds)
            tests = np.rint(spent * (rates or {}).get(method, 1e6)).astype(np.int64)
            tables.append(pd.DataFrame({
                "seed": seed, "grammar": grammar, "arena": "larger", "part": "larger", "method": method, "kind": kind,
                "class_id": -2 - np.arange(num), "leaves": 20, "found": solved, "solved": solved,
                "stopped": np.where(solved, "found", "budget spent"), "seconds": spent, "tested": tests,
            }))  # fmt: skip
    return pd.concat(tables, ignore_index=True)


def two(symbolic, model):
    """One opponent of each kind."""
    return {TWO_LEVELS: ("symbolic", symbolic), BEAM: ("model", model)}


def setups_of(table, seconds):
    """Preparation: so many seconds, and as many look-ups, by method and seed."""
    cells = table[["seed", "grammar", "arena", "method", "kind"]].drop_duplicates()
    spent = cells["method"].map(seconds).fillna(0.0)
    return cells.assign(seconds=spent, programs=0, lookups=spent.astype(int), tokens=0, flops=0.0)


# ---------------------------------------------------------------- C13


@pytest.mark.parametrize(("guided", "expected"), [(0.75, SUPPORTED), (0.1, NOT_SUPPORTED), (0.3, UNDECIDED)])
def test_the_guided_search_is_compared_with_the_best_other(guided, expected):
    found = guided_search(race_table(guided, two(0.2, 0.05), num=100))
    assert judged(found) == expected and found.unit == "ratio" and found.bound == 1.5
    assert found.effect.low < guided / 0.2 < found.effect.high
    assert (found.num_runs, found.num_seeds, found.num_tasks, found.note) == (9, 3, 300, "")


def test_the_effect_is_counted_by_hand_on_both_axes():
    rates = {GUIDED: 3e6, TWO_LEVELS: 1e6, BEAM: 10.0}
    table = race_table(0.6, two(0.25, 0.1), rates=rates)
    failed = table[(table["method"] == TWO_LEVELS) & ~table["solved"]]["tested"].sort_values().to_list()
    budgets = {"seconds": 1.0, "tested": failed[int(0.1 * (len(failed) - 1))]}
    ratios = []
    for axis, budget in budgets.items():
        within = table[table["solved"] & (table[axis] <= budget)].groupby("method").size().add(0.5)
        ratios.append(within[GUIDED] / max(within[TWO_LEVELS], within[BEAM]))
    found = guided_search(table)
    assert found.effect.value == pytest.approx(min(ratios)) and ratios[1] < ratios[0]
    controls = dict(found.controls)
    share = (table[table["method"] == GUIDED]["solved"]).mean()
    assert controls[f"{GUIDED} in 1 s"].value == pytest.approx(share)
    assert controls["all in 1 s:"].startswith(f"{GUIDED} {share:.0%} | {TWO_LEVELS} ")
    assert f"{TWO_LEVELS} in {budgets['tested']:,.0f} tests" in controls


def test_being_faster_is_no_help_where_programs_are_counted():
    fast = {GUIDED: 1e8, TWO_LEVELS: 1e6}
    found = guided_search(race_table(0.8, two(0.2, 0.05), rates=fast))
    assert judged(guided_search(race_table(0.8, two(0.2, 0.05)))) == SUPPORTED
    assert judged(found) != SUPPORTED and found.effect.value < 1 and found.effect.high < 1.5
    assert dict(found.controls)[f"{GUIDED} in 1 s"].value > 0.7


def simulated(guided, opponents, *, tables=24, **settings):
    """Ratios of many tables, with their p-values."""
    generator = np.random.default_rng(11)
    places = [("seconds", 1.0), ("tested", 1e6)]
    every = [race_table(guided, opponents, generator=generator, **settings) for _ in range(tables)]
    return [Race.of(table, GUIDED).ratio(places, 1.5) for table in every]


@pytest.mark.parametrize(
    ("opponents", "settings"),
    [
        (two(0.3, 0.02), {"num": 40}),
        (two(0.3, 0.3), {"num": 40, "seed_noise": 0.2}),
        ({f"{kind} {k}": (kind, 0.3) for kind in ("model", "symbolic") for k in range(4)}, {"num": 40}),
        (two(0.02, 0.002), {"num": 30}),
    ],
    ids=["one rival", "two equal ones, seeds differ", "eight equal ones", "hardly anything is solved"],
)
def test_at_the_bound_it_is_rarely_judged_and_the_interval_covers_it(opponents, settings, monkeypatch):
    """Whichever opponent is luckiest: of 24 tables each side is expected to be wrong on 0.6 at most."""
    monkeypatch.setattr(metrics, "NUM_REPLICATES", 200)
    best = max(chance for _, chance in opponents.values())
    found = simulated(1.5 * best, opponents, **settings)
    sure = [e for e in found if e.p_value <= 0.05]
    assert sum(e.estimate.low > 1.5 for e in sure) <= 2
    assert sum(e.estimate.high < 1.5 for e in sure) <= 3
    assert sum(e.estimate.low <= 1.5 <= e.estimate.high for e in found) >= 20


def test_where_the_others_solve_nothing_some_solved_tasks_are_not_enough():
    few, many = (guided_search(race_table(chance, two(1e-9, 1e-9), num=20)) for chance in (0.05, 0.6))
    solved = round(60 * dict(few.controls)[f"{GUIDED} in 1 s"].value)
    assert 2 <= solved <= 5 and judged(few) == UNDECIDED
    assert few.effect.value == pytest.approx((solved + 0.5) / 0.5)  # in these tables both budgets stop all alike
    assert judged(many) == SUPPORTED and np.isfinite([many.effect.low, many.effect.high]).all()


def test_other_guided_methods_arenas_and_grammars_take_no_part():
    table = race_table(0.6, two(0.2, 0.1))
    alike = guided_search(table)
    perfect = table[table["method"] == GUIDED].assign(method="portfolio", solved=True, seconds=0.01, tested=1)
    easy = table.assign(arena="universe", part="open", solved=True)
    other = race_table(0.3, two(0.3, 0.1), grammar="rational", generator=np.random.default_rng(4))
    found = guided_search(pd.concat([table, perfect, easy, other], ignore_index=True))
    assert found.effect == alike.effect and found.num_tasks == alike.num_tasks
    assert dict(found.controls)["ratio in grammar rational"].high < dict(alike.controls)[f"{GUIDED} in 1 s"].value * 10
    assert dict(found.controls)["ratio in grammar rational"] == guided_search(other).effect


def test_what_the_same_search_does_without_learning_stands_beside_it():
    table = race_table(0.6, {**two(0.2, 0.1), UNLEARNED: ("guided", 0.58)})
    found, plain = guided_search(table), guided_search(table[table["method"] != UNLEARNED])
    assert found.effect == plain.effect and judged(found) == SUPPORTED  # its kind decides that it is no opponent
    solved = table[table["solved"]].groupby("method").size()
    ratio = dict(found.controls)[f"ratio if {UNLEARNED} counts as symbolic"]
    assert ratio.value == pytest.approx((solved[GUIDED] + 0.5) / (solved[UNLEARNED] + 0.5)) and ratio.high < 1.5
    assert found.note == f"{UNLEARNED}, which learns nothing, solves {solved[UNLEARNED] / 180:.0%}"


def test_preparation_is_shared_among_the_tasks():
    table = race_table(0.7, two(0.2, 0.1), seeds=2, num=40)
    free = guided_search(table, setups_of(table, {}))
    costly = guided_search(table, setups_of(table, {GUIDED: 20.0, BEAM: 1e4}))
    assert dict(free.controls)["ratio with preparation"] == free.effect == costly.effect
    own = table[table["solved"]]
    within = {
        method: ((own["method"] == method) & (own["seconds"] + extra / 40 <= 1)).sum() + 0.5
        for method, extra in ((GUIDED, 20.0), (TWO_LEVELS, 0.0))
    }
    ratio = dict(costly.controls)["ratio with preparation"].value
    assert ratio == pytest.approx(within[GUIDED] / within[TWO_LEVELS]) and ratio < free.effect.value


def test_a_short_contest_is_judged_at_what_it_was_given():
    table = race_table(0.7, two(0.2, 0.1), seconds=0.2, num=30, seeds=1)
    found = guided_search(table)
    assert f"{GUIDED} in 0.201 s" in dict(found.controls) and judged(found).endswith(EXPLORATORY)
    assert dict(found.controls)[f"{GUIDED} in 0.201 s"].value == table[table["method"] == GUIDED]["solved"].mean()
    (label,) = [name for name in dict(found.controls) if name.startswith("smallest ratio")]
    assert "0.0502 s, 0.1 s" in label and "0.401 s" not in label  # no search was given so much
    long = race_table(0.7, two(0.2, 0.1), seconds=4.0, num=30)
    (label,) = [name for name in dict(guided_search(long).controls) if name.startswith("smallest ratio")]
    assert label.startswith("smallest ratio in 0.25 s, 0.5 s, 2 s")


def test_what_the_clock_stopped_before_its_tests_is_noted_and_compared_at_fewer():
    slow = {**two(0.2, 0.1), "best-first, PCFG": ("symbolic", 0.15)}
    found = guided_search(race_table(0.6, slow, rates={"best-first, PCFG": 1e3}))
    assert found.note.startswith("out of time before 1,003,000 tests: best-first, PCFG")
    labels = [name for name in dict(found.controls) if name.endswith("which all symbolic searches make")]
    assert labels == ["ratio in 1,003 tests, which all symbolic searches make"]


def test_tasks_that_are_not_hard_and_tasks_that_not_all_were_asked_are_noted():
    table = race_table(0.9, two(0.6, 0.1), num=40)
    partial = table[~((table["method"] == BEAM) & (table["class_id"] == -2))]
    found = guided_search(partial)
    assert "these tasks are not beyond it" in found.note and found.num_tasks == 120
    assert found.note.endswith("3 tasks left out that not all methods were asked")
    same = guided_search(table[table["class_id"] != -2])
    assert found.effect == same.effect


@pytest.mark.parametrize("solved", [True, False])
def test_a_race_that_all_win_or_all_lose_is_a_reason(solved):
    with pytest.raises(ConfigurationError, match=f"saturated at {int(solved)} in {GUIDED} and"):
        guided_search(race_table(0.6, two(0.2, 0.1), num=10).assign(solved=solved, seconds=0.5))


@pytest.mark.parametrize("missing", [GUIDED, TWO_LEVELS, BEAM])
def test_a_missing_side_of_the_race_is_named(missing):
    table = race_table(0.6, two(0.2, 0.1), num=10)
    name = {TWO_LEVELS: "symbolic", BEAM: "model"}.get(missing, GUIDED)
    with pytest.raises(ConfigurationError, match=f"no results of .*{name}.*{COMMAND}"):
        guided_search(table[table["method"] != missing])
    never_together = table[(table["method"] == missing) == (table["class_id"] < -5)]
    with pytest.raises(ConfigurationError, match=f"no task was asked of all methods.*{COMMAND}"):
        guided_search(never_together)
    with pytest.raises(ConfigurationError, match="give every contest once"):
        guided_search(pd.concat([table, table]))


# ---------------------------------------------------------------- C14


def grid_table(gain, slope, *, seeds=3, num=150, sizes=4, parts=("id",), noise=0.0, fading=0.0, generator=None):
    """Models a decade apart: success alone rises by `slope`, and search adds `gain`, less `fading` per decade."""
    generator, tables = generator or np.random.default_rng(3), []
    for seed in range(seeds):
        for part in parts:
            level = generator.random(num)  # a task that a small model solves is solved by larger ones
            for size in range(sizes):
                luck = generator.normal(0, noise)
                alone = 0.2 + slope * size + luck
                for method, chance in ((ALONE, alone), (COMPLETED, alone + gain - fading * (size - (sizes - 1) / 2))):
                    tables.append(pd.DataFrame({
                        "trial": f"{seed} {size}", "seed": seed, "grammar": "polynomial", "model": f"{size}",
                        "flops": 1e12 * 10.0**size, "part": part, "class_id": np.arange(num), "leaves": 4,
                        "method": method, "solved": level < chance, "test_flops": 1e6, "tested": 4, "seconds": 0.1,
                    }))  # fmt: skip
    return pd.concat(tables, ignore_index=True)


@pytest.mark.parametrize(
    ("gain", "slope", "expected"), [(0.3, 0.1, SUPPORTED), (0.05, 0.2, NOT_SUPPORTED), (0.1, 0.1, UNDECIDED)]
)
def test_search_is_held_against_a_decade_of_compute(gain, slope, expected):
    found = search_against_compute(grid_table(gain, slope))
    assert judged(found) == expected and found.effect.low < gain - slope < found.effect.high
    controls = dict(found.controls)
    assert controls["gain of search"].value == pytest.approx(gain, abs=0.05)
    assert controls["points per decade, model alone"].value == pytest.approx(slope, abs=0.04)
    assert (found.num_runs, found.num_seeds, found.num_tasks) == (12, 3, 150)


def test_the_effect_is_that_of_a_line_through_training_and_test_compute():
    table = grid_table(0.2, 0.1, fading=0.06, parts=("id", "forced"))
    table["test_flops"] = np.where(table["method"] == COMPLETED, 4e10, 1e10)  # as much as training of the smallest
    own = table[table["part"] == "id"].groupby(["method", "trial"])
    means, costs = own["solved"].mean(), own["flops"].first() + own["test_flops"].sum()
    lines = {m: np.polyfit(np.log10(costs[m]), means[m], 1) for m in (ALONE, COMPLETED)}
    gain = means[COMPLETED].mean() - means[ALONE].mean()
    found = search_against_compute(table)
    controls = dict(found.controls)
    assert found.effect.value == pytest.approx(gain - lines[ALONE][0])
    assert controls["difference of these slopes"].value == pytest.approx(lines[COMPLETED][0] - lines[ALONE][0])
    middle = np.log10(costs[ALONE]).median()
    shift = np.polyval(lines[COMPLETED], middle) - np.polyval(lines[ALONE], middle)
    assert controls["gain of search at the median compute"].value == pytest.approx(shift)
    forced = search_against_compute(table.assign(part=table["part"].map({"id": "forced", "forced": "id"})))
    assert controls["forced: gain minus a decade's"] == forced.effect
    assert controls["test FLOPs a task with search"] == "4e+10, alone 1e+10"


def test_a_gain_that_fades_with_size_shows_in_the_slopes():
    even, fading = (dict(search_against_compute(grid_table(0.2, 0.1, fading=f)).controls) for f in (0.0, 0.1))
    label = "difference of these slopes"
    assert fading[label].high < 0 and fading[label].value == pytest.approx(-0.1, abs=0.03)
    assert even[label].low <= 0 <= even[label].high


def test_models_are_compared_with_themselves_on_the_same_tasks():
    """Search that adds the same tasks everywhere has a gain without spread, whatever seeds and sizes differ by."""
    table = grid_table(0.0, 0.0, num=100, noise=0.1)
    extra = (table["method"] == COMPLETED) & (table["class_id"] % 10 == 0)
    level = table["class_id"] % 10 != 0
    table["solved"] = (table["solved"] & level) | extra
    gain = dict(search_against_compute(table).controls)["gain of search"]
    apart = dict(search_against_compute(table).controls)["points per decade, model alone"]
    assert gain.value == pytest.approx(0.1) and gain.high - gain.low < 0.15 and apart.num_tasks == 100


def test_a_gain_of_one_decade_is_rarely_judged(monkeypatch):
    monkeypatch.setattr(metrics, "NUM_REPLICATES", 200)
    generator = np.random.default_rng(8)
    found = [search_against_compute(grid_table(0.1, 0.1, num=60, noise=0.03, generator=generator)) for _ in range(24)]
    assert sum(judged(claim) != UNDECIDED for claim in found) <= 4
    assert sum(claim.effect.low <= 0 <= claim.effect.high for claim in found) >= 20


def test_a_grid_that_cannot_be_compared_is_a_reason():
    table = grid_table(0.2, 0.1, num=30)
    for method in (ALONE, COMPLETED):
        with pytest.raises(ConfigurationError, match=f"no id task of both .*{COMMAND}"):
            search_against_compute(table[table["method"] != method])
    with pytest.raises(ConfigurationError, match=f"two known computes.*{COMMAND}"):
        search_against_compute(table[table["model"] == "1"])
    with pytest.raises(ConfigurationError, match="saturated at 0"):
        search_against_compute(table.assign(solved=False))
    one = search_against_compute(table[table["seed"] == 0].drop(columns=["test_flops", "tested", "seconds"]))
    assert judged(one).endswith(EXPLORATORY) and np.isfinite(one.effect.value)
    with_gap = table[~((table["trial"] == "1 2") & (table["method"] == COMPLETED))]
    assert np.isfinite(search_against_compute(with_gap).p_value)


# ---------------------------------------------------------------- C15


PART_GAINS = {"forced": 1.0, "id": -0.25, "practice forced": 2.0}


def rounds_table(
    iterated, placebo, *, seeds=3, num=200, rounds=2, luck=0.0, start=0.2, parts=PART_GAINS, generator=None
):  # fmt: skip
    """Expert iteration: what each arm gains up to the last round; retraining flips answers, and has luck of its own."""
    generator, tables = generator or np.random.default_rng(6), []
    for seed in range(seeds):
        for part, share in parts.items():
            hard = generator.normal(size=num)
            shared = generator.normal(0, luck)
            first = hard + generator.normal(0, 0.5, num) < norm.ppf(start) * np.sqrt(1.25)
            for arm, gain in ((ITERATED, iterated), (PLACEBO, placebo)):
                for number in range(rounds + 1):
                    chance = (
                        start + share * gain * number / rounds + (number > 0) * (shared + generator.normal(0, luck))
                    )
                    again = hard + generator.normal(0, 0.5, num) < norm.ppf(np.clip(chance, 0.01, 1)) * np.sqrt(1.25)
                    tables.append(pd.DataFrame({
                        "seed": seed, "arm": arm, "round": number, "part": part, "class_id": np.arange(num),
                        "leaves": 4, "solved": again if number else first,
                    }))  # fmt: skip
    return pd.concat(tables, ignore_index=True)


@pytest.mark.parametrize(
    ("iterated", "placebo", "expected"),
    [(0.3, 0.0, SUPPORTED), (0.2, 0.2, UNDECIDED), (0.0, 0.3, NOT_SUPPORTED), (0.0, 0.0, UNDECIDED)],
)
def test_only_what_the_placebo_does_not_gain_counts(iterated, placebo, expected):
    found = wall_moved(rounds_table(iterated, placebo))
    assert judged(found) == expected and found.effect.low < iterated - placebo < found.effect.high
    controls = dict(found.controls)
    assert controls["forced, change of the placebo"].value == pytest.approx(placebo, abs=0.05)
    assert controls["id, change"].value == pytest.approx(-iterated / 4, abs=0.05)
    assert controls["practice forced, against the placebo"].value == pytest.approx(2 * (iterated - placebo), abs=0.08)
    assert (found.num_runs, found.num_seeds, found.num_tasks) == (18, 3, 200)


def test_the_effect_is_a_difference_of_differences():
    table = rounds_table(0.2, 0.1, rounds=3)
    means = table[table["part"] == "forced"].groupby(["arm", "round"])["solved"].mean()
    hand = (means[ITERATED, 3] - means[ITERATED, 0]) - (means[PLACEBO, 3] - means[PLACEBO, 0])
    found = wall_moved(table)
    assert found.effect.value == pytest.approx(hand)
    by_round = dict(found.controls)[f"forced, {ITERATED}:"]
    assert by_round == ", ".join(f"{means[ITERATED, k]:.1%} in round {k}" for k in range(4))
    once = table[~((table["arm"] == PLACEBO) & (table["round"] == 0))]  # the first model is that of both arms
    assert wall_moved(once).effect == found.effect


def test_training_luck_is_rarely_called_learning(monkeypatch):
    monkeypatch.setattr(metrics, "NUM_REPLICATES", 200)
    generator = np.random.default_rng(9)
    for settings in ({"num": 100, "luck": 0.03}, {"num": 60, "start": 0.03}):
        every = [
            rounds_table(0.0, 0.0, rounds=1, parts={"forced": 1.0}, generator=generator, **settings) for _ in range(20)
        ]
        found = [wall_moved(table) for table in every]
        assert sum(judged(claim) != UNDECIDED for claim in found) <= 3
        assert sum(claim.effect.low <= 0 <= claim.effect.high for claim in found) >= 17


def test_seeds_that_stopped_early_are_left_out_and_named():
    table = rounds_table(0.3, 0.0)
    partial = table[~((table["seed"] == 1) & (table["round"] == 2) & (table["arm"] == PLACEBO))]
    found = wall_moved(partial)
    assert found.note == "round 2 not reached in seed 1" and found.num_seeds == 2
    assert found.effect == wall_moved(table[table["seed"] != 1]).effect


def test_what_it_took_stands_beside_it():
    rows = [
        {"seed": seed, "arm": arm, "round": number, "searched": searched, "found": found, "search_seconds": seconds,
         "added": found, "inside": found // 2,
         "flops": 1e12 * (number + 1)}
        for seed in range(2)
        for number, searched, found, seconds in ((0, 0, 0, 0.0), (1, 50, 20, 60.0), (2, 30, 10, 40.0))
        for arm in (ITERATED, PLACEBO)
    ]  # fmt: skip
    controls = dict(wall_moved(rounds_table(0.3, 0.0, seeds=2), pd.DataFrame(rows)).controls)
    assert controls["practice tasks found"] == "60% of 100" and controls["seconds of search"] == "200"
    assert controls["programs added"] == "60, 30 of them in the held-out region"
    assert controls["FLOPs of search and training"] == "6e+12"


def test_rounds_that_cannot_be_compared_are_a_reason():
    table = rounds_table(0.3, 0.0, num=20)
    for arm in (ITERATED, PLACEBO):
        with pytest.raises(ConfigurationError, match=f"no round after the first training in arm '{arm}'.*{COMMAND}"):
            wall_moved(table[(table["arm"] != arm) | (table["round"] == 0)])
    with pytest.raises(ConfigurationError, match=f"no seed has both .*{COMMAND}"):
        wall_moved(table[(table["arm"] == PLACEBO) == (table["seed"] == 0)])
    with pytest.raises(ConfigurationError, match=f"no forced tasks of both arms.*{COMMAND}"):
        wall_moved(table[table["part"] == "id"])
    with pytest.raises(ConfigurationError, match=f"no forced tasks of both arms.*{COMMAND}"):
        wall_moved(table[(table["round"] > 0) | (table["part"] == "id")])
    with pytest.raises(ConfigurationError, match="saturated at 0"):
        wall_moved(table.assign(solved=False))


# ---------------------------------------------------------------- nothing to read


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.name)
def test_without_tables_or_columns_the_command_that_makes_them_is_named(claim):
    for table in (pd.DataFrame(), pd.DataFrame({"seed": [0], "part": ["id"]})):
        with pytest.raises(ConfigurationError, match=COMMAND):
            claim(table)
    inside = race_table(0.5, two(0.2, 0.1), num=5).assign(arena="universe")
    with pytest.raises(
        ConfigurationError, match=f"beyond the universe.*{COMMAND}" if claim is guided_search else COMMAND
    ):
        claim(inside)


def test_tables_of_another_kind_are_reasons():
    tables = race_table(0.6, two(0.2, 0.1), num=5), grid_table(0.2, 0.1, num=5), rounds_table(0.2, 0.0, num=5)
    for claim, table in zip(CLAIMS, tables, strict=True):
        found = claim_or_reason(claim, table.assign(solved="yes"))
        assert np.isnan(found.p_value) and found.note.startswith("column solved of the tables holds no numbers")
