"""Predictions against what the work then takes, and refusals before any work."""

import gc
import itertools
import math
import re
import tracemalloc
from pathlib import Path

import numpy as np
import psutil
import pytest
from languages import FLOORED, MIXED, MULADD, PIECEWISE, TERNARY, UNARY, label

from synthlab.errors import BudgetExceeded, ConfigurationError
from synthlab.language.grammar import POLYNOMIAL, RATIONAL
from synthlab.language.identity import identity_algebra
from synthlab.universe import corpus as corpus_module
from synthlab.universe import planning
from synthlab.universe.corpus import build_corpus, function_table
from synthlab.universe.counting import program_counts
from synthlab.universe.enumeration import enumerate_functions
from synthlab.universe.planning import Limits, extrapolated_counts, free_disk, free_memory, plan_functions, plan_texts

REACHED = [
    (POLYNOMIAL, 6, "leaves"),
    (POLYNOMIAL, 11, "nodes"),
    (POLYNOMIAL, 2, "depth"),
    (RATIONAL, 5, "leaves"),
    (RATIONAL, 2, "depth"),
    (PIECEWISE, 4, "leaves"),
    (UNARY, 8, "nodes"),
    (UNARY, 3, "depth"),
    (TERNARY, 9, "leaves"),
    (MIXED, 7, "leaves"),
    (MULADD, 2, "depth"),
    (FLOORED, 3, "leaves"),
]
by_reached = pytest.mark.parametrize(("grammar", "size", "measure"), REACHED, ids=label)


def table_of(grammar, size, measure):
    return enumerate_functions(grammar, identity_algebra(grammar), size, measure)


# ---------------------------------------------------------------- counts


@by_reached
def test_counts_are_exact_where_the_pilot_reaches(grammar, size, measure):
    plan = plan_functions(grammar, size, measure)
    assert plan.functions == len(table_of(grammar, size, measure))
    assert plan.programs == sum(program_counts(grammar, size, measure))


@by_reached
def test_candidates_are_exact_where_the_pilot_reaches(grammar, size, measure):
    executed = table_of(grammar, size, measure).executed - grammar.num_terminals
    assert plan_functions(grammar, size, measure).candidates == executed


@by_reached
def test_candidates_are_almost_exact_where_the_pilot_reaches(grammar, size, measure):
    """The leaves, and the pairs of an operand with itself, hardly matter."""
    plan = plan_functions(grammar, size, measure)
    assert plan.candidates == pytest.approx(table_of(grammar, size, measure).executed, rel=0.03)


def test_counts_beyond_the_pilot_are_within_a_tenth():
    polynomial = plan_functions(POLYNOMIAL, 8)
    assert polynomial.functions == pytest.approx(16_790_259, rel=0.1)
    assert polynomial.functions - plan_functions(POLYNOMIAL, 7).functions == pytest.approx(15_109_566, rel=0.1)
    assert plan_functions(POLYNOMIAL, 7).functions == pytest.approx(1_680_693, rel=0.1)
    assert plan_functions(POLYNOMIAL, 15, "nodes").functions == pytest.approx(16_790_259, rel=0.1)
    assert plan_functions(RATIONAL, 7).functions == pytest.approx(7_831_821, rel=0.1)


def test_extrapolation_continues_the_published_counts():
    known = [0, 5, 35, 238, 1939, 16850, 155719]
    longer = extrapolated_counts(POLYNOMIAL, known, 8, "leaves")
    assert longer[:7] == known
    assert longer[7] == pytest.approx(1_505_907, rel=0.1) and longer[8] == pytest.approx(15_109_566, rel=0.1)
    assert extrapolated_counts(POLYNOMIAL, known, 6, "leaves") == known


def test_extrapolation_keeps_the_gaps_of_a_grammar():
    by_nodes = extrapolated_counts(POLYNOMIAL, [0, 5, 0, 35, 0, 238, 0, 1939], 12, "nodes")
    assert all(by_nodes[n] == 0 for n in range(0, 13, 2)) and all(by_nodes[n] > 0 for n in range(1, 13, 2))
    ternary = plan_functions(TERNARY, 40)
    assert ternary.functions > 0 and plan_functions(TERNARY, 39).functions == ternary.functions


