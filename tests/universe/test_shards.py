"""Universes on disk: the same as in memory whoever makes the pieces, and whole again after every accident."""

import math
import multiprocessing
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from fractions import Fraction

import numpy as np
import pytest
from faults.killing import Inline, stamps, tree, unfinished, universes

from synthlab.errors import ArtifactError, BudgetExceeded, ConfigurationError, GrammarError
from synthlab.language import grammar as grammar_module
from synthlab.language.grammar import PIECEWISE, POLYNOMIAL, RATIONAL, Grammar, Grid
from synthlab.language.operator import ADD, NEGATE, Operator
from synthlab.store import Store
from synthlab.universe import building, planning, sharding, shards
from synthlab.universe.corpus import build_corpus, function_table
from synthlab.universe.counting import program_counts
from synthlab.universe.planning import Limits, plan_functions, plan_texts
from synthlab.universe.shards import ShardedUniverse, enumerate_functions_on_disk, enumerate_texts

UNARY = Grammar(name="unary", variables=("x",), constants=(1,), operators=(ADD, NEGATE), grid=Grid.regular(0))


def means(weight=1):
    """A grammar that is registered nowhere, whose operators are lambdas that close over a variable."""
    mean = Operator(symbol="mean", arity=2, meaning=lambda a, b: (a + b) / 2, commutative=True, integral=False)
    fused = Operator(symbol="fused", arity=3, meaning=lambda a, b, c: a * b + weight * c)
    return Grammar(name="means", variables=("x", "y"), constants=(1,), operators=(mean, fused))


def gaps():
    """As `means`, without a field function: identity by probes."""
    gap = Operator(symbol="gap", arity=2, meaning=lambda a, b: np.abs(a - b), field=None, commutative=True)
    third = Operator(symbol="third", arity=1, meaning=lambda a: a / 3, field=None, integral=False)
    return Grammar(
        name="gaps", variables=("x", "y"), constants=(2,), operators=(gap, third), grid=Grid.regular(Fraction(1, 2), 0)
    )  # fmt: skip


@pytest.fixture(scope="module")
def processes():
    """Two fresh interpreters, which know no grammar of this module."""
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield pool


@pytest.fixture(params=["threads", "own threads", "inline", "processes"])
def executor(request):
    if request.param == "threads":
        with ThreadPoolExecutor(3) as pool:
            yield pool
    elif request.param == "processes":
        yield request.getfixturevalue("processes")
    else:
        yield Inline() if request.param == "inline" else None


def same_texts(universe, corpus):
    """Whether the blocks, in order, are the rows of a corpus."""
    start = 0
    for prefix, class_index in universe.texts():
        rows = slice(start, start + len(prefix))
        assert prefix.dtype == np.uint8 and (prefix == corpus.prefix[rows]).all()
        assert class_index.dtype == np.int32 and (class_index == corpus.class_index[rows]).all()
        start += len(prefix)
    assert start == len(universe) == corpus.num_programs
    classes = dict(universe.shards())[sharding.CLASSES]
    return (classes["keys"] == corpus.fingerprints).all() and (classes["class_id"] == corpus.class_id).all()


def same_functions(universe, table):
    """Whether the pieces join to a table."""
    found = universe.functions()
    assert len(found) == len(universe) == len(table)
    for name in ("tokens", "operands", "sizes", "keys", "values"):
        assert np.array_equal(getattr(found, name), getattr(table, name)), name
    return np.array_equal(found.text(), table.text()) and found.counts() == table.counts()


# ---------------------------------------------------------------- the same as in memory


@pytest.mark.parametrize(
    ("grammar", "size", "measure", "rows"),
    [
        (POLYNOMIAL, 4, "leaves", 10_000),
        (RATIONAL, 3, "leaves", 1),
        (RATIONAL, 4, "leaves", 84_036),
        (PIECEWISE, 3, "leaves", 1000),
        (POLYNOMIAL, 7, "nodes", 30_001),
        (UNARY, 6, "nodes", 17),
        (POLYNOMIAL, 2, "depth", 5000),
        (POLYNOMIAL, 1, "leaves", 2),
        (means(), 5, "leaves", 800),
        (gaps(), 5, "nodes", 40),
    ],
    ids=lambda value: value.name if isinstance(value, Grammar) else str(value),
)
def test_texts_on_disk_are_the_corpus(store, grammar, size, measure, rows):
    if rows == 1:
        size, rows = 2, 1
    universe = enumerate_texts(grammar, size, measure=measure, store=store, rows_per_shard=rows)
    assert same_texts(universe, build_corpus(grammar, size, measure=measure))
    blocks = [len(prefix) for prefix, _ in universe.texts()]
    assert all(b == rows for b in blocks[:-1]) and len(blocks) == math.ceil(len(universe) / rows)
    assert store.verify() == []


