"""Universes on disk: the same as in memory whoever makes the pieces, and whole again after every accident."""

import json
import math
import multiprocessing
import re
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from fractions import Fraction

import numpy as np
import pytest

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


class Inline(Executor):
    """Runs a piece where it is submitted; looks at the world before each."""

    def __init__(self, before=lambda number: None):
        self.number, self.before = 0, before

    def submit(self, function, /, *arguments, **keywords):
        future = Future()
        try:
            self.before(self.number)
            future.set_result(function(*arguments, **keywords))
        except BaseException as error:
            future.set_exception(error)
        self.number += 1
        return future


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


def tree(folder):
    """Every file below a folder with its content."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def stamps(folder):
    """What a rewritten file could not keep."""
    found = {str(p.relative_to(folder)): p.stat() for p in folder.rglob("*") if p.is_file() and ".tmp-" not in str(p)}
    return {name: (stat.st_ino, stat.st_mtime_ns) for name, stat in found.items()}


def universes(store):
    """Folders of finished and unfinished universes."""
    return sorted((store.root / "universe").glob("*")) if store.root.exists() else []


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


# ---------------------------------------------------------------- damage


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    """A store with texts and functions, which tests copy."""
    store = Store(tmp_path_factory.mktemp("pristine") / "store")
    for make in MAKERS:
        make(store)
    return store


@pytest.fixture(params=["texts", "functions"])
def damaged(request, pristine, store):
    """A copied universe to damage: its folder, one of its pieces, and how it is made again."""
    shutil.copytree(pristine.root, store.root)
    (folder,) = (store.root / "universe").glob(f"*-{request.param}-*")
    piece = folder / ("texts-000003" if request.param == "texts" else "size-04-part-0001")
    assert store.verify() == [] and (piece / "manifest.json").exists()
    return folder, piece, make_texts if request.param == "texts" else make_functions


def read_all(universe):
    return [*universe.shards()]


def payload_of(piece):
    return max(piece.glob("*.npy"), key=lambda p: p.stat().st_size)


def flip(piece):
    path = payload_of(piece)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    return path


def truncate(piece):
    path = payload_of(piece)
    path.write_bytes(path.read_bytes()[:-1])
    return path


def empty(piece):
    path = payload_of(piece)
    path.write_bytes(b"")
    return path


def remove_payload(piece):
    path = payload_of(piece)
    path.unlink()
    return path


def remove_piece(piece):
    shutil.rmtree(piece)
    return piece


def stray_in_piece(piece):
    path = piece / "stray.npy.tmp"
    path.write_bytes(b"junk")
    return path


def stray_file(piece):
    path = piece.parent / "texts-000099.tmp"
    path.write_bytes(b"junk")
    return path


def stray_piece(piece):
    path = piece.parent / "texts-999999"
    shutil.copytree(piece, path)
    return path


def edit_manifest(piece):
    path = piece / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"rows": 1}))
    return piece


def forge_manifest(piece):
    """A flipped bit, and a piece manifest that agrees with it."""
    entry = {"bytes": flip(piece).stat().st_size, "sha256": "0" * 64}
    path = piece / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["payload"][payload_of(piece).name] = entry
    path.write_text(json.dumps(manifest))
    return piece


def truncate_manifest(piece):
    path = piece / "manifest.json"
    path.write_bytes(path.read_bytes()[:-1])
    return piece


CONTENT = [flip, truncate, empty, remove_payload, remove_piece, edit_manifest, forge_manifest, truncate_manifest]
STRAYS = [stray_in_piece, stray_file, stray_piece]


@pytest.mark.parametrize("damage", [*CONTENT, *STRAYS])
def test_damage_is_found_and_named(store, damaged, damage):
    _, piece, _ = damaged
    path = damage(piece)
    (problem,) = store.verify()
    assert str(path) in problem and "delete" in problem


@pytest.mark.parametrize("damage", [*CONTENT, *STRAYS])
def test_the_mend_that_is_named_restores_every_byte(store, pristine, damaged, damage):
    """Delete what the line says, and run again."""
    _, piece, make = damaged
    damage(piece)
    (problem,) = store.verify()
    named = re.search(r"(?:delete (\S+) and run again|^(\S+) is not in the manifest: delete it)", problem)
    target = store.root / next(filter(None, named.groups()))
    if target.is_dir():
        shutil.rmtree(target)
    else:
        target.unlink(missing_ok=True)
    make(store)
    assert store.verify() == []
    assert tree(store.root) == tree(pristine.root)


@pytest.mark.parametrize("damage", [truncate, empty, remove_payload, remove_piece, truncate_manifest])
def test_a_damaged_piece_is_named_when_it_is_read(store, damaged, damage):
    folder, piece, _ = damaged
    path = damage(piece)
    with pytest.raises(ArtifactError, match=re.escape(str(path))):
        read_all(ShardedUniverse.load(store, folder.name[-16:]))


@pytest.mark.parametrize("damage", STRAYS)
def test_strays_are_never_read(store, pristine, damaged, damage):
    folder, piece, _ = damaged
    damage(piece)
    found = read_all(ShardedUniverse.load(store, folder.name[-16:]))
    expected = read_all(ShardedUniverse.load(pristine, folder.name[-16:]))
    assert [name for name, _ in found] == [name for name, _ in expected]


def test_every_damaged_piece_has_a_line(store, damaged):
    folder, piece, _ = damaged
    other = folder / ("texts-000001" if "texts" in piece.name else "size-03-part-0000")
    paths = sorted(map(str, (flip(piece), flip(other))))
    assert [p.split(" ")[0] for p in sorted(store.verify())] == paths


@pytest.mark.parametrize("second", [flip, remove_piece, truncate])
def test_one_damaged_piece_hides_no_other(store, damaged, second):
    folder, piece, _ = damaged
    other = folder / ("texts-000001" if "texts" in piece.name else "size-03-part-0000")
    paths = [truncate(other), second(piece)]
    problems = "\n".join(store.verify())
    assert all(str(path) in problems for path in paths)


@pytest.mark.parametrize("content", [b"", b"{", b"[]"])
def test_an_unreadable_universe_manifest_is_refused(store, damaged, content):
    folder, _, make = damaged
    (folder / "manifest.json").write_bytes(content)
    (problem,) = store.verify()
    assert str(folder / "manifest.json") in problem
    with pytest.raises(ArtifactError, match=re.escape(str(folder / "manifest.json"))):
        ShardedUniverse.load(store, folder.name[-16:])
    with pytest.raises(ArtifactError, match=re.escape(str(folder / "manifest.json"))):
        make(store)


def test_a_piece_that_the_manifest_no_longer_lists_is_found(store, damaged):
    folder, piece, _ = damaged
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["shards"][piece.name]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (problem,) = store.verify()
    assert str(piece) in problem


def test_an_unfinished_universe_is_named_and_refused(store, damaged):
    folder, _, make = damaged
    (folder / "manifest.json").unlink()
    assert store.verify() == [f"{folder} has no manifest: run what made it again, or delete it"]
    with pytest.raises(ArtifactError, match=re.escape(str(folder))):
        ShardedUniverse.load(store, folder.name[-16:])
    before = stamps(folder)
    make(store, Inline())
    assert {name: s for name, s in stamps(folder).items() if name != "manifest.json"} == before
    assert store.verify() == []


def test_a_damaged_operand_is_found_before_anything_is_built_on_it(store):
    """A flipped bit in a committed size, seen by the run that goes on from it."""
    folder = make_functions(store).folder
    (folder / "manifest.json").unlink()
    for piece in folder.glob("size-04-*"):
        shutil.rmtree(piece)
    path = folder / "size-03" / "keys.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    other = shutil.move(store.root, store.root.with_name("moved"))  # another path: nothing is cached
    with pytest.raises(ArtifactError, match="size-03"):
        make_functions(Store(other))


# ---------------------------------------------------------------- failures of workers


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
    assert store.verify() == [f"{folder} has no manifest: run what made it again, or delete it"]
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


# ---------------------------------------------------------------- killed

CALLS = {
    "texts": "enumerate_texts(POLYNOMIAL, 4, store=store, rows_per_shard=1000, num_workers=2)",
    "functions": "enumerate_functions_on_disk(POLYNOMIAL, 5, store=store, partitions=6, num_workers=2)",
}
PROGRAM = """
import os, sys, time
from synthlab.store import Store
from synthlab.language.grammar import POLYNOMIAL
from synthlab.universe.shards import enumerate_functions_on_disk, enumerate_texts

