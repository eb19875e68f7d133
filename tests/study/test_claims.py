"""Claims on tables whose effect is known, the family's verdicts, and tables that allow none."""

import numpy as np
import pandas as pd
import pytest
from study.populations import ALL_PARTS, density_table, five_parts, scaling_table, support_table

from synthlab.assessment import metrics
from synthlab.assessment.metrics import Estimate
from synthlab.errors import ConfigurationError
from synthlab.study import claims as module
from synthlab.study.claims import (
    FAMILY,
    Claim,
    claim_or_reason,
    claims_table,
    family_claims,
    log_linear,
    semantic_against_syntactic,
    semantic_drop,
    syntactic_drop,
    worst_case,
)
from synthlab.study.tables import StudyTables
from synthlab.study.verdicts import COLUMNS, EXPLORATORY, NOT_SUPPORTED, SUPPORTED, UNDECIDED, claim, verdict


@pytest.fixture(autouse=True)
def fewer_replicates(monkeypatch):
    monkeypatch.setattr(metrics, "NUM_REPLICATES", 400)


def judged(*claims):
    """Verdicts by name, each claim in a family of its own."""
    return {c.name: claims_table([c])["verdict"].iloc[0] for c in claims}


# ---------------------------------------------------------------- verdicts


def made(low, high, p, *, above=True, name="C", seeds=3):
    return Claim(name, "text", Estimate((low + high) / 2, low, high, 9), "points", 0.0, above, p, num_seeds=seeds)


@pytest.mark.parametrize(
    ("low", "high", "p", "above", "expected"),
    [
        (0.1, 0.4, 0.01, True, SUPPORTED),
        (0.1, 0.4, 0.01, False, NOT_SUPPORTED),
        (-0.4, -0.1, 0.01, True, NOT_SUPPORTED),
        (-0.4, -0.1, 0.01, False, SUPPORTED),
        (0.1, 0.4, 0.06, True, UNDECIDED),
        (-0.1, 0.4, 0.01, True, UNDECIDED),
        (0.0, 0.4, 0.01, True, UNDECIDED),
        (0.1, 0.4, np.nan, True, UNDECIDED),
        (np.nan, np.nan, 0.01, True, UNDECIDED),
    ],
)
def test_a_verdict_needs_the_whole_interval_and_the_adjusted_p_value(low, high, p, above, expected):
    assert verdict(made(low, high, p, above=above), p) == expected


def test_the_family_is_judged_as_one():
    alone = claims_table([made(0.1, 0.4, 0.02)])
    family = claims_table([made(0.1, 0.4, 0.02, name=str(k)) for k in range(3)])
    assert alone["verdict"].tolist() == [SUPPORTED] and family["verdict"].tolist() == [UNDECIDED] * 3
    untested = claims_table([made(0.1, 0.4, 0.02), made(np.nan, np.nan, np.nan), made(np.nan, np.nan, np.nan)])
    assert untested["verdict"].tolist() == [SUPPORTED, UNDECIDED, UNDECIDED]  # what was not tested costs nothing
    assert untested["effect"].tolist() == ["0.250 [0.100, 0.400]", "n/a", "n/a"]
    assert claims_table([made(0.1, 0.4, 0.02)], alpha=0.01)["verdict"].tolist() == [UNDECIDED]


def test_few_seeds_are_exploratory_and_so_is_what_is_called_so():
    claims = [made(0.1, 0.4, 0.001, seeds=n) for n in (1, 2, 3)]
    assert [v.endswith(EXPLORATORY) for v in claims_table(claims)["verdict"]] == [True, True, False]
    assert all(claims_table(claims, exploratory=True)["verdict"] == SUPPORTED + EXPLORATORY)


def test_a_table_has_its_columns_however_many_claims():
    table = claims_table([made(0.1, 0.4, 0.02, above=False)])
    assert table.columns.tolist() == list(COLUMNS) == claims_table([]).columns.tolist()
    assert table["bound"].tolist() == ["< 0"]


