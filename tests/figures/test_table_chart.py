"""The chart of anybody's table, in the unit of what was measured."""

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from figure_texts import check_texts, content
from marks import mostly_slow

from lenet import rounding
from lenet.commands import chart
from lenet.config import Refusal
from lenet.figures import ablation_chart, interaction
from lenet.report import effect_tables
from lenet.studies import effect, own_study
from lenet.studies.own_study import compared, in_unit, table_effects


def runs(response: str, base: float = 2.0, size: float = 1.0) -> pd.DataFrame:
    """Four treatments under eight seeds; b is lower than a by `size`, and so is y."""
    rng = np.random.default_rng(0)
    rows = [
        (model, rank, seed, base - size * ((model == "b") + (rank == "y") + noise))
        for model in "ab"
        for rank in "xy"
        for seed, noise in enumerate(0.1 * rng.normal(size=8))
    ]
    return pd.DataFrame(rows, columns=["model", "low_rank", "seed", response])


def found(rows: pd.DataFrame, unit: str = "", **asked: Any) -> own_study.Comparison:
    """What is compared of a table, as it is shown."""
    reference = {"model": "a", "low_rank": "x"}
    asked = {"better": "lower", "reference": reference, **asked}
    return in_unit(compared(rows, response=rows.columns[-1], **asked), unit)


@pytest.mark.parametrize(
    ("response", "base", "size", "unit"),
    [
        ("accuracy", 0.9, 0.1, ""),
        ("accuracy", 90, 10, ""),
        ("r2", 0.9, 0.1, ""),
        ("rmse", 0.9, 0.1, "rmse"),
        ("val/loss", 90, 10, "val/loss"),
        ("train_seconds", 4, 1, "train seconds"),
        ("score", 400, 100, "score"),
        ("score", 0, 0.1, "score"),
    ],
)
def test_unit_is_read_from_name_and_numbers(
    response: str, base: float, size: float, unit: str
) -> None:
    """Shares and percentages are shown in points, all else in a unit of its own."""
    got = found(runs(response, base, size))
    assert got.response.unit == unit
    scaled = 100 if not unit and base > 1 else 1
    assert got.runs[response].iloc[0] == pytest.approx(runs(response, base, size).iloc[
        0, -1] / scaled)  # fmt: skip
    assert ("was in percent" in str(got.notes)) == (scaled == 100)


def test_unit_may_be_said() -> None:
    """A mean of ratings is no percentage; a loss may be one; what cannot be is
    refused."""
    assert found(runs("rating"), "stars").response.unit == "stars"
    share = found(runs("loss", 0.5, 0.1), "share", margin=0.01)
    assert (share.response.unit, share.response.margin) == ("", 0.01)
    assert found(runs("loss", 50, 9), "percent", margin=0.5).response.margin == 0.005
    with pytest.raises(ValueError, match="unit=share: loss lies in .* beyond 0 to 1"):
        found(runs("loss"), "share")


SIZES = [*product([1e-9, 1e-3, 1.0, 1e4], ["", "ms"])]


@pytest.mark.parametrize("size_and_unit", mostly_slow(SIZES, every=9), ids=str)
def test_chart_is_in_the_response_s_own_unit(
    size_and_unit: tuple[float, str],
) -> None:
    """Numbers of any size, on the axis, beside it and in the sentence; no points."""
    size, unit = size_and_unit
    rows = runs("latency", 5 * size, size)
    got = found(rows, unit, margin=0.2 * size)
    tables = table_effects(got)
    side = ablation_chart.Side(
        effect.effects_of_kind(tables.table, effect.MAIN),
        effect.effects_of_kind(tables.differences, effect.MAIN),
    )
    figure = ablation_chart.ablation_chart(side, response=got.response)
    check_texts(figure)
    said = content(figure)
    assert "points" not in said and "%" not in said.replace("95 %", "").replace(
        "80 %", ""
    )
    axis = "latency, ms: left is better" if unit else "latency: left is better"
    assert axis in said
    mean = side.effects["mean"].iloc[0]
    number = rounding.significant(mean, sign="+").replace("-", "\N{MINUS SIGN}")
    assert f"({number} {unit or 'latency'})" in ablation_chart.finding(side)
    assert f"{number} better" in said
    low, high = figure.axes[0].get_xlim()
    assert low < mean < 0 < high and high - low < 4 * size
    rows = effect.effects_of_kind(tables.table, effect.PAIR)
    heat = interaction.heat_map(pd.concat([side.effects, rows]), reference="a")
    check_texts(heat)
    assert "ercentage" not in content(heat) and number in content(heat)


def test_tables_are_headed_by_the_unit() -> None:
    """Also a page's, whose numbers sort; a share's are as they were."""
    table = table_effects(found(runs("latency"), "ms")).table
    shown = effect_tables.readable_columns(table)
    assert {"effect, ms", "80 % power from, ms"} <= set(shown)
    assert not any("points" in name for name in shown)
    assert effect_tables.sorting(table)["effect, ms"] == table["mean"].tolist()
    assert effect_tables.as_html(table).index("verdict") < effect_tables.as_html(
        table
    ).index("80 % power from, ms")
    share = table_effects(found(runs("accuracy", 0.9, 0.1))).table
    assert list(share.columns) == list(effect.COLUMNS)
    assert {"effect, points", "80 % power from, points"} <= set(
        effect_tables.readable_columns(share)
    )


def test_lost_runs_are_said_to_be_without_a_response() -> None:
    """A guess is of classifiers."""
    rows = runs("latency")
    rows.loc[0, "latency"] = np.nan
    table = table_effects(found(rows)).table
    remark = ablation_chart.lost(table)
    assert remark.startswith("A run without a response is lost") and "80" not in remark
    assert table["reason"].str.contains("no finite response").any()


def test_command_draws_any_number(tmp_path: Path) -> None:
    """Seconds in seconds; a column called low_rank or high_lr is no limit."""
    rows = runs("seconds", 5000, 1000).rename(columns={"model": "high_lr"})
    rows.to_csv(tmp_path / "runs.csv", index=False)
    typed = [f"table={tmp_path / 'runs.csv'}", "response=seconds"]
    typed += [f"output_dir={tmp_path / 'c'}", "reference=[high_lr=a,low_rank=x]"]
    chart.main(typed)
    page = (tmp_path / "c" / "runs" / "report.html").read_text()
    assert "seconds: left is better" not in page  # it is drawn, not written
    assert "effect, seconds" in page and "points" not in page.split("<script>")[0]
    for column in ("high lr", "low rank"):
        assert f">{column}</button>" in page
    written = effect_tables.read_effects(tmp_path / "c" / "runs" / "effects.csv")
    assert set(written["unit"]) == {"seconds"}
    with pytest.raises(Refusal, match="unit=percent: seconds lies in"):
        chart.main([*typed, "unit=percent"])
    with pytest.raises(Refusal, match="margin=1_0 is no number"):
        chart.main([*typed, "margin=1_0"])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0314159, "+0.0314"),
        (-412.6, "-413"),
        (123456.0, "+123456"),
        (2.5e-7, "+2.50e-07"),
        (-3e8, "-3.00e+08"),
        (9.999, "+10.00"),
        (0.0, "0"),
    ],
)
def test_three_digits_are_significant(value: float, text: str) -> None:
    """Written in full unless that is long."""
    assert rounding.significant(value, sign="+") == text