def test_extrapolated_functions_never_exceed_the_candidates_or_the_programs():
    for grammar, sizes, measure in ((POLYNOMIAL, (7, 8, 11), "leaves"), (UNARY, (11, 13, 18), "nodes")):
        plans = [plan_functions(grammar, size, measure) for size in sizes]
        for plan in plans:
            assert plan.functions <= min(plan.candidates + grammar.num_terminals, plan.programs)
        assert all(a.functions < b.functions and a.memory_bytes <= b.memory_bytes for a, b in itertools.pairwise(plans))


@pytest.mark.parametrize(
    ("grammar", "size", "measure"),
    [(POLYNOMIAL, 9, "leaves"), (UNARY, 12, "nodes"), (PIECEWISE, 3, "depth")],
    ids=label,
)
def test_texts_are_counted_exactly(grammar, size, measure):
    plan = plan_texts(grammar, size, measure)
    assert plan.programs == plan.candidates == sum(program_counts(grammar, size, measure))
    assert 0 < plan.functions <= plan.programs
    assert (plan.what, plan.max_size, plan.measure) == ("texts", size, measure)
    assert plan.row()[measure] == size and plan.seconds > 0


def test_a_smaller_plan_is_the_plan_of_the_smaller_size():
    plan = plan_functions(POLYNOMIAL, 9)
    for size in (3, 6, 7, 8):
        assert plan.smaller(size).functions == plan_functions(POLYNOMIAL, size).functions
        assert plan.smaller(size).memory_bytes == plan_functions(POLYNOMIAL, size).memory_bytes
    texts = plan_texts(POLYNOMIAL, 9)
    assert texts.smaller(4).programs == 86_705
    assert texts.smaller(4).memory_bytes == plan_texts(POLYNOMIAL, 4).memory_bytes


# ---------------------------------------------------------------- memory


def peak_bytes(work):
    """Most bytes held at once, as NumPy reports them, once everything is compiled and cached."""
    gc.collect()
    tracemalloc.start()
    try:
        held = work()
        return tracemalloc.get_traced_memory()[1], held
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("grammar", "size", "measure"),
    [
        (POLYNOMIAL, 5, "leaves"),
        (POLYNOMIAL, 9, "nodes"),
        (MIXED, 2, "depth"),
        (PIECEWISE, 4, "leaves"),
    ],
    ids=label,
)
def test_the_memory_of_texts_is_predicted(grammar, size, measure):
    build_corpus(grammar, 1 if measure == "depth" else 3, measure=measure)
    predicted = plan_texts(grammar, size, measure).memory_bytes
    peak, _ = peak_bytes(lambda: build_corpus(grammar, size, measure=measure))
    print(f"texts {grammar.name} {size} {measure}: peak {peak / 1e6:.1f} MB, {peak / predicted:.2f} of the prediction")
    assert predicted / 1.5 < peak < predicted * 1.5


@pytest.mark.parametrize(
    ("grammar", "size", "measure"),
    [
        (POLYNOMIAL, 7, "leaves"),
        (POLYNOMIAL, 13, "nodes"),
        (RATIONAL, 6, "leaves"),
        (TERNARY, 13, "leaves"),
        (PIECEWISE, 5, "leaves"),
    ],
    ids=label,
)
def test_the_memory_of_functions_is_predicted(grammar, size, measure):
    table_of(grammar, 3, measure)
    predicted = plan_functions(grammar, size, measure).memory_bytes
    peak, table = peak_bytes(lambda: table_of(grammar, size, measure))
    assert len(table) > 100_000
    print(f"{grammar.name} {size} {measure}: peak {peak / 1e6:.1f} MB, {peak / predicted:.2f} of the prediction")
    assert predicted / 1.5 < peak < predicted * 1.5


# ---------------------------------------------------------------- refusals


@pytest.fixture
def no_work(monkeypatch):
    """Fails when more is enumerated than a sample."""
    unrank = corpus_module.unrank

    def enumerated(*args, **kwargs):
        raise AssertionError("enumerated before the refusal")

    def sampled(grammar, ids, *args):
        return unrank(grammar, ids, *args) if len(ids) <= 50_000 else enumerated()

    monkeypatch.setattr(corpus_module, "unrank", sampled)
    monkeypatch.setattr(corpus_module, "_classes", enumerated)
    monkeypatch.setattr(corpus_module, "enumerate_functions", enumerated)


def numbers(message):
    """Gigabytes needed and allowed, and the size that would fit, of a refusal for lack of memory."""
    need, allowed = re.search(r"need ([\d,.e+]+) GB of memory \(([\d,.]+) GB allowed\)", message).groups()
    fits = re.search(r"(\d+) (?:leaves|nodes|depth) would fit", message)
    return float(need.replace(",", "")), float(allowed.replace(",", "")), fits and int(fits[1])


