"""Packs of artifacts: two stores become one, and what was tampered with leaves no trace."""

import io
import json
import shutil
import socket
import subprocess
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from synthlab import exchange
from synthlab.durable import sealed, unsealed
from synthlab.errors import ArtifactError, ConfigurationError
from synthlab.exchange import merge, pack, unpack
from synthlab.store import Carrier, Store, content_key
from synthlab.study.trials import Outcomes

SCHEMAS = {Outcomes.stage: Outcomes.schema}


def outcome(number, rows=3):
    generator = np.random.default_rng(number)
    results = pd.DataFrame({"part": "id", "class_id": np.arange(rows), "test_loss": generator.random(rows)})
    return Outcomes({"number": number}, results, pd.DataFrame({"seconds": [1.0 + number]}))


@pytest.fixture
def here(tmp_path):
    return Store(tmp_path / "here")


@pytest.fixture
def there(tmp_path):
    """A store of another machine with three outcomes."""
    store = Store(tmp_path / "there")
    for number in range(3):
        outcome(number).save(store)
    return store


@pytest.fixture
def packed(there, tmp_path):
    (path,) = pack(there, "outcomes", keys(range(3)), tmp_path / "packs" / "mine")
    return path


def keys(numbers):
    return [outcome(number).key for number in numbers]


def files(store):
    """Everything below a store, by name."""
    return {str(p.relative_to(store.root)): p.read_bytes() for p in sorted(store.root.rglob("*")) if p.is_file()}


def refused(store, path, match="."):
    before = files(store)
    with pytest.raises(ArtifactError, match=match) as caught:
        unpack(store, path, SCHEMAS)
    assert "\n" not in str(caught.value)
    assert files(store) == before and left_over(store) == [] and store.verify() == []


def left_over(store):
    """Folders that no stage has, but for those of the tests."""
    return [p for p in store.root.glob("*") if p.name not in ("outcomes", "note")]


# ---------------------------------------------------------------- what is done


def test_two_stores_become_one(here, there, packed):
    for number in (2, 3):
        outcome(number).save(here)
    own = files(here)
    assert merge(here, [packed], SCHEMAS) == 2
    assert {p.name for p in here.artifacts()} == {f"outcomes-{key}" for key in keys(range(4))}
    assert files(here) == files(there) | own and here.verify() == []
    for number in range(4):
        found = Outcomes.load(here, outcome(number).key)
        assert found.results.equals(outcome(number).results) and found.cost.equals(outcome(number).cost)
    assert merge(here, [packed, packed], SCHEMAS) == 0 and left_over(here) == []


def test_a_store_that_is_not_there_yet_is_made(here, there, packed):
    assert unpack(here, packed, SCHEMAS) == 3 and files(here) == files(there)


def test_packs_are_divided_by_size(here, there, tmp_path):
    for number in range(3, 10):
        outcome(number, rows=2000).save(there)
    sizes = [sum(p.stat().st_size for p in there.folder("outcomes", key).iterdir()) for key in keys(range(10))]
    assert sizes[3] > 3 * sizes[0]
    most = int(2.5 * sizes[3])
    paths = pack(there, "outcomes", keys(range(10)), tmp_path / "part", max_bytes=most)
    assert [p.name for p in paths] == [f"part-{k}.zip" for k in range(1, len(paths) + 1)] and 3 <= len(paths) <= 5
    held = []
    for path in paths:
        with zipfile.ZipFile(path) as archive:
            assert archive.testzip() is None
            assert sum(m.file_size for m in archive.infolist()) <= most
            held += sorted({m.filename.split("/")[1] for m in archive.infolist()})
    assert sorted(held) == sorted(f"outcomes-{key}" for key in keys(range(10)))
    one_each = pack(there, "outcomes", keys(range(3)), tmp_path / "single", max_bytes=1)
    assert len(one_each) == 3  # what is larger than a pack is a pack of its own
    assert merge(here, paths, SCHEMAS) == 10 and files(here) == files(there)
    assert pack(there, "outcomes", [], tmp_path / "none") == []


def test_packs_of_one_content_hold_the_same_and_only_what_the_manifest_names(here, there, packed, tmp_path):
    (there.folder("outcomes", keys([1])[0]) / ".DS_Store").write_bytes(b"a file manager was here")
    (again,) = pack(there, "outcomes", keys(range(3)), tmp_path / "again")
    with zipfile.ZipFile(packed) as one, zipfile.ZipFile(again) as other:
        assert one.namelist() == other.namelist() and len(one.namelist()) == 9
    assert unpack(here, again, SCHEMAS) == 3 and here.verify() == []


