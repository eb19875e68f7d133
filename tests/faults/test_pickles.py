"""Files that would run a program when they are read: refused wherever synthlab reads one, and the program never runs.

The payloads are pickles whose `__reduce__` makes a canary. They are planted with right sizes, hashes and seals, as by
somebody who can write to the store.
"""

import hashlib
import io
import json
import pickle
import stat
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from faults import deeds

from synthlab import exchange
from synthlab.durable import sealed, unsealed
from synthlab.errors import SynthlabError
from synthlab.learning import training
from synthlab.learning.checkpoints import SealedCheckpoints
from synthlab.learning.run import Run
from synthlab.splits.split import Split
from synthlab.store import Store
from synthlab.study.benchmark import benchmark_folder, load_benchmark
from synthlab.study.predictions import read_predictions
from synthlab.study.scoring import recorded_scores
from synthlab.study.study import failure
from synthlab.study.tables import read_tables, write_tables
from synthlab.study.trials import Outcomes
from synthlab.universe.corpus import Corpus

MENDS = (
    "delete",
    "write ",
    "check it out",
    "copy it",
    "pack it",
    "build ",
    "no pack of outcomes",
    "every prediction needs",
)


class Malicious:
    """What touches a file when it is unpickled."""

    def __init__(self, canary):
        self.canary = canary

    def __reduce__(self):
        return Path.touch, (self.canary,)


@pytest.fixture
def canary(tmp_path):
    """A file that no test may find; it would be there if a pickle were read."""
    path = tmp_path / "canary"
    pickle.loads(pickle.dumps(Malicious(path)))
    assert path.exists()  # the payload works
    path.unlink()
    return path


def payloads(canary):
    """The payload in every wrapping that some library unpickles, by name."""
    plain, archive, tensors, table = pickle.dumps(Malicious(canary)), io.BytesIO(), io.BytesIO(), io.BytesIO()
    np.save(archive, np.array([Malicious(canary)], dtype=object), allow_pickle=True)
    torch.save({"state_dict": Malicious(canary)}, tensors)
    old = io.BytesIO()
    torch.save({"state_dict": Malicious(canary)}, old, _use_new_zipfile_serialization=False)
    extension = {b"ARROW:extension:name": b"arrow.py_extension_type", b"ARROW:extension:metadata": plain}
    fields = pa.schema([pa.field("a", pa.int64(), metadata=extension)], {b"pandas": plain, b"pickle": plain})
    pq.write_table(pa.table([pa.array([1, 2])], schema=fields), table)
    return {
        "a pickle": plain, "an object array": archive.getvalue(), "a checkpoint of PyTorch": tensors.getvalue(),
        "an old checkpoint of PyTorch": old.getvalue(), "a table": table.getvalue(),
    }  # fmt: skip


def plant(path, content):
    """Put another content in the place of a payload of the store, with the right size, hash and seal."""
    path.write_bytes(content)
    manifest = path.parent / "manifest.json"
    about = unsealed(manifest.read_bytes())
    about["payload"][path.name] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    manifest.write_bytes(sealed(about))


def refused(read, *, named, canary):
    """Whether reading is refused in one line that names the file and a mend; else what is read is plain data."""
    try:
        found = read()
    except SynthlabError as error:
        message = str(error)
        assert "\n" not in message and named in message
        assert any(mend in message for mend in MENDS)
        return True
    finally:
        assert not canary.exists()
    assert not isinstance(found, Malicious)
    return False


# ---------------------------------------------------------------- checkpoints and weights


@pytest.mark.fault("malicious pickle")
@pytest.mark.parametrize("sealing", [True, False], ids=["sealed", "bare"])
def test_a_checkpoint_is_never_unpickled_however_well_it_is_sealed(tmp_path, canary, fired, sealing):
    corpus, split = deeds.store_with_split(tmp_path / "store")
    store = Store(tmp_path / "store")
    loaded = Corpus.load(store, corpus), Split.load(store, split)
    folder = training.run_folder(*loaded, deeds.MODEL, deeds.SHORT, store)
    folder.mkdir(parents=True)
    identity = SealedCheckpoints(Run.describe(loaded[0].identity, split, deeds.MODEL, deeds.SHORT)).identity
    contents = payloads(canary)
    for content in contents.values():
        about = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest(), "identity": identity}
        whole = b"\n".join([b"synthlab checkpoint 1", json.dumps(about).encode(), content]) if sealing else content
        path = folder / "step-000000004.ckpt"
        path.write_bytes(whole)

        def resume():
            training.train(*loaded, deeds.MODEL, deeds.SHORT, store=store, progress=False)

        assert refused(resume, named=path.name, canary=canary)
    fired(len(contents))


