"""Universes beyond memory or disk: counted exactly, refused before any work, and what is let through fits."""

import math
import re

import pytest
from faults.limited import PATIENCE, answer_of

from synthlab.errors import BudgetExceeded, ConfigurationError, GrammarError
from synthlab.language.grammar import PIECEWISE, POLYNOMIAL, RATIONAL, Grid
from synthlab.search.library import Library
from synthlab.spaces.pqgrams import PQGrams
from synthlab.universe.corpus import build_corpus, function_table
from synthlab.universe.counting import program_counts, weighted_counts
from synthlab.universe.planning import Limits, plan_functions, plan_texts
from synthlab.universe.sampling import PCFG, sample_programs

MEMORY = 3 << 30


def trees(grammar, leaves):
    """Programs of at most so many leaves: the binary trees of Catalan's numbers, with a choice at every node."""
    terminals, operators = grammar.num_terminals, len(grammar.operators)
    return sum(math.comb(2 * n - 2, n - 1) // n * terminals**n * operators ** (n - 1) for n in range(1, leaves + 1))


def deep_trees(grammar, depth):
    """Programs of at most so many levels."""
    total = 0
    for _ in range(depth + 1):
        total = grammar.num_terminals + len(grammar.operators) * total**2
    return total


@pytest.mark.fault("enumeration beyond memory or disk")
@pytest.mark.parametrize("grammar", [POLYNOMIAL, RATIONAL, PIECEWISE], ids=lambda g: g.name)
def test_what_nobody_can_enumerate_is_counted_exactly(grammar, fired):
    for leaves in (10, 20, 100, 500):
        assert sum(program_counts(grammar, leaves)) == trees(grammar, leaves)
        fired()
    for depth in (6, 10, 17):
        assert sum(program_counts(grammar, depth, "depth")) == deep_trees(grammar, depth)
        fired()
    for leaves in (10, 20):
        assert (
            plan_texts(grammar, leaves).programs == plan_functions(grammar, leaves).programs == trees(grammar, leaves)
        )
    assert plan_texts(grammar, 6, "depth").programs == deep_trees(grammar, 6)


DOORS = """
import os, time
from dataclasses import replace
from synthlab.errors import SynthlabError
from synthlab.lab import Lab
from synthlab.language.grammar import POLYNOMIAL, RATIONAL
from synthlab.presets import get_preset
from synthlab.__main__ import _peak_megabytes, main
from synthlab.search.library import Library
from synthlab.store import Store
from synthlab.universe.corpus import build_corpus, function_table
from synthlab.universe.planning import Limits
from synthlab.universe.shards import enumerate_functions_on_disk, enumerate_texts
import contextlib, io

limits = Limits(memory_bytes=1e9, disk_bytes=1e9)
store = Store("store")
for work in (lambda: build_corpus(POLYNOMIAL, 3), lambda: function_table(RATIONAL, 3)):
    work()  # what is compiled and imported is no part of a refusal
def on_command_line(*arguments):
    printed = io.StringIO()
    with contextlib.redirect_stderr(printed):
        code = main([*map(str, arguments), "--json"])
    assert code == 2, printed.getvalue()
    return printed.getvalue().strip()
def doors(grammar, size, measure):
    bound = [f"--{measure}", size, "--grammar", grammar.name]
    on_disk = dict(store=store, limits=limits, num_workers=1)
    yield "texts", lambda: build_corpus(grammar, size, measure=measure, limits=limits)
    yield "functions", lambda: function_table(grammar, size, measure=measure, limits=limits)
    yield "texts on disk", lambda: enumerate_texts(grammar, size, measure=measure, **on_disk)
    yield "functions on disk", lambda: enumerate_functions_on_disk(grammar, size, measure=measure, **on_disk)
    yield "library", lambda: Library.build(grammar, size, measure, limits=limits)
    yield "command: texts", lambda: on_command_line("enumerate", *bound, "--memory-gb", 1)
    yield "command: functions", lambda: on_command_line("enumerate", *bound, "--functions-only", "--memory-gb", 1)
    yield "command: on disk", lambda: on_command_line("enumerate", *bound, "--on-disk", "--memory-gb", 1)
    if measure == "leaves":
        search = ["search", "--target", "x", "--method", "library", "--library", size, "--leaves", 2 * size]
        yield "command: library", lambda: on_command_line(*search)
        lab = Lab(replace(get_preset("tiny"), grammar=grammar.name, max_size=size), store=store, progress=False)
        yield "preset", lambda: lab.corpus
answer = []
for grammar, size, measure in asked:
    for name, work in doors({"polynomial": POLYNOMIAL, "rational": RATIONAL}[grammar], size, measure):
        start = time.perf_counter()
        try:
            found = work()
            message = found if isinstance(found, str) else "worked"
        except SynthlabError as error:
            message = f"{type(error).__name__}: {error}"
        seconds = time.perf_counter() - start
        answer.append([grammar, size, measure, name, message, seconds])
peak = _peak_megabytes()
answer = [answer, peak, [name for _, _, names in os.walk("store") for name in names]]
"""
ASKED = [
    ("polynomial", 10, "leaves"), ("polynomial", 20, "leaves"), ("polynomial", 100, "leaves"),
    ("polynomial", 10**9, "leaves"), ("rational", 12, "leaves"), ("polynomial", 6, "depth"),
    ("polynomial", 10**6, "depth"), ("polynomial", 20, "nodes"),
]  # fmt: skip
PLANNED = re.compile(
    r"(BudgetExceeded|synthlab): (about )?[\d,.e+^]+ (programs|functions) of up to (?P<size>\d+) \w+ "
    r"need [\d,.e+]+ GB of (memory|disk) .* and about [\d,.e+]+ (s|minutes|hours|years): "
    r"\d+ (leaves|nodes|depth) would fit"
)


@pytest.mark.fault("enumeration beyond memory or disk")
def test_every_door_refuses_before_any_work(fired, tmp_path):
    environment = {"SYNTHLAB_STORE": str(tmp_path / "store"), "SYNTHLAB_WORKERS": "1"}
    answers, peak, files = answer_of(DOORS, ASKED, memory=MEMORY, environment=environment, folder=tmp_path)
    assert files == [], "something was written"
    assert peak < 1000, f"the refusals took {peak} MB"
    assert len(answers) == 10 * len(ASKED) - 2 * 3
    for grammar, size, measure, name, message, seconds in answers:
        where = f"{name} of {grammar} {size} {measure}: {message} after {seconds:.1f} s"
        assert seconds < PATIENCE / 5, where
        assert re.match(r"BudgetExceeded|ConfigurationError|synthlab: ", message), where
        assert "\n" not in message and len(message) < 260, where
        if size <= 20 and measure != "depth":
            found = PLANNED.match(message)
            assert found and int(found["size"]) == size, where
        else:  # sizes for which nothing is proven or counted say where that ends
            assert PLANNED.match(message) or re.search(
                r"proven up to \d+|beyond counting: (use at most \d+|lower the depth)|only sampled|add up|in memory",
                message,
            ), where
        fired()


@pytest.mark.fault("enumeration beyond memory or disk")
def test_a_limit_just_below_the_need_refuses_and_one_just_above_does_not(fired):
    plan = plan_texts(POLYNOMIAL, 3)
    assert (
        len(build_corpus(POLYNOMIAL, 3, limits=Limits(memory_bytes=plan.memory_bytes * 1.001)).prefix) == plan.programs
    )
    with pytest.raises(BudgetExceeded, match=r"2 leaves would fit|no size fits"):
        build_corpus(POLYNOMIAL, 3, limits=Limits(memory_bytes=plan.memory_bytes * 0.999))
    plan = plan_functions(RATIONAL, 4)
    table = function_table(RATIONAL, 4, limits=Limits(memory_bytes=plan.memory_bytes * 1.001))
    assert len(table) == plan.functions
    with pytest.raises(BudgetExceeded, match="3 leaves would fit"):
        function_table(RATIONAL, 4, limits=Limits(memory_bytes=plan.memory_bytes * 0.999))
    need = _library_need(RATIONAL, 4)
    assert len(Library.build(RATIONAL, 4, limits=Limits(memory_bytes=need * 1.001))) == len(table)
    with pytest.raises(BudgetExceeded, match="3 leaves would fit"):
        Library.build(RATIONAL, 4, limits=Limits(memory_bytes=need * 0.999))
    for limits in (Limits(seconds=1e-9), Limits(memory_bytes=1.0)):
        for work in (build_corpus, function_table, Library.build):
            with pytest.raises(BudgetExceeded):
                work(POLYNOMIAL, 4, limits=limits)
            fired()
    fired(3)


def _library_need(grammar, size):
    """What a refusal of the library says it needs."""
    with pytest.raises(BudgetExceeded) as caught:
        Library.build(grammar, size, limits=Limits(memory_bytes=1.0))
    number, unit = re.search(r"need ([\d.,e+]+) (MB|GB) of memory", str(caught.value)).groups()
    shown = float(number.replace(",", "")) * {"MB": 1e6, "GB": 1e9}[unit]
    low, high = shown * 0.99, shown * 1.01
    for _ in range(40):  # the message rounds: find the limit itself
        middle = (low + high) / 2
        try:
            Library.build(grammar, size, limits=Limits(memory_bytes=middle))
            high = middle
        except BudgetExceeded:
            low = middle
        if high - low < shown * 1e-4:
            break
    return high


PEAK = """
import gc
from pathlib import Path
from synthlab.language.grammar import POLYNOMIAL, RATIONAL
from synthlab.search.library import Library
from synthlab.universe.corpus import build_corpus, function_table
from synthlab.universe.planning import plan_functions, plan_texts

def peak():
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024
answer = []
for name, grammar, size in asked:
    grammar = {"polynomial": POLYNOMIAL, "rational": RATIONAL}[grammar]
    work = {"texts": build_corpus, "functions": function_table, "library": Library.build}[name]
    work(grammar, 3)
    plan = (plan_texts if name == "texts" else plan_functions)(grammar, size)
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")
    before = peak()
    held = work(grammar, size)
    answer.append([plan.memory_bytes, plan.functions, peak() - before])
    del held
"""


@pytest.mark.fault("enumeration beyond memory or disk")
def test_the_estimate_holds(fired):
    """The most memory that Linux counts while the work runs, beside what the process held before."""
    asked = [("texts", "polynomial", 5), ("functions", "polynomial", 7), ("functions", "rational", 6)]
    asked += [("library", "polynomial", 6)]
    for (name, grammar, size), (need, functions, peak) in zip(asked, answer_of(PEAK, asked), strict=True):
        if name == "library":
            need += functions * (8 * 36 + 100)
        assert need / 3 < peak < need * 1.05 + 1e7, f"{name} of {grammar} {size}: {peak / 1e6} of {need / 1e6} MB"
        fired()


@pytest.mark.fault("enumeration beyond memory or disk")
def test_other_sizes_without_end_are_refused_too(fired):
    with pytest.raises(GrammarError, match=r"4,000,000 points: use at most 1,048,576"):
        Grid.regular(0, 0, num=2_000)
    with pytest.raises(GrammarError, match=r"1,000,000,000,000 points"):
        Grid((range(10**6), range(10**6)))
    with pytest.raises(ConfigurationError, match="use at most 64 of either"):
        PQGrams(p=10**9)
    with pytest.raises(BudgetExceeded, match="beyond counting: use at most 400"):
        weighted_counts(POLYNOMIAL, 401, "leaves", (1,) * 8)
    for num in (10**12, 10**15, 10**30):
        with pytest.raises(BudgetExceeded, match=r"programs need [\d,.e+]+ GB of memory .* draw fewer"):
            sample_programs(POLYNOMIAL, 5, num)
        with pytest.raises(BudgetExceeded, match="draw fewer"):
            PCFG(POLYNOMIAL, (0.125,) * 8).sample(num, 5)
        fired(2)
    fired(3)
