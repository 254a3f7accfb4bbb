"""Tables of numbers as CSV, Markdown, LaTeX and HTML: the same rows, the same names.

CSV keeps numbers in full; the others show percentage points as the figures do, or the
response's own unit.
"""

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from markupsafe import Markup, escape

from lenet.figures.canvas import MINUS, interval, points, unit_of
from lenet.report.template import filled
from lenet.rounding import decimals, significant
from lenet.studies.effect import COLUMNS

EFFECTS = ("mean", "low", "high", "low_digits", "high_digits", "sd")
COUNTS = ("n", "left_out", "missing")
TESTS = ("p", "p_family", "p_holm", "p_equivalent", "p_better", "power_80")
NUMBERS = (*COUNTS, *EFFECTS, *TESTS)
LEVELS = (
    "train_error",
    "validation_error",
    "test_error",
    "robust_accuracy",
    "auto_attack",
    "gain",
    "share",
    "share_reference",
)  # in %
HIDDEN = ("study", "response", "sd", "p_better", "missing")
# Of a page's table: what fewer readers look for stands last.
LAST = ("p family", "80 % power from", "p equivalent")
IN_UNIT = {"mean": "effect", "power_80": "80 % power from"}  # in points, or its own
RANGES = {  # heads of the columns of two limits in %, where they are no effects
    "low": "seeds, %",
    "share": "95 % of share",
    "low_reference": "95 % of reference",
}
LATEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\^{}"}
LATEX |= {char: f"\\{char}" for char in "&%$#_{}"} | {MINUS: "$-$"}
MARKDOWN = "\\`*_{}[]<>#|~$&"


def read_effects(path: Path) -> pd.DataFrame:
    """A file of effects or of their differences as it was written.

    Names stay texts: the level `none` is no missing value, and `0.5` no number.
    """
    return pd.read_csv(
        path,
        keep_default_na=False,
        na_values={name: [""] for name in NUMBERS},
        dtype=dict.fromkeys(set(COLUMNS) - set(NUMBERS), str),
    )


def effects_csv(table: pd.DataFrame) -> str:
    """The whole table, fractions in full; `read_effects` gives the effects back."""
    return str(table.map(inert).to_csv(index=False, lineterminator="\n"))


def inert(value: Any) -> Any:
    """A text that no spreadsheet takes for a formula; numbers as they are.

    >>> inert("=1+2"), inert("-0.5"), inert(0.5)
    ("'=1+2", '-0.5', 0.5)
    """
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r"):
        return value if is_number(value) else f"'{value}"
    return value


