"""Every law is recovered from data that obey it, by fits that brute-force searches cannot better."""

import numpy as np
import pytest
from scipy.optimize import differential_evolution, least_squares, nnls

from synthlab.errors import ConfigurationError
from synthlab.study import laws
from synthlab.study.laws import DELTA, LAWS, LOSS, SUCCESS, Runs, computes, fit_law, left_out

FLOPS = np.geomspace(2e14, 6e16, 10)
C = FLOPS / np.exp(np.log(FLOPS).mean())


def broken(c, floor, b, c0, c1, d, f):
    """As printed by Caballero et al. (ICLR 2023) for one break."""
    return floor + b * c**-c0 * (1 + (c / d) ** (1 / f)) ** (-c1 * f)


TRUTHS = {
    (SUCCESS, "log-linear"): ({"u": 0.5, "v": 0.12}, 0.5 + 0.12 * np.log(C)),
    (SUCCESS, "logit-linear"): ({"u": 0.3, "v": 0.9}, 1 / (1 + np.exp(-0.3 - 0.9 * np.log(C)))),
    (SUCCESS, "power law with floor"): ({"E": 0.15, "A": 0.3, "a": 0.3}, 1 - 0.15 - 0.3 * C**-0.3),
    (SUCCESS, "broken power law"): (
        {"E": 0.05, "b": 0.6, "c0": 0.02, "c1": 0.45, "d": 0.8, "f": 0.6},
        1 - broken(C, 0.05, 0.6, 0.02, 0.45, 0.8, 0.6),
    ),
    (LOSS, "log-linear"): ({"u": 2.0, "v": -0.3}, 2 - 0.3 * np.log(C)),
    (LOSS, "power law with floor"): ({"E": 1.7, "A": 2.5, "a": 0.34}, 1.7 + 2.5 * C**-0.34),
    (LOSS, "broken power law"): (
        {"E": 0.4, "b": 2.0, "c0": 0.05, "c1": 0.6, "d": 1.5, "f": 0.8},
        broken(C, 0.4, 2.0, 0.05, 0.6, 1.5, 0.8),
    ),
}
by_truth = pytest.mark.parametrize(("metric", "name"), TRUTHS)


def law_of(metric, name):
    return next(law for law in LAWS[metric] if law.name == name)


def fitted(law, values, flops=FLOPS, weights=None):
    values = np.atleast_2d(values)
    return fit_law(law, Runs(flops, values, np.ones_like(values) if weights is None else np.atleast_2d(weights)))


def test_every_law_has_a_truth_here():
    assert set(TRUTHS) == {(metric, law.name) for metric, family in LAWS.items() for law in family}


@by_truth
def test_parameters_are_recovered_from_data_without_noise(metric, name):
    parameters, values = TRUTHS[metric, name]
    found = fitted(law_of(metric, name), values)
    assert found.parameters() == pytest.approx(parameters, rel=1e-5)
    np.testing.assert_allclose(found.predict(FLOPS)[0], values, atol=1e-9)
    assert law_of(metric, name).num_parameters == len(parameters)


@by_truth
def test_a_law_holds_beyond_the_runs_it_was_fitted_to(metric, name):
    _, values = TRUTHS[metric, name]
    found = fitted(law_of(metric, name), values[:8], FLOPS[:8])
    np.testing.assert_allclose(found.predict(FLOPS)[0], values, rtol=1e-4)


@by_truth
def test_no_other_law_describes_a_curved_truth(metric, name):
    _, values = TRUTHS[metric, name]
    others = {law.name: fitted(law, values).objective[0] for law in LAWS[metric] if law.name != name}
    nested = {"logit-linear": {"broken power law"}, "power law with floor": {"broken power law"}}
    for other, objective in others.items():  # a broken law is a logistic curve for c0 = E = 0, b = c1 f = 1
        assert (objective < 1e-10) == (other in nested.get(name, set())), other