# ---------------------------------------------------------------- C1


EVEN = {"random": 0.5, "syntactic": 0.5, "semantic": 0.5, "dual": 0.5, "class": 0.5}


def test_the_best_worst_case_is_supported():
    """Semantic sampling is best on average, and worst where it is worst."""
    scores = EVEN | {"dual": 0.6, "semantic": lambda test: 0.95 if test != "random" else 0.3}
    found = worst_case(density_table(scores, num=600))
    assert judged(found) == {"C1": SUPPORTED} and found.effect.low > 0
    assert found.effect.value == pytest.approx(0.1, abs=0.04)
    controls = dict(found.controls)
    assert controls["dual - semantic"].value > 0.2 and controls["dual - class"].value > 0.05
    assert (found.num_runs, found.num_seeds, found.num_tasks, found.num_regions) == (15, 3, 600, 0)


def test_one_better_rival_refutes_it():
    found = worst_case(density_table(EVEN | {"dual": 0.6, "random": 0.75}, num=600))
    assert judged(found) == {"C1": NOT_SUPPORTED} and found.effect.high < 0
    assert dict(found.controls)["dual - syntactic"].low > 0


def test_equal_regimes_are_undecided():
    assert judged(worst_case(density_table(EVEN, num=300))) == {"C1": UNDECIDED}


def test_the_effect_is_that_of_the_data():
    table = density_table(EVEN | {"dual": 0.6}, num=200, policies=("as sampled", "minimal"), seeds=2)
    found = worst_case(table)
    right = table.assign(right=table["solved"] * table["weight"]).groupby(["policy", "regime", "part"])
    worst = (right["right"].sum() / right["weight"].sum()).groupby(["policy", "regime"]).min().unstack()
    gaps = worst.rsub(worst["dual"], axis=0).mean()
    assert found.effect.value == pytest.approx(gaps[["random", "syntactic", "semantic"]].min())
    labels = [name for name, _ in found.controls if name.startswith("targets")]
    assert labels == [f"targets {p}, 100 cells, 3 rivals" for p in ("as sampled", "minimal")]


def test_classes_are_compared_in_pairs():
    """Two regimes that solve the same classes differ by an exact amount, however much the classes vary."""
    table = density_table(EVEN, num=150, seeds=2)
    table["solved"] = table["class_id"] % 2 == 0
    table.loc[(table["regime"] == "dual") & (table["class_id"] % 10 == 1), "solved"] = True
    table["weight"] = 1
    gap = dict(worst_case(table).controls)["dual - random"]
    assert gap.value == pytest.approx(0.1) and gap.high - gap.low < 0.12


def test_half_crossed_policies_and_other_cells_are_controls():
    main = density_table(EVEN | {"dual": 0.6}, num=300)
    minimal = density_table({"random": 0.5, "dual": 0.4}, num=300, policies=("minimal",))
    coarse = density_table({"dual": 0.3}, num=300, num_cells=10)
    more = density_table({"random": 0.9}, num=300, num_train=400_000)
    found = worst_case(pd.concat([main, minimal, coarse, more], ignore_index=True))
    assert found.effect.value == pytest.approx(worst_case(main).effect.value, abs=1e-9)
    controls = dict(found.controls)
    assert controls["targets minimal, 100 cells, 1 rivals"].value < 0 and controls["dual of 10 cells"].value < -0.1


def test_the_manipulation_is_checked():
    table = density_table(EVEN | {"dual": 0.6}, num=100)
    trials = table.drop_duplicates("trial")[["trial", "regime"]]
    spread = trials["regime"].map({"dual": 0.7, "random": 0.4}).fillna(0.5)
    good = worst_case(table, trials.assign(syntactic_spread=spread, semantic_spread=spread, text_bits=2.0))
    assert dict(good.controls)["syntactic spread of dual"] == "0.7, of random 0.4" and good.note == ""
    bad = worst_case(table, trials.assign(syntactic_spread=spread, semantic_spread=1 - spread))
    assert bad.note == "manipulation failed: dual has no larger semantic spread"