def is_number(text: str) -> bool:
    """Whether a text is a plain number."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def as_markdown(table: pd.DataFrame, caption: str) -> str:
    """The table as it is shown, with its caption above."""
    return markdown(readable_columns(table), caption)


def markdown(rows: pd.DataFrame, caption: str) -> str:
    """Rows of texts with their caption above.

    >>> rows = pd.DataFrame({"level": ["relu", "tanh"], "effect": ["+0.10", "-0.20"]})
    >>> print(markdown(rows, "Effects").strip())
    Effects
    <BLANKLINE>
    | level | effect |
    | --- | --- |
    | relu | +0.10 |
    | tanh | -0.20 |
    """
    lines = [list(rows.columns), ["---"] * len(rows.columns), *rows.to_numpy().tolist()]
    cells = [[row if row == "---" else escaped(row) for row in line] for line in lines]
    body = "\n".join(f"| {' | '.join(line)} |" for line in cells)
    return f"{escaped(caption)}\n\n{body}\n"


def escaped(text: str) -> str:
    r"""A text that Markdown shows as it is, on one line.

    >>> print(escaped("batch_size * 16"))
    batch\_size \* 16
    """
    plain = " ".join(text.split())
    return "".join(f"\\{char}" if char in MARKDOWN else char for char in plain)


def as_latex(table: pd.DataFrame, caption: str) -> str:
    """The table as it is shown, for booktabs and longtable."""
    return latex(readable_columns(table), caption)


def latex(rows: pd.DataFrame, caption: str) -> str:
    """Rows of texts for booktabs and longtable, over as many pages as they take."""
    form, head, body = typeset_rows(rows)
    lines = [
        "% \\usepackage{booktabs,longtable}",
        f"\\begin{{longtable}}{{{form}}}",
        f"\\caption{{{typeset(caption)}}} \\\\",
        "\\toprule",
        head,
        "\\midrule \\endhead",
        *body,
        "\\bottomrule",
        "\\end{longtable}",
    ]
    return "\n".join(lines) + "\n"


def floating(rows: pd.DataFrame, caption: str) -> str:
    """Rows of texts for booktabs, over both columns of a paper: longtable takes one."""
    form, head, body = typeset_rows(rows)
    lines = [
        "% \\usepackage{booktabs}",
        "\\begin{table*}",
        f"\\caption{{{typeset(caption)}}}",
        "\\centering\\footnotesize",
        f"\\begin{{tabular}}{{{form}}}",
        "\\toprule",
        head,
        "\\midrule",
        *body,
        "\\bottomrule",
        "\\end{tabular}",
        "\\end{table*}",
    ]
    return "\n".join(lines) + "\n"


def typeset_rows(rows: pd.DataFrame) -> tuple[str, str, list[str]]:
    """How the columns stand, their heads and the rows, as LaTeX."""
    form = "".join("r" if numeric(rows[name]) else "l" for name in rows.columns)
    head, *body = (
        f"{' & '.join(map(typeset, row))} \\\\"
        for row in [list(rows.columns), *rows.to_numpy().tolist()]
    )
    return form, head, body


def typeset(text: str) -> str:
    r"""A text that LaTeX prints as it is.

    >>> print(typeset("batch_size: 5 %"))
    batch\_size: 5 \%
    """
    return "".join(LATEX.get(char, char) for char in " ".join(text.split()))


def as_html(
    table: pd.DataFrame, chosen: Sequence[str] = ("factor", "verdict")
) -> Markup:
    """The table as it is shown, every cell escaped, sortable by its full numbers.

    chosen: the columns by whose values a reader may choose rows.
    """
    rows = readable_columns(table)
    if "p family" in rows:  # the one that decides; the files beside the page have all
        rows = rows.drop(columns=["p", "p holm"])
    rows = rows[sorted(rows.columns, key=lambda name: name.startswith(LAST))]
    names, keys = [name.replace("_", " ") for name in chosen], sorting(table)
    heads = [
        {"text": breakable(name), "chosen": name in names} for name in rows.columns
    ]
    cells: list[list[dict[str, Markup]]] = []
    for i, row in enumerate(rows.to_numpy().tolist()):
        cells.append([])
        for name, text in zip(rows.columns, row, strict=True):
            number = keys[name][i] if name in keys else None
            key = "" if number is None else f' data-key="{number!r}"'
            key += ' class="reason"' * (name == "reason")
            cells[-1].append({"key": Markup(key), "text": breakable(text)})
    return filled("table", heads=heads, rows=cells)


def breakable(text: str) -> Markup:
    """A text, escaped, that may go on in another line between the levels and the words
    of a name."""
    return Markup(
        re.sub(r"(?<=\w[:+])(?=\w)|(?<=[^\W\d][_.])(?=\w)", "<wbr>", str(escape(text)))
    )


def readable_columns(table: pd.DataFrame) -> pd.DataFrame:
    """The columns that a reader needs, as texts with their units in the heads."""
    columns: dict[str, list[str]] = {}
    if "collapsed" in table:
        table = lost_together(table)
    effects, losses = "verdict" in table, "share" in table
    unit = own_unit(table)
    for name in table.columns:
        values = table[name].tolist()
        single = name == "estimand" and len(set(values)) == 1
        if name in HIDDEN or single or (effects and name == "unit"):
            continue
        # Two limits share a column: it is made at the lower one.
        if name.startswith("high") and name.replace("high", "low") in table:
            continue
        if name.startswith("low") and (end := name.replace("low", "high")) in table:
            pairs = zip(values, table[end].tolist(), strict=True)
            if effects:
                what = "95 %" if name == "low" else "95 %, new digits"
                columns[what] = [interval(low, high, unit) for low, high in pairs]
            else:
                columns[RANGES["share" if losses and name == "low" else name]] = [
                    f"{decimals(100 * low)} to {decimals(100 * high)}"
                    for low, high in pairs
                ]
        elif name in IN_UNIT and effects:
            written = points if name == "mean" else unsigned_text
            columns[headed(name, unit)] = [written(value, unit) for value in values]
        elif name == "mean" or name in LEVELS:
            head = f"{'test error' if name == 'mean' else name.replace('_', ' ')}, %"
            columns[head] = [percent_text(value) for value in values]
        else:
            tested = name.startswith("p") and (effects or losses)
            form = ".2g" if tested else ".4g"
            columns[name.replace("_", " ")] = [
                cell_text(value, form) for value in values
            ]
    return pd.DataFrame(columns)


def lost_together(table: pd.DataFrame) -> pd.DataFrame:
    """A table of losses in which each count says in which way runs are lost."""
    said = table.copy()
    for end in ("", "_reference"):
        pairs = zip(table[f"collapsed{end}"], table[f"diverged{end}"], strict=True)
        counts = [
            [
                f"{count} {way}"
                for count, way in zip(pair, ("collapsed", "diverged"), strict=True)
            ]
            for pair in pairs
        ]
        said[f"collapsed{end}"] = [
            ", ".join(side for side in pair if not side.startswith("0 ")) or "0"
            for pair in counts
        ]
        said = said.drop(columns=f"diverged{end}")
    return said.rename(columns=lambda name: name.replace("collapsed", "lost"))


def sorting(table: pd.DataFrame) -> dict[str, list[float]]:
    """The numbers behind the shown columns, by which a reader may sort."""
    rows = readable_columns(table)
    keys: dict[str, list[float]] = {}
    renamed = {headed(name, own_unit(table)): name for name in IN_UNIT}
    renamed |= {"test error, %": "mean", "95 %": "low", "share, %": "share"}
    renamed |= {"95 %, new digits": "low_digits", "seeds, %": "low"}
    renamed |= {"train error, %": "train_error"}
    for name in rows.columns:
        source = renamed.get(name, name.replace(" ", "_"))
        source = source if source in table else name
        if source in table and pd.api.types.is_numeric_dtype(table[source]):
            keys[name] = [float(value) for value in table[source]]
    return keys


def numeric(column: pd.Series) -> bool:
    """Whether a shown column is of numbers and empty cells."""
    return all(not value or is_shown_number(value) for value in column)


def is_shown_number(text: str) -> bool:
    """Whether a shown text is a number: signed with a true minus, or in thousands."""
    return is_number(text.replace(MINUS, "-").replace(",", ""))


def own_unit(table: pd.DataFrame) -> str:
    """What a table of effects is measured in; empty of shares, and of other tables."""
    return unit_of(table.iloc[0]) if "verdict" in table and len(table) else ""


def headed(name: str, unit: str) -> str:
    """The head of a column of effects with its unit."""
    return f"{IN_UNIT[name]}, {unit or 'points'}"


def unsigned_text(value: float, unit: str) -> str:
    """A number without a sign, in percent or in its own unit."""
    if not unit:
        return percent_text(value)
    return significant(value) if math.isfinite(value) else ""


def percent_text(fraction: float) -> str:
    """A fraction in percent; nothing where there is none.

    >>> percent_text(0.0063), percent_text(float("nan"))
    ('0.63', '')
    """
    return decimals(100 * fraction) if math.isfinite(fraction) else ""


def cell_text(value: Any, form: str) -> str:
    """A value as a reader wants it; nothing where there is none.

    >>> [cell_text(value, ".2g") for value in (12_000, 0.03125, float("nan"), None)]
    ['12,000', '0.031', '', '']
    """
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:{form}}"
    if isinstance(value, int):
        return f"{value:,}"
    return "" if value is None else str(value)
