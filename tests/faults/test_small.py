"""Universes of a handful of programs, tests of one task, tables of nothing: refused with the counts, or a true answer.

Never a division by zero, an index beyond the end, or a number that is none in a verdict.
"""

import itertools
import math
import re
import warnings

import altair as alt
import numpy as np
import pandas as pd
import pytest

from synthlab.__main__ import main
from synthlab.assessment.metrics import estimate, pass_at_k, pass_at_k_table, weighted_mean, wilson
from synthlab.errors import ConfigurationError, SplitError, SynthlabError
from synthlab.language.grammar import Grammar, Grid, register
from synthlab.language.operator import ADD, MULTIPLY
from synthlab.spaces.projection import project
from synthlab.spaces.semantic import fit_semantic
from synthlab.spaces.syntactic import fit_syntactic
from synthlab.splits.audit import audit_corpus
from synthlab.splits.density import REGIMES, density_settings, density_split
from synthlab.splits.mcd import mcd_report, mcd_settings, mcd_split
from synthlab.splits.regions import Region
from synthlab.splits.separability import classifier_auc
from synthlab.splits.shift import fast_shift, shift_report
from synthlab.splits.split import Split
from synthlab.splits.support import support_settings, support_split
from synthlab.store import Store
from synthlab.universe.corpus import build_corpus

PASS = "more than n samples in pass@k"
TINY = "an empty or tiny split"
NEIGHBORS = "fewer programs than neighbours"


# ---------------------------------------------------------------- pass@k


@pytest.mark.fault(PASS)
def test_more_than_n_samples_are_refused_whatever_the_counts_are(fired):
    """The estimator itself would say 1.0 for n = 5, c = 0, k = 10."""
    num = 0
    for n in range(6):
        for k in (n + 1, 2 * n + 1, 10**6):
            for counts in (0, [0] * 3, np.zeros(3, dtype=int), np.array([]), np.full(2, n)):
                with pytest.raises(ConfigurationError, match=f"pass@{k} of {n} samples"):
                    pass_at_k(n, counts, k)
                num += 1
    for k in (0, -1):
        with pytest.raises(ConfigurationError):
            pass_at_k(5, np.array([0]), k)
    for counts in ([-1], [6], [2, 7]):
        with pytest.raises(ConfigurationError, match=r"0\.\.5"):
            pass_at_k(5, np.array(counts), 1)
    fired(num + 5)


@pytest.mark.fault(PASS)
def test_what_is_left_is_the_share_of_draws_with_a_right_one(fired):
    """Oracle: counting subsets."""
    for n in range(1, 8):
        for k in range(1, n + 1):
            found = pass_at_k(n, np.arange(n + 1), k)
            wanted = [1 - math.comb(n - c, k) / math.comb(n, k) for c in range(n + 1)]
            assert found == pytest.approx(wanted) and found[0] == 0
    fired(inputs=28)


@pytest.mark.fault(PASS)
def test_tables_and_the_command_line_refuse_it_as_well(trained4, split4, tmp_path, monkeypatch, capsys, fired):
    counts = {"num_correct": [0, 1], "num_samples": 4, "independent": True, "class_id": [1, 2]}
    table = pd.DataFrame({"part": "id", **counts})
    with pytest.raises(ConfigurationError, match="pass@5 of 4"):
        pass_at_k_table(table, [1, 5])
    with pytest.raises(ConfigurationError):
        pass_at_k_table(table.assign(num_samples=[4, 8]), [1])
    monkeypatch.setenv("SYNTHLAB_STORE", str(tmp_path))
    Store().name(trained4, "run")
    split4.save(Store())
    assert main(["evaluate", "run", "--samples", "4", "--k", "8", "--json"]) == 2
    assert "pass@8 needs --samples 8" in capsys.readouterr().err
    fired(3)


