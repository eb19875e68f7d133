"""Tables of another version are refused by that version, and never stacked column by column."""

import numpy as np
import pandas as pd
import pytest
from faults.test_damage import CARRIERS

from synthlab.errors import ArtifactError
from synthlab.presets import ModelConfig, TrainingConfig
from synthlab.store import Carrier
from synthlab.study.study import Study
from synthlab.study.trials import Measures, Outcomes, Trial
from synthlab.study.workspace import Universe

FAULT = "tables of another schema"


def trial(seed, **measures):
    return Trial(
        tags={"group": "mine", "seed": seed}, universe=Universe(max_size=2), kind="support", settings={"seed": seed},
        model=ModelConfig(width=8, layers=1, heads=2), training=TrainingConfig(num_steps=4, seed=seed),
        measures=Measures(**measures),
    )  # fmt: skip


def outcome(one, **columns):
    results = pd.DataFrame({"part": ["id"], "class_id": [3], "solved": [True], "log_probability": [-0.5]})
    return Outcomes(one.identity, results.assign(**columns), pd.DataFrame([{"num_train": 5}]))


@pytest.mark.fault(FAULT)
@pytest.mark.parametrize("carrier", CARRIERS.values(), ids=CARRIERS)
def test_an_artifact_of_another_version_is_refused_under_any_name(carrier, store, fired):
    """The other version is really written, by a class that only counts one further."""

    class Newer(Carrier):
        stage, schema = carrier.stage, carrier.schema + 1
        identity = {"made": "of this"}  # noqa: RUF012

        def payload(self):
            return {"numbers": np.arange(3)}

        @classmethod
        def restore(cls, identity, payload):
            return cls()

        def frame(self):
            return pd.DataFrame()

    store.name(Newer(), "mine")
    assert Newer.load(store, "mine").key == Newer().key and store.verify() == []
    for name in ("mine", Newer().key):
        with pytest.raises(ArtifactError, match=f"has schema {carrier.schema + 1}, not {carrier.schema}: recompute it"):
            carrier.load(store, name)
    fired(2)


@pytest.mark.fault(FAULT)
@pytest.mark.parametrize("first", [0, 1])
def test_outcomes_that_lack_a_column_or_have_one_more_are_not_stacked(first, store, fired):
    trials = [trial(0), trial(1)]
    study = Study("mine", tuple(trials))
    outcome(trials[first]).save(store)
    short = outcome(trials[1 - first])
    for other in (short.results.drop(columns="log_probability"), short.results.assign(more=1.0)):
        folder = store.write(Outcomes(short.description, other, short.cost))
        (differing,) = set(other).symmetric_difference(short.results)
        with pytest.raises(ArtifactError, match=f"other trials in the columns {differing}: delete them and run"):
            study.tables(store)
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
    short.save(store)
    assert not study.tables(store).results["mine"].isna().any(axis=None)
    fired(2)


def test_trials_that_were_asked_for_more_have_more_columns(store):
    trials = [trial(0), trial(1, details=True)]
    outcome(trials[0]).save(store)
    outcome(trials[1], degree=2).save(store)
    table = Study("mine", tuple(trials)).tables(store).results["mine"]
    assert table["degree"].isna().tolist() == [True, False]
