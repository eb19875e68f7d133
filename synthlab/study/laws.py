"""Scaling laws, fitted by robust variable projection from many starts.

Every law reads  ``target = e + b * shape(C; theta)``, where the target is the metric itself or the share of failures.
Given theta the best (e, b) have a closed form, so that only theta is searched: a joint search stops early and is biased
(Besiroglu et al., 2024). The loss is Huber's, minimised by reweighting; theta is found by Levenberg and Marquardt's
method from the best start of every stratum of a seeded sample. Many series (bootstrap replicates) are fitted at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from scipy.special import expit

from synthlab.assessment.bootstrap import Draws
from synthlab.errors import ConfigurationError

SUCCESS, LOSS = "success", "loss"
#: Huber's delta: a run further off than five points (0.05 nats) counts linearly.
DELTA = 0.05
MIN_POINTS = 4
_SAME, _EDGE = 1.05, 1e-3
_FREE, _NON_NEGATIVE, _FIXED = "free", "non-negative", "fixed"
_STRATA_PER_NUMBER, _STARTS_PER_STRATUM = 2, 64
#: Steps of descent, and how many starts of a series go on: all are tried briefly, the best few to the end.
_ROUNDS = ((15, 3), (60, 1))
_STEP, _TOLERANCE, _TINY = 1e-6, 1e-6, 1e-300
_CHUNK = 64  # series at once: what stays in the cache


@dataclass(frozen=True)
class Law:
    """A form of the metric y as a function of training compute C, in FLOPs.

    Parameters
    ----------
    name, formula
        As tables call it; in terms of `Solutions.parameters` and c = C / C0, C0 the geometric mean of the computes.
    linear
        Range of the two linear numbers: ``free``, ``non-negative``, or ``fixed`` at 0 and 1.
    lower, upper
        Box of theta, in units of x = log(c) / width, which lies in [-1, 1]; starts are stratified by the first number.
    shape
        Shape (..., n) at x (n,) for theta (..., q).
    named
        Reported parameters from linear (2,), theta (q,) and the width.
    of_failures
        Whether the law is one of 1 - y.
    """

    name: str
    formula: str
    linear: str
    lower: tuple[float, ...]
    upper: tuple[float, ...]
    shape: Callable[[np.ndarray, np.ndarray], np.ndarray]
    named: Callable[[np.ndarray, np.ndarray, float], dict[str, float]]
    of_failures: bool = False

    @property
    def num_parameters(self) -> int:
        """Numbers that a fit is free to choose."""
        return len(self.lower) + (0 if self.linear == _FIXED else 2)

    def target(self, values: np.ndarray) -> np.ndarray:
        """What the law describes, from the metric; and back, since it is its own inverse."""
        return 1 - values if self.of_failures else values


@dataclass(frozen=True, eq=False)
class Solutions:
    """One law fitted to P series of the same n runs.

    Attributes
    ----------
    law, centre, width
        The law; mean of log C over the runs, and the largest distance from it.
    linear, theta, objective
        Parameters (P, 2) and (P, q); sum of weight times Huber's loss (P,).
    """

    law: Law
    centre: float
    width: float
    linear: np.ndarray
    theta: np.ndarray
    objective: np.ndarray

    def predict(self, flops: np.ndarray) -> np.ndarray:
        """The metric (P, m) at computes (m,) in FLOPs; laws that have no bounds may leave those of the metric."""
        x = (np.log(np.asarray(flops, dtype=float)) - self.centre) / self.width
        return self.law.target(self.linear[:, :1] + self.linear[:, 1:] * self.law.shape(x, self.theta))

    def parameters(self, row: int = 0) -> dict[str, float]:
        """Parameters of one series by the names of the law's formula."""
        return self.law.named(self.linear[row], self.theta[row], self.width)


# ---------------------------------------------------------------- the family


def _line(x: np.ndarray, theta: np.ndarray) -> np.ndarray:
    return np.broadcast_to(x, (*theta.shape[:-1], len(x)))


def _logistic(x: np.ndarray, theta: np.ndarray) -> np.ndarray:
    return np.asarray(expit(theta[..., 1:] + theta[..., :1] * x))


def _power(x: np.ndarray, theta: np.ndarray) -> np.ndarray:
    return np.asarray(np.exp(-np.exp(theta[..., :1]) * x))


def _broken(x: np.ndarray, theta: np.ndarray) -> np.ndarray:
    """Exponent theta[1] far below the break at theta[0], theta[2] far above it, theta[3] = log of its breadth."""
    at, below, above, breadth = (theta[..., k : k + 1] for k in range(4))
    breadth = np.exp(breadth)
    return np.asarray(np.exp(-below * x - (above - below) * breadth * np.logaddexp(0, (x - at) / breadth)))


