"""Answers of a run, and the tables that a user looks through them by."""

from dataclasses import replace

import numpy as np
import pytest

from synthlab.assessment.correctness import check
from synthlab.assessment.tasks import Candidates, tasks_by_part
from synthlab.errors import ArtifactError, ConfigurationError, SplitError
from synthlab.learning.evaluation import evaluate_run
from synthlab.study import answers
from synthlab.study.answers import answer_table, answer_texts, judged_answers, likeliest_answers
from synthlab.study.proposers import ModelProposer


@pytest.fixture(scope="module")
def evaluations(corpus4, split4, trained4):
    return judged_answers(trained4, corpus4, split4, progress=False)


@pytest.fixture(scope="module")
def table(corpus4, split4, spaces4, evaluations):
    return answer_table(corpus4, split4, spaces4, evaluations)


def test_answers_are_those_of_an_evaluation(corpus4, split4, trained4, table):
    known = evaluate_run(trained4, corpus4, split4)
    for column in ("part", "class_id", "solved", "status", "log_probability"):
        assert np.array_equal(known[column], table[column])
    assert {"syntactic_distance", "semantic_distance", "class_size", "texts_in_support"} <= set(table)
    assert np.array_equal(table["size"], corpus4.minimal_size[corpus4.class_rows(table["class_id"].to_numpy())])


def test_texts_are_looked_up_for_the_rows_asked(corpus4, evaluations, table):
    some = table.iloc[[5, 100, 3]]
    found = answer_texts(corpus4, evaluations, some)
    assert found.index.tolist() == [5, 100, 3]
    assert found["target"].tolist() == [corpus4.program(i).infix_text() for i in some["class_id"]]
    part = evaluations[table.loc[100, "part"]]
    assert found.loc[100, "written"] == part.candidates.frame(corpus4.grammar)["program"][table.loc[100, "answer"]]


def test_a_task_without_an_answer_is_a_failure_without_a_text(corpus4, spaces4, split4, evaluations):
    tasks = tasks_by_part(corpus4, split4)["id"]
    answered = evaluations["id"].candidates.take(np.arange(1, len(tasks)))
    table = answer_table(corpus4, split4, spaces4, {"id": check(tasks, answered)})
    assert table["answer"].tolist()[:2] == [answers.NO_ANSWER, 0] and np.isnan(table["log_probability"][0])
    assert not table["solved"][0] and table["status"][0] == "ungrammatical"
    assert answer_texts(corpus4, {"id": check(tasks, answered)}, table.iloc[:1])["written"].tolist() == [""]


def test_answers_to_another_split_are_refused(corpus4, spaces4, split4, evaluations, split3, corpus3, trained4):
    with pytest.raises(ConfigurationError, match="'forced' are not to this split"):
        answer_table(corpus4, split4, spaces4, {"forced": evaluations["id"]})
    with pytest.raises(ConfigurationError, match="at least one part"):
        answer_table(corpus4, split4, spaces4, {})
    with pytest.raises(ArtifactError):
        judged_answers(trained4, corpus3, split3, progress=False)


def test_likeliest_answers_come_ranked_and_judged(corpus4, trained4, table):
    solved = int(table.loc[table["solved"], "class_id"].iloc[0])
    found = likeliest_answers(ModelProposer(trained4, how="beam"), corpus4, solved, 5)
    assert found["rank"].tolist() == [1, 2, 3, 4, 5] and found["log_probability"].is_monotonic_decreasing
    assert (found["status"] == "solved").any() and len(set(found["program"])) == 5


def test_texts_that_a_beam_did_not_find_are_left_out(corpus4):
    class Poor:
        def candidates(self, tasks, num):
            prefix = np.repeat(corpus4.prefix[:1], num, axis=0)
            return Candidates(np.zeros(num, int), np.arange(num), prefix, np.log([1.0, 0.0][:num] + [0.0] * (num - 2)))

    with np.errstate(divide="ignore"):
        found = likeliest_answers(Poor(), corpus4, int(corpus4.class_id[0]), 4)
    assert found["rank"].tolist() == [1] and found["status"].tolist() == ["solved"]


def test_a_split_without_tasks_has_no_answers(corpus4, split4, trained4):
    nothing = replace(split4, tests={name: ids[:0] for name, ids in split4.tests.items()})
    with pytest.raises(SplitError, match="no test tasks"):
        judged_answers(trained4, corpus4, nothing, progress=False)