@pytest.mark.parametrize(
    ("grammar", "size", "measure"),
    [
        (POLYNOMIAL, 6, "leaves"),
        (RATIONAL, 5, "leaves"),
        (PIECEWISE, 3, "leaves"),
        (POLYNOMIAL, 8, "nodes"),
        (UNARY, 9, "nodes"),
        (means(), 6, "leaves"),
        (gaps(), 6, "nodes"),
    ],
    ids=lambda value: value.name if isinstance(value, Grammar) else str(value),
)
@pytest.mark.parametrize("partitions", [1, 5])
def test_functions_on_disk_are_the_table(store, grammar, size, measure, partitions):
    universe = enumerate_functions_on_disk(grammar, size, measure=measure, store=store, partitions=partitions)
    assert same_functions(universe, function_table(grammar, size, measure=measure))
    assert store.verify() == []


def test_a_universe_of_leaves_is_their_functions(store):
    universe = enumerate_functions_on_disk(POLYNOMIAL, 1, store=store)
    assert same_functions(universe, function_table(POLYNOMIAL, 1)) and len(universe) == 5


@pytest.mark.parametrize("partitions", [1, 2, 3, 7, 64])
def test_partitions_divide_the_functions(store, partitions):
    universe = enumerate_functions_on_disk(RATIONAL, 4, store=store, partitions=partitions)
    table = function_table(RATIONAL, 4)
    assert same_functions(universe, table)
    rows = universe.frame().set_index("shard")["rows"]
    for size, count in enumerate(table.counts()[1:], 2):
        parts = [rows[sharding.part_name(size, p)] for p in range(partitions)]
        assert sum(parts) == count and (size < 4 or max(parts) < count / partitions + 6 * math.sqrt(count))


@pytest.mark.parametrize("make", [means, gaps])
def test_whoever_makes_the_pieces_every_byte_is_the_same(tmp_path, executor, make):
    """Grammars of this module reach fresh processes by value: they are registered nowhere."""
    grammar, measure = make(), "nodes"
    expected, found = Store(tmp_path / "expected"), Store(tmp_path / "found")
    for store, settings in ((expected, {"num_workers": 1}), (found, {"executor": executor, "num_workers": 3})):
        enumerate_texts(grammar, 5, measure=measure, store=store, rows_per_shard=50, **settings)
        enumerate_functions_on_disk(grammar, 5, measure=measure, store=store, partitions=3, **settings)
    assert len(universes(found)) == 2
    assert tree(found.root) == tree(expected.root)
    assert found.verify() == []


def test_an_executor_of_the_caller_stays_open(store):
    with ThreadPoolExecutor(1) as pool:
        enumerate_texts(POLYNOMIAL, 2, store=store, rows_per_shard=10, executor=pool)
        with pytest.raises(ZeroDivisionError):
            enumerate_texts(POLYNOMIAL, 3, store=store, rows_per_shard=100, executor=Inline(lambda _: 1 / 0))
        assert pool.submit(len, "abc").result() == 3


@pytest.mark.parametrize("progress", [False, True])
def test_progress_is_shown_on_demand(store, capsys, progress):
    enumerate_texts(POLYNOMIAL, 2, store=store, rows_per_shard=20, progress=progress)
    captured = capsys.readouterr()
    assert captured.out == "" and ("4/4" in captured.err) is progress


# ---------------------------------------------------------------- opening


def make_texts(store, executor=None, grammar=POLYNOMIAL):
    return enumerate_texts(grammar, 3, store=store, rows_per_shard=300, executor=executor)


def make_functions(store, executor=None, grammar=POLYNOMIAL):
    return enumerate_functions_on_disk(grammar, 4, store=store, partitions=3, executor=executor)


MAKERS = [make_texts, make_functions]


def refuse(*arguments, **keywords):
    raise AssertionError("work that was done already")


