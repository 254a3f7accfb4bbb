"""Tables and figures of robustness, and what their commands refuse."""

import math
import runpy
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lenet import robustness_chart as chart
from lenet.config import Refusal

SCRIPTS = Path(__file__).parent.parent / "scripts"


def cells() -> pd.DataFrame:
    """Three seeds of two treatments at two radii; `b` loses half, one indicator up."""
    rows = [
        {
            **{"treatment": name, "seed": seed, "epsilon": epsilon, "run": seed},
            "accuracy": 1.0 - epsilon * (5 if name == "b" else 1) - 0.01 * seed,
            **{"flat": 0.0, "falling": 0.0, "unbounded": 0.0, "black_box": 0.0},
        }
        for name in ("a", "b")
        for epsilon in (0.0, 0.1)
        for seed in range(3)
    ]
    rows[-1]["flat"] = 0.5
    return pd.DataFrame(rows)


def test_summary_is_mean_and_t_interval() -> None:
    """Mean +- t(0.975, n - 1) sd / sqrt(n), and in how many runs an indicator is up."""
    rows = chart.summary(cells()).set_index(["treatment", "epsilon"])
    row = rows.loc[("b", 0.1)]
    assert row["mean"] == pytest.approx(0.49) and row["n"] == 3
    assert row["high"] - row["mean"] == pytest.approx(4.302653 * 0.01 / math.sqrt(3))
    assert (row["flat"], row["any"]) == (1, 1)
    assert rows.loc[("a", 0.1), "any"] == 0


def differences() -> pd.DataFrame:
    """The differences of the cells' treatments to `a`."""
    runs = cells().rename(columns={"accuracy": "robust_accuracy"})
    runs["robust_accuracy"] += 0.001 * runs["seed"] * (runs["treatment"] == "b")
    runs = runs.assign(status="finished", right=None)
    return chart.differences(runs, "a", "s")


def test_differences_are_within_seeds() -> None:
    """`b` minus `a` at each radius, seed by seed; lower accuracy is no improvement."""
    found = differences().set_index("epsilon")
    assert found.loc[0.1, "mean"] == pytest.approx(-0.4 + 0.001)
    assert found.loc[0.1, "n"] == 3 and found.loc[0.1, "p_better"] == 0


def test_figures_are_drawn_whatever_is_missing() -> None:
    """A panel for each treatment, two axes each; an atlas of unreached targets."""
    rows = chart.summary(cells())
    figure = chart.robustness_chart(rows, differences(), reference="a", about="PGD.")
    assert len(figure.axes) == 4
    pairs = [(s, t) for s in range(10) for t in range(10) if s != t]
    atlas = pd.DataFrame(pairs, columns=["source", "target"]).assign(
        treatment="a", epsilon=np.where([s == 1 for s, _ in pairs], math.inf, 0.25)
    )
    table = chart.atlas_table(atlas, 0.3).set_index(["source", "target"])
    assert table.loc[(2, 3), "success"] == 1 and table.loc[(1, 3), "success"] == 0
    assert "mostly never" in chart.atlas_finding(atlas, 0.3)
    assert len(chart.atlas_chart(atlas, 0.3, about="").axes) == 4


@pytest.mark.parametrize(
    ("script", "line", "said"),
    [
        ("attack", "run=a atack=pgd", "did you mean attack?"),
        ("attack", "image=2", "run=<the first letters"),
        ("attack", "run=a attack=pdg", "did you mean pgd?"),
        ("robustness_chart", "study=s effort=ful", "did you mean full?"),
        ("robustness_chart", "study=s norm=l3", "choices: l2, linf"),
        ("robustness_chart", "study=s seed=3", "key 'seed' is unknown"),
        ("robustness_chart", "study=s allow_partial=yes", "allow_partial=true"),
    ],
)
def test_command_line_is_checked(script: str, line: str, said: str) -> None:
    """A word that is none is refused, with the nearest that is."""
    functions = runpy.run_path(str(SCRIPTS / f"{script}.py"))
    with pytest.raises(Refusal) as caught:
        functions["typed"](line.split())
    assert said in str(caught.value)


def test_radii_are_checked() -> None:
    """Numbers in the range of the norm, sorted."""
    numbers = runpy.run_path(str(SCRIPTS / "robustness_chart.py"))["numbers"]
    assert numbers({"epsilon": "[0.3,0,0.1]", "norm": "linf"}, "epsilon") == [
        0,
        0.1,
        0.3,
    ]
    for wrong, said in (
        ("[0,1.5]", "it is 0 to 1"),
        ("[a]", r"write epsilon=\[0,0.1\]"),
    ):
        with pytest.raises(Refusal, match=said):
            numbers({"epsilon": wrong, "norm": "linf"}, "epsilon")