def test_seeds_without_all_regimes_do_not_count():
    table = density_table(EVEN | {"dual": 0.6}, num=100)
    partial = table[~((table["seed"] == 1) & (table["regime"] == "semantic"))]
    assert worst_case(partial).num_seeds == 2
    with pytest.raises(ConfigurationError, match=r"no seed has all regimes \(semantic missing\)"):
        worst_case(table[table["regime"] != "semantic"])


# ---------------------------------------------------------------- C2


@pytest.mark.parametrize(("forced", "expected"), [(0.3, SUPPORTED), (0.75, NOT_SUPPORTED), (0.56, UNDECIDED)])
def test_syntactic_novelty_costs_over_thirty_percent(forced, expected):
    found = syntactic_drop(support_table(five_parts(0.8, forced), regions=6))
    assert judged(found) == {"C2a": expected}
    assert found.effect.value == pytest.approx(forced / 0.8 - 1, abs=0.06)
    assert dict(found.controls)["points"].value == pytest.approx(forced - 0.8, abs=0.05)
    assert (found.num_runs, found.num_regions, found.num_seeds, found.num_tasks) == (6, 6, 3, 300)


@pytest.mark.parametrize(("forced", "expected"), [(0.78, SUPPORTED), (0.2, NOT_SUPPORTED)])
def test_semantic_novelty_costs_under_thirty_percent(forced, expected):
    assert judged(semantic_drop(support_table(five_parts(0.8, forced), space="semantic"))) == {"C2c": expected}


@pytest.mark.parametrize(("syntactic", "expected"), [(0.3, SUPPORTED), (0.78, NOT_SUPPORTED), (0.6, UNDECIDED)])
def test_the_two_spaces_are_compared(syntactic, expected):
    both = [
        support_table(five_parts(0.8, syntactic), prefix="a"),
        support_table(five_parts(0.8, 0.6), space="semantic", generator=np.random.default_rng(5)),
    ]
    found = semantic_against_syntactic(pd.concat(both))
    assert judged(found) == {"C2b": expected} and found.num_regions == 12
    assert found.effect.value == pytest.approx(0.6 / 0.8 - syntactic / 0.8, abs=0.08)


def test_a_drop_reads_matched_parts_of_its_space_base_variant_and_main_grammar():
    main = support_table(five_parts(0.8, 0.3))
    others = [
        support_table(five_parts(0.8, 0.8), space="semantic"), support_table(five_parts(0.8, 0.8), variant="postfix"),
        support_table(five_parts(0.8, 0.8), grammar="rational"),
    ]  # fmt: skip
    found = syntactic_drop(pd.concat([main, *others]))
    assert found == syntactic_drop(main)
    changed = main.assign(solved=main["solved"] & (main["part"] != "forced"))
    assert syntactic_drop(changed).effect == found.effect
    assert dict(syntactic_drop(changed).controls)["not matched"].value == -1


def test_controls_of_the_drop_are_its_rivals():
    table = pd.concat([
        support_table(five_parts(0.8, 0.3)), support_table(five_parts(0.8, 0.5), variant="isolated"),
        support_table(five_parts(0.8, 0.7), variant="room"), support_table(five_parts(0.8, 0.6), space="shape"),
    ])  # fmt: skip
    controls = dict(syntactic_drop(table).controls)
    expected = {"isolated in the other space": 0.5, "two more leaves allowed": 0.7, "regions without labels": 0.6}
    for name, forced in expected.items():
        assert controls[name].value == pytest.approx(forced / 0.8 - 1, abs=0.06)


