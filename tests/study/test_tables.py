"""Tables of a study: what is written is read back, what is damaged or of another run is refused in one line."""

import hashlib
from dataclasses import asdict, fields, replace

import numpy as np
import pandas as pd
import pytest

from synthlab import presets
from synthlab.arenas import Contests
from synthlab.durable import sealed, unsealed
from synthlab.errors import ArtifactError
from synthlab.presets import ModelConfig, TrainingConfig, get_preset
from synthlab.study.tables import (
    SCHEMA,
    StudyTables,
    parquet,
    preset_key,
    read_tables,
    table_problems,
    write_tables,
)  # fmt: skip

TAGS = {"grammar": "polynomial", "seed": 0, "model": "64x2", "num_train": 300, "parameters": 10, "flops": 5}


def tables(*keys, failed=(), offset=0):
    """Trials of two groups: even ones of density, odd ones of support; two rows each."""
    trials = [
        {
            "trial": f"{key:016x}", "group": ("density", "support")[key % 2], **TAGS, "seconds": 1.5 + key,
            "device": "CPU", **({"region": f"region {key}", "space": "shape"} if key % 2 else {"regime": "dual"}),
        }
        for key in keys
    ]  # fmt: skip
    results = {}
    for row in trials:
        rows = pd.DataFrame({
            "part": ["id", "forced"], "class_id": [3, 4], "leaves": [1, 2], "weight": 1, "status": "solved",
            "solved": [True, False], "test_loss": np.array([int(row["trial"], 16) + offset, 0.5], dtype=np.float32),
            "trial": row["trial"],
        })  # fmt: skip
        results.setdefault(row["group"], []).append(rows)
    failures = pd.DataFrame(
        [(f"{key:016x}", "support", "too few: ask for less") for key in failed], columns=["trial", "group", "reason"]
    )
    joined = {group: pd.concat(found, ignore_index=True) for group, found in results.items()}
    return StudyTables(pd.DataFrame(trials), joined, failures, {"preset": "mine"})


def same(one, other):
    pd.testing.assert_frame_equal(one, other, check_exact=True)


# ---------------------------------------------------------------- in memory


def test_the_table_of_a_group_has_every_tag_once():
    table = tables(1, 2, 3).table("support")
    assert table["trial"].tolist() == [f"{k:016x}" for k in (1, 1, 3, 3)]
    assert table["region"].tolist() == ["region 1"] * 2 + ["region 3"] * 2 and set(table["space"]) == {"shape"}
    assert len(set(table.columns)) == len(table.columns) and not any(c.endswith(("_x", "_y")) for c in table)
    assert set(table) >= {"group", *TAGS, "part", "class_id", "solved", "test_loss"}
    assert "regime" not in table and table["test_loss"].tolist() == [1, 0.5, 3, 0.5]
    assert "regime" in tables(1, 2, 3).table("density") and len(tables(1).table("density")) == 0


def test_tags_of_ones_own_are_tags_too():
    one = tables(1, 3)
    one.trials["dose"] = ["little", "much"]
    assert one.table("support")["dose"].tolist() == ["little", "little", "much", "much"]


def test_trials_of_a_group_are_without_the_columns_of_others():
    one = tables(1, 2, 3)
    assert one.of("support")["trial"].tolist() == [f"{k:016x}" for k in (1, 3)]
    assert "regime" in one.trials and "regime" not in one.of("support") and "region" not in one.of("density")
    assert len(one.of("scaling")) == 0 and len(StudyTables(pd.DataFrame(), {}, pd.DataFrame()).of("support")) == 0