sync = os.fsync
def slow(descriptor):
    time.sleep(0.005)
    sync(descriptor)
os.fsync = slow

store = Store(sys.argv[1])
{call}
"""


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Stores of the runs that nobody kills."""
    stores = {}
    for what, call in CALLS.items():
        stores[what] = Store(tmp_path_factory.mktemp("undisturbed") / "store")
        eval(call, globals() | {"store": stores[what]})
    return stores


def committed(store):
    """Pieces that are there, while others are written."""
    return [p for p in store.root.glob("universe/*/*/manifest.json") if not p.parent.name.startswith(".tmp-")]


def stop_after(store, what, num_pieces, how):
    """Run an enumeration in a process of its own, and stop it when so many pieces are committed."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM.format(call=CALLS[what]), str(store.root)], stderr=subprocess.PIPE, text=True
    )
    try:
        deadline = time.monotonic() + 120
        while len(committed(store)) < num_pieces:
            assert process.poll() is None and time.monotonic() < deadline, process.communicate()[1]
            time.sleep(0.002)
        process.send_signal(how)
        return process.wait(timeout=120), process.stderr.read()
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(
    ("num_pieces", "how"),
    [(1, signal.SIGKILL), (2, signal.SIGKILL), (13, signal.SIGKILL), (3, signal.SIGINT)],
    ids=["1 kill -9", "2 kill -9", "13 kill -9", "3 Ctrl-C"],
)
@pytest.mark.parametrize("what", CALLS)
def test_a_stopped_run_goes_on_where_it_was(store, undisturbed, what, num_pieces, how):
    code, errors = stop_after(store, what, num_pieces, how)
    assert code == -how and (how == signal.SIGKILL or errors.rstrip().endswith("KeyboardInterrupt"))
    (folder,) = universes(store)
    expected = tree(undisturbed[what].root / "universe" / folder.name)
    assert store.verify() == [f"{folder} has no manifest: run what made it again, or delete it"]
    kept = {name: c for name, c in tree(folder).items() if ".tmp-" not in name}
    assert num_pieces <= sum(name.endswith("manifest.json") for name in kept) < len(expected) / 3
    assert all(expected[name] == content for name, content in kept.items())
    before = stamps(folder)
    eval(CALLS[what], globals() | {"store": store})
    assert {name: s for name, s in stamps(folder).items() if name in before} == before
    assert {name: c for name, c in tree(folder).items() if ".tmp-" not in name} == expected
    assert store.verify() == [] and tree(folder) == expected  # no litter of the killed writers either


# One process after another, each killed at a later sync, until one survives.
KILLED_AT_EVERY_SYNC = """
import json, os, signal, sys
from concurrent.futures import Executor, Future
from synthlab.store import Store
from synthlab.language.grammar import POLYNOMIAL
from synthlab.universe.shards import enumerate_functions_on_disk, enumerate_texts