@pytest.mark.parametrize(
    ("grammar", "size", "measure", "gigabytes"),
    [
        (POLYNOMIAL, 7, "leaves", 1.0),
        (POLYNOMIAL, 13, "nodes", 1.0),
        (RATIONAL, 4, "depth", 0.5),
        (PIECEWISE, 8, "leaves", 2),
    ],
    ids=label,
)
def test_texts_that_would_not_fit_are_refused_before_any_work(no_work, grammar, size, measure, gigabytes):
    limits = Limits(memory_bytes=gigabytes * 1e9)
    with pytest.raises(BudgetExceeded) as refusal:
        build_corpus(grammar, size, measure=measure, limits=limits)
    message, total = str(refusal.value), sum(program_counts(grammar, size, measure))
    assert f"{total:,} programs of up to {size} {measure}" in message or f"{total:.3g} programs" in message
    need, allowed, fits = numbers(message)
    assert need > allowed == gigabytes
    assert need == pytest.approx(plan_texts(grammar, size, measure).memory_bytes / 1e9, abs=0.06, rel=0.01)
    assert not plan_texts(grammar, fits, measure).excess(limits)
    assert plan_texts(grammar, fits + 1, measure).excess(limits)


@pytest.mark.parametrize(
    ("grammar", "size", "measure", "gigabytes"),
    [
        (POLYNOMIAL, 9, "leaves", 0.5),
        (POLYNOMIAL, 17, "nodes", 0.5),
        (RATIONAL, 9, "leaves", 1),
        (UNARY, 5, "depth", 1),
    ],
    ids=label,
)
def test_functions_that_would_not_fit_are_refused_before_any_work(no_work, grammar, size, measure, gigabytes):
    limits = Limits(memory_bytes=gigabytes * 1e9)
    with pytest.raises(BudgetExceeded, match=f"about [\\d,.e+]+ functions of up to {size} {measure}") as refusal:
        function_table(grammar, size, measure=measure, limits=limits)
    need, allowed, fits = numbers(str(refusal.value))
    assert need > allowed == gigabytes
    assert not plan_functions(grammar, fits, measure).excess(limits)
    assert plan_functions(grammar, fits + 1, measure).excess(limits)


def test_what_would_fit_indeed_fits():
    tight = Limits(memory_bytes=2e7)
    with pytest.raises(BudgetExceeded) as refusal:
        build_corpus(POLYNOMIAL, 6, limits=tight)
    fits = int(re.search(r"(\d+) leaves would fit", str(refusal.value))[1])
    assert build_corpus(POLYNOMIAL, fits, limits=tight).max_size == fits
    peak, _ = peak_bytes(lambda: build_corpus(POLYNOMIAL, fits, limits=tight))
    assert peak <= tight.memory_bytes
    with pytest.raises(BudgetExceeded) as refusal:
        function_table(POLYNOMIAL, 8, limits=tight)
    fits = int(re.search(r"(\d+) leaves would fit", str(refusal.value))[1])
    peak, _ = peak_bytes(lambda: table_of(POLYNOMIAL, fits, "leaves"))
    assert peak <= tight.memory_bytes
    assert len(function_table(POLYNOMIAL, fits, limits=tight)) == 174_786


def test_a_limit_below_everything_says_that_nothing_fits(no_work):
    for refused in (build_corpus, function_table):
        with pytest.raises(BudgetExceeded, match="no size fits"):
            refused(POLYNOMIAL, 5, limits=Limits(memory_bytes=10))


def test_time_and_disk_are_limited_too(no_work):
    with pytest.raises(BudgetExceeded, match=r"s of time \(0\.0 s allowed\)"):
        build_corpus(POLYNOMIAL, 6, limits=Limits(memory_bytes=1e15, seconds=1e-9))
    with pytest.raises(BudgetExceeded, match=r"s of time \(0\.0 s allowed\)"):
        function_table(POLYNOMIAL, 9, limits=Limits(memory_bytes=1e15, seconds=1e-9))
    plan = plan_texts(POLYNOMIAL, 6)
    with pytest.raises(BudgetExceeded, match=r"GB of memory .* and .* GB of disk .* and .* s of time"):
        plan.require(Limits(memory_bytes=1, disk_bytes=1, seconds=1e-9))
    plan.require(Limits(memory_bytes=math.inf))


