"""What a search may spend, and when it has spent it."""

import pytest

from synthlab.errors import ConfigurationError
from synthlab.search import budget
from synthlab.search.budget import Budget, Meter


@pytest.mark.parametrize(
    "limits", [dict(seconds=0), dict(seconds=-1.0), dict(programs=0), dict(programs=-5), dict(seconds=5, programs=0)]
)
def test_a_budget_that_allows_nothing_is_refused(limits):
    with pytest.raises(ConfigurationError, match="allows no search"):
        Budget(**limits)


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until it is set."""
    now = [100.0]
    monkeypatch.setattr(budget.time, "perf_counter", lambda: now[0])
    return now


def test_a_meter_is_exhausted_by_time(clock):
    meter = Meter(Budget(seconds=2.0), start=100.0)
    clock[0] = 101.999
    assert not meter.exhausted and meter.seconds == pytest.approx(1.999)
    clock[0] = 102.0
    assert meter.exhausted


def test_a_meter_is_exhausted_by_programs(clock):
    meter = Meter(Budget(seconds=9.0, programs=10), start=100.0)
    meter.executed = 9
    assert not meter.exhausted
    meter.executed = 10
    assert meter.exhausted


def test_programs_are_free_where_no_limit_is_set(clock):
    meter = Meter(Budget(seconds=1.0), executed=10**12, start=100.0)
    assert not meter.exhausted