@pytest.mark.parametrize("make", MAKERS)
def test_a_universe_is_loaded_by_key(store, make):
    made = make(store)
    loaded = ShardedUniverse.load(store, made.key)
    assert loaded.manifest == made.manifest and loaded.grammar is POLYNOMIAL and len(loaded) == len(made)
    assert made.key in made.folder.name and f"{len(made):,} {made.what}" in repr(loaded)
    frame = loaded.frame()
    assert list(frame["shard"]) == [name for name, _ in loaded.shards()]
    assert list(frame["rows"]) == [len(next(iter(payload.values()))) for _, payload in loaded.shards()]


def test_texts_and_functions_are_not_confused(store):
    texts, functions = make_texts(store), make_functions(store)
    assert (texts.what, functions.what) == ("texts", "functions")
    with pytest.raises(ConfigurationError, match="holds texts, not functions: enumerate its functions"):
        texts.functions()
    with pytest.raises(ConfigurationError, match="holds functions, not texts: enumerate its texts"):
        next(functions.texts())


@pytest.mark.parametrize("make", MAKERS)
def test_opening_a_finished_universe_writes_nothing(store, monkeypatch, make):
    made = make(store)
    before = stamps(store.root)
    for name in ("write_texts", "write_functions", "merge_size"):
        monkeypatch.setattr(sharding, name, refuse)
    monkeypatch.setattr(sharding.Job, "write", refuse)
    monkeypatch.setattr(building, "write_atomically", refuse)
    assert make(store, Inline(refuse)).manifest == made.manifest
    assert stamps(store.root) == before


def test_opening_finished_texts_does_not_enumerate_their_functions(store, monkeypatch):
    made = make_texts(store)
    monkeypatch.setattr(shards, "function_table", refuse)
    assert make_texts(store).manifest == made.manifest


@pytest.mark.parametrize("make", MAKERS)
def test_a_changed_grammar_is_another_universe(store, monkeypatch, make):
    first, second = means(1), means(2)
    monkeypatch.setitem(grammar_module._REGISTRY, "means", first)
    made = make(store, grammar=first)
    assert ShardedUniverse.load(store, made.key).key == made.key
    monkeypatch.setitem(grammar_module._REGISTRY, "means", second)
    with pytest.raises(ArtifactError, match="was made with another grammar 'means': enumerate it again"):
        ShardedUniverse.load(store, made.key)
    again = make(store, grammar=second)
    assert again.key != made.key and len(universes(store)) == 2
    monkeypatch.delitem(grammar_module._REGISTRY, "means")
    with pytest.raises(GrammarError, match="unknown grammar 'means'"):
        ShardedUniverse.load(store, made.key)
    assert store.verify() == []


def test_what_decides_the_content_decides_the_key(store):
    keys = {
        enumerate_functions_on_disk(POLYNOMIAL, 3, store=store, partitions=1).key,
        enumerate_functions_on_disk(POLYNOMIAL, 3, store=store, partitions=2).key,
        enumerate_functions_on_disk(POLYNOMIAL, 3, store=store, partitions=2, seed=1).key,
        enumerate_functions_on_disk(POLYNOMIAL, 3, store=store, partitions=2, measure="nodes").key,
        enumerate_functions_on_disk(POLYNOMIAL, 2, store=store, partitions=2).key,
        enumerate_texts(POLYNOMIAL, 3, store=store, rows_per_shard=1000).key,
        enumerate_texts(POLYNOMIAL, 3, store=store, rows_per_shard=1001).key,
    }
    assert len(keys) == 7 == len(universes(store))
    assert enumerate_texts(POLYNOMIAL, 3, store=store, rows_per_shard=1000, num_workers=1).key in keys


def test_an_unknown_universe_is_refused(store):
    with pytest.raises(ArtifactError, match="no universe '0123456789abcdef'"):
        ShardedUniverse.load(store, "0123456789abcdef")


# ---------------------------------------------------------------- refused before work

REFUSED = [
    (enumerate_texts, Limits(disk_bytes=1e4), r"need .* of disk \(.* allowed\)"),
    (enumerate_texts, Limits(memory_bytes=1e3), r"memory|MB leave no room"),
    (enumerate_texts, Limits(seconds=1e-9), r"of time"),
    (enumerate_functions_on_disk, Limits(disk_bytes=1e4), r"need .* of disk \(.* allowed\)"),
    (enumerate_functions_on_disk, Limits(memory_bytes=1e4), r"GB|MB"),
    (enumerate_functions_on_disk, Limits(seconds=1e-9), r"of time"),
]


@pytest.mark.parametrize(("make", "limits", "words"), REFUSED)
def test_what_would_not_fit_is_refused_before_anything_is_written(store, make, limits, words):
    with pytest.raises(BudgetExceeded, match=words):
        make(POLYNOMIAL, 5, store=store, limits=limits)
    assert universes(store) == []


