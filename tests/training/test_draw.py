"""Draws: the published generator, its distributions, and no hidden state."""

import ast
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lenet.training import draws

BITS = 2**64
COUNT = 200_000


def signed(value: int) -> int:
    """A 64-bit pattern as the signed number that torch has."""
    return (value + 2**63) % BITS - 2**63


def splitmix(state: int) -> int:
    """SplitMix64's finaliser in Python's unbounded integers."""
    z = state % BITS
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % BITS
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB % BITS
    return z ^ (z >> 31)


def test_fold_gives_the_published_sequence() -> None:
    """Folding 0, 1, 2 into key 0 gives SplitMix64's first outputs for seed 0."""
    keys = draws.fold(torch.tensor(0), torch.arange(3))
    expected = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
    assert keys.tolist() == [signed(value) for value in expected]


@given(st.integers(0, BITS - 1), st.integers(0, 2**40))
def test_fold_equals_unbounded_integers(key: int, index: int) -> None:
    """fold(k, i) is SplitMix64's output i for the state k, also where bits wrap."""
    expected = splitmix(key + (index + 1) * 0x9E3779B97F4A7C15)
    assert draws.fold(torch.tensor(signed(key)), index).item() == signed(expected)


def test_fold_takes_a_number_or_a_tensor() -> None:
    """An index gives the same key as a number and as an element of a tensor."""
    keys = draws.stream([0, 3, 5], "order")
    folded = draws.fold(keys[:, None], torch.arange(7))
    for index in range(7):
        assert torch.equal(draws.fold(keys, index), folded[:, index])


def test_streams_differ_by_seed_and_purpose() -> None:
    """Every seed (0 too) and every purpose has its own key."""
    seeds = list(range(500))
    purposes = ("order", "augmentation", "init C3.weight", "init C1.weight")
    keys = torch.cat([draws.stream(seeds, purpose) for purpose in purposes])
    assert keys.unique().numel() == len(seeds) * len(purposes)


def test_stream_of_a_seed_ignores_its_neighbours() -> None:
    """A seed's key is the same alone, first or last among others."""
    alone = draws.stream([5], "order")
    assert torch.equal(draws.stream([0, 5], "order")[1:], alone)
    assert torch.equal(draws.stream([5, 2, 3], "order")[:1], alone)


def test_uniform_is_uniform() -> None:
    """Numbers lie in [0, 1), evenly: mean 1/2, variance 1/12, flat in 64 bins."""
    numbers = draws.uniform(draws.fold(draws.stream([0], "flat"), torch.arange(COUNT)))
    assert numbers.min() >= 0 and numbers.max() < 1
    assert numbers.double().mean().item() == pytest.approx(1 / 2, abs=0.003)
    assert numbers.double().var().item() == pytest.approx(1 / 12, abs=0.001)
    bins = torch.histc(numbers, 64, 0, 1)
    expected = COUNT / 64
    assert ((bins - expected) ** 2 / expected).sum() < 120  # 63 degrees: p of 2e-5


def test_uniform_is_exact_in_float32() -> None:
    """The numbers are multiples of 2^-24: no rounding could reach 1."""
    keys = torch.tensor([-1, 0, 2**63 - 1, -(2**63)])
    expected = [1 - 2.0**-24, 0.0, 0.5 - 2.0**-24, 0.5]
    assert draws.uniform(keys).double().tolist() == expected


def test_normal_is_normal() -> None:
    """Mean 0, variance 1, kurtosis 3, and all finite."""
    numbers = draws.normal(draws.fold(draws.stream([0], "bell"), torch.arange(COUNT)))
    z = numbers.double()
    assert z.isfinite().all()
    assert z.mean().item() == pytest.approx(0, abs=0.01)
    assert z.var().item() == pytest.approx(1, abs=0.015)
    assert (z**4).mean().item() == pytest.approx(3, abs=0.12)
    assert (z.abs() < 1.959964).double().mean().item() == pytest.approx(0.95, abs=0.003)


def test_streams_are_uncorrelated() -> None:
    """Neighbouring seeds, epochs and images share nothing."""
    keys = draws.fold(draws.stream([0, 1], "order"), 0)
    later = draws.fold(draws.stream([0], "order"), 1)
    images = torch.arange(COUNT)
    rows = draws.uniform(draws.fold(torch.cat([keys, later])[:, None], images)).double()
    shifted = torch.cat([rows, rows[:1].roll(1)])
    correlations = torch.corrcoef(shifted) - torch.eye(4).double()
    assert correlations.abs().max() < 0.012  # five standard errors


@pytest.mark.parametrize(
    "kind", [draws.uniform, draws.normal], ids=["uniform", "normal"]
)
@pytest.mark.parametrize("count", [1, 2, 3, 5, 7, 30])
def test_draws_do_not_depend_on_what_else_is_drawn(kind: object, count: int) -> None:
    """A number has the same bits alone and among others (no vector kernels' tails)."""
    assert callable(kind)
    keys = draws.fold(draws.stream([0], "some"), torch.arange(101))
    assert torch.equal(kind(keys[:count].clone()), kind(keys)[:count])
    assert torch.equal(kind(keys[-count:].clone()), kind(keys)[-count:])


def test_draws_leave_the_global_generators_alone() -> None:
    """Neither torch's nor NumPy's generator moves."""
    before = torch.get_rng_state(), np.random.get_state()
    draws.normal(draws.fold(draws.stream([0, 1], "order")[:, None], torch.arange(5)))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert all(map(np.array_equal, np.random.get_state(), before[1]))


def test_draws_do_not_use_pythons_generator() -> None:
    """No module of the training core knows `random` (beartype, which checks it, does,
    so that its state tells nothing here)."""
    folder = Path(str(draws.__file__)).parent
    core = [*(folder / f"{name}.py" for name in ("draws", "model", "stack"))]
    for path in [*core, *(folder / "factor").glob("*.py")]:
        nodes = list(ast.walk(ast.parse(path.read_text())))
        names = {
            alias.name for n in nodes if isinstance(n, ast.Import) for alias in n.names
        }
        names |= {str(n.module) for n in nodes if isinstance(n, ast.ImportFrom)}
        assert "random" not in names, path
