"""Damaged artifacts: a flipped bit anywhere is found, and nothing is ever loaded with other content than was saved."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from faults.killing import tree

from synthlab.durable import sealed, unsealed
from synthlab.errors import ArtifactError
from synthlab.learning.run import Run
from synthlab.presets import ModelConfig, TrainingConfig
from synthlab.spaces.projection import Projection
from synthlab.spaces.semantic import fit_semantic
from synthlab.spaces.space import Space
from synthlab.splits.split import Split
from synthlab.store import Store, project_root
from synthlab.study.tables import read_tables, table_problems
from synthlab.study.trials import Outcomes
from synthlab.universe.corpus import Corpus
from synthlab.universe.shards import ShardedUniverse, enumerate_functions_on_disk, enumerate_texts

CARRIERS = {c.stage: c for c in (Corpus, Space, Projection, Split, Run, Outcomes)}
FLIPS = 4
"""Bits a file that are flipped, one after another."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory, corpus3, split3):
    """A store with an artifact of every stage, in a form that is quickly made; tests copy it."""
    store = Store(tmp_path_factory.mktemp("whole") / "store")
    corpus3.save(store)
    space = fit_semantic(corpus3, num_axes=4)
    space.save(store)
    rows = np.arange(40)
    xy = np.random.default_rng(0).random((40, 2), dtype=np.float32)
    Projection(space.key, {"seed": 0}, rows, xy, kind="semantic", num_rows=278).save(store)
    store.name(split3, "products")
    store.name(replace(split3, settings=split3.settings | {"seed": 1}), "product")  # a name that differs by one letter
    history = pd.DataFrame({"step": [1, 2], "name": "loss", "value": [0.5, 0.25]})
    Run(
        corpus3.identity, split3.key, ModelConfig(width=8, layers=1), TrainingConfig(num_steps=2), 2, bytes(range(256)),
        history, history[:0], {"parameters": 3},
    ).save(store)  # fmt: skip
    results = pd.DataFrame({"part": "id", "loss": np.random.default_rng(1).random(50), "solved": True})
    Outcomes({"corpus": corpus3.key, "number": 1}, results, pd.DataFrame({"seconds": [1.5]})).save(store)
    enumerate_texts(corpus3.grammar, 2, store=store, rows_per_shard=60)
    enumerate_functions_on_disk(corpus3.grammar, 3, store=store, partitions=2)
    assert store.verify() == []
    return store


def content(stage, store, key):
    """All that loading an artifact returns, as text that can be compared."""
    if stage == "universe":
        universe = ShardedUniverse.load(store, key)
        if universe.what == "functions":
            universe.functions()
        pieces = [(name, {k: v.tobytes() for k, v in payload.items()}) for name, payload in universe.shards()]
        return repr((len(universe), universe.frame().to_dict(), universe.manifest, pieces))
    carrier = CARRIERS[stage].load(store, key)
    payload = {
        name: value.tobytes()
        if isinstance(value, np.ndarray)
        else value
        if isinstance(value, bytes)
        else value.to_json()
        for name, value in carrier.payload().items()
    }
    return repr((carrier.identity, payload))


def flipped(path, position, bit):
    damaged = bytearray(path.read_bytes())
    damaged[position] ^= 1 << bit
    path.write_bytes(damaged)


@pytest.mark.fault("one flipped bit")
def test_every_flipped_bit_of_a_store_is_found_and_none_changes_what_is_loaded(store, whole, fired):
    """Random bits of every file: payloads with their headers, manifests with their white space, pieces and names."""
    shutil.copytree(whole.root, store.root)
    generator, count = np.random.default_rng(3), 0
    names = {stage: whole.names(stage) for stage in CARRIERS}
    for path in sorted(p for p in store.root.rglob("*") if p.is_file()):
        parts, before = path.relative_to(store.root).parts, path.read_bytes()
        for position in generator.permutation(len(before))[:FLIPS]:
            flipped(path, position, int(generator.integers(8)))
            found = store.verify()
            assert found and all(path in (p.path, *(p.path / n for n in parts[2:])) for p in found), (path, position)
            assert all(p.delete is not None and p.mend for p in found)
            loaded = None
            try:
                if parts[1] == "names":
                    loaded = store.names(parts[0])
                    assert loaded == names[parts[0]]
                else:
                    key = parts[1][-16:]
                    loaded = content(parts[0], store, key)
                    assert loaded == content(parts[0], whole, key)
            except ArtifactError as error:
                assert "\n" not in str(error)
            assert loaded is None, f"{path} byte {position} is read although it is damaged"
            path.write_bytes(before)
            count += 1
    assert store.verify() == [] and count > 60 * FLIPS
    fired(count)


@pytest.mark.fault("one flipped bit")
def test_every_flipped_bit_of_published_tables_is_found_and_refused(tmp_path, fired):
    """The committed results themselves."""
    folder = shutil.copytree(project_root() / "data" / "results" / "quick", tmp_path / "quick")
    assert list(table_problems(folder)) == [] and len(read_tables(folder).trials) > 0
    generator, paths = np.random.default_rng(4), [folder / "study.json", *sorted(folder.glob("study-*.parquet"))]
    for path in paths:
        before = path.read_bytes()
        for position in generator.permutation(len(before))[:6]:
            flipped(path, position, int(generator.integers(8)))
            (problem,) = table_problems(folder)
            assert problem.path == path and problem.again == "`python -m synthlab study quick`"
            with pytest.raises(ArtifactError, match="run the study again"):
                read_tables(folder)
            path.write_bytes(before)
    fired(6 * len(paths))


