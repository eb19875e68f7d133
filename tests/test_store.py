"""Artifacts are keyed by content, committed whole, and every kind of damage is found and named."""

import contextlib
import os
import re
import shutil
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthlab.durable import sealed, unsealed, write_atomically
from synthlab.errors import ArtifactError, ConfigurationError
from synthlab.store import Carrier, Store, content_key, default_root


@dataclass(frozen=True, eq=False)
class Note(Carrier):
    """One array, one table and some bytes."""

    stage: ClassVar[str] = "note"

    title: str = "first"
    numbers: np.ndarray = field(default_factory=lambda: np.arange(5))

    @property
    def identity(self):
        return {"title": self.title}

    def payload(self):
        table = pd.DataFrame({"n": self.numbers, "text": [f"<{n}>" for n in self.numbers]})
        return {"numbers": self.numbers, "table": table, "blob": b"\x00\x01" + self.title.encode()}

    @classmethod
    def restore(cls, identity, payload):
        assert payload["blob"] == b"\x00\x01" + identity["title"].encode()
        assert payload["table"]["n"].tolist() == payload["numbers"].tolist()
        return cls(identity["title"], payload["numbers"])

    def frame(self):
        return self.payload()["table"]


class NewerNote(Note):
    schema: ClassVar[int] = 2


PAYLOADS = ["numbers.npy", "table.parquet", "blob.bin"]


def everything_below(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))


def test_saving_and_loading_give_the_same(store):
    note = Note("one", np.array([3, 1, 2], dtype=np.uint8))
    key = note.save(store)
    loaded = Note.load(store, key)
    assert (loaded.title, loaded.numbers.tolist(), loaded.numbers.dtype) == ("one", [3, 1, 2], np.uint8)
    assert loaded.key == key == note.key
    assert store.verify() == []


def test_an_artifact_is_one_folder_with_manifest_and_payloads(store):
    note = Note()
    note.save(store)
    folder = store.folder("note", note.key)
    assert folder.name == f"note-{note.key}" and list(store.artifacts()) == [folder]
    assert everything_below(store.root) == sorted(
        ["note", f"note/{folder.name}", *(f"note/{folder.name}/{n}" for n in [*PAYLOADS, "manifest.json"])]
    )


def test_a_committed_artifact_is_never_rewritten(store):
    Note("same", np.arange(3)).save(store)
    Note("same", np.arange(9)).save(store)
    assert Note.load(store, Note("same").key).numbers.tolist() == [0, 1, 2]


@given(st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5), max_size=4), st.randoms())
def test_keys_depend_on_content_and_not_on_order(identity, random):
    items = list(identity.items())
    random.shuffle(items)
    key = content_key("stage", 1, identity)
    assert key == content_key("stage", 1, dict(items))
    assert re.fullmatch("[0-9a-f]{16}", key)
    others = [content_key("stages", 1, identity), content_key("stage", 2, identity)]
    others.append(content_key("stage", 1, identity | {"longer name": 0}))
    assert len({key, *others}) == 4


def test_has_tells_what_is_committed(store):
    assert not store.has("note", Note().key)
    Note().save(store)
    assert store.has("note", Note().key)
    assert not store.has("note", Note("other").key) and not store.has("other", Note().key)


def test_cached_builds_once(store):
    built = []

    def build():
        built.append(1)
        return Note("cached")

    first = store.cached(Note, Note("cached").key, build)
    second = store.cached(Note, Note("cached").key, build)
    assert built == [1]
    assert first.numbers.tolist() == second.numbers.tolist()


def test_names_lead_to_artifacts_and_can_move(store):
    assert store.name(Note("a"), "best") is None
    assert store.name(Note("b"), "second") is None
    assert store.name(Note("a"), "best") is None
    assert store.names("note") == {"best": Note("a").key, "second": Note("b").key}
    assert Note.load(store, "best").title == "a"
    assert store.name(Note("b"), "best") == Note("a").key
    assert Note.load(store, "best").title == "b"
    assert Note.load(store, Note("a").key).title == "a"
    assert store.verify() == []