def test_the_default_limit_is_the_free_memory(no_work, monkeypatch):
    monkeypatch.setattr(planning, "free_memory", lambda: 1e6)
    assert Limits().memory_bytes == pytest.approx(0.8e6)
    with pytest.raises(BudgetExceeded, match="would fit"):
        build_corpus(POLYNOMIAL, 5)
    with pytest.raises(BudgetExceeded, match="would fit"):
        function_table(POLYNOMIAL, 7)


@pytest.mark.parametrize("size", [60])
def test_huge_sizes_are_refused_at_once(no_work, size):
    with pytest.raises(BudgetExceeded, match=rf"e\+\d+ programs of up to {size} leaves need .* leaves would fit"):
        build_corpus(POLYNOMIAL, size, limits=Limits(memory_bytes=1e9))
    with pytest.raises(BudgetExceeded, match=f"proven up to 37 leaves, not {size}"):
        function_table(POLYNOMIAL, size)
    with pytest.raises(BudgetExceeded, match="would fit"):
        plan_functions(POLYNOMIAL, size).require(Limits(memory_bytes=1e9))


@pytest.mark.parametrize("depth", [5, 8, 10, 12])
def test_huge_depths_are_refused_at_once(no_work, depth):
    """Ten levels have more programs than a float can count."""
    limits = Limits(memory_bytes=1e9)
    with pytest.raises(BudgetExceeded, match=f"of up to {depth} depth need .* 2 depth would fit"):
        build_corpus(POLYNOMIAL, depth, measure="depth", limits=limits)
    with pytest.raises(BudgetExceeded, match="would fit"):
        plan_functions(POLYNOMIAL, depth, "depth").require(limits)


def test_a_refusal_can_be_read():
    with pytest.raises(BudgetExceeded) as refusal:
        build_corpus(POLYNOMIAL, 60, limits=Limits(memory_bytes=1e9))
    assert len(str(refusal.value)) < 200


@pytest.mark.parametrize("name", ["memory_bytes", "disk_bytes", "seconds"])
@pytest.mark.parametrize("value", [0, -1, math.nan])
def test_limits_must_be_positive(name, value):
    with pytest.raises(ConfigurationError, match="limits must be positive"):
        Limits(**{"memory_bytes": 1.0, name: value})


def test_unbounded_measures_have_no_plan():
    for plan in (plan_texts, plan_functions):
        with pytest.raises(ConfigurationError, match="unary operator"):
            plan(UNARY, 3)
        with pytest.raises(ConfigurationError, match="use at least 1"):
            plan(POLYNOMIAL, 0)
        with pytest.raises(ConfigurationError, match="unknown measure"):
            plan(POLYNOMIAL, 3, "height")


# ---------------------------------------------------------------- what is free


def container(folder, monkeypatch, limit, used):
    """Stands for the files in which a container states its memory."""
    paths = folder / "memory.max", folder / "memory.current"
    for path, text in zip(paths, (limit, used), strict=True):
        path.write_text(text)
    monkeypatch.setattr(planning, "_CGROUP_LIMITS", (str(paths[0]),))
    monkeypatch.setattr(planning, "_CGROUP_USES", (str(paths[1]),))


def test_free_memory_respects_a_container(tmp_path, monkeypatch):
    container(tmp_path, monkeypatch, "50000000\n", "20000000\n")
    assert free_memory() == 30_000_000
    assert Limits().memory_bytes == 24_000_000


@pytest.mark.parametrize("limit", ["max\n", "9223372036854771712\n"])
def test_a_container_without_a_limit_has_the_memory_of_the_machine(tmp_path, monkeypatch, limit):
    container(tmp_path, monkeypatch, limit, "20000000\n")
    assert free_memory() == pytest.approx(psutil.virtual_memory().available, rel=0.2)


def test_missing_container_files_are_no_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(planning, "_CGROUP_LIMITS", (str(tmp_path / "none"),))
    monkeypatch.setattr(planning, "_CGROUP_USES", (str(tmp_path / "none either"),))
    assert free_memory() == pytest.approx(psutil.virtual_memory().available, rel=0.2)


def test_free_disk_is_that_of_the_nearest_folder(tmp_path):
    assert free_disk(tmp_path / "not" / "yet" / "there") == pytest.approx(free_disk(tmp_path), rel=0.05)
    assert free_disk(Path("relative")) > 0 and np.isfinite(free_disk(tmp_path))