def test_texts_that_leave_no_memory_beside_their_functions_are_refused(store):
    functions = plan_functions(POLYNOMIAL, 4).memory_bytes
    with pytest.raises(BudgetExceeded):
        enumerate_texts(POLYNOMIAL, 4, store=store, limits=Limits(memory_bytes=functions), num_workers=10_000)
    assert universes(store) == []


def test_a_nearly_full_disk_is_refused_before_anything_is_written(store, monkeypatch):
    monkeypatch.setattr(shards, "free_disk", lambda folder: 1e5)
    for make in (enumerate_texts, enumerate_functions_on_disk):
        with pytest.raises(BudgetExceeded, match=r"of disk .*: \d leaves would fit"):
            make(POLYNOMIAL, 6, store=store)
    assert universes(store) == []


@pytest.mark.parametrize("make", [enumerate_texts, enumerate_functions_on_disk])
def test_a_disk_without_a_free_byte_is_refused_as_such(store, monkeypatch, make):
    monkeypatch.setattr(shards, "free_disk", lambda folder: 0.0)
    with pytest.raises(BudgetExceeded, match="of disk"):
        make(POLYNOMIAL, 3, store=store)


@pytest.mark.parametrize("grammar", [POLYNOMIAL, RATIONAL, means()], ids=lambda g: g.name)
def test_the_disk_that_is_asked_for_suffices(store, grammar):
    """Beside the manifests, which are a fixed number of bytes a piece."""
    functions = enumerate_functions_on_disk(grammar, 5, store=store, partitions=2)
    texts = enumerate_texts(grammar, 4, store=store, rows_per_shard=50_000)
    for universe, plan in ((functions, plan_functions(grammar, 5)), (texts, plan_texts(grammar, 4))):
        written = sum(p.stat().st_size for p in universe.folder.rglob("*.npy"))
        assert written <= plan.disk_bytes + 1024 * len(universe.manifest["shards"]), universe.what


def test_functions_by_depth_are_refused_with_the_mend(store):
    with pytest.raises(ConfigurationError, match="by depth are enumerated in memory: use function_table, leaves or"):
        enumerate_functions_on_disk(POLYNOMIAL, 2, measure="depth", store=store)
    assert universes(store) == []


@pytest.mark.parametrize("make", [enumerate_texts, enumerate_functions_on_disk])
@pytest.mark.parametrize("size", [0, -1])
def test_empty_universes_are_refused(store, make, size):
    with pytest.raises(ConfigurationError, match=f"a universe of {size} leaves is empty"):
        make(POLYNOMIAL, size, store=store)
    assert universes(store) == []


@pytest.mark.parametrize("make", [enumerate_texts, enumerate_functions_on_disk])
def test_sizes_beyond_exact_identity_are_refused(store, make):
    with pytest.raises(BudgetExceeded, match="is proven up to"):
        make(POLYNOMIAL, 60, store=store)
    assert universes(store) == []


@pytest.mark.parametrize(
    ("make", "settings"),
    [
        (enumerate_texts, {"rows_per_shard": -5}),
        (enumerate_texts, {"num_workers": -1}),
        (enumerate_functions_on_disk, {"partitions": -1}),
        (enumerate_functions_on_disk, {"num_workers": -1}),
    ],
)
def test_negative_settings_are_refused(store, make, settings):
    (name,) = settings
    with pytest.raises(ConfigurationError, match=name):
        make(POLYNOMIAL, 2, store=store, **settings)
    assert universes(store) == []


# ---------------------------------------------------------------- pieces follow the memory


def test_pieces_of_texts_follow_the_memory(store):
    """All workers together hold no more than allowed."""
    rows = []
    for memory, workers in ((64e9, 2), (4e6, 2), (4e6, 8), (1e6, 8)):
        limits, place = Limits(memory_bytes=memory), Store(store.root / f"{memory:.0f}-{workers}")
        universe = enumerate_texts(POLYNOMIAL, 4, store=place, limits=limits, num_workers=workers)
        rows.append(universe.manifest["identity"]["rows_per_shard"])
        assert same_texts(universe, build_corpus(POLYNOMIAL, 4))
        arrays = 7 + 4 + 8 + 16  # tokens, class, id and fingerprint of every text
        assert rows[-1] * arrays * workers <= memory
    assert rows == sorted(rows, reverse=True) and rows[0] > sum(program_counts(POLYNOMIAL, 4)) > rows[1]
    assert len(set(rows)) == 4


