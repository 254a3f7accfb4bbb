"""Figures from effects: a table of effects in, a Figure out; `save` writes the files.

The ablation chart has a panel per factor and a row per level, the effect against the
reference in percentage points. Every text is measured and given its own space before
anything is drawn, so nothing overlaps whatever the names are; what is too far out for
the axis is an arrow at its edge, and the number stands beside it.
"""

import io
import math
import os
import tempfile
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib.style
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.markers import CARETLEFT, CARETRIGHT
from matplotlib.textpath import TextToPath

from lenet.effect import TEST_ERROR, Response

STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same everywhere
    "svg.hashsalt": "lenet",
    "svg.fonttype": "path",
}
VERDICTS = {  # colour (Okabe and Ito 2008), marker, whether it is filled
    "better": ("#0072B2", "<", True),
    "worse": ("#D55E00", ">", True),
    "equivalent": ("#009E73", "D", True),
    "undecided": ("#666666", "o", False),
    "not estimable": ("#000000", "x", True),
}
SAVED_WITH: dict[str, dict[str, None]] = {  # what would differ from day to day
    "svg": {"Date": None},
    "png": {"Software": None},
    "pdf": {"CreationDate": None},
}
BODY, SMALL, TITLE = 8.5, 7.0, 12.5  # points
LINE = 1.3 / 72  # inches of height per point of text
MARGIN, GAP, PLOT, NOTES = 0.15, 0.15, 4.2, 2.3  # inches


class _Row(NamedTuple):
    arm: Any
    dots: pd.DataFrame
    label: list[str]
    number: str
    notes: list[str]

    @property
    def height(self) -> float:
        """Inches: the taller of the label and of the verdict with its notes."""
        right = BODY + SMALL * len(self.notes)
        return max(0.34, 0.1 + LINE * max(BODY * len(self.label), right))


def ablation_chart(
    effects: pd.DataFrame,
    differences: pd.DataFrame,
    *,
    reference: str,
    title: str = "",
    years: Mapping[str, Mapping[str, int]] | None = None,
    converged: pd.DataFrame | None = None,
    missing: str = "",
    data: str = "",
    code: str = "",
    response: Response = TEST_ERROR,
) -> Figure:
    """Each arm's effect with two intervals and its seeds, a panel per factor.

    `effects` (one estimand) and `differences` are tables of `effect.Effects`;
    `converged` the effects of the converged blocks alone; `years` maps factor and level
    to a year; `reference` is the name of the treatment measured from; `missing` says
    which runs are. Thick is the 95 % interval on this test set, thin for new digits.
    """
    if effects["estimand"].nunique() != 1:
        raise ValueError("a chart shows one estimand: select its rows of the effects")
    effects, differences = _as_text(effects), _as_text(differences)
    with matplotlib.style.context(["default", STYLE]):
        label_width = _label_width(effects, years or {})
        panels = _panels(effects, differences, years or {}, converged, label_width)
        number_width = max(_width(r.number) for rows in panels.values() for r in rows)
        left = MARGIN + label_width + GAP
        width = left + PLOT + 3 * GAP + max(number_width, 1.5) + NOTES + MARGIN
        inner = width - 2 * MARGIN
        heading = _wrap(title or finding(effects, reference), inner, TITLE, "bold")
        caption = _wrap(_caption(effects, response, data, code), inner, SMALL)
        top = MARGIN + LINE * TITLE * len(heading) + (0.62 if missing else 0.42)
        body = sum(0.3 + sum(r.height for r in rows) for rows in panels.values())
        height = top + body + 0.65 + LINE * SMALL * len(caption) + MARGIN
        page = _Page(Figure(figsize=(width, height)), width, height)
        _write_heading(page, effects, heading, missing)
        bottom = _draw_panels(page, panels, left, top, response, reference)
        page.write(MARGIN, bottom + 0.62, caption, SMALL, color="#444444")
    return page.figure


def finding(effects: pd.DataFrame, reference: str) -> str:
    """One sentence: which change helps most, and how many are what."""
    effects = _as_text(effects)
    count = effects["verdict"].value_counts()
    total = f"{len(effects)} changes" if len(effects) > 1 else "the one change"
    if effects["reason"].str.contains("no verdict possible").all():
        return (
            f"No verdict possible at n = {effects['n'].max()}: {total} to {reference}"
        )
    tail = ", ".join(f"{count[v]} {v}" for v in list(VERDICTS)[1:] if v in count)
    ordered = effects.sort_values(["mean", "factor", "level"])
    for verdict, verb in (("better", "helps"), ("worse", "hurts")):
        if verdict in count:
            chosen = ordered[ordered["verdict"] == verdict]
            first = chosen.loc[chosen["mean"].abs().idxmax()]
            change = f"{_points(first['mean'])} points"
            lead = f"{_labels(first, {}, True)[1]} {verb} most ({change})"
            proven = f"{count.get('better', 0)} better than {reference}"
            return f"{lead}: of {total}, " + ", ".join(filter(None, [proven, tail]))
    return f"No proof that any of {total} to {reference} is better or worse: {tail}"