def _named_broken(linear: np.ndarray, theta: np.ndarray, width: float) -> dict[str, float]:
    at, below, above, breadth = theta[0] * width, theta[1] / width, theta[2] / width, np.exp(theta[3]) * width
    found = (*linear, below, above - below, np.exp(at), breadth)
    return dict(zip(("E", "b", "c0", "c1", "d", "f"), map(float, found), strict=True))


_LOG_LINEAR = Law(
    "log-linear", "y = u + v log c", _FREE, (), (), _line,
    lambda linear, theta, width: {"u": float(linear[0]), "v": float(linear[1] / width)},
)  # fmt: skip
_LOGIT_LINEAR = Law(
    "logit-linear", "y = 1 / (1 + exp(-u - v log c))", _FIXED, (-20.0, -12.0), (20.0, 12.0), _logistic,
    lambda linear, theta, width: {"u": float(theta[1]), "v": float(theta[0] / width)},
)  # fmt: skip


def _power_laws(of_failures: bool) -> tuple[Law, Law]:
    """The power law with floor, and that with one smooth break (Caballero et al., ICLR 2023).

    A break is no sharper than a tenth of half the range: sharper ones jump between two sizes.
    """
    y = "1 - y" if of_failures else "y"
    plain = Law(
        "power law with floor", f"{y} = E + A c^-a", _NON_NEGATIVE, (float(np.log(0.01)),), (float(np.log(12)),),
        _power,
        lambda linear, theta, width: dict(zip("EAa", map(float, (*linear, np.exp(theta[0]) / width)), strict=True)),
        of_failures,
    )  # fmt: skip
    broken = Law(
        "broken power law", f"{y} = E + b c^-c0 (1 + (c/d)^(1/f))^(-c1 f)", _NON_NEGATIVE,
        (-1.0, -4.0, -4.0, float(np.log(0.1))), (1.0, 12.0, 12.0, float(np.log(3))), _broken, _named_broken,
        of_failures,
    )  # fmt: skip
    return plain, broken


#: The laws that compete, by metric: success (a share), and test loss (nats).
LAWS = {
    SUCCESS: (_LOG_LINEAR, _LOGIT_LINEAR, *_power_laws(of_failures=True)),
    LOSS: (_LOG_LINEAR, *_power_laws(of_failures=False)),
}


# ---------------------------------------------------------------- what can be fitted


@dataclass(frozen=True, eq=False)
class Runs:
    """P series of a metric over the same n runs: the data first, then its bootstrap replicates, if any.

    Attributes
    ----------
    flops
        Training compute (n,).
    values, weights
        The metric, and how much the run counts (0: not at all), (P, n).
    trials
        Keys of the runs.
    num_replicates, num_seeds, num_tasks
        Series that resample seeds and classes (those after them resample classes alone); seeds; distinct classes.
    """

    flops: np.ndarray
    values: np.ndarray
    weights: np.ndarray
    trials: tuple[str, ...] = ()
    num_replicates: int = 0
    num_seeds: int = 1
    num_tasks: int = 0

    def __post_init__(self) -> None:
        if not (np.isfinite(self.flops) & (self.flops > 0)).all():
            raise ConfigurationError("training compute has to be positive: give the FLOPs of every run")

    @property
    def held_out(self) -> np.ndarray:
        """Which runs (n,) have one of the largest computes: a fifth of the different ones, at least one."""
        num = num_computes(self.flops)
        return np.asarray(computes(self.flops) >= num - _num_held(num))

    @property
    def num_present(self) -> np.ndarray:
        """Different computes of the runs that count (P,)."""
        return np.asarray((self.weights @ np.eye(num_computes(self.flops))[computes(self.flops)] > 0).sum(1))

    def part(self, chosen: np.ndarray) -> Runs:
        """Some of the runs, by mask."""
        return replace(self, flops=self.flops[chosen], values=self.values[:, chosen], weights=self.weights[:, chosen])

    def draws(self, statistic: np.ndarray) -> Draws:
        """A statistic of every series (P,)."""
        end = 1 + self.num_replicates
        return Draws(float(statistic[0]), statistic[1:end], statistic[end:], self.num_seeds, self.num_tasks)


def computes(flops: np.ndarray) -> np.ndarray:
    """Number (n,) of every run's compute among the different ones, from 0; five per cent apart are the same."""
    logs = np.log(np.asarray(flops, dtype=float))
    order = np.argsort(logs, kind="stable")
    number = np.empty(len(logs), dtype=np.int64)
    number[order] = np.cumsum(np.diff(logs[order], prepend=logs[order[:1]]) > np.log(_SAME))
    return number


