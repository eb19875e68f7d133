"""The lab: every stage a call away, what is done is loaded, and results come with what made them."""

import json
import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from synthlab import lab as module
from synthlab.errors import ArtifactError, ConfigurationError, SplitError
from synthlab.lab import Lab
from synthlab.learning import evaluation
from synthlab.presets import get_preset
from synthlab.spaces.projection import Projection, umap_settings
from synthlab.splits.regions import Region
from synthlab.splits.split import Split
from synthlab.store import Store
from synthlab.study import workspace
from synthlab.study.designs import flagship_trial
from synthlab.study.tables import read_tables
from synthlab.universe.corpus import Corpus


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A checkout whose results are written where committed ones are read."""
    monkeypatch.setattr(module, "project_root", lambda: tmp_path)
    monkeypatch.setenv("SYNTHLAB_RESULTS", str(tmp_path / "data" / "results"))
    return tmp_path


@pytest.fixture
def lab(small_preset, small_lab):
    """The small lab's store and universe, with nothing cached on the object."""
    return Lab(small_preset, store=small_lab.store, progress=False)


def raising(*arguments, **settings):
    raise AssertionError("what is stored was made again")


# ---------------------------------------------------------------- stages


def test_the_universe_and_its_spaces_are_made_once(lab, small_lab, monkeypatch):
    assert (small_lab.corpus.num_programs, small_lab.corpus.num_classes) == (2330, 278)
    shapes = {kind: space.coordinates.shape[0] for kind, space in small_lab.spaces.items()}
    assert shapes == {"syntactic": 2330, "semantic": 278}
    for name in ("build_corpus", "fit_syntactic", "fit_semantic"):
        monkeypatch.setattr(workspace, name, raising)
    assert lab.corpus.key == small_lab.corpus.key and Corpus.load(lab.store, lab.corpus.key).num_classes == 278
    for kind, space in lab.spaces.items():
        assert np.array_equal(space.coordinates, small_lab.spaces[kind].coordinates, equal_nan=True)
    assert repr(lab) == "Lab('tiny': polynomial, <= 3 leaves)"


def test_a_map_shows_the_points_of_its_projection(lab, monkeypatch):
    def drawn(space, *, num_points, strata, **options):
        rows = np.arange(0, len(space.coordinates), 9)
        settings = umap_settings(num_points, strata=strata)
        return Projection(space.key, settings, rows, np.stack([rows, -rows], axis=1).astype("f4"))

    monkeypatch.setattr(module, "project", drawn)
    monkeypatch.setattr(lab, "store", Store(lab.store.root.parent / "maps"))
    table = lab.map("semantic")
    assert len(table) == len(range(0, 278, 9)) and {"map_x", "map_y", "program"} <= set(table)
    expected = lab.corpus.frame(lab.corpus.class_id[::9])["program"]
    assert table["program"].tolist() == expected.tolist()
    monkeypatch.setattr(module, "project", raising)
    again = Lab(lab.preset, store=lab.store, progress=False).map("semantic")
    assert again["map_x"].tolist() == table["map_x"].tolist()


def test_a_support_split_has_the_presets_shares_unless_told_otherwise(lab, small_preset):
    split = lab.support(Region(rule="root", root="+"))
    assert split.settings["reserved"] == small_preset.reserved and split.settings["num_test"] == 30
    other = lab.support(Region(rule="root", root="+"), reserved=0.4, seed=3)
    assert (other.settings["reserved"], other.settings["seed"]) == (0.4, 3) and other.key != split.key
    assert lab.support(Region(rule="root", root="+")).key == split.key


def test_a_run_is_trained_once(lab, small_preset, monkeypatch):
    split = lab.flagship_split()
    run = lab.train(split, small_preset.model, small_preset.short)
    monkeypatch.setattr(evaluation, "train", raising)
    assert lab.train(split, small_preset.model, small_preset.short).weights == run.weights


# ---------------------------------------------------------------- names


