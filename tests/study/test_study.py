"""A study is the sum of what was done: resumable, honest about failures, and silent about nothing that dropped out."""

import json
import shutil
import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from synthlab.errors import ArtifactError, ConfigurationError, SplitError
from synthlab.exchange import merge, pack
from synthlab.presets import ModelConfig, TrainingConfig
from synthlab.store import Store
from synthlab.study import execution
from synthlab.study.study import DONE, FAILED, OPEN, Study, failure
from synthlab.study.trials import Measures, Outcomes, Trial
from synthlab.study.workspace import Universe, Workspace


def trial(seed, group="support", **tags):
    return Trial(
        tags={"group": group, "seed": seed, **tags}, universe=Universe(max_size=2), kind="support",
        settings={"seed": seed}, model=ModelConfig(width=8, layers=1, heads=2),
        training=TrainingConfig(num_steps=4, batch_size=16, num_checks=0, seed=seed),
        measures=Measures(details=group == "support"),
    )  # fmt: skip


def study(*trials, name="mine"):
    return Study(name, tuple(trials or map(trial, range(3))))


def outcome_of(one):
    """What a trial would find: numbers that its key decides."""
    generator = np.random.default_rng(int(one.key, 16))
    results = pd.DataFrame({
        "part": ["id", "id", "forced"], "class_id": generator.integers(0, 99, 3), "weight": 1,
        "solved": generator.random(3) < 0.5, "test_loss": generator.random(3),
    })  # fmt: skip
    return Outcomes(one.identity, results, pd.DataFrame([{"num_train": 5, "final_loss": generator.random()}]))


@pytest.fixture(autouse=True)
def tried(monkeypatch):
    """Seeds of the trials that were tried; `errors` says what a seed raises."""
    monkeypatch.setenv("SYNTHLAB_WORKERS", "1")

    class Tried(list):
        def __init__(self):
            self.errors = {}

    seen = Tried()

    def pretend(workspace, one, *, progress=False):
        seen.append(one.training.seed)
        if one.training.seed in seen.errors:
            raise seen.errors[one.training.seed]
        outcome_of(one).save(workspace.store)

    monkeypatch.setattr(execution, "run_trial", pretend)
    return seen


def run(one, store, **options):
    return one.run(Workspace(store), progress=False, **options)


