"""Open questions on tables whose answer is known."""

import numpy as np
import pandas as pd
import pytest
from study.populations import density_table, five_parts, scaling_table, support_table

from synthlab.assessment import metrics
from synthlab.errors import ConfigurationError
from synthlab.study import open_questions as module
from synthlab.study.claims import claims_table
from synthlab.study.open_questions import (
    catching_up,
    every_grammar,
    every_variant,
    headroom,
    open_against_forced,
    recombination,
    scale_against_wall,
)
from synthlab.study.verdicts import EXPLORATORY, NOT_SUPPORTED, SUPPORTED, UNDECIDED


@pytest.fixture(autouse=True)
def fewer_replicates(monkeypatch):
    monkeypatch.setattr(metrics, "NUM_REPLICATES", 400)


def judged(found):
    return claims_table([found])["verdict"].iloc[0]


# ---------------------------------------------------------------- C4


def sized_table(forced_penalty, generator=None):
    """Success falls with leaves alone, up to a penalty of forced tasks; forced tasks are larger."""
    generator = generator or np.random.default_rng(1)
    table = support_table({"open": 0.5, "forced": 0.5}, num=400, generator=generator)
    forced = (table["part"] == "forced").to_numpy()
    leaves = np.where(generator.random(len(table)) < np.where(forced, 0.8, 0.2), 5, 3)
    chance = np.where(leaves == 5, 0.3, 0.8) - forced_penalty * forced
    return table.assign(leaves=leaves, degree=2, solved=generator.random(len(table)) < chance)


@pytest.mark.parametrize(("penalty", "expected"), [(0.2, SUPPORTED), (0.0, UNDECIDED), (-0.15, NOT_SUPPORTED)])
def test_open_is_compared_with_forced_at_equal_size(penalty, expected):
    found = open_against_forced(sized_table(penalty))
    assert judged(found) == expected
    assert found.effect.value == pytest.approx(penalty, abs=0.04)
    assert dict(found.controls)["not standardised"].value == pytest.approx(penalty + 0.3, abs=0.05)


def test_standardisation_is_by_hand_within_trials():
    table = sized_table(0.1)
    table.loc[(table["part"] == "open") & (table["trial"].str.endswith("0")) & (table["leaves"] == 3), "leaves"] = 5
    rows, lost, covered = [], 0, 0
    for _, group in table[table["part"] == "forced"].groupby(["trial", "leaves"]):
        same = table[
            (table["part"] == "open") & (table["trial"] == group["trial"].iloc[0])
            & (table["leaves"] == group["leaves"].iloc[0])
        ]  # fmt: skip
        if len(same):
            rows.append(len(group) * same["solved"].mean())
            lost, covered = lost + group["solved"].sum(), covered + len(group)
    found = open_against_forced(table)
    assert found.effect.value == pytest.approx((sum(rows) - lost) / covered)
    share = dict(found.controls)["forced tasks with open ones of their size and degree"]
    assert share == f"{covered / (table['part'] == 'forced').sum():.0%}" != "100%"


def test_sizes_without_overlap_are_a_reason():
    table = sized_table(0.1).assign(degree=lambda t: np.where(t["part"] == "open", 1, 2))
    with pytest.raises(ConfigurationError, match="share no size and degree"):
        open_against_forced(table)


# ---------------------------------------------------------------- C7


def copied_table(known_of_solved, known_of_failed=0.5):
    generator = np.random.default_rng(2)
    table = support_table({"id": 0.8, "forced": 0.4}, num=200, generator=generator)
    chance = np.where(table["solved"], known_of_solved, known_of_failed)
    return table.assign(subtrees_in_training=generator.random(len(table)) < chance)


@pytest.mark.parametrize(("known", "expected"), [(0.99, SUPPORTED), (1.0, SUPPORTED), (0.5, NOT_SUPPORTED)])
def test_recombination_is_the_share_of_right_answers_from_known_pieces(known, expected):
    table = copied_table(known)
    found = recombination(table)
    right = table[(table["part"] == "forced") & table["solved"]]
    assert judged(found) == expected and found.effect.value == pytest.approx(right["subtrees_in_training"].mean())
    assert found.effect.high <= 1 and found.effect.low < found.effect.high