def test_regions_that_disagree_leave_it_undecided():
    """Many tasks cannot make up for few regions."""
    apart = [support_table(five_parts(0.8, f), regions=1, num=600, prefix=f"r{f}", seeds=1) for f in (0.78, 0.1)]
    assert judged(syntactic_drop(pd.concat(apart))) == {"C2a": UNDECIDED + EXPLORATORY}
    alike = [support_table(five_parts(0.8, 0.1), regions=6, num=100)]
    assert judged(syntactic_drop(pd.concat(alike))) == {"C2a": SUPPORTED}


def test_a_wall_of_nothing_solved_has_an_interval():
    found = syntactic_drop(support_table(five_parts(0.8, 0.0)))
    assert found.effect.value == -1 and found.effect.low >= -1 and -1 < found.effect.high < -0.9
    assert judged(found) == {"C2a": SUPPORTED}


# ---------------------------------------------------------------- C3


def test_a_straight_line_is_not_refuted_and_a_curve_is():
    line = log_linear(scaling_table(lambda x: 0.1 + 0.15 * (x - 12), num=400))
    assert judged(line)["C3"] in (SUPPORTED, UNDECIDED)
    assert dict(line.controls)["points per decade"].value == pytest.approx(0.15, abs=0.02)
    assert (line.num_runs, line.num_seeds) == (24, 3)
    curve = log_linear(scaling_table(lambda x: 0.9 / (1 + np.exp(-2.5 * (x - 13.5))), num=3000))
    assert judged(curve) == {"C3": NOT_SUPPORTED} and curve.effect.high < 0


def test_too_few_sizes_are_no_law():
    with pytest.raises(ConfigurationError, match="too few"):
        log_linear(scaling_table(lambda x: 0.5, sizes=3, num=50))


# ---------------------------------------------------------------- bad input


SEARCHES = {"C13": "search-results", "C14": "search-scaling", "C15": "search-rounds"}
SATURATED = {
    "density": density_table(dict.fromkeys(EVEN, 0.5), num=20),
    "support": support_table(five_parts(0.5, 0.5), num=30, samples=4),
    "scaling": scaling_table(lambda x: 0.5, num=20),
}


def reasons(**tables):
    """All claims of the family on some tables; every one has to be there, and undecided."""
    found = family_claims(tables)
    table = claims_table(found)
    assert table["name"].tolist() == [function.name for function, _ in FAMILY]
    assert all("\n" not in note for note in table["note"])
    return table.set_index("name")


def test_no_tables_at_all_are_a_table_of_reasons():
    table = reasons()
    assert table["verdict"].eq(UNDECIDED + EXPLORATORY).all() and table["p"].isna().all()
    searches = table.index.isin(SEARCHES)
    assert table["note"][~searches].str.startswith("no finished trials of this group").all()
    assert table["note"][searches].str.contains("run `python -m synthlab contest quick`").all()
    assert (table["effect"] == "n/a").all()


@pytest.mark.parametrize("solved", [True, False])
def test_saturated_metrics_are_reasons(solved):
    tables = {
        group: table.assign(solved=solved, num_correct=table.get("num_samples", 0) * solved, root_given=float(solved))
        for group, table in SATURATED.items()
    }
    found = reasons(**tables)
    assert found["verdict"].str.startswith(UNDECIDED).drop("C7").all()
    assert found["note"].drop("C7").ne("").all()


def test_missing_columns_and_parts_are_reasons():
    bare = {group: table[["trial", "part"]] for group, table in SATURATED.items()}
    bare |= dict.fromkeys(SEARCHES.values(), pd.DataFrame({"seed": [0], "part": ["id"]}))
    found = reasons(**bare)
    assert found["verdict"].str.startswith(UNDECIDED).all() and found["note"].str.contains("lack|no column").all()
    for part in ALL_PARTS:
        reasons(support=SATURATED["support"][SATURATED["support"]["part"] != part])
    only = SATURATED["support"][SATURATED["support"]["part"] == "id"]
    found = reasons(support=only)
    assert found["verdict"].str.startswith(UNDECIDED).all() and found["note"].ne("").all()


