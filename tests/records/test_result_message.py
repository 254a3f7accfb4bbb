"""What is said when runs have ended: how well, how sure, and what next."""

from typing import Any

import numpy as np
import pytest
from scipy import stats

from lenet.config import Places
from lenet.records import result_message


def ended(error: float | None, seed: int = 0, epochs: int = 3) -> dict[str, Any]:
    """A record, as far as it is read here; None: it diverged."""
    points = [{"epoch": i + 1, "test_error": 0.5 / (i + 1)} for i in range(epochs)]
    return {
        "run_id": f"{seed:016x}",
        "status": "diverged" if error is None else "finished",
        "response": {"test_error": error},
        "diverged_step": 12 if error is None else None,
        "curve": points,
        "treatment": {"epochs": 3, "data": "digits"},
    }


def test_one_run_has_no_spread() -> None:
    """Its error alone."""
    assert result_message.error_text([0.0123]) == "test error 1.23%"


def test_several_seeds_have_an_interval_and_a_range() -> None:
    """The mean's t interval, as scipy has it."""
    errors = [0.010, 0.012, 0.017]
    half = stats.t.ppf(0.975, 2) * np.std(errors, ddof=1) / np.sqrt(3)
    low, high = 100 * (np.mean(errors) - half), 100 * (np.mean(errors) + half)
    assert result_message.error_text(errors) == (
        f"test error 1.30% (95 % interval of the mean {low:.2f} to {high:.2f} %, "
        "seeds 1.00 to 1.70 %)"
    )


def test_interval_does_not_go_below_zero() -> None:
    """There is no negative error."""
    assert "mean 0.00 to" in result_message.error_text([0.001, 0.02])


@pytest.mark.parametrize("epochs", [2, 10, 25, 100])
def test_curve_has_few_points_and_the_last(epochs: int) -> None:
    """Ten or eleven of a hundred; nothing of a single epoch."""
    (line,) = result_message.curve_lines([ended(0.1, epochs=epochs)])
    assert 2 <= line.count(" after ") <= 11
    assert line.startswith("test error by epoch: 50.00 % after 1, ")
    assert line.endswith(f" after {epochs}")
    assert result_message.curve_lines([ended(0.1, epochs=1)]) == []


def test_a_guess_is_warned_of() -> None:
    """And a loss that ran away; good runs pass in silence."""
    good, poor, lost = ended(0.1), ended(0.91, 1), ended(None, 2)
    assert result_message.guesses([good]) == []
    assert "warning: the run read no better" in result_message.guesses([poor])[0]
    messages = result_message.guesses([good, poor, lost])
    assert "1 of 3 runs read no better than a guess" in messages[0]
    assert "no number any more at step 12" in messages[1]


@pytest.mark.parametrize(
    ("seeds", "said"),
    [(1, "replicates=6 trains 6 seeds"), (6, '"reference=[00000000]"')],
)
def test_what_comes_next_can_be_typed(seeds: int, said: str) -> None:
    """More seeds for one run, a chart for six; where they lie is not forgotten."""
    runs = [ended(0.1, seed) for seed in range(seeds)]
    text = result_message.following(runs, Places(output_dir="here"))
    assert said in text and "output_dir=here" in text
    assert ("epochs=3 data=digits" in text) == (seeds == 6)  # and no other runs there
    assert "smaller step" in result_message.following([ended(None)], Places())


def test_multirun_ends_with_the_command_of_its_chart() -> None:
    """Measured from its first treatment, and of its own runs alone."""
    treatment = {"activation": "relu", "optimizer.lr": 0.002, "epochs": 3, "data": "d"}
    message = result_message.of_multirun(treatment, ["activation", "seed"], "trial")
    chart = 'output_dir=trial "reference=[activation=relu]" epochs=3 data=d'
    assert message == f"next: lenet chart {chart}"
    assert "lenet status" in result_message.of_multirun(treatment, ["seed"], "trial")