@by_truth
def test_the_unit_of_compute_does_not_matter(metric, name):
    law, values = law_of(metric, name), TRUTHS[metric, name][1] + np.random.default_rng(3).normal(0, 0.02, len(C))
    one, other = fitted(law, values), fitted(law, values, FLOPS / 1e15)
    np.testing.assert_allclose(one.predict(FLOPS), other.predict(FLOPS / 1e15), rtol=1e-6)
    assert one.parameters() == pytest.approx(other.parameters(), rel=1e-3)


# ---------------------------------------------------------------- other algorithms


def noisy(seed, num=9, noise=0.03):
    """A logistic curve with noise, and one run that went wrong."""
    flops = np.geomspace(1e14, 4e16, num)
    z = np.log(flops / np.exp(np.log(flops).mean()))
    values = 1 / (1 + np.exp(-0.1 - 0.8 * z)) + np.random.default_rng(seed).normal(0, noise, num)
    values[2] += 0.2
    return flops, np.clip(values, 0, 1)


def huber(residual):
    """Summed, as by Huber (1964)."""
    size = np.abs(residual)
    return np.where(size <= DELTA, size**2 / 2, DELTA * (size - DELTA / 2)).sum()


BOUNDS = {
    "logit-linear": [(-5, 5), (-5, 5)],
    "power law with floor": [(0, 1.5), (0, 2), (0.01, 4)],
    "broken power law": [(0, 1.5), (0, 2), (-1, 4), (-4, 4), (-3, 3), (np.log(0.3), np.log(9))],
}


def curve(name, p, c):
    """The laws as printed; of a broken one the logarithms of d and f are searched."""
    if name == "logit-linear":
        return 1 / (1 + np.exp(-p[0] - p[1] * np.log(c)))
    if name == "power law with floor":
        return 1 - p[0] - p[1] * c ** -p[2]
    with np.errstate(over="ignore"):
        return 1 - broken(c, *p[:4], np.exp(p[4]), np.exp(p[5]))


@pytest.mark.parametrize("name", BOUNDS)
def test_a_global_search_over_all_parameters_finds_nothing_better(name):
    flops, values = noisy(0)
    c = flops / np.exp(np.log(flops).mean())
    found = fitted(law_of(SUCCESS, name), values, flops)
    search = differential_evolution(
        lambda p: huber(np.nan_to_num(values - curve(name, p, c), nan=10.0)), BOUNDS[name], seed=1, maxiter=600,
        tol=1e-10, popsize=12,
    )  # fmt: skip
    assert found.objective[0] <= search.fun * (1 + 1e-6)
    assert huber(values - found.predict(flops)[0]) == pytest.approx(found.objective[0], rel=1e-9)
    if name != "broken power law":  # whose optimum may lie outside the searched box
        assert found.objective[0] == pytest.approx(search.fun, rel=1e-6)


def test_the_straight_line_is_that_of_scipys_huber_regression():
    flops, values = noisy(1)
    z = np.log(flops / np.exp(np.log(flops).mean()))
    weights = np.linspace(0.2, 2, len(z))
    # scipy scales residuals, and delta with them: points of integer weight are laid out instead
    times = np.array([1, 3, 2, 1, 4, 1, 1, 2, 5])
    rows = np.repeat(np.arange(len(z)), times)
    found = fitted(law_of(SUCCESS, "log-linear"), values, flops, times.astype(float))
    expected = least_squares(
        lambda p: p[0] + p[1] * z[rows] - values[rows], [0.5, 0.1], loss="huber", f_scale=DELTA, xtol=1e-12, gtol=1e-12
    )
    assert found.parameters() == pytest.approx(dict(zip("uv", expected.x, strict=True)), rel=1e-5)
    assert fitted(law_of(SUCCESS, "log-linear"), values, flops, weights).parameters() != found.parameters()


def test_linear_numbers_are_those_of_non_negative_least_squares():
    generator = np.random.default_rng(2)
    law = law_of(SUCCESS, "power law with floor")
    target, weights = generator.random((200, 7)), generator.random((200, 7))
    shape = np.exp(-generator.normal(0, 1, (200, 1)) * np.linspace(-1, 1, 7))
    target[:50] = np.sort(target[:50])  # rising: a falling shape is worth nothing there
    found = laws._project(law, target, weights, shape)
    for t, w, s, pair in zip(target, weights, shape, found, strict=True):
        expected, _ = nnls(np.sqrt(w)[:, None] * np.stack([np.ones(7), s], axis=1), np.sqrt(w) * t)
        np.testing.assert_allclose(pair, expected, atol=1e-9)
    assert {tuple(pair > 0) for pair in found} == {(True, True), (True, False), (False, True)}


