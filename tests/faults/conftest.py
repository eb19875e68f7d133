"""Every test of a fault says how many it injected, and that they took effect."""

import os

import pytest
from faults.table import FAULTS, record


@pytest.fixture
def fired(request):
    """Report faults that took effect and were survived: ``fired(3)``; or fuzzed: ``fired(inputs=500)``."""
    total = {"faults": 0, "inputs": 0}

    def report(faults=1, *, inputs=0):
        total["faults"] += faults if not inputs else 0
        total["inputs"] += inputs

    yield report
    if sum(total.values()) and os.environ.get("SYNTHLAB_FAULTS"):
        record(f"{request.path.name}::{request.function.__name__}", **total)
    request.node.stash[TOTAL] = sum(total.values())


TOTAL = pytest.StashKey[int]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item):
    """A test that is marked as one of a fault, passes, and injected nothing has proved nothing."""
    yield
    mark = item.get_closest_marker("fault")
    if mark is None or item.stash.get(PASSED, False) is False:
        return
    assert mark.args[0] in FAULTS, f"{mark.args[0]!r} is no row of table.py"
    assert item.stash.get(TOTAL, 0), "no fault fired: say fired(n) when one did"


PASSED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if call.when == "call":
        item.stash[PASSED] = report.passed
    return report
