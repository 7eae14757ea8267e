"""Laws of error over compute: the fits find what made the points, and say when they cannot."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datacomp.scaling.laws import FORMS, Fitted, fit, jacobian, log_errors, residuals

COMPUTE = np.geomspace(1e16, 1e21, 8)
TRUE = {"line": (0.9, 0.05, 0.0, 0.0), "shift": (0.8, 0.3, 3e17, 0.0), "floor": (0.7, 0.2, 0.0, 0.15)}
TRUE["full"] = (0.6, 0.35, 2e17, 0.1)


def made(form: str, noise: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    a, alpha, b, e = TRUE[form]
    errors = a * ((COMPUTE + b) / COMPUTE[0]) ** -alpha + e
    return COMPUTE, np.log(errors) + np.random.default_rng(0).normal(size=8) * noise


@pytest.mark.parametrize("form", FORMS)
def test_a_fit_finds_the_law_that_made_the_points(form: str) -> None:
    compute, log_error = made(form)
    found = fit(form, compute, log_error)
    a, alpha, b, e = TRUE[form]
    assert found.rms < 1e-4
    assert found.parameters()["alpha"] == pytest.approx(alpha, rel=0.02)
    assert found.parameters()["A"] == pytest.approx(a * COMPUTE[0] ** alpha, rel=0.35)
    if b:
        assert found.parameters()["B"] == pytest.approx(b, rel=0.05)
    if e:
        assert found.parameters()["E"] == pytest.approx(e, rel=0.05)
    assert set(found.parameters()) == {"A", "alpha"} | ({"B"} if b else set()) | ({"E"} if e else set())


@pytest.mark.parametrize("form", FORMS)
def test_what_is_expected_beyond_the_points_is_right(form: str) -> None:
    compute, log_error = made(form)
    found = fit(form, compute[:-1], log_error[:-1])
    assert found.log_error(compute[-1:])[0] == pytest.approx(log_error[-1], abs=0.01)


@given(
    log_a=st.floats(-3, 2),
    alpha=st.floats(-1, 2),
    b=st.floats(1e-3, 5),
    e=st.floats(1e-3, 0.5),
)
def test_the_jacobian_is_that_of_finite_differences(log_a: float, alpha: float, b: float, e: float) -> None:
    theta, compute = np.array([log_a, alpha, b, e]), np.geomspace(0.05, 20, 6)
    log_error = np.zeros(6)
    numeric = np.empty((6, 4))
    for place in range(4):
        step = np.zeros(4)
        step[place] = 1e-6 * max(1.0, abs(theta[place]))
        ahead, behind = residuals(theta + step, compute, log_error), residuals(theta - step, compute, log_error)
        numeric[:, place] = (ahead - behind) / (2 * step[place])
    np.testing.assert_allclose(jacobian(theta, compute), numeric, rtol=2e-5, atol=1e-7)


def test_one_odd_point_moves_a_line_less_than_least_squares() -> None:
    compute, log_error = made("line")
    odd = log_error.copy()
    odd[-1] += 1.0
    slope = -np.polyfit(np.log(compute), odd, 1)[0]
    true = TRUE["line"][1]
    assert abs(fit("line", compute, odd).theta[1] - true) < 0.6 * abs(slope - true)


def test_a_law_with_nothing_to_bend_stops_at_its_bound() -> None:
    compute, log_error = made("line")
    bent = fit("floor", compute, log_error)
    assert bent.at_bound == ("E",)
    assert fit("line", compute, log_error).at_bound == ()
    steep = fit("line", np.array([1.0, 2.0]), np.array([0.0, -5.0]))
    assert steep.at_bound == ("alpha",)


def test_two_amounts_of_compute_are_needed() -> None:
    with pytest.raises(ValueError, match="two amounts"):
        fit("line", np.array([1.0, 1.0]), np.array([0.0, 0.1]))


def test_a_perfect_score_has_a_logarithm() -> None:
    assert np.isfinite(log_errors([0.0, 0.5, 1.0])).all()
    found = fit("line", np.array([1.0, 10.0, 100.0]), log_errors([0.5, 0.9, 1.0]))
    assert isinstance(found, Fitted)
    assert (found.score([1e9]) <= 1).all()