@pytest.mark.fault("truncated or empty file")
def test_every_file_of_a_store_that_is_cut_off_is_found_and_only_its_artifact_is_lost(store, whole, fired):
    shutil.copytree(whole.root, store.root)
    paths = sorted(p for p in store.root.rglob("*") if p.is_file())
    for path in paths:
        parts, before = path.relative_to(store.root).parts, path.read_bytes()
        for left in {0, 1, len(before) // 2, len(before) - 1}:
            path.write_bytes(before[:left])
            (problem,) = store.verify()
            assert problem.stage == parts[0] and problem.artifact in parts
            with pytest.raises(ArtifactError, match=r"^[^\n]*$"):
                store.names(parts[0]) if parts[1] == "names" else content(parts[0], store, parts[1][-16:])
        path.write_bytes(before)
    assert store.verify() == []
    fired(4 * len(paths))


# ---------------------------------------------------------------- edited, missing, too many

EDITS = [
    ({"payload": {"../secret.bin": {"bytes": 7, "sha256": "0" * 64}}}, "no store writes such a thing"),
    ({"payload": {"/etc/passwd.bin": {"bytes": 7, "sha256": "0" * 64}}}, "no store writes such a thing"),
    ({"payload": {"sub/secret.bin": {"bytes": 7, "sha256": "0" * 64}}}, "no store writes such a thing"),
    ({"payload": {"secret.pickle": {"bytes": 7, "sha256": "0" * 64}}}, "no store writes such a thing"),
    ({"payload": {"prefix.npy": {"bytes": 7}}}, "cannot be read"),
    ({"payload": {"prefix.npy": 7}}, "cannot be read"),
    ({"payload": [1]}, "cannot be read"),
    ({"payload": None}, "cannot be read"),
    ({"identity": "polynomial"}, "does not belong"),
    ({"identity": ["polynomial"]}, "does not belong"),
    ({"identity": None}, "does not belong"),
    ({"identity": {"grammar": "polynomial"}}, "does not belong"),
    ({"key": "0" * 16}, "does not belong"),
    ({"schema": 99}, "does not belong"),
    ({"stage": "space"}, "does not belong"),
]


@pytest.mark.fault("edited manifest, missing or extra file")
@pytest.mark.parametrize(("edit", "reason"), EDITS, ids=lambda value: json.dumps(value)[:40])
def test_edited_manifests_are_refused_in_one_line_even_with_a_seal_of_their_own(store, corpus3, edit, reason, fired):
    """The seal is no signature: whoever edits a manifest can seal it again, and is refused all the same."""
    key = corpus3.save(store)
    (store.root / "corpus" / "secret.bin").write_bytes(b"private")
    path = store.folder("corpus", key) / "manifest.json"
    path.write_bytes(sealed(unsealed(path.read_bytes()) | edit))
    with pytest.raises(ArtifactError, match=reason) as caught:
        Corpus.load(store, key)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)
    found = {p.path for p in store.verify()}
    assert found == {path, store.root / "corpus" / "secret.bin"}
    path.write_bytes(json.dumps(json.loads(path.read_bytes()) | {"seal": "0" * 64}).encode())
    with pytest.raises(ArtifactError, match="was changed after it was written"):
        Corpus.load(store, key)
    fired(2)


@pytest.mark.fault("edited manifest, missing or extra file")
def test_what_does_not_belong_in_a_store_is_named_with_its_mend(store, corpus3, split3, fired):
    store.name(split3, "mine")
    store.name(split3, "gone")
    key = corpus3.save(store)
    shutil.copy(store.root / "split" / "names" / "mine.json", store.root / "split" / "names" / "copy.json")
    moved = replace(split3, settings=split3.settings | {"seed": 5})
    store.name(moved, "gone")
    shutil.rmtree(store.folder("split", moved.key))
    (store.root / "corpus" / "notes.txt").write_text("mine")
    (store.folder("corpus", key) / "extra.npy").write_bytes(b"")
    (store.root / "failures").mkdir()
    (store.root / "failures" / "0123456789abcdef.json").write_text("{")
    wrongs = {p.path.name: p.wrong for p in store.verify()}
    assert wrongs == {
        "copy.json": "is damaged", "gone.json": "leads to an artifact that is not there", "notes.txt": "is no artifact",
        "extra.npy": "is not in the manifest", "0123456789abcdef.json": "is no note on a trial",
    }  # fmt: skip
    before = tree(store.root)
    for problem in store.verify():
        problem.delete.unlink()
    assert store.verify() == [] and before.items() > tree(store.root).items()
    assert Split.load(store, "mine").key == split3.key
    fired(len(wrongs))


def test_a_problem_says_who_makes_it_again_and_what_was_made_from_it(whole, store, corpus3, split3):
    shutil.copytree(whole.root, store.root)
    flipped(store.folder("corpus", corpus3.key) / "prefix.npy", 200, 0)
    (problem,) = store.verify()
    assert problem.again == "`python -m synthlab enumerate --grammar polynomial --leaves 3`"
    stages = {name.split("/")[0] for name in problem.needed_by}
    assert stages == {"space", "projection", "split", "run", "outcomes"} and len(problem.needed_by) == 6
    flipped(next((store.root / "run").glob("*/weights.bin")), 9, 3)
    run = next(p for p in store.verify() if p.stage == "run")
    assert run.again == f"`python -m synthlab train --split {split3.key} --model 8x1 --steps 2 --seed 0`"
    assert run.needed_by == () and str(run) == f"{run.path} is damaged: delete {run.path.parent} and run {run.again}"
