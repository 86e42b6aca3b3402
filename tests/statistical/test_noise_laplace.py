"""The noise sampler: goodness of fit at the scale that was asked for, and rejection of wrong ones on both sides."""

import math
import os
from fractions import Fraction

import pytest

from privid.privacy import mechanisms, rng

DRAWS = 60_000
CRITICAL = 1.0
"""`misfit` is above it with probability 1e-6 if the sampler is right."""


def quantiles(scale: float, parts: int = 21) -> list[int]:
    """Integers that cut a discrete Laplace distribution into about equal parts."""
    p = math.exp(-1 / scale)
    cuts = []
    for i in range(1, parts):
        u = i / parts
        if u < 0.5:
            cuts.append(math.ceil(math.log(u * (1 + p)) / math.log(p) * -1))
        else:
            cuts.append(math.ceil(math.log((1 - u) * (1 + p)) / math.log(p) - 1))
    return sorted(set(cuts))


def cumulative(k: int, scale: float) -> float:
    """Pr(noise <= k)."""
    p = math.exp(-1 / scale)
    return p ** (-k) / (1 + p) if k < 0 else 1 - p ** (k + 1) / (1 + p)


def misfit(drawn: list[int], scale: float) -> float:
    """Chi-squared over about 21 parts, as a share of its critical value (Wilson and Hilferty's approximation)."""
    cuts = quantiles(scale)
    bounds = [0.0, *(cumulative(cut, scale) for cut in cuts), 1.0]
    counts = [0] * (len(cuts) + 1)
    for value in drawn:
        counts[sum(value > cut for cut in cuts)] += 1
    total = len(drawn)
    chi2 = 0.0
    for count, low, high in zip(counts, bounds, bounds[1:], strict=False):
        expected = total * (high - low)
        chi2 += (count - expected) ** 2 / expected
    part = 2 / (9 * len(cuts))
    return chi2 / (len(cuts) * (1 - part + 4.75 * math.sqrt(part)) ** 3)


@pytest.mark.parametrize("scale", [2.5, 70.0000005, 70.0 * 2**20])
def test_the_sampler_fits_its_scale_and_no_other(scale):
    drawn = rng.discrete_laplace(DRAWS, scale)
    assert misfit(drawn, scale) < CRITICAL
    assert misfit(drawn, scale * 1.06) > CRITICAL
    assert misfit(drawn, scale / 1.06) > CRITICAL


def test_the_test_rejects_other_shapes():
    scale = 50.0
    rounded_gauss = [
        round(scale * math.sqrt(2) * math.sqrt(-2 * math.log((i + 0.5) / DRAWS)) * math.cos(7.1 * i))
        for i in range(DRAWS)
    ]
    assert misfit(rounded_gauss, scale) > CRITICAL
    assert misfit([value + 4 for value in rng.discrete_laplace(DRAWS, scale)], scale) > CRITICAL


def test_the_95_percent_interval_holds_95_percent():
    scale = 33.0
    inside = sum(abs(value) <= mechanisms.half_width95(scale) for value in rng.discrete_laplace(DRAWS, scale))
    assert abs(inside / DRAWS - 0.95) < 0.005


def test_noise_of_a_tiny_scale_is_almost_always_nothing():
    assert set(rng.discrete_laplace(1000, 1e-6)) == {0}


def test_values_beyond_64_bits_are_noised_exactly():
    values = [2**80, -(2**80)]
    noised = mechanisms.laplace(values, Fraction(5))
    assert all(abs(a - b) < 5000 for a, b in zip(noised, values, strict=True))


@pytest.mark.parametrize("scale", [0.0, -1.0, 2.0**57, math.inf, math.nan])
def test_scales_that_cannot_be_drawn_exactly_are_refused(scale):
    with pytest.raises(ValueError, match="scale"):
        rng.discrete_laplace(1, scale)


def test_forked_processes_do_not_share_a_stream():
    rng.discrete_laplace(10, 1e6)  # whatever is kept between draws would be copied by the fork
    streams = []
    for _ in range(3):
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            drawn = (*rng.discrete_laplace(8, 1e9), rng.uniform(2**60), rng.exponential_choice(EVEN, Fraction(1)))
            os.write(write, repr(drawn).encode())
            os._exit(0)
        os.waitpid(child, 0)
        streams.append(os.read(read, 10_000))
        os.close(read)
        os.close(write)
    own = repr((*rng.discrete_laplace(8, 1e9), rng.uniform(2**60), rng.exponential_choice(EVEN, Fraction(1)))).encode()
    assert len({*streams, own}) == 4


EVEN = tuple((1, Fraction(0)) for _ in range(1000))