@pytest.mark.fault("malicious pickle")
@pytest.mark.parametrize("name", ["weights.bin", "cost.bin", "history.parquet", "answers.parquet"])
def test_no_part_of_a_stored_run_is_unpickled(trained4, tmp_path, canary, fired, name):
    contents = payloads(canary)
    for number, content in enumerate(contents.values()):
        store = Store(tmp_path / str(number))
        key = trained4.save(store)
        folder = store.folder(Run.stage, key)
        plant(folder / name, content)
        assert not canary.exists()
        try:
            Run.load(store, key).model()
        except SynthlabError as error:
            assert "\n" not in str(error)
        assert not canary.exists() and store.verify() == []  # the hashes are right: nothing but the reader protects
    fired(len(contents))


# ---------------------------------------------------------------- the store


@pytest.mark.fault("malicious pickle")
def test_arrays_and_tables_of_a_store_are_never_unpickled(corpus3, split3, tmp_path, canary, fired):
    planted = 0
    for carrier, kind_of in ((corpus3, Corpus), (split3, Split)):
        store = Store(tmp_path / carrier.stage)
        key = carrier.save(store)
        folder = store.folder(carrier.stage, key)
        whole = {path: path.read_bytes() for path in folder.iterdir()}
        for path in sorted(whole):
            if path.name == "manifest.json":
                continue
            for kind, content in payloads(canary).items():
                plant(path, content)
                was = refused(lambda s=store, k=key, c=kind_of: c.load(s, k), named=path.name, canary=canary)
                assert was or (kind == "a table") == (path.suffix == ".parquet")
                planted += 1
            for other, content in whole.items():
                other.write_bytes(content)
    assert planted >= 25
    fired(planted)


@pytest.mark.fault("malicious pickle")
def test_manifests_names_and_notes_are_json_and_nothing_else(split3, tmp_path, canary, fired):
    contents = payloads(canary)
    for number, content in enumerate(contents.values()):
        store = Store(tmp_path / str(number))
        store.name(split3, "mine")
        folder = store.folder("split", split3.key)
        (store.root / "split" / "names" / "mine.json").write_bytes(content)
        assert refused(lambda s=store: Split.load(s, "mine"), named="mine.json", canary=canary)
        (folder / "manifest.json").write_bytes(content)
        assert refused(lambda s=store: Split.load(s, split3.key), named="manifest.json", canary=canary)
        (store.root / "failures").mkdir()
        (store.root / "failures" / "abc.json").write_bytes(content)
        assert failure(store, "abc") == {} and len(store.verify()) >= 2 and not canary.exists()
    fired(3 * len(contents))


@pytest.mark.fault("malicious pickle")
def test_tables_of_a_study_and_of_the_benchmark_and_predictions_are_never_unpickled(tmp_path, canary, fired):
    planted = 0
    for name, read, copied in (
        ("study-trials.parquet", read_tables, None),
        ("study.json", read_tables, None),
        ("tasks.parquet", load_benchmark, benchmark_folder()),
        ("training.npz", load_benchmark, benchmark_folder()),
        ("scores.jsonl", recorded_scores, benchmark_folder()),
    ):
        for kind, content in payloads(canary).items():
            folder = tmp_path / f"{name}-{kind}"
            if copied is None:
                write_tables(deeds.study(1).tables(Store(tmp_path / "none")), folder, {})
            else:
                folder.mkdir()
                for path in copied.iterdir():
                    (folder / path.name).write_bytes(path.read_bytes())
            (folder / name).write_bytes(content)
            about = folder / "manifest.json"
            if copied is not None and name != "scores.jsonl":
                manifest = json.loads(about.read_bytes())
                manifest["files"][name]["sha256"] = hashlib.sha256(content).hexdigest()
                about.write_text(json.dumps(manifest))
            try:
                read(folder)
            except SynthlabError as error:
                assert "\n" not in str(error) and (
                    name in str(error) or "manifest.json" in str(error) or "study" in str(error)
                )
            assert not canary.exists()
            planted += 1
    for suffix in (".jsonl", ".parquet"):
        for kind, content in payloads(canary).items():
            path = tmp_path / f"{kind}{suffix}"
            path.write_bytes(content)
            assert refused(lambda p=path: read_predictions(p), named=path.name, canary=canary)
            planted += 1
    fired(planted)