def test_it_is_shown_beside_what_is_right_where_pieces_are_known_and_where_not():
    table = copied_table(0.9, known_of_failed=0.3)
    controls = dict(recombination(table).controls)
    forced = table[table["part"] == "forced"]
    known, new = (forced.loc[forced["subtrees_in_training"] == flag, "solved"].mean() for flag in (True, False))
    assert controls["forced answers of known subtrees are right"].value == pytest.approx(known)
    assert controls["forced answers with a new one"].value == pytest.approx(new) and known > new + 0.3
    assert controls["right forced answers, whole tree known"].value == 0


def test_without_right_forced_answers_there_is_nothing_to_look_at():
    table = copied_table(0.9)
    table.loc[table["part"] == "forced", "solved"] = False
    with pytest.raises(ConfigurationError, match="no forced task was solved"):
        recombination(table)


# ---------------------------------------------------------------- C8


def grid_table(dual, random, *, seeds=3, num=1500):
    """Dual at 50,000 programs, random at doubled sizes; both are as good on every test."""
    tables = [density_table({"dual": dual, "random": random[0]}, num=num, seeds=seeds)]
    for k, score in enumerate(random[1:]):
        tables.append(density_table({"random": score}, num=num, seeds=seeds, num_train=50_000 * 2 ** (k + 1)))
    return pd.concat(tables, ignore_index=True)


def test_the_size_at_which_random_catches_up_is_interpolated():
    found = catching_up(grid_table(0.55, (0.3, 0.4, 0.5, 0.6, 0.7)))
    assert judged(found) == SUPPORTED and found.note == ""
    assert found.effect.value == pytest.approx(2**2.5, rel=0.15)  # half-way between 4 and 8 times
    assert 4 < found.effect.low < found.effect.value < found.effect.high < 8
    assert dict(found.controls)["dual - random at equal size"].value == pytest.approx(0.25, abs=0.04)


def test_random_that_never_catches_up_is_more_than_the_grid():
    found = catching_up(grid_table(0.8, (0.3, 0.35, 0.4)))
    assert found.effect.value == 4 and found.note == "random does not catch up within the grid: more than 4 times"
    assert judged(found) == SUPPORTED


def test_random_that_is_ahead_at_once_needs_no_more_data():
    found = catching_up(grid_table(0.3, (0.5, 0.55, 0.6)))
    assert found.effect.value == 1 and judged(found) in (NOT_SUPPORTED, UNDECIDED) and found.p_value < 0.05


def test_only_seeds_with_the_whole_grid_count():
    table = grid_table(0.5, (0.4, 0.45, 0.55), num=200)
    partial = table[~((table["seed"] == 2) & (table["num_train"] == 200_000))]
    found = catching_up(partial)
    assert found.num_seeds == 2 and found.num_runs == 8
    assert found.effect == catching_up(table[table["seed"] < 2]).effect
    with pytest.raises(ConfigurationError, match="no further number of programs"):
        catching_up(table[table["num_train"] == 50_000])


@pytest.mark.parametrize(
    ("curve", "target", "expected"),
    [
        ([0.1, 0.2, 0.4], 0.3, 1.5),
        ([0.1, 0.2, 0.4], 0.2, 1.0),
        ([0.1, 0.2, 0.4], 0.05, 0.0),
        ([0.1, 0.2, 0.4], 0.5, 2.0),
        ([0.3, 0.1, 0.5], 0.4, 1.5),  # a dip does not undo what was reached
        ([0.2, 0.2, 0.2], 0.2, 0.0),
    ],
)
def test_crossings(curve, target, expected):
    found = module._crossing(np.arange(3.0), np.array([curve, curve]), np.array([target, target]))
    np.testing.assert_allclose(found, expected)


# ---------------------------------------------------------------- C9


@pytest.mark.parametrize(("forced", "expected"), [(0.001, SUPPORTED), (0.2, NOT_SUPPORTED)])
def test_samples_climb_the_wall_or_do_not(forced, expected):
    """Sixteen samples of chance .2 hit with .97."""
    found = headroom(support_table(five_parts(0.6, forced), samples=16))
    assert judged(found) == expected
    assert found.effect.value == pytest.approx(1 - (1 - forced) ** 16 - 0.6, abs=0.05)
    controls = dict(found.controls)
    assert controls["k"] == "16" and controls["pass@16, id"].value > 0.99
    assert controls["pass@k - pass@1 of samples, forced"].value == pytest.approx(
        1 - (1 - forced) ** 16 - forced, abs=0.05
    )


