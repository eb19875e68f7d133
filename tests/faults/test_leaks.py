"""Leaks planted into the saved files of every kind of split are all found, and nothing trains on them.

And functions that agree wherever a solver can look, but are others, are never called correct.
"""

import json
from dataclasses import replace

import numpy as np
import pytest
from faults.planting import PLANTS, World, planted, saved, splits_of_every_kind

from synthlab.__main__ import main
from synthlab.assessment.correctness import STATUSES, check
from synthlab.assessment.tasks import Candidates, tasks_of
from synthlab.errors import SplitError
from synthlab.lab import Lab
from synthlab.language.grammar import PAD, PIECEWISE, POLYNOMIAL, Grammar, Grid, register
from synthlab.language.operator import ADD, MAXIMUM, MULTIPLY, SUBTRACT
from synthlab.language.program import Program, parse
from synthlab.learning.evaluation import train_cached
from synthlab.learning.training import train
from synthlab.presets import ModelConfig, TrainingConfig
from synthlab.search.budget import Budget, Cost
from synthlab.search.problem import Result
from synthlab.spaces.semantic import fit_semantic
from synthlab.spaces.syntactic import fit_syntactic
from synthlab.splits.audit import audit, audit_corpus
from synthlab.splits.density import density_settings, density_split
from synthlab.splits.regions import Region
from synthlab.splits.split import Split
from synthlab.splits.support import support_settings, support_split
from synthlab.store import Store
from synthlab.study.freezing import Domain, build_benchmark
from synthlab.study.prompts import training_programs
from synthlab.study.scoring import score
from synthlab.study.solvers import solve
from synthlab.study.trials import Trial, run_trial
from synthlab.study.verdict import hold_verdict
from synthlab.study.workspace import Universe, Workspace
from synthlab.universe.corpus import build_corpus

MODEL, TRAINING = ModelConfig(width=8, layers=1, heads=2), TrainingConfig(num_steps=2, batch_size=8, num_checks=0)
LEAK = "the split leaks"
TWINS = "semantic twins across train and test"
ALIKE = "agreement on the grid alone"
REFUSED = (
    "a_twin_of_a_tested_function_in_training", "a_trained_class_moved_into_a_test", "a_held_out_text_in_training",
    "a_training_program_twice", "a_negative_id",
)  # fmt: skip


@pytest.fixture(scope="module")
def world():
    return World.of(3)


@pytest.fixture(scope="module")
def spaces3(corpus3):
    return {"syntactic": fit_syntactic(corpus3), "semantic": fit_semantic(corpus3)}


@pytest.fixture(scope="module")
def clean(corpus3, spaces3):
    return splits_of_every_kind(corpus3, spaces3)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("leaks"))


@pytest.mark.fault(TWINS)
def test_every_leak_planted_into_the_files_of_every_kind_of_split_is_found(clean, corpus3, world, store, fired):
    missed, tried = [], dict.fromkeys(PLANTS, 0)
    for number, (name, split) in enumerate(clean.items()):
        assert audit_corpus(saved(store, split), corpus3).passed, name
        for seed, plant in enumerate(PLANTS, 100 * number):
            leaky = planted(split, world, plant, seed) if (number + seed) % 2 else None
            if leaky is None:
                continue
            tried[plant] += 1
            report = audit_corpus(saved(store, leaky), corpus3)
            try:
                report.require()
                missed.append((name, plant, seed))
            except SplitError as error:
                assert str(error).startswith(LEAK) and "\n" not in str(error)
    assert missed == [] and min(tried.values()) > 0 and sum(tried.values()) > 200, tried
    fired(sum(tried.values()))


@pytest.mark.fault(TWINS)
def test_leaks_in_an_isolated_split_are_found(corpus4, spaces4, fired):
    region = Region(space="semantic", rule="placebo")  # by lot, so that isolating it is quick
    settings = support_settings(region, num_train=1000, num_test=200, reserved=0.3, isolated=True)
    split = support_split(corpus4, spaces4, settings)
    world = World(corpus4.class_index, corpus4.leaves)
    assert audit_corpus(split, corpus4).passed
    for plant in REFUSED:
        leaky = planted(split, world, plant, 5)
        with pytest.raises(SplitError, match=LEAK):
            audit(leaky).require()
    fired(len(REFUSED))


# ---------------------------------------------------------------- nothing trains on a leak


def made(store):
    """What training leaves behind."""
    return [
        path for stage in ("run", "checkpoints", "outcomes", "verdict") for path in (store.root / stage).glob("*-*")
    ]