class Inline(Executor):
    def submit(self, function, /, *arguments):
        future = Future()
        future.set_result(function(*arguments))
        return future

def make(root):
    return {call}

sync, folder, report = os.fsync, sys.argv[1], []
make(folder + "/expected")
for nth in range(1, 200):
    root = folder + "/" + str(nth)
    child = os.fork()
    if not child:
        calls = 0
        def dying(descriptor):
            global calls
            calls += 1
            if calls == nth:
                os.kill(os.getpid(), signal.SIGKILL)
            sync(descriptor)
        os.fsync = dying
        make(root)
        os._exit(0)
    survived = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    damage = Store(root).verify()
    make(root)
    report.append([survived, damage, Store(root).verify()])
    if survived:
        break
print(json.dumps(report))
"""
SMALL_CALLS = {
    "texts": "enumerate_texts(POLYNOMIAL, 2, store=Store(root), rows_per_shard=40, executor=Inline())",
    "functions": "enumerate_functions_on_disk(POLYNOMIAL, 3, store=Store(root), partitions=1, executor=Inline())",
}


@pytest.mark.parametrize("what", SMALL_CALLS)
def test_a_kill_at_any_sync_is_survived(tmp_path, what):
    program = KILLED_AT_EVERY_SYNC.format(call=SMALL_CALLS[what])
    answer = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, timeout=300)
    assert answer.returncode == 0, answer.stderr
    report = json.loads(answer.stdout)
    pieces = 3  # of two payloads or more, each with a manifest and two folders to sync
    assert len(report) > 5 * pieces and [survived for survived, _, _ in report] == [False] * (len(report) - 1) + [True]
    expected = tree(tmp_path / "expected")
    for nth, (survived, damage, after) in enumerate(report, 1):
        (folder,) = universes(Store(tmp_path / str(nth)))
        unfinished = [f"{folder} has no manifest: run what made it again, or delete it"]
        assert damage in ([], unfinished) if survived or nth == len(report) - 1 else damage == unfinished
        assert after == [], f"killed at sync {nth}"
        assert tree(tmp_path / str(nth)) == expected


# ---------------------------------------------------------------- disk full


@pytest.mark.parametrize(
    "leaving", [0, 40_960, 114_688], ids=["nothing", "half a piece", "a piece without its manifest"]
)
def test_a_full_disk_is_named_and_what_was_written_stays(small_disk, tmp_path, leaving):
    """The disk is a tmpfs of 2 MB; without the right to mount, its full state is pretended."""

    def run(store, before=lambda number: None):
        return enumerate_texts(POLYNOMIAL, 4, store=store, rows_per_shard=10_000, executor=Inline(before))

    store, elsewhere = Store(small_disk.root / "store"), Store(tmp_path / "elsewhere")
    with pytest.raises(ArtifactError) as caught:
        run(store, lambda number: small_disk.fill(leaving) if number == 3 else None)
    message = str(caught.value)
    small_disk.make_room()
    (folder,) = universes(store)
    run(elsewhere)
    expected = tree(elsewhere.root / "universe" / folder.name)
    assert str(folder) in message and "\n" not in message
    assert re.search(r"needs 0\.1 MB, 0\.\d MB are free: make room, run again", message)
    before = stamps(folder)
    assert all(expected[name] == content for name, content in tree(folder).items())
    pieces = {name.split("/")[0] for name in before}
    assert {"classes", "texts-000000", "texts-000001", "texts-000002"} <= pieces and "texts-000003" not in pieces
    assert store.verify() == [f"{folder} has no manifest: run what made it again, or delete it"]
    run(store)
    assert tree(folder) == expected and store.verify() == []
    assert {name: stamp for name, stamp in stamps(folder).items() if name in before} == before


def test_a_disk_that_fills_while_functions_are_merged_is_named(small_disk, tmp_path):
    def run(store, before=lambda number: None):
        return enumerate_functions_on_disk(POLYNOMIAL, 5, store=store, partitions=2, executor=Inline(before))

    store, elsewhere = Store(small_disk.root / "store"), Store(tmp_path / "elsewhere")
    with pytest.raises(ArtifactError, match=r"needs .* MB, .* MB are free: make room, run again"):
        run(store, lambda number: small_disk.fill(8192) if number == 8 else None)  # the merge of four leaves
    small_disk.make_room()
    run(store), run(elsewhere)
    assert tree(store.root / "universe") == tree(elsewhere.root / "universe") and store.verify() == []