def test_pass_at_k_takes_the_smallest_number_of_samples():
    """Of 8 samples, 4 are drawn without bias from the number of right ones."""
    few, many = (support_table(five_parts(0.6, 0.1), samples=n, regions=3, prefix=f"{n}") for n in (4, 8))
    found = headroom(pd.concat([few, many], ignore_index=True))
    assert dict(found.controls)["pass@4, forced"].value == pytest.approx(1 - 0.9**4, abs=0.05)
    with pytest.raises(ConfigurationError, match="no samples were drawn"):
        headroom(few.assign(num_samples=0))


# ---------------------------------------------------------------- C10


def test_a_wall_that_shrinks_with_scale_is_seen():
    steady = scaling_table(lambda x: 0.2 + 0.1 * (x - 12), forced=0.5, num=400)
    shrinking = scaling_table(lambda x: 0.2 + 0.1 * (x - 12), forced=lambda x: 0.2 + 0.15 * (x - 12), num=400)
    found = scale_against_wall(shrinking)
    assert judged(found) == SUPPORTED and found.effect.value == pytest.approx(-0.15, abs=0.03)
    assert judged(scale_against_wall(steady)) == UNDECIDED
    assert dict(scale_against_wall(steady).controls)["points per decade"].value == pytest.approx(0.05, abs=0.02)
    assert (found.num_runs, found.num_seeds) == (24, 3)


def test_other_sizes_of_the_training_set_do_not_count():
    main = scaling_table(lambda x: 0.2 + 0.1 * (x - 12), num=100)
    other = scaling_table(lambda x: 0.9, forced=0.1, num=100, sizes=4).assign(num_train=10)
    other["trial"] += "x"
    assert scale_against_wall(pd.concat([other, main])).effect == scale_against_wall(main).effect


# ---------------------------------------------------------------- C11, C12


def grammars(*forced):
    names = ("polynomial", "rational", "third")
    return pd.concat([support_table(five_parts(0.8, f), grammar=n) for f, n in zip(forced, names, strict=False)])


@pytest.mark.parametrize(
    ("forced", "expected"), [((0.2, 0.3), SUPPORTED), ((0.2, 0.78), NOT_SUPPORTED), ((0.2, 0.55), UNDECIDED)]
)
def test_the_weakest_grammar_decides(forced, expected):
    found = every_grammar(grammars(*forced))
    assert judged(found) == expected and found.num_runs == 12
    assert found.effect.value == pytest.approx(max(forced) / 0.8 - 1, abs=0.06)
    assert [name for name, _ in found.controls] == ["polynomial", "rational"]


def test_one_grammar_shows_no_robustness():
    with pytest.raises(ConfigurationError, match="only 1 grammar to compare"):
        every_grammar(grammars(0.2))


def test_a_grammar_that_cannot_be_judged_is_noted():
    table = grammars(0.2, 0.3, 0.0)
    table.loc[table["grammar"] == "third", "solved"] = False
    found = every_grammar(table)
    assert judged(found) == SUPPORTED and found.note.startswith("third: pass@1 is saturated at 0")


def test_variants_that_ask_something_else_do_not_count():
    variants = {"base": 0.2, "postfix": 0.3, "isolated": 0.79, "room": 0.79}
    table = pd.concat([support_table(five_parts(0.8, f), variant=v, regions=4) for v, f in variants.items()])
    found = every_variant(table)
    assert [name for name, _ in found.controls] == ["base", "postfix"] and judged(found) == SUPPORTED
    worse = pd.concat([table, support_table(five_parts(0.8, 0.79), variant="floats", regions=4)])
    assert judged(every_variant(worse)) == NOT_SUPPORTED


def test_few_regions_of_a_variant_are_weak_evidence():
    table = pd.concat([
        support_table(five_parts(0.8, 0.2), regions=8), support_table(five_parts(0.8, 0.2), variant="floats", regions=2)
    ])  # fmt: skip
    assert every_variant(table).p_value > every_variant(table[table["variant"] == "base"].assign(variant="a").pipe(
        lambda t: pd.concat([t, table[table["variant"] == "base"]])
    )).p_value  # fmt: skip
    assert not judged(every_variant(table)).endswith(EXPLORATORY)
