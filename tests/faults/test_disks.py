"""Disks that are full or read-only, and files that are cut off: for real, on a tmpfs of two megabytes."""

import re
import shutil

import numpy as np
import pandas as pd
import pytest
from faults.killing import Inline, stamps, tree, unfinished, universes

from synthlab import durable
from synthlab import store as stores
from synthlab.durable import write_atomically
from synthlab.errors import ArtifactError
from synthlab.exchange import pack, unpack
from synthlab.language.grammar import POLYNOMIAL
from synthlab.spaces.syntactic import fit_syntactic
from synthlab.store import Store
from synthlab.study.tables import StudyTables, read_tables, write_tables
from synthlab.study.trials import Outcomes
from synthlab.universe.corpus import Corpus, build_corpus
from synthlab.universe.shards import ShardedUniverse, enumerate_functions_on_disk, enumerate_texts


def tables(seed, rows=20_000):
    """A study of one trial whose results do not compress."""
    results = pd.DataFrame({"trial": "0" * 16, "loss": np.random.default_rng(seed).random(rows)})
    trials = pd.DataFrame({"trial": ["0" * 16], "group": ["density"]})
    return StudyTables(trials, {"density": results}, trials[:0], {})


def outcome(number, rows=20_000):
    results = pd.DataFrame({"part": "id", "loss": np.random.default_rng(number).random(rows)})
    return Outcomes({"number": number}, results, pd.DataFrame({"seconds": [1.0]}))


@pytest.fixture(scope="module")
def corpus2():
    return build_corpus(POLYNOMIAL, 2)


def publish(root, new):
    write_tables(tables(int(new)), root / "tables", {})


def export(root, new):
    """Outcomes of a store on another disk are packed here."""
    source = Store(root.parent.parent / "source")
    for number in range(3):
        outcome(number, 20_000).save(source)
    pack(source, "outcomes", [outcome(n).key for n in range(2 + new)], root / "packs" / "mine", max_bytes=1 << 30)


def merging(root, new):
    """Outcomes of another store, unpacked here."""
    other = root.parent.parent
    export(other / "packed" / "there", new)
    unpack(Store(root / "store"), other / "packed" / "there" / "packs" / "mine-1.zip", {"outcomes": Outcomes.schema})


def embed(root, new):
    corpus = build_corpus(POLYNOMIAL, 2 + new)
    store = Store(root / "store")
    corpus.save(store)
    fit_syntactic(corpus, num_axes=8).save(store)


def rename(root, new):
    store = Store(root / "store")
    for number in (0, 1):
        outcome(number, 3).save(store)
    store.name(outcome(int(new), 3), "best")


WRITERS = [publish, export, merging, embed, rename]


@pytest.mark.fault("disk full")
@pytest.mark.parametrize(
    "leaving", [0, 40_960, 114_688], ids=["nothing", "half a piece", "a piece without its manifest"]
)
def test_a_full_disk_is_named_and_the_pieces_that_were_written_stay(small_disk, tmp_path, leaving, fired):
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
    assert unfinished(store) == [folder]
    run(store)
    assert tree(folder) == expected and store.verify() == []
    assert {name: stamp for name, stamp in stamps(folder).items() if name in before} == before
    fired()


@pytest.mark.fault("disk full")
def test_a_disk_that_fills_while_functions_are_merged_is_named(small_disk, tmp_path, fired):
    def run(store, before=lambda number: None):
        return enumerate_functions_on_disk(POLYNOMIAL, 5, store=store, partitions=2, executor=Inline(before))

    store, elsewhere = Store(small_disk.root / "store"), Store(tmp_path / "elsewhere")
    with pytest.raises(ArtifactError, match=r"needs .* MB, .* MB are free: make room, run again"):
        run(store, lambda number: small_disk.fill(8192) if number == 8 else None)  # the merge of four leaves
    small_disk.make_room()
    run(store), run(elsewhere)
    assert tree(store.root / "universe") == tree(elsewhere.root / "universe") and store.verify() == []
    fired()