@pytest.mark.fault(TWINS)
@pytest.mark.parametrize("plant", REFUSED)
def test_no_door_trains_on_a_leak(plant, clean, corpus3, world, tmp_path, monkeypatch, small_preset, capsys, fired):
    store, split = Store(tmp_path), clean["root"]
    corpus3.save(store)
    leaky = saved(store, planted(split, world, plant, 1))
    store.name(leaky, "leaky")
    settings = support_settings(Region(rule="root", root="*"), num_train=300, num_test=25, reserved=0.3)
    trial = Trial(
        tags={"group": "leaks"}, universe=Universe(grammar="polynomial", max_size=3, measure="leaves"),
        kind="support", settings=settings,
        model=MODEL, training=TRAINING,
    )  # fmt: skip
    lab = Lab(small_preset, store=store, progress=False)
    doors = {
        "train": lambda: train(corpus3, leaky, MODEL, TRAINING, store=store, progress=False),
        "train_cached": lambda: train_cached(corpus3, leaky, MODEL, TRAINING, store=store, progress=False),
        "verdict": lambda: hold_verdict(corpus3, leaky, store=store, model=MODEL, training=TRAINING, progress=False),
        "trial": lambda: run_trial(Workspace(store), trial),
        "lab": lambda: lab.train(leaky, MODEL, TRAINING),
        "save": lambda: lab.save_split(leaky, "again"),
    }
    for name, door in doors.items():
        with pytest.raises(SplitError, match=LEAK):
            door()
        assert made(store) == [], name
    monkeypatch.setenv("SYNTHLAB_STORE", str(tmp_path))
    few = ["--steps", "2", "--json"]
    for arguments in (["train", "--split", "leaky", "--model", "8x1", *few], ["verdict", "leaky", *few]):
        assert main(arguments) == 2 and LEAK in capsys.readouterr().err
        assert made(store) == [], arguments
    assert main(["audit", "leaky", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["passed"] is False
    fired(len(doors) + 3)


@pytest.mark.fault(TWINS)
def test_what_was_trained_on_the_clean_split_is_not_had_by_the_forged_one_of_the_same_key(
    clean, corpus3, world, small_preset, tmp_path, monkeypatch, capsys, fired
):
    lab = Lab(small_preset, store=Store(tmp_path), progress=False)
    lab.store.name(lab.train(clean["root"], MODEL, TRAINING), "mine")
    leaky = planted(clean["root"], world, "a_trained_class_moved_into_a_test", 1)
    assert leaky.key == clean["root"].key
    with pytest.raises(SplitError, match=LEAK):
        lab.train(leaky, MODEL, TRAINING)
    saved(lab.store, leaky)
    monkeypatch.setenv("SYNTHLAB_STORE", str(tmp_path))
    assert main(["evaluate", "mine"]) == 2 and LEAK in capsys.readouterr().err
    fired(2)


# ---------------------------------------------------------------- grammars whose identity is not exact


@pytest.fixture(scope="module")
def jumpy():
    """Functions that part only beyond every probe: `max(x, x + x - 1000)` is x up to 1000."""
    grammar = Grammar(
        name="far-away", variables=("x", "y"), constants=(1, 1000), operators=(ADD, SUBTRACT, MULTIPLY, MAXIMUM),
        grid=Grid.regular(0, 0), hidden_domain=(-100, 100),
    )  # fmt: skip
    return build_corpus(register(grammar), 4)


@pytest.mark.fault(TWINS)
def test_another_function_that_no_probe_tells_apart_is_kept_out_of_training_as_well(jumpy, fired):
    """What identity cannot see must be held to be the same: the answer to one would be right for the other."""
    spaces = {"syntactic": fit_syntactic(jumpy), "semantic": fit_semantic(jumpy)}
    split = density_split(jumpy, spaces, density_settings(regime="random", num_train=500, num_test=50, num_cells=8))
    assert audit(split).passed
    far = [number for number, row in enumerate(jumpy.prefix) if _is_far(jumpy.grammar, row)]
    tested = np.flatnonzero(np.isin(jumpy.class_index, jumpy.class_rows(np.unique(split.tests["random"]))))
    planted_texts = np.intersect1d(far, tested)[:20]
    x = int(jumpy.class_id[jumpy.class_index[far[0]]])
    if not len(planted_texts):  # x itself is tested then
        split = replace(split, tests=split.tests | {"random": np.append(split.tests["random"], x)})
        planted_texts = far[:5]
    for text in planted_texts:
        train = np.append(split.train, text)
        leaky = replace(split, train=train, targets=train)
        found = {check for check, num, _ in audit(leaky).findings if num}
        assert "tested function in training" in found and "tested text in training" not in found
    fired(len(planted_texts))


def _is_far(grammar, row):
    """Whether a program is `max(x, x + x - 1000)`, which is not the x that it is counted as."""
    tokens = [grammar.tokens[t] for t in row if t != PAD]
    return tokens[0] == "max" and tokens[1:] in (["x", "-", "+", "x", "x", "1000"], ["-", "+", "x", "x", "1000", "x"])


# ---------------------------------------------------------------- right on the grid, and wrong

LARGE = 30


def lookalike(grammar, text):
    """The text of another function with the same values on the grid: what is added vanishes there, and only there."""
    zeros = {0: "x", **{k: f"(x - {number})" for k, number in ((1, "1"), (2, "2"), (3, "(1 + 2)"))}}
    zeros |= {-k: zero.replace("-", "+") for k, zero in zeros.items() if k}
    axis = [int(value) for value in grammar.grid.axes[0]]
    return parse(grammar, f"{text} + " + "*".join(zeros[value] for value in axis))


@pytest.mark.fault(ALIKE)
@pytest.mark.parametrize("grammar", [POLYNOMIAL, PIECEWISE], ids=lambda g: g.name)
def test_answers_that_agree_on_the_grid_alone_are_named_so_and_never_correct(grammar, fired):
    corpus = build_corpus(grammar, 2)
    tasks = tasks_of(corpus, corpus.class_id[corpus.is_task])
    texts = [Program.from_row(grammar, corpus.prefix[k]).infix_text() for k in tasks.class_id]
    answers = [lookalike(grammar, text) for text in texts]
    prefix = np.full((len(answers), max(p.nodes for p in answers)), PAD, dtype=np.uint8)
    for row, program in enumerate(answers):
        prefix[row, : program.nodes] = program.prefix
    numbers = np.arange(len(answers))
    judged = check(tasks, Candidates(numbers, 0 * numbers, prefix, np.full(len(answers), np.nan)), max_size=LARGE)
    assert {STATUSES[s] for s in judged.status} == {"right on grid"} and judged.on_grid.all()
    assert judged.num_correct().sum() == 0 and not judged.frame()["solved"].any()
    assert {STATUSES[s] for s in judged.submitted()} == {"right on grid"}
    fired(len(answers))


@pytest.mark.fault(ALIKE)
def test_a_search_contest_does_not_count_what_is_right_on_the_grid_alone(fired):
    corpus = build_corpus(POLYNOMIAL, 2)
    tasks = tasks_of(corpus, corpus.class_id[:12])

    class Impostor:
        name = "impostor"

        def solve_all(self, problems, budget):
            answers = [lookalike(POLYNOMIAL, corpus.program(k).infix_text()) for k in tasks.class_id]
            return [Result("impostor", a, a, 1.0, Cost(), "found") for a in answers]

    table = solve(Impostor(), tasks, Budget(programs=10), max_size=LARGE)
    assert table["found"].all() and not table["solved"].any()
    fired(len(table))


@pytest.mark.fault(ALIKE)
def test_a_prediction_file_full_of_lookalikes_scores_nothing(fired):
    import pandas as pd

    domain = Domain(grammar="polynomial", max_size=3, regions={"root": Region(rule="root", root="*")}, isolated=(),
                    num_tasks=20, reserved=0.25)  # fmt: skip
    benchmark = build_benchmark([domain])
    rows = benchmark.select("polynomial-root", ["id"])
    answers = benchmark.hidden(rows)["class_id"].to_numpy()
    corpus = build_corpus(POLYNOMIAL, 3)
    texts = [lookalike(POLYNOMIAL, corpus.program(int(k)).infix_text()).infix_text() for k in answers]
    table = pd.DataFrame({"task": rows["task"].to_numpy(), "rank": 0, "program": texts, "system": "impostor"})
    (found,) = score(table, benchmark, extra_size=LARGE - 3).summary.to_dict("records")
    assert found["right_on_grid"] == 1 and found["pass_at_1"] == found["submitted"] == found["oracle_at_n"] == 0
    fired(len(table))


@pytest.mark.fault(TWINS)
def test_no_example_of_a_prompt_computes_a_task_of_any_split_of_its_grammar(world, fired):
    shared = dict(isolated=(), num_tasks=20, reserved=0.25)
    regions = {"root": Region(rule="root", root="*"), "sums": Region(rule="root", root="+")}
    benchmark = build_benchmark([Domain(grammar="polynomial", max_size=3, regions=regions, **shared)])
    asked = set(world.function[benchmark.hidden(benchmark.tasks)["class_id"].to_numpy()].tolist())
    corpus = build_corpus(POLYNOMIAL, 3)
    number = {tuple(row[row != PAD]): k for k, row in enumerate(corpus.prefix)}
    for split in ("polynomial-root", "polynomial-sums"):
        shown = training_programs(benchmark, split, 10, seed=3)
        functions = [world.function[number[p.prefix]] for p in shown]
        assert len(set(functions)) == 10 and not asked & set(functions)
    fired(len(asked))


@pytest.mark.fault(TWINS)
def test_the_mask_of_a_region_is_not_trusted_where_its_spaces_are_not_given(clean, corpus3, fired):
    split = clean["quantile"]
    nothing = replace(split, region=np.packbits(np.zeros(corpus3.num_programs, dtype=bool)))
    assert isinstance(nothing, Split)
    failed = {check for check, num, _ in audit_corpus(nothing, corpus3).findings if num}
    assert "saved mask that is not the surface's" in failed
    fired()
