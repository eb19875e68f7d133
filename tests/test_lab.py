"""The lab: every stage a call away, what is done is loaded, and results come with what made them."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from synthlab import lab as module
from synthlab.errors import ArtifactError, SplitError
from synthlab.lab import Lab
from synthlab.learning import evaluation
from synthlab.presets import get_preset
from synthlab.spaces.projection import Projection, umap_settings
from synthlab.splits.regions import Region
from synthlab.splits.split import Split
from synthlab.store import Store
from synthlab.study.runs import flagship_trial, support_trials
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
        monkeypatch.setattr(module, name, raising)
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


def test_claims_of_all_studies_become_one_table(lab, checkout):
    assert lab.collect_claims().empty
    row = {"name": "a", "text": "t", "points": "p", "relative": "r", "verdict": "open", "control": "c", "num_runs": 1}
    for name in ("b", "a"):
        lab.publish(f"claims-{name}", pd.DataFrame([row | {"name": name, "num_tasks": 2}]))
    assert lab.collect_claims()["name"].tolist() == ["a", "b"]
    assert lab.published("claims")[0]["name"].tolist() == ["a", "b"]


# ---------------------------------------------------------------- studies


def test_a_study_runs_publishes_and_is_not_repeated(lab, small_preset, checkout, monkeypatch):
    trials = support_trials(small_preset)[:2]
    results, costs = lab.study("support", trials)
    assert results["region"].unique().tolist() == [t.tags["region"] for t in trials] and len(costs) == 2
    assert lab.published("support")[0].equals(results) and lab.published("support-costs")[0].equals(costs)
    monkeypatch.setattr(evaluation, "train", raising)
    again, _ = lab.study("support", trials)
    assert again.equals(results)


def test_without_a_gpu_the_paper_shows_committed_results(lab, small_preset, checkout, monkeypatch):
    monkeypatch.setattr(module, "has_gpu", lambda: False)
    monkeypatch.setattr(module, "run_study", raising)
    paper = Lab(replace(small_preset, name="paper", needs_gpu=True), store=lab.store, progress=False)
    with pytest.raises(ArtifactError, match=r"no committed result 'support.parquet': run the notebook that makes it"):
        paper.study("support", [])
    paper.publish("support", pd.DataFrame({"n": [1, 2]}))
    paper.publish("support-costs", pd.DataFrame({"flops": [7]}))
    results, costs = paper.study("support", [])
    assert (results["n"].tolist(), costs["flops"].tolist()) == ([1, 2], [7])


def test_with_a_gpu_the_paper_runs(lab, small_preset, checkout, monkeypatch):
    monkeypatch.setattr(module, "has_gpu", lambda: True)
    made = SimpleNamespace(trials=None)

    def study(corpus, spaces, store, trials, *, progress):
        made.trials = trials
        return pd.DataFrame({"n": [3]}), pd.DataFrame({"flops": [1]})

    monkeypatch.setattr(module, "run_study", study)
    paper = Lab(replace(small_preset, name="paper", needs_gpu=True), store=lab.store, progress=False)
    assert paper.study("support", ["trial"])[0]["n"].tolist() == [3] and made.trials == ["trial"]


def test_the_claims_are_those_of_the_three_studies(lab, monkeypatch):
    asked = []

    def study(self, name, trials):
        asked.append((name, len(trials)))
        flops = {trial.model.name: 10.0**k for k, trial in enumerate(trials)}
        rows = [
            {**t.tags, "part": part, "class_id": n, "solved": n < 5 + k}
            for k, t in enumerate(trials) for part in ("class", "matched_id", "matched_forced") for n in range(10)
        ]  # fmt: skip
        costs = [{**t.tags, "flops": flops[t.model.name], "parameters": 1} for t in trials]
        return pd.DataFrame(rows), pd.DataFrame(costs)

    monkeypatch.setattr(Lab, "study", study)
    claims = lab.claims()
    assert asked == [("density", 5), ("support", 5), ("scaling", 4)]
    assert [c.name for c in claims] == ["density", "support, syntactic", "support, semantic", "scaling"]
    assert [c.num_runs for c in claims] == [2, 3, 2, 4]
    assert claims[3].points == "0.100 per decade"