@pytest.mark.fault(TINY)
def test_shares_of_nothing_are_refused(fired):
    empty = pd.DataFrame({"solved": [], "class_id": [], "part": [], "num_samples": [], "num_correct": []})
    doors = [
        lambda: estimate(empty), lambda: wilson(0, 0), lambda: wilson(3, 2), lambda: weighted_mean(empty),
        lambda: pass_at_k_table(empty, [1]),
    ]  # fmt: skip
    for door in doors:
        with pytest.raises(ConfigurationError):
            door()
    fired(len(doors))


# ---------------------------------------------------------------- universes of 1, 2, 3, ... programs

GRAMMARS = [
    Grammar(name=f"handful-{k}", variables=("x", "y")[:variables], constants=tuple(range(1, 1 + constants)),
            operators=operators, grid=Grid.regular(*[-k] * variables))
    for k, (variables, constants, operators) in enumerate([
        (1, 0, (ADD,)), (2, 0, (ADD,)), (2, 1, (ADD, MULTIPLY)), (2, 8, (ADD,)),
    ])
]  # fmt: skip
SIZES = [(0, 1), (0, 2), (0, 3), (1, 1), (1, 2), (2, 1), (2, 2), (3, 1)]
"""Grammar and leaves: from one program to a few."""


@pytest.fixture(scope="module")
def handfuls():
    return [build_corpus(register(GRAMMARS[number]), size) for number, size in SIZES]


def spaces_of(corpus):
    """The spaces that such a universe has, and how many were refused."""
    found, refused = {}, 0
    for name, fit in (("syntactic", fit_syntactic), ("semantic", fit_semantic)):
        try:
            found[name] = fit(corpus)
        except SynthlabError as error:
            assert re.search(r"\d", str(error)), error
            refused += 1
    return found, refused