# ---------------------------------------------------------------- packs

SCHEMAS = {Outcomes.stage: Outcomes.schema}


@pytest.fixture
def packed(tmp_path):
    """A pack of one outcome, and the names of its members."""
    one, store = deeds.trial(0), Store(tmp_path / "there")
    results = pd.DataFrame({"part": ["id"], "class_id": [3], "solved": [True]})
    key = Outcomes(one.identity, results, pd.DataFrame([{"num_train": 5}])).save(store)
    (path,) = exchange.pack(store, Outcomes.stage, [key], tmp_path / "pack")
    return path


def repacked(packed, target, change):
    """The pack with other members: `change` makes names and contents from names and contents."""
    with zipfile.ZipFile(packed) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in change(members):
            archive.writestr(name, content)
    return target


@pytest.mark.fault("malicious pickle")
def test_a_pack_with_pickles_is_refused_and_nothing_of_it_stays(packed, tmp_path, canary, fired):
    planted = 0
    for kind, content in payloads(canary).items():

        def forge(members, content=content):
            (name,) = (n for n in members if n.endswith("results.parquet"))
            (manifest,) = (n for n in members if n.endswith("manifest.json"))
            about = unsealed(members[manifest])
            about["payload"]["results.parquet"] = {
                "sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)
            }  # fmt: skip
            return (members | {name: content, manifest: sealed(about)}).items()

        path, here = repacked(packed, tmp_path / f"{planted}.zip", forge), Store(tmp_path / f"here-{planted}")
        was = refused(lambda p=path, h=here: exchange.merge(h, [p], SCHEMAS), named=path.name, canary=canary)
        assert was or kind == "a table"
        planted += 1
        path = tmp_path / f"bare-{planted}.zip"
        path.write_bytes(content)
        assert refused(lambda p=path, h=here: exchange.merge(h, [p], SCHEMAS), named=path.name, canary=canary)
        planted += 1
    fired(planted)


@pytest.mark.fault("malicious pickle")
@pytest.mark.parametrize(
    "where",
    ["../../outside", "/{root}/outside", "outcomes/../../outside", "..\\..\\outside", "outcomes/a-0/../outside"],
)
@pytest.mark.parametrize("linked", [False, True], ids=["file", "link"])
def test_no_member_of_a_pack_is_written_elsewhere(packed, tmp_path, fired, where, linked):
    name = where.replace("{root}", str(tmp_path).lstrip("/"))
    member = zipfile.ZipInfo(name)
    if linked:
        member.external_attr = (stat.S_IFLNK | 0o777) << 16
    path = repacked(packed, tmp_path / "bad.zip", lambda members: [*members.items(), (member, b"/etc/passwd")])
    before = sorted(tmp_path.rglob("*"))
    here = Store(tmp_path / "here")
    assert refused(lambda: exchange.merge(here, [path], SCHEMAS), named="bad.zip", canary=tmp_path / "outside")
    assert sorted(p for p in tmp_path.rglob("*") if here.root not in (p, *p.parents)) == before
    assert not [p for p in here.root.rglob("*") if p.is_file() or p.is_symlink()]
    fired()


@pytest.mark.fault("malicious pickle")
@pytest.mark.parametrize("honest", [True, False], ids=["declared", "understated"])
def test_a_small_pack_that_would_unpack_to_gigabytes_is_refused_before_it_takes_memory(packed, tmp_path, fired, honest):
    size = 300 << 20
    with zipfile.ZipFile(packed) as archive:
        name = next(n for n in archive.namelist() if n.endswith("results.parquet"))
    path = tmp_path / "bomb.zip"
    compressed = zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1)
    with compressed as archive, archive.open(name, "w") as member:
        for _ in range(size >> 20):
            member.write(bytes(1 << 20))
    assert path.stat().st_size < 4 << 20
    if not honest:  # both headers say that it is small
        raw, told = path.read_bytes(), size.to_bytes(4, "little")
        assert raw.count(told) >= 2
        path.write_bytes(raw.replace(told, (1000).to_bytes(4, "little")))
    tracemalloc.start()
    try:
        here = Store(tmp_path / "here")
        assert refused(lambda: exchange.merge(here, [path], SCHEMAS), named="bomb.zip", canary=tmp_path / "canary")
        assert tracemalloc.get_traced_memory()[1] < 50 << 20
    finally:
        tracemalloc.stop()
    assert not [p for p in here.root.rglob("*") if p.is_file()]
    fired()