def quietly(one, store, **options):
    """Run, where a warning would be a failure."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return run(one, store, **options)


# ---------------------------------------------------------------- trials


def test_studies_without_trials_or_with_one_twice_are_refused():
    with pytest.raises(ConfigurationError, match=r"^study 'mine' has no trials: give it at least one$"):
        Study("mine", ())
    twice = replace(trial(1), tags={"group": "support", "region": "the same in other words"})
    with pytest.raises(ConfigurationError, match=r"^study 'mine' holds a trial twice \(1\): leave one out$"):
        study(trial(0), trial(1), trial(2), twice)


def test_trials_whose_tables_would_have_no_place_are_refused():
    with pytest.raises(ConfigurationError, match="group"):
        study(replace(trial(0), tags={"seed": 0}))
    for name in ("trial", "state", "reason"):
        with pytest.raises(ConfigurationError, match=name):
            study(trial(0, **{name: "first"}))


def test_groups_are_chosen_by_name_in_the_order_of_the_study():
    mixed = study(trial(0), trial(1, "density"), trial(2), trial(3, "scaling"))
    assert [t.tags["seed"] for t in mixed.of("density", "support").trials] == [0, 1, 2]
    assert mixed.of("scaling").name == "mine"
    with pytest.raises(
        ConfigurationError, match="study 'mine' has no group 'supprt': choose from support, density, scaling"
    ):
        mixed.of("scaling", "supprt")


def test_frames_have_a_column_per_tag():
    mixed = study(trial(0, region="a"), trial(1, "density", regime="dual"))
    table = mixed.frame()
    assert table["trial"].tolist() == [t.key for t in mixed.trials] and table["model"].tolist() == ["8x1 2 heads"] * 2
    assert table["region"].fillna("").tolist() == ["a", ""] and table["regime"].fillna("").tolist() == ["", "dual"]
    assert table["seed"].tolist() == [0, 1] and table["group"].tolist() == ["support", "density"]


# ---------------------------------------------------------------- runs


def test_what_is_done_is_not_done_again_and_the_tables_hold_it(store, tried):
    one = study()
    assert one.status(store)["state"].tolist() == [OPEN] * 3 and len(one.tables(store).trials) == 0
    first = quietly(one, store)
    assert tried == [0, 1, 2]
    again, fresh = quietly(one, store), one.tables(store)
    assert tried == [0, 1, 2]  # nothing was tried again
    for tables in (again, fresh):
        assert tables.trials.equals(first.trials) and tables.results["support"].equals(first.results["support"])
    for t in one.trials:
        expected, rows = outcome_of(t), first.results["support"].query("trial == @t.key")
        assert rows.drop(columns="trial").reset_index(drop=True).equals(expected.results)
        assert first.trials.set_index("trial").loc[t.key, "final_loss"] == expected.cost["final_loss"][0]
    assert one.status(store)["state"].tolist() == [DONE] * 3 and len(first.failures) == 0
    assert store.verify() == []


def test_a_longer_study_adds_to_a_shorter_one(store, tried):
    short = quietly(study(trial(1), trial(3)), store)
    longer = quietly(study(*map(trial, range(4))), store)
    assert tried == [1, 3, 0, 2] and longer.trials["seed"].tolist() == [0, 1, 2, 3]
    assert longer.results["support"].query("trial in @short.trials.trial").drop(columns="trial").values.tolist() == (
        short.results["support"].drop(columns="trial").values.tolist()
    )


def test_shares_of_several_machines_add_up_to_the_whole(store, tried, tmp_path):
    whole = study(*(trial(s, group) for s in range(4) for group in ("support", "density")))
    expected = quietly(whole, store)
    packs = []
    for name, share in (("one", whole.of("density")), ("two", study(*whole.of("support").trials[1:]))):
        there = Store(tmp_path / name)
        done = quietly(share, there).trials["trial"]
        packs += pack(there, Outcomes.stage, done, tmp_path / name, max_bytes=20_000)
    here = Store(tmp_path / "here")
    tried.clear()
    quietly(study(*whole.of("support").trials[:2]), here)  # the second is done by two
    assert merge(here, packs, {Outcomes.stage: Outcomes.schema}) == 4 + 2 and len(packs) > 2
    found = whole.tables(here)
    assert found.trials.equals(expected.trials) and here.verify() == []
    for group in ("support", "density"):
        assert found.table(group).equals(expected.table(group)) and len(found.table(group)) == 12
    quietly(whole, here)
    assert tried == [0, 1]


def test_what_is_done_needs_no_network_library(store, tried, monkeypatch):
    quietly(study(), store)
    monkeypatch.delenv("SYNTHLAB_WORKERS")
    monkeypatch.setitem(__import__("sys").modules, "torch", None)  # as if it were not installed
    assert len(quietly(study(), store).trials) == 3


@pytest.mark.parametrize("minutes", [0, -1, float("nan")])
def test_slices_without_time_are_refused(store, tried, minutes):
    with pytest.raises(ConfigurationError, match=f"a slice of {minutes} minutes: use a positive number"):
        run(study(), store, minutes=minutes)
    assert tried == [] and not store.root.exists()


def test_damaged_outcomes_are_named_and_made_again_once_deleted(store, tried):
    before = quietly(study(), store)
    folder = store.folder("outcomes", trial(1).key)
    content = bytearray((folder / "results.parquet").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "results.parquet").write_bytes(content)
    with pytest.raises(ArtifactError, match=r"results\.parquet is damaged: delete .* and run again$") as refused:
        quietly(study(), store)
    assert "\n" not in str(refused.value)
    shutil.rmtree(folder)
    assert quietly(study(), store).results["support"].equals(before.results["support"]) and tried == [0, 1, 2, 1]


# ---------------------------------------------------------------- failures


def test_an_impossible_trial_is_kept_with_its_reason_and_not_tried_again(store, tried):
    tried.errors[1] = SplitError("7 programs asked of a pool of 3: lower num_train")
    tables = quietly(study(), store)
    assert tried == [0, 1, 2] and tables.trials["seed"].tolist() == [0, 2]
    (row,) = tables.failures.to_dict("records")
    assert (row["trial"], row["seed"], row["group"]) == (trial(1).key, 1, "support")
    assert row["reason"] == "7 programs asked of a pool of 3: lower num_train"
    status = study().status(store)
    assert status["state"].tolist() == [DONE, FAILED, DONE] and status["reason"].tolist() == ["", row["reason"], ""]
    quietly(study(), store)
    assert tried == [0, 1, 2]
    quietly(study(), store, retry=True)
    assert tried == [0, 1, 2, 1]
    tried.errors.clear()
    mended = quietly(study(), store, retry=True)
    assert mended.trials["seed"].tolist() == [0, 1, 2] and len(mended.failures) == 0
    assert failure(store, trial(1).key) == {} and not list((store.root / "failures").glob("*"))


@pytest.mark.parametrize("error", [ZeroDivisionError("oh\nno"), ArtifactError("disk full: make room"), MemoryError()])
def test_an_unexpected_error_is_kept_in_one_line_and_tried_again(store, tried, error):
    tried.errors[0] = error
    tables = quietly(study(), store)
    assert tried == [0, 1, 2] and len(tables.trials) == 2
    (reason,) = tables.failures["reason"]
    assert reason.startswith("disk full" if isinstance(error, ArtifactError) else type(error).__name__)
    assert "\n" not in reason
    quietly(study(), store)
    assert tried == [0, 1, 2, 0]
    tried.errors.clear()
    assert len(quietly(study(), store).failures) == 0 and tried == [0, 1, 2, 0, 0]


@pytest.mark.parametrize(
    "note",
    [b"", b"{", b"null", b"[]", b"7", b'"why"', b"[1, 2]", b"{}", b"\xff\xfe", b'{"refused": true}', b"[" * 100_000],
    ids=lambda note: repr(note[:9]),
)
def test_a_damaged_note_breaks_nothing(store, tried, note):
    tried.errors[1] = SplitError("impossible: ask for less")
    quietly(study(), store)
    (path,) = (store.root / "failures").glob("*")
    path.write_bytes(note)
    status = study().status(store)
    assert status["state"].isin([DONE, OPEN, FAILED]).all() and status["state"].tolist()[0] == DONE
    tried.errors.clear()
    assert len(quietly(study(), store, retry=True).trials) == 3 and not path.exists()


def test_a_note_of_before_says_nothing_of_a_trial_that_is_done(store, tried):
    tried.errors[1] = RuntimeError("once")
    quietly(study(), store)
    outcome_of(trial(1)).save(store)  # done by another machine, and merged
    status = study().status(store)
    assert status["state"].tolist() == [DONE] * 3 and status["reason"].tolist() == [""] * 3
    assert len(study().tables(store).failures) == 0


# ---------------------------------------------------------------- changed studies


def test_finished_trials_that_dropped_out_are_reported_in_one_line_and_left_out(store, tried):
    tried.errors[3] = RuntimeError("never finished")
    quietly(study(*map(trial, range(5))), store)
    with pytest.warns(UserWarning) as seen:
        tables = run(study(*map(trial, (0, 1, 6))), store)
    (message,) = [str(w.message) for w in seen]
    # 2 and 4; 3 has nothing to lose
    assert "'mine-support' has changed: 2 of its 5 trials were finished" in message and "\n" not in message
    assert seen[0].filename == __file__.replace(".pyc", ".py")  # the caller's line, not the library's
    assert tables.trials["seed"].tolist() == [0, 1, 6] and set(tables.results["support"]["trial"]) == {
        trial(s).key for s in (0, 1, 6)
    }
    assert store.has("outcomes", trial(2).key)
    quietly(study(*map(trial, (0, 1, 6))), store)  # said once
    assert quietly(study(*map(trial, range(7))), store).trials["seed"].tolist() == [0, 1, 2, 4, 5, 6]
    assert store.verify() == []


def test_other_orders_other_groups_and_other_studies_are_no_change(store, tried):
    mixed = study(trial(0), trial(1, "density"), trial(2), trial(3, "scaling"))
    quietly(mixed, store)
    quietly(study(*reversed(mixed.trials)), store)
    quietly(mixed.of("density"), store)
    quietly(study(trial(0), name="another"), store)
    quietly(study(*mixed.trials, trial(4)), store)
    with pytest.warns(UserWarning, match="'mine-density' has changed"):
        run(study(trial(5, "density")), store)


@pytest.mark.parametrize("name", ["a" * 70, "étude", "-x", "with space/and slash", "."])
def test_any_name_does_and_groups_are_told_apart(store, tried, name):
    quietly(study(trial(0), trial(1, "density"), name=name), store)
    quietly(study(trial(0), trial(1, "density"), name=name), store)
    with pytest.warns(UserWarning) as seen:
        run(study(trial(0), trial(2, "density"), name=name), store)
    assert len(seen) == 1 and store.verify() == []


def test_notes_say_which_trial_failed(store, tried):
    tried.errors[1] = RuntimeError("why")
    quietly(study(trial(1, region="here")), store)
    (path,) = (store.root / "failures").glob("*")
    note = json.loads(path.read_bytes())
    assert path.stem == trial(1).key and note["tags"]["region"] == "here" and note["seconds"] >= 0
