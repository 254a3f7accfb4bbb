"""The design in somebody's table is recognised, and what is missing has a name."""

import subprocess
import sys
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import pytest

import lenet
from lenet.studies import effect
from lenet.studies.own_study import Comparison, compared, effects, way


def table(
    tried: Sequence[Mapping[str, Any]], seeds: Sequence[Any] = range(6), **other: Any
) -> pd.DataFrame:
    """A run of each treatment with each seed; the second letter makes it better."""
    rows = [
        {
            **treatment,
            "seed": seed,
            "accuracy": 0.9
            + 0.01 * sum(value in ("b", 1e-3) for value in treatment.values())
            + 0.001 * (i * 7 % 5),
            **other,
        }
        for treatment in tried
        for i, seed in enumerate(seeds)
    ]
    return pd.DataFrame(rows)


def crossed(**levels: Sequence[Any]) -> list[dict[str, Any]]:
    """Every combination of levels."""
    cells = product(*levels.values())
    return [dict(zip(levels, cell, strict=True)) for cell in cells]


ONE = crossed(optimizer="abc")
OUT = [{"x": "a", "y": "a", "z": "a"}, {"x": "b", "y": "a", "z": "a"}]
OUT += [{"x": "a", "y": "b", "z": "a"}, {"x": "a", "y": "a", "z": "b"}]
FACTORIAL = [effect.MAIN, effect.SIMPLE, effect.PAIR, effect.SHAPLEY]
LADDER = [OUT[0], {"x": "a", "y": "b", "z": "a"}, {"x": "b", "y": "b", "z": "a"}]
LADDER += [{"x": "b", "y": "b", "z": "b"}]


def found(rows: pd.DataFrame, **reference: Any) -> Comparison:
    """What is compared, with the accuracy as the response."""
    return compared(rows, response="accuracy", reference=reference)


@pytest.mark.parametrize(
    ("tried", "kind", "estimands"),
    [
        (ONE, "one factor", ["alone"]),
        (OUT, "leave one out", ["alone"]),
        ([*OUT, {"x": "c", "y": "a", "z": "a"}], "one factor at a time", ["alone"]),
        (LADDER, "ladder", ["step of the ladder"]),
        (crossed(x="ab", y="ab"), "factorial", FACTORIAL),
        (crossed(x="abc", y="ab"), "treatments against a reference", ["alone"]),
    ],
)
def test_design_is_recognised(
    tried: list[dict[str, Any]], kind: str, estimands: list[str]
) -> None:
    """Whatever the order of the rows."""
    rows = table(tried).sample(frac=1, random_state=3)
    base = tried[0]
    assert found(rows, **base).kind == kind
    result = effects(rows, response="accuracy", reference=base)
    assert all(result["estimand"].str.startswith(tuple(estimands)))
    assert all(len(effect.effects_of_kind(result, estimand)) for estimand in estimands)
    assert (result["n"] == 6).all()


def test_effects_are_those_of_the_engine() -> None:
    """The same numbers as `effect.arms` gives for the same runs."""
    rows = table(ONE)
    mine = effects(rows, response="accuracy", reference={"optimizer": "a"})
    response = effect.Response("accuracy", False, 0)
    runs, base = rows.assign(status="finished"), {"optimizer": "a"}
    theirs = effect.arms(runs, base, response=response, base="optimizer=a")
    pd.testing.assert_frame_equal(mine, theirs.table)


def test_lower_is_better_turns_the_verdict_round() -> None:
    """The same numbers as an error."""
    rows = table(ONE[:2])
    rows["accuracy"] += np.tile(np.arange(6) / 1e4, 2) * np.repeat([0, 1], 6)
    asked = {"response": "accuracy", "reference": {"optimizer": "a"}}
    assert effects(rows, **asked)["verdict"].tolist() == ["better"]
    assert effects(rows, better="lower", **asked)["verdict"].tolist() == ["worse"]