def test_a_split_is_found_under_its_name(lab):
    split = lab.support(Region(rule="root", root="-"))
    assert lab.save_split(split, "no-differences") == "no-differences"
    assert lab.named_split("no-differences").key == split.key
    assert Split.load(lab.store, "no-differences").train.tolist() == split.train.tolist()


def test_a_name_that_meant_another_split_is_told(lab):
    first, second = (lab.support(Region(rule="root", root=root)) for root in "-+")
    with warnings.catch_warnings(action="error"):
        lab.save_split(first, "mine")
        lab.save_split(first, "mine")
    with pytest.warns(UserWarning, match=f"'mine' meant split {first.key!r} before: it is stored under its key"):
        lab.save_split(second, "mine")
    assert lab.named_split("mine").key == second.key and Split.load(lab.store, first.key).key == first.key


def test_without_the_name_the_flagships_split_stands_in(lab, small_preset):
    found = lab.named_split("drawn-by-nobody")
    settings = flagship_trial(small_preset).settings
    assert found.identity == Split("support", lab.corpus.identity, settings, *[None] * 5).identity
    assert lab.flagship_split().key == found.key


def test_a_leaking_split_gets_no_name(lab):
    split = lab.flagship_split()
    twin = np.flatnonzero(lab.corpus.class_index == lab.corpus.class_rows(split.reserved[:1])[0])
    leaking = replace(split, train=np.append(split.train, twin), targets=np.append(split.targets, twin))
    with pytest.raises(SplitError, match="the split leaks"):
        lab.save_split(leaking, "leaking")
    assert "leaking" not in lab.store.names("split")


def test_a_split_of_another_universe_is_refused(lab, small_preset):
    other = Lab(replace(small_preset, max_size=2), store=lab.store, progress=False)
    lab.save_split(lab.flagship_split(), "of-three-leaves")
    with pytest.raises(ArtifactError, match="'of-three-leaves' belongs to another universe"):
        other.named_split("of-three-leaves")


def test_the_environment_overrides_a_name_but_not_settings(monkeypatch, small_preset, store):
    monkeypatch.setenv("SYNTHLAB_PRESET", "tiny")
    assert Lab("quick", store=store).preset == get_preset("tiny")
    assert Lab(small_preset, store=store).preset is small_preset
    monkeypatch.delenv("SYNTHLAB_PRESET")
    assert Lab(store=store).preset == get_preset("quick")


# ---------------------------------------------------------------- results


def test_what_is_published_can_be_read_with_what_made_it(lab, checkout):
    table = pd.DataFrame({"part": ["id", "forced"], "value": [0.5, 0.25], "solved": [True, False]})
    path = lab.publish("mine", table)
    assert path == checkout / "data" / "results" / "tiny" / "mine.parquet"
    found, provenance = lab.published("mine")
    assert found.equals(table)
    assert provenance["preset"] == "tiny" and provenance["corpus"] == lab.corpus.key
    assert provenance["grammar"] == lab.corpus.grammar.digest
    assert {"synthlab", "torch", "numpy"} <= set(provenance["versions"])
    assert str(checkout) not in json.dumps(provenance)


def test_a_preset_without_results_shows_those_of_quick(lab, small_preset, checkout):
    quick = Lab(replace(small_preset, name="quick"), store=lab.store, progress=False)
    quick.publish("shared", pd.DataFrame({"n": [1]}))
    assert lab.published("shared")[0]["n"].tolist() == [1]
    assert lab.published("shared")[1]["preset"] == "quick"
    lab.publish("shared", pd.DataFrame({"n": [2]}))
    assert lab.published("shared")[0]["n"].tolist() == [2]


@pytest.mark.parametrize("read", [lambda lab: lab.published("nothing"), lambda lab: lab.published_checkpoint()])
def test_a_result_that_nobody_committed_is_named(lab, checkout, read):
    with pytest.raises(ArtifactError, match=r"no committed result '(nothing.parquet|checkpoint.safetensors)': run"):
        read(lab)