def save(
    figure: Figure, path: str | Path, formats: Sequence[str] = ("svg", "png")
) -> list[Path]:
    """The files written, `path` plus each suffix: whole or not at all, always alike."""
    written = []
    for suffix in formats:
        target, stream = Path(f"{path}.{suffix}"), io.BytesIO()
        with matplotlib.style.context(["default", STYLE]):
            figure.savefig(stream, format=suffix, dpi=150, metadata=SAVED_WITH[suffix])
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(stream.getvalue())
                file.flush()
                os.fsync(file.fileno())
            os.chmod(name, 0o644)
            os.replace(name, target)
        except BaseException:
            os.unlink(name)
            raise
        written.append(target)
    return written


class _Page(NamedTuple):
    """A figure addressed in inches from its upper left corner."""

    figure: Figure
    width: float
    height: float

    def write(
        self, x: float, y: float, lines: list[str], size: float, **style: Any
    ) -> float:
        """Write lines downwards from y; returns where they end."""
        for line in lines:
            at = x / self.width, 1 - (y + 0.78 * LINE * size) / self.height
            self.figure.text(*at, line, fontsize=size, parse_math=False, **style)
            y += LINE * size
        return y

    def axes(self, x: float, y: float, width: float, height: float) -> Axes:
        lower = 1 - (y + height) / self.height
        return self.figure.add_axes(
            (x / self.width, lower, width / self.width, height / self.height)
        )


def _as_text(table: pd.DataFrame) -> pd.DataFrame:
    """The table with its names as text, as they were before a CSV file took them."""
    names = [n for n in ("factor", "level", "reference", "reason") if n in table]
    texts = table[names].astype(object).fillna("").astype(str)
    return table.assign(**{name: texts[name] for name in names})


def _panels(
    effects: pd.DataFrame,
    differences: pd.DataFrame,
    years: Mapping[str, Mapping[str, int]],
    converged: pd.DataFrame | None,
    label_width: float,
) -> dict[str, list[_Row]]:
    """Rows by panel heading, sorted by effect; panels by their lowest effect."""
    keys = ["factor", "level"]
    means = {} if converged is None else converged.set_index(keys)["mean"].to_dict()
    dots = dict(list(differences.groupby(keys)))
    single = effects["factor"].value_counts().max() == 1 < len(effects)
    panels: dict[str, list[_Row]] = {}
    for arm in effects.sort_values(["mean", *keys]).itertuples(index=False):
        panel, label = _labels(arm, years, single)
        interval = f" [{_points(arm.low, '')}, {_points(arm.high, '')}]"
        number = _points(arm.mean) + (interval if math.isfinite(arm.low) else "")
        row = _Row(
            arm,
            dots.get((arm.factor, arm.level), differences[:0]),
            _wrap(label, label_width, BODY),
            number,
            _wrap(_notes(arm, means), NOTES, SMALL),
        )
        panels.setdefault(panel, []).append(row)
    return panels


def _labels(
    arm: Any, years: Mapping[str, Mapping[str, int]], single: bool
) -> tuple[str, str]:
    """Heading of an arm's panel and label of its row."""
    year = years.get(arm.factor, {}).get(arm.level)
    level = f"{arm.level} ({year})" if year else str(arm.level)
    joint = "+" in str(arm.level)
    if joint:
        named = "+" not in arm.factor and arm.estimand == "arm"
        level = str(arm.factor) if named else level.replace("+", " + ")
    if single:
        plain = level if joint else f"{arm.factor}: {level}"
        return "one level each", plain
    if joint:
        return "several factors at once", level
    since = years.get(arm.factor, {}).get(arm.reference)
    against = f"{arm.reference}, {since}" if since else arm.reference
    return f"{arm.factor} (reference: {against})", level


def _label_width(
    effects: pd.DataFrame, years: Mapping[str, Mapping[str, int]]
) -> float:
    single = effects["factor"].value_counts().max() == 1 < len(effects)
    arms = effects.itertuples(index=False)
    return min(2.6, max(0.8, *(_width(_labels(a, years, single)[1]) for a in arms)))


def _notes(arm: Any, converged: Mapping[tuple[str, str], float]) -> str:
    notes = [arm.reason] if arm.reason else []
    if arm.diverged:
        mean = converged.get((arm.factor, arm.level), math.nan)
        beside = "" if math.isnan(mean) else f" (converged blocks: {_points(mean, '')})"
        notes.append(f"{arm.diverged} of {arm.n} diverged{beside}")
    return "; ".join(notes)


