"""Universes in pieces that were damaged: found, named, and mended by deleting what is named and running again."""

import re
import shutil

import pytest
from faults.killing import Inline, stamps, tree, unfinished

from synthlab.durable import sealed, unsealed
from synthlab.errors import ArtifactError
from synthlab.language.grammar import POLYNOMIAL
from synthlab.store import Store
from synthlab.universe.shards import ShardedUniverse, enumerate_functions_on_disk, enumerate_texts


def make_texts(store, executor=None):
    return enumerate_texts(POLYNOMIAL, 3, store=store, rows_per_shard=300, executor=executor)


def make_functions(store, executor=None):
    return enumerate_functions_on_disk(POLYNOMIAL, 4, store=store, partitions=3, executor=executor)


MAKERS = [make_texts, make_functions]


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
    path.write_bytes(sealed(unsealed(path.read_bytes()) | {"rows": 1}))
    return piece


def forge_manifest(piece):
    """A flipped bit, and a piece manifest that agrees with it."""
    entry = {"bytes": flip(piece).stat().st_size, "sha256": "0" * 64}
    path = piece / "manifest.json"
    manifest = unsealed(path.read_bytes())
    manifest["payload"][payload_of(piece).name] = entry
    path.write_bytes(sealed(manifest))
    return piece


def truncate_manifest(piece):
    path = piece / "manifest.json"
    path.write_bytes(path.read_bytes()[:-1])
    return piece


CUT = [truncate, empty, truncate_manifest]
EDITED = [remove_payload, remove_piece, edit_manifest, forge_manifest]
STRAYS = [stray_in_piece, stray_file, stray_piece]


def found_and_mended(store, pristine, damaged, damage):
    """The problem names the file and the command; deleting what it says and running again restores every byte."""
    folder, piece, make = damaged
    path = damage(piece)
    (problem,) = store.verify()
    assert str(path) in str(problem) and problem.artifact == folder.name and problem.stage == "universe"
    if damage not in STRAYS:
        assert problem.again.startswith("`python -m synthlab enumerate --grammar polynomial --leaves")
        with pytest.raises(ArtifactError, match=re.escape(str(path))):
            read_all(ShardedUniverse.load(store, folder.name[-16:]))
    else:
        expected = [name for name, _ in read_all(ShardedUniverse.load(pristine, folder.name[-16:]))]
        assert [name for name, _ in read_all(ShardedUniverse.load(store, folder.name[-16:]))] == expected
    shutil.rmtree(problem.delete) if problem.delete.is_dir() else problem.delete.unlink(missing_ok=True)
    make(store)
    assert store.verify() == []
    assert tree(store.root) == tree(pristine.root)


@pytest.mark.fault("truncated or empty file")
@pytest.mark.parametrize("damage", CUT)
def test_a_piece_that_was_cut_off_is_named_and_only_it_is_made_again(store, pristine, damaged, damage, fired):
    found_and_mended(store, pristine, damaged, damage)
    fired()


@pytest.mark.fault("edited manifest, missing or extra file")
@pytest.mark.parametrize("damage", EDITED + STRAYS)
def test_pieces_that_are_edited_missing_or_too_many_are_named(store, pristine, damaged, damage, fired):
    """Edits are sealed anew, as by somebody who knows how: the universe knows its pieces."""
    found_and_mended(store, pristine, damaged, damage)
    fired()


@pytest.mark.fault("one flipped bit")
def test_a_flipped_bit_of_a_piece_is_named_and_only_it_is_made_again(store, pristine, damaged, fired):
    found_and_mended(store, pristine, damaged, flip)
    fired()


@pytest.mark.fault("truncated or empty file")
@pytest.mark.parametrize("second", [flip, remove_piece, truncate])
def test_one_damaged_piece_hides_no_other(store, damaged, second, fired):
    folder, piece, _ = damaged
    other = folder / ("texts-000001" if "texts" in piece.name else "size-03-part-0000")
    paths = [truncate(other), second(piece)]
    problems = store.verify()
    assert len(problems) == 2 and all(any(str(path) in str(p) for p in problems) for path in paths)
    fired(2)


@pytest.mark.fault("truncated or empty file")
@pytest.mark.parametrize("content", [b"", b"{", b"[]"])
def test_an_unreadable_manifest_of_a_universe_costs_no_piece(store, pristine, damaged, content, fired):
    folder, _, make = damaged
    path = folder / "manifest.json"
    path.write_bytes(content)
    (problem,) = store.verify()
    assert (problem.path, problem.delete) == (path, path)
    for deed in (lambda: ShardedUniverse.load(store, folder.name[-16:]), lambda: make(store)):
        with pytest.raises(ArtifactError, match=re.escape(f"delete {path} and run again")):
            deed()
    path.unlink()
    before = stamps(folder)
    make(store, Inline())
    assert tree(store.root) == tree(pristine.root)
    assert {name: stamp for name, stamp in stamps(folder).items() if name in before} == before
    fired()


@pytest.mark.fault("edited manifest, missing or extra file")
def test_a_piece_that_the_manifest_no_longer_lists_is_found(store, damaged, fired):
    folder, piece, _ = damaged
    manifest = unsealed((folder / "manifest.json").read_bytes())
    del manifest["shards"][piece.name]
    (folder / "manifest.json").write_bytes(sealed(manifest))
    (problem,) = store.verify()
    assert str(piece) in str(problem)
    fired()


@pytest.mark.fault("edited manifest, missing or extra file")
def test_an_unfinished_universe_is_named_and_refused(store, damaged, fired):
    folder, _, make = damaged
    (folder / "manifest.json").unlink()
    assert unfinished(store) == [folder]
    with pytest.raises(ArtifactError, match=re.escape(str(folder))):
        ShardedUniverse.load(store, folder.name[-16:])
    before = stamps(folder)
    make(store, Inline())
    assert {name: s for name, s in stamps(folder).items() if name != "manifest.json"} == before
    assert store.verify() == []
    fired()


@pytest.mark.fault("one flipped bit")
def test_a_damaged_operand_is_found_before_anything_is_built_on_it(store, fired):
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
    fired()