def test_two_studies_are_one_with_one_copy_of_each_trial():
    joined = tables(1, 2, 3, failed=[9]).joined(tables(3, 4, 5, 9, offset=100))
    assert joined.trials["trial"].tolist() == [f"{k:016x}" for k in (1, 2, 3, 4, 5, 9)]
    losses = joined.table("support").query("part == 'id'").set_index("trial")["test_loss"].to_dict()
    assert losses == {f"{1:016x}": 1, f"{3:016x}": 3, f"{5:016x}": 105, f"{9:016x}": 109}  # the copy of the first
    assert joined.table("density").groupby("trial").size().tolist() == [2, 2]
    assert len(joined.failures) == 0  # what one could not do, the other has done
    assert joined.provenance == {"preset": "mine"}
    of_one = tables(1, 3).joined(tables(2))
    assert set(of_one.results) == {"support", "density"} and len(of_one.table("density")) == 2


def test_a_failure_of_both_is_one_failure():
    joined = tables(1, failed=[7, 9]).joined(tables(3, failed=[9, 11]))
    assert joined.failures["trial"].tolist() == [f"{k:016x}" for k in (7, 9, 11)]


# ---------------------------------------------------------------- as files


def test_what_is_written_is_read_back(tmp_path):
    one = tables(1, 2, 3, failed=[8])
    paths = write_tables(one, tmp_path / "new" / "mine", {"preset": "mine", "preset_key": "abc"})
    assert {p.name for p in paths} == {f"study-{n}.parquet" for n in ("trials", "failures", "density", "support")}
    found = read_tables(tmp_path / "new" / "mine")
    same(found.trials, one.trials)
    same(found.failures, one.failures)
    assert list(found.results) == list(one.results)
    for group in one.results:
        same(found.results[group], one.results[group])
        same(found.table(group), one.table(group))
    assert (found.provenance["preset"], found.provenance["preset_key"]) == ("mine", "abc")
    nothing = StudyTables(one.trials[:0], {}, one.failures[:0])
    write_tables(nothing, tmp_path / "none", {})
    assert len(read_tables(tmp_path / "none").trials) == 0


def test_tables_that_were_read_can_be_joined_and_written_again(tmp_path):
    write_tables(tables(2, 4), tmp_path, {"preset": "mine", "schema": 99})
    read = read_tables(tmp_path)
    assert read.provenance["schema"] == SCHEMA
    more = read.joined(tables(1))
    write_tables(more, tmp_path, more.provenance)
    assert set(read_tables(tmp_path).results) == {"density", "support"}
    write_tables(tables(1), tmp_path, {})  # fewer groups than before
    assert set(read_tables(tmp_path).results) == {"support"}


def refused(folder, match):
    with pytest.raises(ArtifactError, match=match) as caught:
        read_tables(folder)
    assert "\n" not in str(caught.value) and str(caught.value).rstrip().endswith(("again", "`"))


@pytest.fixture
def folder(tmp_path):
    write_tables(tables(1, 2, 3, failed=[8]), tmp_path / "mine", {})
    return tmp_path / "mine"