# ---------------------------------------------------------------- robustness and batches


def test_one_wild_run_moves_a_robust_fit_little():
    _, values = TRUTHS[SUCCESS, "logit-linear"]
    wild = values.copy()
    wild[4] += 0.4
    moved = np.abs(fitted(law_of(SUCCESS, "logit-linear"), wild).predict(FLOPS)[0] - values)
    z = np.log(C)
    plain = least_squares(lambda p: 1 / (1 + np.exp(-p[0] - p[1] * z)) - wild, [0.3, 0.9]).x
    assert moved.max() < 0.4 * np.abs(1 / (1 + np.exp(-plain[0] - plain[1] * z)) - values).max()


def test_series_are_fitted_alike_one_by_one_and_together():
    flops = np.geomspace(1e14, 4e16, 9)
    values = np.stack([noisy(seed)[1] for seed in range(70)])  # more than fit into one chunk
    for law in LAWS[SUCCESS]:
        together = fitted(law, values, flops)
        for k in (0, 63, 69):
            np.testing.assert_allclose(fitted(law, values[k], flops).predict(flops)[0], together.predict(flops)[k])


def test_a_run_without_weight_is_none():
    _, values = TRUTHS[SUCCESS, "power law with floor"]
    wrong, weights = values.copy(), np.ones(len(C))
    wrong[3], weights[3] = 0.0, 0.0
    found = fitted(law_of(SUCCESS, "power law with floor"), wrong, weights=weights)
    np.testing.assert_allclose(found.predict(FLOPS)[0], values, atol=1e-8)


def test_fits_repeat_exactly():
    flops, values = noisy(4)
    one, other = (fitted(law_of(SUCCESS, "broken power law"), values, flops) for _ in range(2))
    assert one.parameters() == other.parameters()


# ---------------------------------------------------------------- what can be fitted


@pytest.mark.parametrize(("num", "held"), [(4, 1), (5, 1), (9, 1), (10, 2), (15, 3)])
def test_the_largest_fifth_of_the_computes_is_held_out_whatever_the_number_of_runs(num, held):
    flops = np.repeat(np.geomspace(1e6, 1e9, num), 3)
    chosen = Runs(flops, np.zeros((1, len(flops))), np.ones((1, len(flops)))).held_out
    assert chosen.tolist() == [False] * 3 * (num - held) + [True] * 3 * held


def test_runs_within_five_per_cent_have_one_compute():
    assert computes(np.array([2e9, 1e9, 1.04e9, 2.2e9, 2.02e9])).tolist() == [1, 0, 0, 2, 1]


@pytest.mark.parametrize(
    ("num", "fitted_laws"),
    [
        (3, set()),
        (4, {"log-linear", "logit-linear"}),
        (5, {"log-linear", "logit-linear", "power law with floor"}),
        (7, {"log-linear", "logit-linear", "power law with floor"}),
        (8, {law.name for law in LAWS[SUCCESS]}),
    ],
)
def test_a_law_needs_more_fitted_computes_than_parameters(num, fitted_laws):
    flops = np.geomspace(1e6, 1e9, num)
    reasons = left_out(Runs(flops, np.full((1, num), 0.5), np.ones((1, num))))
    assert {law.name for law in LAWS[SUCCESS]} - set(reasons) == fitted_laws
    if num >= 4:
        assert all(r.startswith(("3 parameters", "6 parameters")) for r in reasons.values())
        assert all("train at least 5 sizes" in r or "train at least 8 sizes" in r for r in reasons.values())


@pytest.mark.parametrize("flops", [0.0, -1.0, np.nan, np.inf])
def test_compute_has_to_be_positive(flops):
    with pytest.raises(ConfigurationError, match="give the FLOPs of every run"):
        Runs(np.array([1e9, flops]), np.zeros((1, 2)), np.ones((1, 2)))