def _write_heading(
    page: _Page, effects: pd.DataFrame, heading: list[str], missing: str
) -> None:
    y = page.write(MARGIN, MARGIN, heading, TITLE, weight="bold") + 0.05
    lacking = [missing] if missing else []
    y = page.write(MARGIN, y, lacking, BODY, color=VERDICTS["worse"][0])
    _legend(page, effects, y + 0.05)


def _draw_panels(
    page: _Page,
    panels: dict[str, list[_Row]],
    left: float,
    y: float,
    response: Response,
    reference: str,
) -> float:
    """Draw the panels downwards from y; returns where they end."""
    limits = _limits([row for rows in panels.values() for row in rows])
    grey, right = "#444444", left + PLOT + GAP
    page.write(right, y + 0.1, ["effect [95 % interval]"], SMALL, color=grey)
    right = page.width - MARGIN - NOTES
    page.write(right, y + 0.1, ["verdict after Holm"], SMALL, color=grey)
    for heading, rows in panels.items():
        page.write(MARGIN, y + 0.08, [heading], BODY, weight="bold")
        y += 0.3
        axes = page.axes(left, y, PLOT, sum(row.height for row in rows))
        axes.set(xlim=limits, ylim=(y + sum(r.height for r in rows), y), yticks=[])
        axes.axvspan(
            -100 * response.margin, 100 * response.margin, color="#EEEEEE", zorder=0
        )
        axes.axvline(0, color="black", linewidth=0.9, zorder=1)
        axes.grid(axis="x", color="#DDDDDD", linewidth=0.5, zorder=0)
        axes.spines[["left", "right", "top"]].set_visible(False)
        axes.tick_params(axis="x", labelsize=SMALL + 0.5, labelbottom=False, length=0)
        for row in rows:
            _draw_row(page, axes, row, left, y)
            y += row.height
    axes.tick_params(axis="x", labelbottom=True, length=3)
    label = _axis_label(reference, response)
    page.write(left + PLOT / 2, y + 0.27, [label], BODY, ha="center")
    return y


def _draw_row(page: _Page, axes: Axes, row: _Row, left: float, y: float) -> None:
    arm, (low, high) = row.arm, axes.get_xlim()
    color = VERDICTS[arm.verdict][0]
    text = y + (row.height - LINE * (BODY + SMALL * len(row.notes))) / 2
    label = y + (row.height - LINE * BODY * len(row.label)) / 2
    page.write(left - GAP, label, row.label, BODY, ha="right")
    number = left + PLOT + GAP
    page.write(number, text, [row.number], BODY)
    right = page.width - MARGIN - NOTES
    below = page.write(right, text, [arm.verdict], BODY, color=color)
    page.write(right, below, row.notes, SMALL, color="#444444")
    middle = y + row.height / 2 - 0.04
    for start, end, width, cap in (
        (100 * arm.low_digits, 100 * arm.high_digits, 1.1, "|"),
        (100 * arm.low, 100 * arm.high, 4.0, ""),
    ):
        if math.isfinite(start) and start < high and end > low:
            ends = [max(start, low), min(end, high)]
            bar = axes.plot(ends, [middle] * 2, color=color, linewidth=width)[0]
            bar.set(solid_capstyle="butt", zorder=3)
            caps = [x for x in (start, end) if cap and low < x < high]
            axes.plot(caps, [middle] * len(caps), cap, color=color, markersize=7)
    seen = sorted(100 * value for value in row.dots["difference"])
    for shape, at in (
        ("o", [x for x in seen if low <= x <= high]),
        (">", [high for x in seen if x > high]),
        ("<", [low for x in seen if x < low]),
    ):
        dots = axes.plot(at, [middle + 0.11] * len(at), shape, color=color, ms=2.8)[0]
        dots.set(alpha=0.5, markeredgewidth=0, clip_on=False)
    mean = 100 * arm.mean
    if mean > high or mean < low:
        tip, edge = (CARETRIGHT, high) if mean > high else (CARETLEFT, low)
        axes.plot(edge, middle, marker=tip, color=color, ms=9, clip_on=False)
    elif not math.isnan(mean):
        axes.add_line(_marker(arm.verdict, [mean], [middle]))