def test_a_damaged_name_can_be_given_again(store):
    store.name(Note("a"), "best")
    (store.root / "note" / "names" / "best.json").write_text("{")
    assert store.name(Note("b"), "best") is None
    assert Note.load(store, "best").title == "b"


@pytest.mark.parametrize("name", ["", "a b", "../up", "a/b", ".hidden", "ü", "x" * 65, "a*"])
def test_names_that_are_no_file_names_are_refused(store, name):
    with pytest.raises(ConfigurationError, match="up to 64 letters"):
        store.name(Note(), name)
    assert not store.root.exists()


@pytest.mark.parametrize("wrong", ["nothing", "*", "..", "0" * 16, "?" * 16])
def test_an_unknown_artifact_is_refused_with_the_known_names(store, wrong):
    with pytest.raises(ArtifactError, match="none saved yet"):
        Note.load(store, wrong)
    store.name(Note(), "mine")
    with pytest.raises(ArtifactError, match="known names are mine"):
        Note.load(store, wrong)


def test_another_schema_is_another_artifact_and_the_old_one_is_refused(store):
    key = Note().save(store)
    assert NewerNote().key != key
    with pytest.raises(ArtifactError, match="has schema 1, not 2: recompute it"):
        NewerNote.load(store, key)


# ---------------------------------------------------------------- damage


def truncate(path):
    path.write_bytes(path.read_bytes()[:-1])


def empty(path):
    path.write_bytes(b"")


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def remove(path):
    path.unlink()


@pytest.mark.parametrize("damage", [truncate, empty, flip, remove])
@pytest.mark.parametrize("file_name", PAYLOADS)
def test_a_damaged_payload_is_found_and_named(store, damage, file_name):
    Note("healthy").save(store)
    key = Note("ill").save(store)
    path = store.folder("note", key) / file_name
    damage(path)
    (problem,) = store.verify()
    assert problem.path == path and problem.delete == path.parent and problem.mend.endswith("run what made this note")
    if damage is not flip:
        with pytest.raises(ArtifactError, match=re.escape(str(path))):
            Note.load(store, key)
    assert Note.load(store, Note("healthy").key).title == "healthy"


def test_the_mend_that_is_named_works(store):
    key = Note("ill").save(store)
    truncate(store.folder("note", key) / "blob.bin")
    shutil.rmtree(store.folder("note", key))
    Note("ill").save(store)
    assert store.verify() == [] and Note.load(store, key).title == "ill"


def test_an_extra_file_is_named_and_never_read(store):
    key = Note().save(store)
    extra = store.folder("note", key) / "stray.parquet.tmp"
    extra.write_bytes(b"junk")
    assert [str(p) for p in store.verify()] == [f"{extra} is not in the manifest: delete {extra}"]
    assert Note.load(store, key).title == "first"


def test_a_folder_without_manifest_is_named_with_both_mends(store):
    Note("healthy").save(store)
    folder = store.folder("note", Note("ill").save(store))
    remove(folder / "manifest.json")
    (problem,) = store.verify()
    assert str(problem) == f"{folder} has no manifest, so it is unfinished: delete {folder} and run what made this note"
    Note("ill").save(store)
    assert store.verify() == [] and Note.load(store, Note("ill").key).title == "ill"


def test_every_damaged_payload_has_a_line(store):
    folders = [store.folder("note", Note(t).save(store)) for t in "abc"]
    for folder in folders[:2]:
        flip(folder / "blob.bin")
    problems = store.verify()
    assert len(problems) == 2
    assert [p.path for p in problems] == [f / "blob.bin" for f in sorted(folders[:2])]


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"not json"])
def test_an_unreadable_manifest_is_found_and_named(store, content):
    key = Note().save(store)
    path = store.folder("note", key) / "manifest.json"
    path.write_bytes(content)
    (problem,) = store.verify()
    assert problem.path == path
    with pytest.raises(ArtifactError, match="cannot be read"):
        Note.load(store, key)