def num_computes(flops: np.ndarray) -> int:
    """How many different computes there are."""
    return int(computes(flops).max()) + 1 if len(flops) else 0


def _num_held(num_sizes: int) -> int:
    return max(1, num_sizes // 5)


def left_out(runs: Runs, metric: str = SUCCESS) -> dict[str, str]:
    """Laws that cannot be fitted to these runs, each with the reason and the mend."""
    num = num_computes(runs.flops)
    if num < MIN_POINTS:
        reason = f"{num} computes are too few for a scaling fit: train at least {MIN_POINTS} sizes"
    elif metric == SUCCESS and is_saturated(runs.values[0]):
        reason = "pass@1 is saturated at 0 or 1 for every size: change the budget or the task"
    else:
        return {
            law.name: f"{law.num_parameters} parameters for {num - _num_held(num)} fitted computes: train at least "
            f"{next(k for k in range(99) if k - _num_held(k) > law.num_parameters)} sizes"
            for law in LAWS[metric] if num - _num_held(num) <= law.num_parameters
        }  # fmt: skip
    return {law.name: reason for law in LAWS[metric]}


def is_saturated(success: np.ndarray) -> bool:
    """Whether pass@1 stays at 0 or at 1 for every run, so that no law can be fitted."""
    return bool(np.max(success) < _EDGE or np.min(success) > 1 - _EDGE)


# ---------------------------------------------------------------- fitting

_Problem = tuple[Law, np.ndarray, np.ndarray, np.ndarray]  # law, x (n,), target (P, n), weights (P, n)


def fit_law(law: Law, runs: Runs) -> Solutions:
    """Fit one law to all series of some runs, of different computes, at once."""
    logs, weights = np.log(runs.flops), runs.weights
    centre = float(logs.mean())
    width = float(np.abs(logs - centre).max())
    x, target = (logs - centre) / width, law.target(runs.values)
    rows = [slice(k, k + _CHUNK) for k in range(0, len(target), _CHUNK)]
    theta = np.concatenate([_search(law, x, target[r], weights[r]) for r in rows])
    shape = law.shape(x, theta)
    influence = weights
    for _ in range(50):  # reweighting converges linearly; here one round is cheap
        linear = _project(law, target, influence, shape)
        residual = target - linear[:, :1] - linear[:, 1:] * shape
        influence = weights * _huber_weight(residual)
    return Solutions(law, centre, width, linear, theta, _objective(residual, weights))


def _search(law: Law, x: np.ndarray, target: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The best theta (P, q) over all starts."""
    if not law.lower:
        return np.zeros((len(target), 0))
    theta = _screened(law, x, target, weights)
    for num_steps, num_kept in _ROUNDS:
        num, strata, q = theta.shape
        problem = law, x, np.repeat(target, strata, axis=0), np.repeat(weights, strata, axis=0)
        theta, objective = _refined(problem, theta.reshape(-1, q), num_steps)
        best = objective.reshape(num, strata).argsort(axis=1, kind="stable")[:, :num_kept]
        theta = np.take_along_axis(theta.reshape(num, strata, q), best[..., None], axis=1)
    return theta[:, 0]


@cache
def _starts(law: Law) -> np.ndarray:
    """Seeded sample of the box (strata, starts, q), spread evenly over the first number of theta."""
    q = len(law.lower)
    unit = np.random.default_rng(0).random((_STRATA_PER_NUMBER * q, _STARTS_PER_STRATUM, q))
    first = np.arange(len(unit) * _STARTS_PER_STRATUM).reshape(unit.shape[:2])
    unit[..., 0] = (first + unit[..., 0]) / first.size
    return np.asarray(law.lower + unit * (np.array(law.upper) - law.lower))


def _screened(law: Law, x: np.ndarray, target: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The best start of every stratum for every series, (P, strata, q)."""
    starts = _starts(law)
    strata, num, q = starts.shape
    shape = law.shape(x, starts.reshape(-1, q))[None]
    target, weights = target[:, None], weights[:, None]
    linear = _project(law, target, weights, shape)
    losses = _objective(target - linear[..., :1] - linear[..., 1:] * shape, weights)
    best = losses.reshape(-1, strata, num).argmin(axis=2)
    return np.asarray(starts[np.arange(strata), best])


def _project(law: Law, target: np.ndarray, weights: np.ndarray, shape: np.ndarray) -> np.ndarray:
    """Weighted least squares of target (..., n) on 1 and shape (..., n), within the law's range: (..., 2).

    Two non-negative numbers: the free solution if it is feasible, else the better of the two edges.
    """
    total = weights.sum(-1) + _TINY
    of_target, of_shape = (weights * target).sum(-1) / total, (weights * shape).sum(-1) / total
    if law.linear == _FIXED:
        return np.stack([np.zeros_like(of_shape), np.ones_like(of_shape)], axis=-1)
    centred = shape - of_shape[..., None]
    slope = (weights * centred * target).sum(-1) / ((weights * centred**2).sum(-1) + _TINY)
    level = of_target - slope * of_shape
    if law.linear == _NON_NEGATIVE:
        square = (weights * shape**2).sum(-1) / total + _TINY
        product = (weights * shape * target).sum(-1) / total
        feasible, flat = (slope >= 0) & (level >= 0), of_target**2 > product**2 / square
        level = np.where(feasible, level, np.where(flat, of_target, 0))
        slope = np.where(feasible, slope, np.where(flat, 0, product / square))
    return np.stack([level, slope], axis=-1)


def _huber_weight(residual: np.ndarray) -> np.ndarray:
    """Weight with which least squares has the gradient of Huber's loss."""
    return np.asarray(DELTA / np.maximum(np.abs(residual), DELTA))


def _objective(residual: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Sum over runs of weight times Huber's loss, (...)."""
    size = np.abs(residual)
    inside = np.minimum(size, DELTA)
    return np.asarray((weights * inside * (size - inside / 2)).sum(-1))


def _refined(whole: _Problem, theta: np.ndarray, num_steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Descend from every start: theta (P, q) and its objective (P,).

    Reweighted least squares majorises Huber's loss, so a step that lowers the one lowers the other.
    """
    law, x, target, weights = whole
    theta, damping = theta.copy(), np.full(len(theta), 1e-2)
    influence, live = weights.copy(), np.arange(len(theta))
    for _ in range(num_steps):
        problem = law, x, target[live], influence[live]
        residual = _residual(*problem, theta[live])
        step = _step(problem, theta[live], residual, damping[live])
        tried = np.clip(theta[live] + step, law.lower, law.upper)
        found = _residual(*problem, tried)
        better = (problem[3] * (found**2 - residual**2)).sum(-1) < 0
        moved = np.abs(tried - theta[live]).max(-1)
        theta[live[better]] = tried[better]
        damping[live] = np.clip(np.where(better, 0.3, 5.0) * damping[live], 1e-9, 1e9)
        now = weights[live] * _huber_weight(np.where(better[:, None], found, residual))
        settled = np.abs(now - influence[live]).max(-1) < 1e-4 * influence[live].max(-1) + _TINY
        influence[live] = now
        live = live[~settled | (moved > _TOLERANCE)]
        if not len(live):
            break
    return theta, _objective(_residual(law, x, target, influence, theta), weights)


def _residual(law: Law, x: np.ndarray, target: np.ndarray, weights: np.ndarray, theta: np.ndarray) -> np.ndarray:
    """Target minus its best fit with these weights and theta, (P, n)."""
    shape = law.shape(x, theta)
    linear = _project(law, target, weights, shape)
    return np.asarray(target - linear[:, :1] - linear[:, 1:] * shape)


def _step(problem: _Problem, theta: np.ndarray, residual: np.ndarray, damping: np.ndarray) -> np.ndarray:
    """Levenberg and Marquardt's step (P, q) on the projected residual; numbers that press on the box stay."""
    law, weights = problem[0], problem[3]
    lower, upper = np.array(law.lower), np.array(law.upper)
    inward = np.where(theta > (lower + upper) / 2, -_STEP, _STEP)
    slopes = [
        (_residual(*problem, theta + inward * unit) - residual) / inward[:, k, None]
        for k, unit in enumerate(np.eye(len(lower)))
    ]
    jacobian = np.stack(slopes, axis=-1)
    gradient = np.einsum("pnk,pn->pk", jacobian, weights * residual)
    pressing = ((theta <= lower) & (gradient > 0)) | ((theta >= upper) & (gradient < 0))
    jacobian = np.where(pressing[:, None], 0, jacobian)
    hessian = np.einsum("pnk,pnl->pkl", jacobian, weights[..., None] * jacobian)
    diagonal = np.einsum("pkk->pk", hessian)
    stiff = damping[:, None] * (diagonal + 1e-9 * diagonal.max(-1, keepdims=True)) + 1e-18
    hessian = hessian + stiff[..., None] * np.eye(len(lower))
    return np.asarray(np.linalg.solve(hessian, np.where(pressing, 0, -gradient)[..., None])[..., 0])