def _limits(rows: list[_Row]) -> tuple[float, float]:
    """Percentage points the axis shows: all but rows five times the median reach."""
    ends = []
    for row in rows:
        arm = row.arm
        values = [arm.low, arm.high, arm.low_digits, arm.high_digits, arm.mean]
        values += row.dots["difference"].tolist()
        shown = [100 * value for value in values if math.isfinite(value)] or [0.0]
        ends.append((min(0.0, *shown, 0.0), max(0.0, *shown, 0.0)))
    reach = sorted(max(-low, high) for low, high in ends)
    most = 5 * reach[(len(reach) - 1) // 2] or reach[-1] or 0.1
    near = [end for end in ends if max(-end[0], end[1]) <= most]
    low, high = min(low for low, _ in near), max(high for _, high in near)
    room = 0.06 * (high - low) or 0.1
    return low - room, high + room


def _legend(page: _Page, effects: pd.DataFrame, y: float) -> None:
    present = [verdict for verdict in VERDICTS if verdict in set(effects["verdict"])]
    handles = [_marker(verdict, [], [], label=verdict) for verdict in present]
    grey = "#444444"
    for column, width, label in (
        ("low", 4, "this test set"),
        ("low_digits", 1, "new digits"),
    ):
        if effects[column].map(math.isfinite).any():
            text = f"{label}, 95 %"
            handles.append(Line2D([], [], color=grey, linewidth=width, label=text))
    handles.append(
        Line2D(
            [], [], color=grey, marker="o", markersize=2.8, linewidth=0, label="a seed"
        )
    )
    page.figure.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(MARGIN / page.width, 1 - y / page.height),
        ncols=len(handles),
        fontsize=SMALL + 0.5,
        frameon=False,
        borderpad=0,
        borderaxespad=0,
        columnspacing=1.2,
        handletextpad=0.5,
    )


def _marker(verdict: str, x: list[float], y: list[float], label: str = "") -> Line2D:
    color, marker, filled = VERDICTS[verdict]
    line = Line2D(x, y, linewidth=0, color=color, marker=marker, markersize=7.5)
    crossed = marker == "x"  # has no face
    line.set(label=label, zorder=5, markerfacecolor=color if filled else "white")
    line.set_markeredgecolor("white" if filled and not crossed else color)
    line.set_markeredgewidth(1.6 if crossed else 0.9)
    return line


def _axis_label(reference: str, response: Response) -> str:
    what = response.name.replace("_", " ")
    good = "left" if response.lower_is_better else "right"
    return (
        f"difference in {what} from {reference}, percentage points ({good} is better)"
    )


def _caption(effects: pd.DataFrame, response: Response, data: str, code: str) -> str:
    n = sorted(set(effects["n"]))
    seeds = f"n = {n[0]}" if len(n) == 1 else f"n = {n[0]} to {n[-1]}"
    tests = int(effects["p"].notna().sum())
    family = {"arm": "arms", "main": "main effects", "interaction": "interactions"}
    kind = effects["estimand"].iloc[0]
    parts = [
        f"{seeds} blocks (seeds); effects are means of within-block differences.",
        "Thick: 95 % interval that inverts the exact sign-flip test, not adjusted."
        if effects["low"].map(math.isfinite).any()
        else "So few blocks have no 95 % interval on this test set.",
        "Thin: 95 % interval for new seeds and new digits."
        if effects["low_digits"].notna().any()
        else "",
        f"Verdicts: p <= 0.05 after Holm over the family of {tests}",
        family.get(kind, f"{kind} values"),
        "; equivalent: the 90 % interval is within",
        f"\N{PLUS-MINUS SIGN}{100 * response.margin:g} points (grey band).",
        f"A diverged run counts as an error of {100 * response.diverged:g} %."
        if effects["diverged"].any()
        else "",
        f"Data: {data}." if data else "",
        f"Code: {code}." if code else "",
    ]
    return " ".join(filter(None, parts)).replace(" ;", ";")


def _points(fraction: float, unit: str = "") -> str:
    """A fraction in percentage points, signed with a true minus."""
    if math.isnan(fraction):
        return "no effect"
    text = f"{100 * fraction:+.2f}{unit}".replace("-", "\N{MINUS SIGN}")
    return text[1:] if float(text[1:5]) == 0 else text


def _wrap(text: str, width: float, size: float, weight: str = "normal") -> list[str]:
    """Lines of at most `width` inches, broken at spaces or inside too long words."""
    lines: list[str] = []
    for word in text.split():
        if lines and _width(f"{lines[-1]} {word}", size, weight) <= width:
            lines[-1] += f" {word}"
            continue
        lines.append("")
        for letter in word:
            if lines[-1] and _width(lines[-1] + letter, size, weight) > width:
                lines.append("")
            lines[-1] += letter
    return lines


@lru_cache(maxsize=4096)
def _width(text: str, size: float = BODY, weight: str = "normal") -> float:
    """Inches, with 7 % to spare: Agg fits letters to pixels."""
    font = FontProperties(family="DejaVu Sans", size=size, weight=weight)
    points = TextToPath().get_text_width_height_descent(text, font, False)[0]
    return float(points) * 1.07 / 72