@pytest.mark.parametrize("change", [{"stage": "other"}, {"schema": 7}, {"identity": {"title": "forged"}}])
def test_an_edited_manifest_does_not_belong_to_its_folder(store, change):
    key = Note().save(store)
    path = store.folder("note", key) / "manifest.json"
    path.write_bytes(sealed(unsealed(path.read_bytes()) | change))
    (problem,) = store.verify()
    assert (problem.path, problem.wrong) == (path, "does not belong to its folder")
    with pytest.raises(ArtifactError, match="does not belong"):
        Note.load(store, key)


def test_a_payload_that_is_no_array_is_named(store):
    key = Note().save(store)
    path = store.folder("note", key) / "numbers.npy"
    path.write_bytes(b"?" * path.stat().st_size)
    with pytest.raises(ArtifactError, match=re.escape(f"{path} is damaged")):
        Note.load(store, key)


# ---------------------------------------------------------------- faults while writing


class Killed(BaseException):
    """A death that no handler expects."""


def failing(function, countdown, error):
    """The function, dying at one call."""

    def call(*arguments, **keywords):
        countdown[0] -= 1
        if countdown[0] == 0:
            raise error
        return function(*arguments, **keywords)

    return call


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), Killed()], ids=["disk full", "killed"])
def test_a_fault_at_any_sync_leaves_all_or_nothing(store, monkeypatch, error):
    Note("earlier").save(store)
    for nth in range(1, 50):
        title, countdown = f"note {nth}", [nth]
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", failing(os.fsync, countdown, error))
            with contextlib.suppress(OSError, ArtifactError, Killed):
                Note(title).save(store)
        assert not [p for p in everything_below(store.root) if ".tmp-" in p]
        assert store.verify() == []
        if countdown[0] > 0:
            break
        Note(title).save(store)
        assert Note.load(store, Note(title).key).title == title
    assert 5 < nth < 49  # three payloads, the manifest and two folders were each hit once
    assert Note.load(store, Note("earlier").key).title == "earlier"


def test_a_fault_while_renaming_a_name_keeps_its_old_meaning(store, monkeypatch):
    store.name(Note("old"), "best")
    Note("new").save(store)
    for nth in (1, 2):
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", failing(os.fsync, [nth], Killed()))
            with pytest.raises(Killed):
                store.name(Note("new"), "best")
        assert Note.load(store, "best").title == ("old" if nth == 1 else "new")
        assert not [p for p in everything_below(store.root) if ".tmp-" in p]


def test_replacing_a_file_is_one_step(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomically(path, b"old")
    monkeypatch.setattr(os, "fsync", failing(os.fsync, [1], Killed()))
    with pytest.raises(Killed):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old" and everything_below(tmp_path) == ["file"]
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"


def test_a_disk_without_room_is_refused_before_writing(store, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10))
    with pytest.raises(ArtifactError, match=r"needs .* MB, .* MB are free"):
        Note().save(store)
    assert everything_below(store.root) == ["note"]


def test_two_writers_of_one_artifact_agree(store):
    class Racing(Note):
        def payload(self):
            Note(self.title).save(store)  # the other writer commits first
            return super().payload()

    Racing("race").save(store)
    assert Note.load(store, Note("race").key).title == "race"
    assert store.verify() == [] and not [p for p in everything_below(store.root) if ".tmp-" in p]


def test_arrays_of_objects_are_never_pickled(store):
    with pytest.raises(ValueError, match="Object arrays cannot be saved"):
        Note("objects", np.array([{}, {}], dtype=object)).save(store)
    assert not store.has("note", Note("objects").key)


def test_the_root_is_the_argument_or_the_environment_or_the_project(tmp_path, monkeypatch):
    monkeypatch.setenv("SYNTHLAB_STORE", str(tmp_path / "elsewhere"))
    assert default_root() == tmp_path / "elsewhere" == Store().root
    assert Store(tmp_path).root == tmp_path
    monkeypatch.delenv("SYNTHLAB_STORE")
    assert default_root().parts[-2:] == ("data", "store")