def test_pieces_of_functions_follow_the_memory(store):
    plan = plan_functions(POLYNOMIAL, 5)
    table, partitions = function_table(POLYNOMIAL, 5), []
    for memory in (64e9, plan.memory_bytes, plan.memory_bytes / 2, plan.memory_bytes / 3):
        universe = enumerate_functions_on_disk(
            POLYNOMIAL, 5, store=Store(store.root / f"{memory:.0f}"), limits=Limits(memory_bytes=memory), num_workers=2
        )
        partitions.append(universe.manifest["identity"]["partitions"])
        assert same_functions(universe, table)
    assert partitions[0] == 2 and partitions == sorted(partitions) and partitions[-1] > partitions[1] >= 2


def test_more_workers_than_memory_for_their_operands_are_refused(store):
    memory = plan_functions(POLYNOMIAL, 5).memory_bytes
    with pytest.raises(BudgetExceeded):
        enumerate_functions_on_disk(POLYNOMIAL, 5, store=store, limits=Limits(memory_bytes=memory), num_workers=100)
    assert universes(store) == []


# ---------------------------------------------------------------- failures of workers


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    """A store with texts and functions, which tests copy."""
    store = Store(tmp_path_factory.mktemp("pristine") / "store")
    for make in MAKERS:
        make(store)
    return store


WRITERS = [(make_texts, "write_texts"), (make_functions, "write_functions"), (make_functions, "merge_size")]


@pytest.mark.parametrize("error", [RuntimeError("worker lost"), MemoryError(), KeyboardInterrupt()], ids=repr)
@pytest.mark.parametrize(("make", "writer"), WRITERS)
def test_a_failing_worker_leaves_the_rest_intact(store, pristine, monkeypatch, make, writer, error):
    """The second call fails; what was committed is neither lost nor made again."""
    original, calls = getattr(sharding, writer), []

    def failing(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise error
        return original(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(sharding, writer, failing)
        with pytest.raises(type(error)):
            make(store)
    (folder,) = universes(store)
    assert unfinished(store) == [folder]
    before = stamps(folder)
    assert before and not list(folder.glob(".tmp-*"))
    undisturbed = tree(pristine.root / "universe" / folder.name)
    assert all(undisturbed[name] == content for name, content in tree(folder).items())
    make(store)
    assert tree(folder) == undisturbed
    assert {name: stamp for name, stamp in stamps(folder).items() if name in before} == before


@pytest.mark.parametrize("make", MAKERS)
def test_after_a_failure_what_waits_is_cancelled(store, make):
    futures = []

    class Stuck(Executor):
        """The first piece fails, the others wait for a worker that never comes."""

        def submit(self, function, /, *arguments):
            futures.append(Future())
            if len(futures) == 1:
                futures[0].set_exception(RuntimeError("worker lost"))
            return futures[-1]

    with pytest.raises(RuntimeError, match="worker lost"):
        make(store, Stuck())
    assert len(futures) > 1 and all(f.cancelled() for f in futures[1:])


def test_two_runs_at_once_make_one_universe(store, pristine):
    """Rename decides between two writers of a piece; their content is the same."""
    with ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(make, store, Inline()) for make in MAKERS for _ in range(2)]
        assert [len(f.result()) for f in futures] == [2330, 2330, 2217, 2217]
    assert tree(store.root) == tree(pristine.root)
    assert store.verify() == []


@pytest.mark.parametrize(
    ("make", "size", "free"),
    [(enumerate_texts, 4, (4e6, 3e6)), (enumerate_functions_on_disk, 5, (1.5e6, 5e5))],
    ids=["texts", "functions"],
)
def test_going_on_does_not_depend_on_the_free_memory(store, monkeypatch, make, size, free):
    """The same call, while another program holds some of the memory."""

    def interrupt(number):
        if number == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(planning, "free_memory", lambda: free[0])
    with pytest.raises(KeyboardInterrupt):
        make(POLYNOMIAL, size, store=store, num_workers=2, executor=Inline(interrupt))
    (folder,) = universes(store)
    before = stamps(folder)
    monkeypatch.setattr(planning, "free_memory", lambda: free[1])
    make(POLYNOMIAL, size, store=store, num_workers=2, executor=Inline())
    assert universes(store) == [folder]
    assert {name: stamp for name, stamp in stamps(folder).items() if name in before} == before