@pytest.mark.parametrize(
    ("name", "side"),
    [("val/acc", "higher"), ("test_error", "lower"), ("eval-loss", "lower"), ("x", "")],
)
def test_way_that_is_better_is_read_from_the_name(name: str, side: str) -> None:
    """Or asked for."""
    if side:
        assert way(name, None) == side
    else:
        with pytest.raises(ValueError, match="is a higher x better"):
            way(name, None)
    assert way(name, "higher") == "higher"


def test_marks_of_single_runs_are_no_factors() -> None:
    """A run's id, its seconds and a second metric; a constant neither; it is said."""
    rows = table(ONE, project="mine")
    rows["id"] = [f"r{i}" for i in range(len(rows))]
    rows["seconds"] = np.arange(len(rows)) * 1.5
    got = found(rows, optimizer="a")
    assert dict(got.columns) == {"optimizer": ("optimizer",)}
    assert got.notes == ["no factors, but marks of single runs: id, seconds"]


def test_columns_that_change_together_are_one_factor() -> None:
    """optimizer=b always comes with lr=0.001."""
    rows = table([{"optimizer": "a", "lr": 0.1}, {"optimizer": "b", "lr": 1e-3}])
    got = found(rows, optimizer="a")
    assert dict(got.columns) == {"optimizer+lr": ("optimizer", "lr")}
    assert got.reference == {"optimizer+lr": "a+0.1"}


def test_number_is_a_level_however_it_is_typed() -> None:
    """reference=[lr=1e-1] is 0.1; a level that is not there is answered with those
    that are."""
    rows = table(crossed(lr=[0.1, 1e-3]))
    assert found(rows, lr="1e-1").reference == {"lr": 0.1}
    with pytest.raises(ValueError, match=r"no run has lr=0.2; levels: 0.1, 0.001"):
        found(rows, lr="0.2")
    with pytest.raises(ValueError, match="momentum is no factor; factors: lr"):
        found(rows, momentum=0.9)


def test_open_reference_is_refused_with_what_to_say() -> None:
    """One level of each factor that differs."""
    message = r"fits 2 treatments: .* reference=\[x=a\|b,y=a\|b\]"
    with pytest.raises(ValueError, match=message):
        found(table(crossed(x="ab", y="ab")), x="a")


def test_unequal_seeds_are_paired_where_they_can_be() -> None:
    """n counts the pairs, and what lacks which seed is named."""
    rows = table(ONE)
    lost = (rows["optimizer"] == "b") & (rows["seed"] > 3)
    got = found(rows[~lost], optimizer="a")
    assert got.notes == [
        "paired where both runs are there: optimizer=b lacks seed 4, 5"
    ]
    result = effects(rows[~lost], response="accuracy", reference={"optimizer": "a"})
    assert result.set_index("level")["n"].to_dict() == {"b": 4, "c": 6}


def test_seeds_that_cannot_be_paired_are_refused_with_the_lacking_rows() -> None:
    """b has the seeds 6 to 11, a those from 0 to 5."""
    rows = pd.concat([table(ONE[:1]), table(ONE[1:2], range(6, 12))])
    message = "optimizer=b shares no seed .* optimizer=b lacks seed 0, 1, 2, 3, 4, 5"
    with pytest.raises(ValueError, match=message):
        found(rows, optimizer="a")


def test_factorial_without_a_whole_block_is_refused() -> None:
    """Each seed lacks a cell."""
    rows = table(crossed(x="ab", y="ab"), range(4))
    cell = rows.groupby("seed").cumcount()
    with pytest.raises(ValueError, match="needs one block with all 4 treatments"):
        found(rows[cell != rows["seed"]], x="a", y="a")


def test_cells_that_a_factorial_lacks_are_named() -> None:
    """Seven of eight cells: arms are compared, and the eighth is asked for."""
    tried = crossed(x="ab", y="ab", z="ab")[:-1]
    got = found(table(tried), x="a", y="a", z="a")
    assert got.notes == ["for main effects and interactions run x=b,y=b,z=b"]


