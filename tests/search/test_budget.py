"""What a search may spend, when it has spent it, and what it reports."""

import time

import pytest

from synthlab.errors import ConfigurationError
from synthlab.search import budget
from synthlab.search.budget import AXES, Budget, Cost, Meter

ALL = Cost(seconds=1.5, programs=3, lookups=5, tokens=7, flops=2e9)


@pytest.mark.parametrize(
    "limits",
    [
        dict(seconds=0), dict(seconds=-1.0), dict(seconds=float("nan")), dict(programs=0), dict(programs=-5),
        dict(seconds=5, programs=0), dict(lookups=0), dict(tested=0), dict(tokens=-1), dict(flops=0.0),
        dict(flops=float("nan")), dict(programs=3, flops=-1.0),
    ],
)  # fmt: skip
def test_a_budget_that_allows_nothing_is_refused(limits):
    with pytest.raises(ConfigurationError, match="allows no search: every limit must be over 0"):
        Budget(**limits)


def test_a_refusal_names_what_was_given():
    with pytest.raises(ConfigurationError, match="a budget of 2 seconds, 0 tested allows"):
        Budget(seconds=2, tested=0)


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until it is set."""
    now = [100.0]
    monkeypatch.setattr(budget.time, "perf_counter", lambda: now[0])
    return now


# ---------------------------------------------------------------- one limit at a time


def test_a_meter_is_exhausted_by_time(clock):
    meter = Meter(Budget(seconds=2.0), start=100.0)
    clock[0] = 101.999
    assert not meter.exhausted and meter.seconds == pytest.approx(1.999)
    clock[0] = 102.0
    assert meter.exhausted


@pytest.mark.parametrize("axis", ["programs", "lookups", "tokens", "flops"])
def test_a_meter_is_exhausted_by_what_is_counted(clock, axis):
    meter = Meter(Budget(seconds=9.0, **{axis: 10}), start=100.0)
    setattr(meter, axis, 9)
    assert not meter.exhausted and meter.left(axis, 100) == 1
    setattr(meter, axis, 10)
    assert meter.exhausted and meter.left(axis, 100) == 0


@pytest.mark.parametrize(("programs", "lookups"), [(10, 0), (0, 10), (4, 6), (7, 30)])
def test_programs_and_lookups_are_tested_together(clock, programs, lookups):
    meter = Meter(Budget(seconds=9.0, tested=10), start=100.0, programs=programs, lookups=lookups)
    assert meter.tested == programs + lookups and meter.exhausted and meter.left("tested", 5) == 0
    meter = Meter(Budget(seconds=9.0, tested=10), start=100.0, programs=3, lookups=6)
    assert not meter.exhausted and meter.left("tested", 5) == 1


@pytest.mark.parametrize("axis", ["programs", "lookups", "tokens", "flops", "tested"])
def test_everything_is_free_where_no_limit_is_set(clock, axis):
    spent = dict.fromkeys(("programs", "lookups", "tokens", "flops"), 10**12)
    meter = Meter(Budget(seconds=1.0), start=100.0, **spent)
    assert not meter.exhausted and meter.left(axis, 7) == 7


def test_time_may_be_without_a_limit(clock):
    meter = Meter(Budget(seconds=float("inf"), programs=5), start=-1e12)
    assert not meter.exhausted


def test_the_first_limit_ends_the_search(clock):
    limits = Budget(seconds=5.0, programs=10, tokens=100)
    assert not Meter(limits, start=100.0, programs=9, tokens=99).exhausted
    assert Meter(limits, start=100.0, programs=10).exhausted
    assert Meter(limits, start=100.0, tokens=100).exhausted
    assert Meter(limits, start=95.0).exhausted


def test_a_new_meter_starts_now_with_nothing_spent():
    before = time.perf_counter()
    meter = Meter(Budget())
    assert before <= meter.start <= time.perf_counter() and meter.seconds >= 0
    assert [getattr(meter, axis) for axis in AXES if axis != "seconds"] == [0] * 5


# ---------------------------------------------------------------- costs


def test_what_was_spent_elsewhere_is_charged(clock):
    meter = Meter(Budget(seconds=4.0), start=100.0, programs=1, lookups=2, tokens=3, flops=4.0)
    clock[0] = 102.0
    meter.charge(ALL)
    assert meter.cost == Cost(seconds=3.5, programs=4, lookups=7, tokens=10, flops=2e9 + 4.0)
    assert meter.tested == meter.cost.tested == 11 and not meter.exhausted
    meter.charge(Cost(seconds=0.5))
    assert meter.exhausted and meter.cost.seconds == 4.0


def test_costs_add_up():
    assert ALL + Cost() == Cost() + ALL == ALL
    doubled = ALL + ALL
    assert doubled == Cost(seconds=3.0, programs=6, lookups=10, tokens=14, flops=4e9)
    assert sum([ALL] * 4, Cost()).tested == 32 == 4 * ALL.tested


def test_shares_of_costs_are_rounded_up():
    share = ALL.over(2)
    assert share == Cost(seconds=0.75, programs=2, lookups=3, tokens=4, flops=1e9)
    assert all(type(n) is int for n in (share.programs, share.lookups, share.tokens))
    assert ALL.over(1) == ALL and Cost().over(3) == Cost()