# ---------------------------------------------------------------- what is refused


def test_damaged_outcomes_are_not_packed(there, tmp_path):
    path = there.folder("outcomes", keys([1])[0]) / "results.parquet"
    content = bytearray(path.read_bytes())
    content[-9] ^= 1
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match=r"results\.parquet is damaged: delete .* and run again$"):
        pack(there, "outcomes", keys(range(3)), tmp_path / "packs" / "mine")
    with pytest.raises(ArtifactError, match="no outcomes '0123456789abcdef' in "):
        pack(there, "outcomes", ["0123456789abcdef"], tmp_path / "packs" / "mine")
    assert not (tmp_path / "packs").exists()


def test_files_that_are_not_there_are_named(here, packed, tmp_path):
    for path in (tmp_path / "nowhere.zip", tmp_path):
        with pytest.raises(ConfigurationError, match=r"^no file .*: name packs that"):
            merge(here, [packed, path], SCHEMAS)
    assert not here.root.exists()  # not even the first was taken


@pytest.mark.parametrize("content", [b"", b"PK", b"Dear Sir,\nplease find attached", b"PK\x03\x04" + bytes(99)])
def test_files_of_other_kinds_are_refused(here, tmp_path, content):
    outcome(0).save(here)
    path = tmp_path / "letter.zip"
    path.write_bytes(content)
    refused(here, path, r"letter\.zip cannot be unpacked .*: copy it again$")


def test_a_pack_cut_short_anywhere_is_refused(here, packed, tmp_path):
    content, path = packed.read_bytes(), tmp_path / "short.zip"
    outcome(7).save(here)
    for share in np.linspace(0.01, 0.999, 12):
        path.write_bytes(content[: int(share * len(content))])
        refused(here, path, "copy it again$")


def test_flipped_bytes_are_refused_or_change_nothing(there, tmp_path):
    (packed,) = pack(there, "outcomes", keys([0]), tmp_path / "one")
    content, generator, path = packed.read_bytes(), np.random.default_rng(1), tmp_path / "flipped.zip"
    outcomes, intact = [], {name: text for name, text in files(there).items() if keys([0])[0] in name}
    positions = [*generator.permutation(len(content))[:250], *range(40)]
    for number, position in enumerate(positions):
        broken = bytearray(content)
        broken[position] ^= 1 << int(generator.integers(8))
        path.write_bytes(broken)
        store = Store(tmp_path / "flipped" / str(number))
        try:
            outcomes.append(unpack(store, path, SCHEMAS))
            assert files(store) == intact
        except ArtifactError as error:
            assert "\n" not in str(error)
            outcomes.append("refused")
            assert files(store) == {}
    assert outcomes.count("refused") > 200