def test_tables_of_another_kind_are_reasons():
    odd = {group: table.assign(solved="yes", flops="many") for group, table in SATURATED.items()}
    found = reasons(**odd)
    assert found["verdict"].str.startswith(UNDECIDED).all() and found["note"].ne("").all()


def test_one_seed_and_one_region_are_judged_as_what_they_are():
    tables = {
        "density": density_table(EVEN | {"dual": 0.7}, seeds=1, num=200),
        "support": support_table(five_parts(0.8, 0.2), regions=1, samples=4),
        "scaling": scaling_table(lambda x: 0.1 + 0.1 * (x - 12), seeds=1, num=100),
    }
    found = reasons(**tables)
    assert found["verdict"].str.endswith(EXPLORATORY).all()
    assert found.loc["C2a", "verdict"] == SUPPORTED + EXPLORATORY
    assert "two regions" in found.loc["C6", "note"]


def test_the_family_is_judged_on_a_study_and_on_searches():
    """Eighteen claims; what the searches hold reaches theirs, and counts in the correction of all."""
    nothing = StudyTables(pd.DataFrame(), {}, pd.DataFrame())
    alone = module.judged(nothing)
    assert len(alone) == len(FAMILY) == alone["name"].nunique() == 18 and alone["p_holm"].isna().all()
    rows = pd.DataFrame([
        {"seed": seed, "arm": arm, "round": number, "part": "forced", "class_id": task, "leaves": 4,
         "solved": task % 4 == 0 or (number == 1 and arm == "expert iteration" and task % 2 == 0)}
        for seed in range(3) for arm in ("expert iteration", "placebo") for number in (0, 1) for task in range(60)
    ])  # fmt: skip
    searches = {"search-rounds": rows}
    table = module.judged(nothing, searches=searches).set_index("name")
    assert table.loc["C15", "verdict"] == SUPPORTED and table.loc["C15", "value"] == pytest.approx(0.25)
    assert table["p_holm"].notna().sum() == 1 and table.drop("C15")["verdict"].str.startswith(UNDECIDED).all()
    assert table.loc["C13", "note"].startswith("no results of contests")
    marked = module.judged(nothing, searches=searches, exploratory=True)
    assert marked["verdict"].str.endswith(EXPLORATORY).all()


def test_what_tables_lack_is_a_reason_and_stops_no_other_claim():
    @claim("CX", "text", "points", 0.0, above=True)
    def reads(table):
        return table["nothing"]

    found = claim_or_reason(reads, pd.DataFrame({"a": [1]}))
    assert found.note == "the tables lack the column nothing: make them with this version" and np.isnan(found.p_value)
    for wrong in (["yes", "no"], [np.nan, np.nan], [None, None]):
        found = claim_or_reason(reads, pd.DataFrame({"solved": wrong}))
        assert found.note == "column solved of the tables holds no numbers: make them with this version"


@pytest.mark.parametrize(
    "bug",
    [
        lambda table: {}["nothing"], lambda table: table.nothing_of_the_kind, lambda table: undefined,  # noqa: F821
        lambda table: table + len, lambda table: int("x"), lambda table: 1 / 0, lambda table: [][0],
        lambda table: {"a": 1}[table["a"][0]],
    ],
    ids=["key", "attribute", "name", "type", "value", "zero", "index", "other key"],
)  # fmt: skip
def test_a_fault_of_the_program_is_no_reason(bug):
    broken = claim("CX", "text", "points", 0.0, above=True)(bug)
    with pytest.raises((LookupError, AttributeError, NameError, TypeError, ValueError, ZeroDivisionError)) as raised:
        claim_or_reason(broken, pd.DataFrame({"a": [7]}))
    assert not isinstance(raised.value, ConfigurationError)


def test_the_claims_are_all_there():
    assert module.__all__ and set(module.__all__) <= set(dir(module))
