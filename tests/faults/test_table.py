"""Every fault has a test, and the table in README.md is of the tests that are there."""

import re
from collections import Counter

import pytest
from faults.table import FAULTS, README, by_fault, document

ROW = re.compile(r"\| (?P<fault>.+?) \| (?P<promise>.+?) \| (?P<tests>.+?) \| (?P<number>[\d,]+) \|")


@pytest.fixture(scope="module")
def rows():
    """Rows of the committed table."""
    lines = README.read_text().splitlines()
    return {found["fault"]: found for line in lines if (found := ROW.fullmatch(line)) and found["fault"] in FAULTS}


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_is_injected(fault, rows):
    tests = by_fault()[fault]
    assert tests, f"no test is marked with {fault!r}"
    assert rows[fault]["promise"] == FAULTS[fault]
    written = re.findall(r"\[(\w+)\]\((\w+\.py)\)", rows[fault]["tests"])
    assert sorted(written) == sorted((name, file) for file, name in tests), "make faults"
    assert int(rows[fault]["number"].replace(",", "")) >= len(tests)


def test_totals_are_sums(rows):
    text = README.read_text()
    total, inputs = re.search(r"([\d,]+) faults injected and survived; ([\d,]+) fuzzed inputs tried", text).groups()
    assert int(total.replace(",", "")) == sum(int(row["number"].replace(",", "")) for row in rows.values())
    assert int(inputs.replace(",", "")) >= 10_000


def test_the_table_is_written_from_counts():
    file, name = by_fault()["disk full"][0]
    text = document(Counter({f"{file}::{name}": 7}), 5)
    assert "| 7 |" in text and "7 faults injected and survived; 5 fuzzed inputs tried" in text