def zipped(path, members):
    """A zip file of names, or `ZipInfo`, and contents."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


def members(packed):
    with zipfile.ZipFile(packed) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


FOLDER = "outcomes/outcomes-" + outcome(0).key


@pytest.mark.parametrize(
    "name",
    ["../evil", "/tmp/evil", f"{FOLDER}/../../evil", f"outcomes/../{FOLDER}/manifest.json", "evil.txt",
     f"{FOLDER}/sub/evil", f"{FOLDER}/.hidden", f"{FOLDER}\\evil", "outcomes/names/mine.json", "outcomes/evil/x.json",
     f"C:/{FOLDER}/x", f"{FOLDER}/", f"{FOLDER}/x\ny", "outcomes/..-0123456789abcdef/x", f"/{FOLDER}/x.bin",
     f"{FOLDER}/..", "incoming/outcomes-0123456789abcdef/manifest.json\0"],
)  # fmt: skip
def test_members_that_would_lie_elsewhere_are_refused(here, packed, tmp_path, name):
    outcome(7).save(here)
    outside = set(tmp_path.rglob("*"))
    for order in (1, -1):
        path = zipped(tmp_path / "evil.zip", [*members(packed).items(), (name, b"boo")][::order])
        refused(here, path)
    assert set(tmp_path.rglob("*")) == outside | {path} and not Path("/tmp/evil").exists()


def test_links_are_refused(here, packed, tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(b"private")
    for replaced in ("results.parquet", "manifest.json", "extra.bin"):
        content = members(packed)
        content.pop(f"{FOLDER}/{replaced}", None)
        link = zipfile.ZipInfo(f"{FOLDER}/{replaced}")
        link.create_system, link.external_attr = 3, 0o120777 << 16
        path = zipped(tmp_path / "link.zip", [*content.items(), (link, str(secret))])
        refused(here, path)
    assert secret.read_bytes() == b"private"


def test_files_that_the_manifest_does_not_name_or_that_are_missing_are_refused(here, packed, tmp_path):
    content = members(packed)
    refused(here, zipped(tmp_path / "more.zip", [*content.items(), (f"{FOLDER}/extra.bin", b"boo")]))
    for missing in ("manifest.json", "results.parquet"):
        fewer = {name: text for name, text in content.items() if name != f"{FOLDER}/{missing}"}
        refused(here, zipped(tmp_path / "fewer.zip", fewer.items()))
    other = {name.replace(keys([0])[0], "0123456789abcdef"): text for name, text in content.items()}
    refused(here, zipped(tmp_path / "renamed.zip", other.items()), r"does not belong to its folder\): copy it again")
    swapped = content | {f"{FOLDER}/results.parquet": content[f"{FOLDER}/cost.parquet"]}
    refused(here, zipped(tmp_path / "swapped.zip", swapped.items()))


@dataclass(frozen=True, eq=False)
class Note(Carrier):
    """An artifact of another stage."""

    stage, schema = "note", Outcomes.schema

    @property
    def identity(self):
        return {"note": 1}

    def payload(self):
        return {"text": b"hello"}

    @classmethod
    def restore(cls, identity, payload):
        return cls()

    def frame(self):
        return pd.DataFrame()


def test_other_stages_are_refused_whatever_their_folder_is_called(here, there, packed, tmp_path):
    Note().save(there)
    (notes,) = pack(there, "note", [Note().key], tmp_path / "notes")
    refused(here, notes, "holds artifacts of stage 'note': only outcomes are taken$")
    mixed = {**members(packed), **members(notes)}
    refused(here, zipped(tmp_path / "mixed.zip", mixed.items()), "stage 'note'")
    disguised = {name.replace("note/note", "outcomes/outcomes"): text for name, text in members(notes).items()}
    refused(here, zipped(tmp_path / "disguised.zip", disguised.items()), "stage 'note'")
    assert unpack(here, notes, {"note": Note.schema}) == 1


def test_another_schema_is_refused(here, packed, monkeypatch):
    with pytest.raises(ArtifactError, match=r"holds outcomes of schema 3, not 4: make them again with this version$"):
        unpack(here, packed, {"outcomes": 4})
    assert files(here) == {}


@pytest.mark.parametrize(
    "manifest",
    [{"payload": {"../../../secret.bin": {"bytes": 7}}}, {"payload": {"results.exe": {"bytes": 3, "sha256": "0"}}},
     {"payload": {}}, {"payload": []}, {"payload": {"results.parquet": {"bytes": 3}}}, {"identity": "x"},
     {"identity": [1]}, {"stage": 5}, {"schema": None}],
    ids=lambda changes: json.dumps(changes)[:30],
)  # fmt: skip
def test_forged_manifests_are_refused_in_one_line(here, packed, tmp_path, manifest):
    (tmp_path / "secret.bin").write_bytes(b"private")
    (tmp_path / "here").mkdir()
    content = {name: text for name, text in members(packed).items() if name.startswith(FOLDER)}
    forged = unsealed(content[f"{FOLDER}/manifest.json"]) | manifest
    try:  # a forger can compute the key of what is forged
        key = content_key(forged["stage"], forged["schema"], forged["identity"])
    except AttributeError:
        key = keys([0])[0]
    content[f"{FOLDER}/manifest.json"] = sealed(forged | {"key": key})
    renamed = {name.replace(keys([0])[0], key): text for name, text in content.items()}
    refused(here, zipped(tmp_path / "forged.zip", renamed.items()))


def test_bombs_are_refused_before_they_go_off(here, packed, tmp_path, monkeypatch):
    def declaring(size):
        """The pack with another uncompressed size of its first member, in both headers."""
        with zipfile.ZipFile(packed) as archive:
            first = archive.infolist()[0]
        raw, true = bytearray(packed.read_bytes()), first.file_size.to_bytes(4, "little")
        central = raw.rindex(b"PK\x01\x02", 0, raw.index(b"PK\x05\x06"))
        while raw[central + 46 : central + 46 + len(first.filename)] != first.filename.encode():
            central = raw.rindex(b"PK\x01\x02", 0, central)
        for place in (first.header_offset + 22, central + 24):
            assert raw[place : place + 4] == true
            raw[place : place + 4] = size.to_bytes(4, "little")
        path = tmp_path / "bomb.zip"
        path.write_bytes(raw)
        return path

    outcome(7).save(here)
    refused(here, declaring(2**32 - 2), "would unpack to over 0.3 GB|cannot be unpacked")
    refused(here, declaring(3))  # and one that claims to be small
    monkeypatch.setattr(exchange, "_MOST_BYTES", 1000)

    def never(*arguments):
        raise AssertionError("unpacked")

    monkeypatch.setattr(zipfile.ZipFile, "read", never)
    refused(here, packed, "would unpack to over .* GB: it is no pack of outcomes$")


@pytest.mark.parametrize("kind", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_other_compressions_are_as_good_and_as_strict(here, there, packed, tmp_path, kind):
    path = tmp_path / "other.zip"
    with zipfile.ZipFile(path, "w", kind) as archive:
        for name, text in members(packed).items():
            archive.writestr(name, text)
    raw, taken = bytearray(path.read_bytes()), 0
    for number, position in enumerate(range(60, len(raw) // 2, 97)):
        broken, store = raw.copy(), Store(tmp_path / str(number))
        broken[position] ^= 4
        (tmp_path / "broken.zip").write_bytes(broken)
        try:
            taken += unpack(store, tmp_path / "broken.zip", SCHEMAS)
            assert files(store) == files(there)  # what nobody reads was hit, such as the time of a member
        except ArtifactError as error:
            assert "\n" not in str(error) and files(store) == {}
    assert taken < 3 * number / 2
    assert unpack(here, path, SCHEMAS) == 3 and files(here) == files(there)


def test_encrypted_packs_are_refused(here, packed, tmp_path):
    raw = bytearray(packed.read_bytes())
    raw[6] |= 1  # the flag of encryption, in the first local and in every central header
    for start in range(len(raw) - 46):
        if raw[start : start + 4] == b"PK\x01\x02":
            raw[start + 8] |= 1
    (tmp_path / "locked.zip").write_bytes(raw)
    refused(here, tmp_path / "locked.zip")


# ---------------------------------------------------------------- what was there before


def test_what_is_left_of_a_damaged_outcome_gives_way_and_a_whole_one_stays(here, there, packed):
    for number in (0, 1):
        outcome(number).save(here)
    (here.folder("outcomes", keys([0])[0]) / "manifest.json").unlink()
    assert len(here.verify()) == 1
    assert merge(here, [packed], SCHEMAS) == 2
    assert here.verify() == [] and files(here) == files(there)


def test_what_a_killed_merge_left_is_cleared_away(here, packed):
    gone = subprocess.Popen(["true"])
    gone.wait()
    left = here.root / f".tmp-{socket.gethostname()}-{gone.pid}-0" / FOLDER
    left.mkdir(parents=True)
    (left / "junk").write_bytes(b"half")
    assert merge(here, [packed], SCHEMAS) == 3
    assert here.verify() == [] and left_over(here) == []


def test_two_merges_at_a_time_do_not_disturb_each_other(here, there, packed, monkeypatch):
    original, inner = exchange._take, []

    def interrupted(*arguments):
        if not inner:
            inner.append(None)
            inner.append(unpack(Store(here.root), packed, SCHEMAS))
        return original(*arguments)

    monkeypatch.setattr(exchange, "_take", interrupted)
    assert unpack(here, packed, SCHEMAS) == 0 and inner == [None, 3]
    assert files(here) == files(there) and left_over(here) == []


def test_a_refused_pack_takes_none_of_those_before_it_back(here, there, packed, tmp_path):
    bad = zipped(tmp_path / "bad.zip", [("evil.txt", b"")])
    with pytest.raises(ArtifactError, match=r"bad\.zip is no pack of outcomes: it holds 'evil\.txt'$"):
        merge(here, [packed, bad], SCHEMAS)
    assert here.verify() == [] and files(here) == files(there)


def test_packs_are_plain_zip_files(packed, tmp_path):
    shutil.unpack_archive(packed, tmp_path / "by hand")
    table = pd.read_parquet(tmp_path / "by hand" / FOLDER / "results.parquet")
    assert table.equals(outcome(0).results)
    assert [p.name for p in (tmp_path / "by hand").iterdir()] == ["outcomes"]
    assert zipfile.is_zipfile(io.BytesIO(packed.read_bytes()))