def attempted(work):
    """What it gives, or None where it was refused in one line with numbers."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        try:
            return work()
        except SynthlabError as error:
            assert "\n" not in str(error) and re.search(r"\d|empty|alike|space|no rows", str(error)), error
            return None


def draws(corpus, spaces):
    """Every kind of split, with as few programs as can be."""
    few = dict(num_test=1, reserved=0.5)
    for region in (
        Region(rule="root", root="+"), Region(rule="size", size=1), Region(axis=0), Region(rule="shell"),
        Region(rule="ball"), Region(rule="hull"), Region(rule="cluster", num_clusters=2, num_held=1),
        Region(space="semantic"), Region(space="semantic", rule="placebo"), Region(space="both"),
        Region(rule="cluster"), Region(rule="subtree", subtree="x + x"), Region(rule="composed", operator="+"),
    ):  # fmt: skip
        for settings in (few, {}, {"isolated": True} if region.space != "both" else {"num_train": 1}):
            yield lambda r=region, s=settings: support_split(corpus, spaces, support_settings(r, **s))
    for regime in REGIMES:
        for cells in ("kmeans", "grid", "farthest"):
            given = dict(regime=regime, num_train=1, num_cells=3, cells=cells, **few)
            yield lambda g=given: density_split(corpus, spaces, density_settings(**g))
    loose = {"test_share": 0.5, "reserved": 0.5, "max_atom_divergence": 0.9, "num_sweeps": 5, "num_starts": 1}
    everything = {"num_programs": None}
    for settings in ({}, everything, everything | loose, {"num_programs": 1, "control": True}):
        yield lambda s=settings: mcd_split(corpus, mcd_settings(**s))


@pytest.mark.fault(TINY)
@pytest.mark.parametrize("place", range(len(SIZES)))
def test_every_kind_of_split_of_a_handful_of_programs_is_refused_with_its_counts_or_sound(place, handfuls, fired):
    corpus = handfuls[place]
    spaces, refused = spaces_of(corpus)
    sound = 0
    for draw in draws(corpus, spaces):
        split = attempted(draw)
        if split is None:
            refused += 1
            continue
        sound += 1
        report = audit_corpus(split, corpus, {name: spaces[name] for name in split.settings.get("spaces", {})} or None)
        nothing = [check for check, num, _ in report.findings if num]
        assert all(check.startswith("empty part") for check in nothing), report.frame()
        assert len(split.histogram(corpus)) and split.frame()["items"].sum() > 0 and repr(split)
        for measure in (fast_shift, shift_report)[: 1 + (sound % 8 == 1)]:  # the slow ones now and then
            more = {} if measure is fast_shift else {"progress": False, "permutations": 20}
            table = attempted(lambda m=measure, s=split, k=more: m(s, corpus, spaces, **k))
            assert table is None or not np.isinf(table.select_dtypes("number").to_numpy(float)).any()
        if split.kind == "mcd":
            attempted(lambda s=split: mcd_report(corpus, s))
    assert refused + sound >= 58
    fired(refused + sound)


@pytest.mark.fault(TINY)
def test_a_classifier_of_two_handfuls_refuses_or_gives_a_share(fired):
    num = 0
    for first in range(5):
        for second in range(5):
            one, two = np.arange(2.0 * first).reshape(first, 2), 9 - np.arange(2.0 * second).reshape(second, 2)
            found = attempted(lambda a=one, b=two: classifier_auc(a, b, np.arange(len(a)), 100 + np.arange(len(b))))
            assert found is None or 0 <= found.low <= found.value <= found.high <= 1
            num += 1
    fired(num)


@pytest.mark.fault(TINY)
def test_a_split_whose_tests_are_empty_is_never_given_a_verdict(corpus3, split3, tmp_path, fired):
    from dataclasses import replace

    from synthlab.presets import ModelConfig, TrainingConfig
    from synthlab.study.verdict import hold_verdict

    settings = dict(model=ModelConfig(width=8, layers=1), training=TrainingConfig(num_steps=2), progress=False)
    nothing = np.empty(0, dtype=np.int64)
    for tests in (dict.fromkeys(split3.tests, nothing), {}):
        with pytest.raises(SplitError, match=r"empty|no test"):
            hold_verdict(corpus3, replace(split3, tests=tests), store=Store(tmp_path), **settings)
    assert isinstance(split3, Split)
    fired(2)


@pytest.mark.fault(NEIGHBORS)
@pytest.mark.parametrize("place", range(len(SIZES)))
def test_a_map_of_fewer_programs_than_neighbours_is_clamped_or_refused_with_the_reason(place, handfuls, fired):
    corpus = handfuls[place]
    for space in spaces_of(corpus)[0].values():
        drawn = attempted(lambda s=space: project(s))
        if drawn is not None:
            assert np.isfinite(drawn.xy).all() and len(drawn.xy) == len(drawn.rows)
    fired()


# ---------------------------------------------------------------- figures and claims of nothing


@pytest.mark.fault(TINY)
def test_figures_of_empty_tables_are_drawn_or_refused(fired):
    from synthlab.views import charts

    drawn = ("learning_curve", "density_matrix", "support_bars", "failure_bars", "pass_at_k", "counts_chart",
             "size_histogram")  # fmt: skip
    columns = ["step", "name", "value", "part", "leaves", "items", "share", "low", "high", "k", "status", "pass_at_1"]
    tried = 0
    for name, frame in itertools.product(drawn, (pd.DataFrame(), pd.DataFrame(columns=columns))):
        found = attempted(lambda n=name, f=frame: getattr(charts, n)(f))
        assert found is None or isinstance(found, alt.TopLevelMixin)
        tried += 1
    fired(tried)


@pytest.mark.fault(TINY)
def test_claims_of_a_study_without_results_are_open_and_never_numbers_that_are_none(small_lab, fired):
    from synthlab.study.claims import family_claims, judged

    tables = small_lab.trials.tables(small_lab.store)
    assert len(tables.trials) == 0
    assert len(family_claims({})) > 10
    verdicts = set(judged(tables)["verdict"].astype(str))
    assert not {verdict for verdict in verdicts if verdict.startswith(("supported", "refuted", "nan"))}, verdicts
    fired()