def test_two_runs_of_one_treatment_and_seed_are_refused() -> None:
    """With their rows, and the columns in which they differ."""
    rows = pd.concat([table(ONE), table(ONE[:1], [0])], ignore_index=True)
    rows["host"] = ["x"] * 18 + ["y"]
    with pytest.raises(ValueError, match="rows 1, 19 are runs of optimizer=a .*host"):
        compared(
            rows,
            response="accuracy",
            reference={"optimizer": "a"},
            factors=["optimizer"],
        )


def test_lost_run_is_a_result() -> None:
    """Its seed is left out of the effect, counted and noted; a word is refused."""
    rows = table(ONE[:2])
    rows.loc[7, "accuracy"] = np.nan
    assert found(rows, optimizer="a").notes == [
        "lost, without a finite accuracy: rows 8"
    ]
    result = effects(rows, response="accuracy", reference={"optimizer": "a"})
    assert result[["n", "left_out"]].values.tolist() == [[5, 1]]
    rows["accuracy"] = rows["accuracy"].astype(object)
    rows.loc[7, "accuracy"] = "high"
    with pytest.raises(ValueError, match="no number in the rows 8 .'high'."):
        found(rows, optimizer="a")


def test_runs_that_a_tracker_calls_crashed_are_left_out_and_named() -> None:
    """The State of W&B's export."""
    rows = table(ONE[:2])
    rows["State"] = "finished"
    rows.loc[2, "State"] = "crashed"
    got = found(rows, optimizer="a")
    assert got.notes[0] == "left out, for their State: rows 3 (crashed)"
    assert got.notes[1].endswith("optimizer=a lacks seed 2")


def test_blocks_may_have_any_names() -> None:
    """Folds, subjects, or seeds as texts."""
    got = found(table(ONE, ["fold b", "fold a", "fold c"]), optimizer="a")
    assert got.blocks == ["fold a", "fold b", "fold c"]
    assert got.runs["seed"].tolist()[:3] == [1, 0, 2]
    rows = table(ONE)
    rows["seed"] = rows["seed"].astype(float).where(rows.index != 4)
    with pytest.raises(ValueError, match="seed is empty in the rows 5"):
        found(rows, optimizer="a")


@pytest.mark.parametrize("column", ["accurcy", "sead"])
def test_column_that_is_not_there_is_refused_with_the_nearest(column: str) -> None:
    """did you mean accuracy?"""
    asked = {"response": "accuracy", "seed": "seed"}
    asked["response" if column == "accurcy" else "seed"] = column
    with pytest.raises(ValueError, match="did you mean (accuracy|seed)"):
        compared(table(ONE), **asked)


@pytest.mark.slow
def test_nothing_but_pandas_numpy_and_scipy_is_imported() -> None:
    """`lenet.effects` imports no package that those do not, and of scipy its special
    functions alone; not when effects are estimated either."""
    listed = "import sys; print(*sys.modules)"
    code = "import lenet, pandas; rows = [(a, s, .1 * s + a) for a in (0, 1) "
    code += "for s in range(6)]; lenet.effects(pandas.DataFrame(rows, columns=['a', "
    code += "'seed', 'loss']), response='loss', reference={'a': 0})"
    theirs, ours = (
        set(
            subprocess.run(
                [sys.executable, "-c", f"{program}; {listed}"],
                capture_output=True,
                text=True,
                check=True,
            ).stdout.split()
        )
        for program in ("import numpy, pandas, scipy.special", code)
    )
    new = {name.partition(".")[0] for name in ours} - theirs
    assert new - sys.stdlib_module_names == {"lenet"}
    assert not {"scipy.stats", "scipy.optimize", "torch", "matplotlib"} & ours
    assert lenet.effects is effects