@pytest.mark.fault("disk full")
@pytest.mark.parametrize("found", ["before", "while writing"])
@pytest.mark.parametrize("write", WRITERS)
def test_whoever_writes_to_a_full_disk_says_so_and_leaves_what_was_there(
    small_disk, tmp_path, monkeypatch, write, found, fired
):
    """While writing: the space that is asked for lies, as where another program fills the disk meanwhile."""
    (small_disk.root / "here").mkdir()
    write(small_disk.root / "here", False)
    before = tree(small_disk.root / "here")
    small_disk.fill(0 if write is rename else 8192)
    with monkeypatch.context() as patch:
        if found == "while writing":
            patch.setattr(stores, "require_space", lambda *arguments, **options: None)
        with pytest.raises(ArtifactError, match=r"needs [\d.]+ MB, 0\.0 MB are free.*: make room, run again") as caught:
            write(small_disk.root / "here", True)
    assert str(small_disk.root) in str(caught.value) and "\n" not in str(caught.value)
    left = tree(small_disk.root / "here")
    assert {name: left[name] for name in before} == before
    assert not any(".tmp-" in name for name in left)
    if write is publish:
        assert read_tables(small_disk.root / "here" / "tables").results["density"].equals(tables(0).results["density"])
    small_disk.make_room()
    write(small_disk.root / "here", True)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for new in (False, True):
        write(elsewhere / "here", new)
    assert tree(small_disk.root / "here") == tree(elsewhere / "here")
    assert Store(small_disk.root / "here" / "store").verify() == []
    fired()


@pytest.mark.fault("disk full")
def test_a_disk_that_holds_bytes_but_no_more_files_is_named_as_such(tmp_path, small_disk, corpus2, fired):
    if not small_disk.limit_files(3):
        pytest.skip("the number of files of a disk can be limited by root only")
    with pytest.raises(ArtifactError, match=r"but the disk takes no more \(a quota, or too many files\): make room"):
        corpus2.save(Store(small_disk.root / "store"))
    assert small_disk.limit_files(1000)
    corpus2.save(Store(small_disk.root / "store"))
    assert Store(small_disk.root / "store").verify() == []
    fired()


@pytest.mark.fault("a folder that cannot be written")
@pytest.mark.parametrize("write", WRITERS)
def test_whoever_writes_to_a_read_only_disk_says_so_in_one_line(small_disk, write, fired):
    (small_disk.root / "here").mkdir()
    write(small_disk.root / "here", False)
    before = tree(small_disk.root / "here")
    if not small_disk.read_only():
        pytest.skip("a disk can be made read-only by root only")
    with pytest.raises(ArtifactError, match=r"cannot be written \(Read-only file system\)") as caught:
        write(small_disk.root / "here", True)
    assert str(small_disk.root) in str(caught.value) and "\n" not in str(caught.value)
    assert tree(small_disk.root / "here") == before
    fired()


@pytest.mark.fault("disk full")
def test_a_device_that_is_always_full_refuses_the_bytes_themselves(tmp_path, monkeypatch, fired):
    """/dev/full gives the error of the system to anybody, at the write and not at the sync."""
    write_atomically(tmp_path / "file", b"old")
    monkeypatch.setattr(durable, "temporary_in", lambda folder: folder / "full")
    (tmp_path / "full").symlink_to("/dev/full")
    with pytest.raises(ArtifactError, match=r"needs 0\.1 MB, .* MB are free.*: make room, run again"):
        write_atomically(tmp_path / "file", bytes(50_001))
    assert (tmp_path / "file").read_bytes() == b"old"
    fired()


# ---------------------------------------------------------------- cut off while it is read


@pytest.mark.fault("a file cut off while it is read")
@pytest.mark.parametrize("left", [0, 1, 40])
def test_a_payload_that_is_cut_off_between_manifest_and_content_is_named(tmp_path, monkeypatch, corpus2, left, fired):
    """Nothing of the store is mapped into memory, so this is an error and never a signal."""
    store = Store(tmp_path / "store")
    key, original = corpus2.save(store), stores.read_payload
    path = store.folder("corpus", key) / "prefix.npy"

    def cut(folder, manifest):
        path.write_bytes(path.read_bytes()[:left])
        return original(folder, manifest)

    monkeypatch.setattr(stores, "read_payload", cut)
    with pytest.raises(ArtifactError, match=re.escape(f"{path} has {left} bytes, not")):
        Corpus.load(store, key)
    fired()


@pytest.mark.fault("a file cut off while it is read")
def test_a_piece_that_is_cut_off_while_the_pieces_before_it_are_read_is_named(tmp_path, fired):
    store = Store(tmp_path / "store")
    made = enumerate_texts(POLYNOMIAL, 2, store=store, rows_per_shard=20, executor=Inline())
    path, seen = made.folder / "texts-000002" / "prefix.npy", []
    with pytest.raises(ArtifactError, match=re.escape(f"{path} has 100 bytes, not")):
        for name, _ in ShardedUniverse.load(store, made.key).shards():
            seen.append(name)
            if name == "texts-000001":
                path.write_bytes(path.read_bytes()[:100])
    assert seen[-1] == "texts-000001"
    assert enumerate_texts(POLYNOMIAL, 2, store=store, rows_per_shard=20, executor=Inline()).key == made.key
    (problem,) = store.verify()
    shutil.rmtree(problem.delete)
    enumerate_texts(POLYNOMIAL, 2, store=store, rows_per_shard=20, executor=Inline())
    assert store.verify() == []
    fired()