def test_nothing_and_what_is_missing_is_refused(tmp_path, folder):
    refused(tmp_path / "quick", "^no study in .*quick: run `python -m synthlab study quick`$")
    for name in ("trials", "failures", "support"):
        path = folder / f"study-{name}.parquet"
        content = path.read_bytes()
        path.unlink()
        refused(folder, "damaged .*: run the study again$")
        path.write_bytes(content)
    assert len(read_tables(folder).trials) == 3


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", "7", '"text"', "{}", '{"schema": 1}', '{"schema": 1, "groups": 5}',
     '{"schema": 1, "groups": ["other"]}', '{"schema": 1, "groups": [["support"]]}', "\udcff"],
)  # fmt: skip
def test_damaged_descriptions_are_refused(folder, text):
    (folder / "study.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    refused(folder, "damaged .*: run the study again$")


def test_another_schema_is_refused(folder):
    about = unsealed((folder / "study.json").read_bytes())
    (folder / "study.json").write_bytes(sealed(about | {"schema": SCHEMA + 1}))
    (problem,) = table_problems(folder)
    assert problem.wrong == f"has schema {SCHEMA + 1}, not {SCHEMA}"
    refused(folder, f"holds tables of schema {SCHEMA + 1}, not {SCHEMA}: run the study again$")


def test_tables_of_another_run_are_refused(folder):
    path, about = folder / "study-support.parquet", folder / "study.json"

    def put(table, vouched):
        path.write_bytes(parquet(table))
        if vouched:  # by somebody who seals what was mixed up
            described = unsealed(about.read_bytes())
            described["tables"]["support"] = hashlib.sha256(path.read_bytes()).hexdigest()
            about.write_bytes(sealed(described))

    put(tables(1, 3, offset=1).results["support"], vouched=False)  # the same trials, other results
    refused(folder, "is not what was written.: run the study again$")
    put(tables(1, 5).results["support"], vouched=True)
    refused(folder, "are of different runs of the study: run the study again$")
    put(tables(1).results["support"], vouched=True)  # a trial without results
    refused(folder, "are of different runs of the study: run the study again$")
    put(tables(1, 3).results["support"].drop(columns="trial"), vouched=True)
    refused(folder, "run the study again$")


def test_tables_that_were_described_and_not_yet_moved_are_the_study(folder):
    """A writer that ends between its description and its last move has published; one that ends before has not."""
    expected = read_tables(folder)
    path, coming = folder / "study-support.parquet", folder / "study-support.parquet.next"
    path.rename(coming)
    same(read_tables(folder).results["support"], expected.results["support"])
    assert list(table_problems(folder)) == []
    path.write_bytes(b"of before")
    same(read_tables(folder).results["support"], expected.results["support"])
    write_tables(tables(1, 2, 3, failed=[8]), folder, {})
    assert not coming.exists() and path.read_bytes() != b"of before" and list(table_problems(folder)) == []
    coming.write_bytes(b"of a writer that was killed")
    same(read_tables(folder).results["support"], expected.results["support"])
    write_tables(tables(1), folder, {})
    assert not coming.exists() and read_tables(folder).trials["trial"].tolist() == [f"{1:016x}"]


# ---------------------------------------------------------------- the key of a preset


def changed(name, value):
    """Another value of the field of a preset."""
    special = {
        "grammar": "rational", "measure": "nodes", "regions": ({"space": "syntactic", "rule": "root", "root": "+"},),
        "variants": ("room",), "root_variants": ("floats",), "further_grammars": (("rational", 2),),
        "support_regime": "dual", "support_train": 77, "region_mass": 0.31, "reserved": 0.17,
        "crossed_regimes": ("class",), "scaling_sizes": (5,),
    }  # fmt: skip
    if name in special:
        return special[name]
    if isinstance(value, ModelConfig):
        return replace(value, width=value.width + value.heads)
    if isinstance(value, TrainingConfig):
        return replace(value, num_steps=value.num_steps + 1)
    return (*value, value[0]) if isinstance(value, tuple) and value else (1,) if value == () else value + 1


def test_every_setting_but_name_and_seeds_decides_the_key():
    preset = get_preset("quick")
    free = {
        "name": "mine", "seeds": (4, 5), "exploratory": False, "needs_gpu": True, "contests": Contests(seconds=9.0),
    }  # fmt: skip
    for name, value in free.items():
        assert preset_key(replace(preset, **{name: value})) == preset_key(preset)
    keys = {preset_key(preset)}
    for field in fields(preset):
        if field.name not in free:
            keys.add(preset_key(replace(preset, **{field.name: changed(field.name, getattr(preset, field.name))})))
    assert len(keys) == 1 + len(asdict(preset)) - len(free)


def test_tuned_rates_decide_the_key_for_they_decide_the_scaling_trials(monkeypatch):
    before = preset_key(get_preset("quick"))
    monkeypatch.setattr(presets, "LEARNING_RATES", ((64, 1e-3),))
    assert preset_key(get_preset("quick")) != before