def test_a_committed_checkpoint_answers_like_its_run(lab, small_preset, checkout):
    run = lab.train(lab.flagship_split(), small_preset.model, small_preset.short)
    path = lab.publish_checkpoint(run)
    assert path.stat().st_size < 0.7 * len(run.weights)
    found = lab.published_checkpoint()
    assert found.identity == run.identity and found.cost == run.cost
    for name, weight in found.model().state_dict().items():
        np.testing.assert_allclose(weight, run.model().state_dict()[name], rtol=1e-3, atol=1e-5)


# ---------------------------------------------------------------- studies


@pytest.fixture(scope="session")
def studied(small_preset, small_lab):
    """A small preset whose study was run, and its tables."""
    from synthlab.presets import ModelConfig

    preset = replace(
        small_preset, num_regions=0, regions=small_preset.regions[:1], variants=(), crossed_regimes=(),
        scaling_models=(ModelConfig(width=8, layers=1, heads=2),),
    )  # fmt: skip
    done = Lab(preset, store=small_lab.store, progress=False)
    return preset, done.trials.run(done.workspace, progress=False)


def same(one, other):
    assert sorted(one.trials["trial"]) == sorted(other.trials["trial"])
    for group, table in one.results.items():
        assert other.results[group].equals(table)


def test_a_study_runs_publishes_and_is_not_repeated(studied, small_lab, checkout, monkeypatch):
    preset, expected = studied
    lab = Lab(preset, store=small_lab.store, progress=False)
    monkeypatch.setattr(evaluation, "train", raising)
    found = lab.study()
    same(found, expected)
    assert found.provenance["preset"] == "tiny" and found.provenance["devices"]
    folder = checkout / "data" / "results" / "tiny"
    written = read_tables(folder)
    same(written, expected)
    assert written.provenance["devices"] == sorted(set(expected.trials["device"]))
    assert set(found.results) == {"density", "support", "scaling"} and len(found.failures) == 0


def test_committed_results_of_the_same_settings_are_shown_and_others_are_not(studied, small_lab, checkout, store):
    preset, expected = studied
    Lab(preset, store=small_lab.store, progress=False).study()
    elsewhere = Lab(replace(preset, seeds=(0, 1)), store=store, progress=False)
    same(elsewhere.study(), expected)  # more seeds belong to the same study, and nothing is trained for them
    assert not (store.root / "run").exists() and not (store.root / "corpus").exists()
    changed = Lab(replace(preset, num_test=29), store=store, progress=False)
    assert changed._committed_study() is None


def test_asking_again_for_a_group_runs_that_group_alone(studied, small_lab, checkout):
    preset, _ = studied
    lab = Lab(replace(preset, name="other", num_test=28), store=Store(small_lab.store.root), progress=False)
    assert set(lab.study("density").results) == {"density"}
    with pytest.raises(ConfigurationError, match="no group 'mcd': choose from density, support, scaling"):
        lab.study("mcd", rerun=True)


def test_without_a_gpu_the_paper_shows_results_of_quick_and_says_so(studied, small_lab, checkout, monkeypatch):
    preset, expected = studied
    monkeypatch.setattr(module, "has_gpu", lambda: False)
    paper = Lab(replace(preset, name="paper", needs_gpu=True), store=small_lab.store, progress=False)
    with pytest.raises(ArtifactError, match=r"no study in .*quick: run `python -m synthlab study quick`"):
        paper.study()
    Lab(replace(preset, name="quick"), store=small_lab.store, progress=False).study()
    found = paper.study()
    same(found, expected)
    assert found.provenance["preset"] == "quick"


def test_claims_are_published_and_read_again_with_their_study(studied, small_lab, checkout, monkeypatch):
    from synthlab.study import claims

    preset, tables = studied
    lab = Lab(preset, store=small_lab.store, progress=False)
    found = lab.claims(tables)
    assert found["name"].is_unique and set(found["verdict"].str.split(" (", regex=False).str[0]) <= {
        "supported",
        "not supported",
        "undecided",
    }
    monkeypatch.setattr(claims, "judged", raising)
    assert lab.claims(tables).equals(found)
    fewer = replace(tables, trials=tables.trials.iloc[1:])
    with pytest.raises(AssertionError, match="made again"):
        lab.claims(fewer)
