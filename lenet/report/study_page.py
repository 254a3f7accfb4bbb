"""The page of a study: its figures, missed digits as inline PNG, runs, provenance."""

import hashlib
import html
from collections.abc import Mapping, Sequence

import pandas as pd

from lenet.config import FACTORS, RANGES, Value, composed, levels
from lenet.records import record
from lenet.records.store import Record
from lenet.report import effect_tables, missed_digits
from lenet.report.document import Exhibit, document, figure
from lenet.studies.corrected_labels import lacking
from lenet.studies.effect import TEST_ERROR
from lenet.studies.study import Study, settings_of, shown, unique


def page(studies: Sequence[Study], drawn: Sequence[Exhibit]) -> str:
    """The whole page as text; the same text for the same records."""
    title = " and ".join(study.name for study in studies)
    remarks = unique(study.remark for study in studies if study.remark)
    sections = [figure(i, exhibit) for i, exhibit in enumerate(drawn)]
    sections += [section for study in studies for section in about(study)]
    links = [(exhibit.name, exhibit.title) for exhibit in drawn]
    if studies[0].response == TEST_ERROR:
        links.append(("missed", "Missed digits"))
    links += [("runs", "Runs"), ("origin", "Provenance")]
    return document(title, remarks, links, sections)


def about(study: Study) -> list[str]:
    """The sections of a study besides its figures: digits, runs, provenance."""
    runs = pd.DataFrame(
        {
            "treatment": study.label({f: row[f] for f in study.reference}),
            "seed": row["seed"],
            "status": row["status"],
            study.response.name: row[study.response.name],
            "seconds": row["seconds"],
            "run": row["run_id"],
            "command": command,
        }
        for row, command in zip(
            study.runs.to_dict("records"), commands(study), strict=True
        )
    )
    name = html.escape(study.name)
    how = (
        "Each command trains that run again, at the commit below, with the same "
        "torch and kind of processor, to the same bits. Every level has the numbers of "
        "its file in conf/, tuned once; arms are not tuned again one by one."
    )
    listed = (
        f'<section id="runs"><h2>Runs of {name}</h2><p>{how}</p>\n'
        f"<details><summary>All {len(runs)} runs</summary>\n"
        f"{effect_tables.as_html(runs)}</details></section>"
    )
    sources = (
        f'<section id="origin"><h2>Provenance of {name}</h2>\n'
        f"{effect_tables.as_html(provenance(study))}</section>"
    )
    digits = [missed_digits.section(study)] if study.response == TEST_ERROR else []
    return [*digits, listed, sources]


def commands(study: Study) -> list[str]:
    """The command that trains each run again: the modern preset and what differs."""
    base = composed(["preset=modern"])[0][0].treatment
    return [command(one, base) for one in study.records]


def command(one: Record, base: Mapping[str, Value]) -> str:
    """What to type for one run, given what the modern preset would set."""
    treatment = settings_of(one)
    words = [
        f"{factor}={treatment[factor]}"
        for factor in (*FACTORS, "data")
        if treatment[factor] != base[factor]
    ]
    default = dict(base)
    for factor in FACTORS:
        inner = levels(factor).get(str(treatment[factor]), {})
        default |= {f"{factor}.{key}": value for key, value in inner.items()}
        default["batch_size"] = inner.get("batch_size", default["batch_size"])
    numbers = [key for key in treatment if key in RANGES]
    words += [
        f"{key}={shown(treatment[key])}"
        for key in sorted(numbers)
        if key not in default or treatment[key] != default[key]
    ]
    return " ".join(["python -m lenet.train", *words, f"seed={one['seed']}"])


def provenance(study: Study) -> pd.DataFrame:
    """What the numbers come from: each fact with how many of the runs share it."""
    facts: dict[tuple[str, str], int] = {}
    for one in study.records:
        edited = " (edited)" if one["code"]["dirty"] else ""
        stack = one["stack"]
        stated = {
            "commit": f"{one['code']['commit']}{edited}",
            "training": f"edition {record.edition(one)}, code SHA-256 "
            f"{one['code']['fingerprint']}",
            "data": f"{one['treatment']['data']}, SHA-256 {one['data']}",
            "hardware": f"{one['hardware']}, {stack['device']}, "
            f"{stack['threads']} threads",
            "versions": ", ".join(f"{k} {v}" for k, v in one["versions"].items()),
            "status": one["status"],
        }
        for fact in stated.items():
            facts[fact] = facts.get(fact, 0) + 1
    rows = [(*fact, count) for fact, count in sorted(facts.items())]
    if study.response == TEST_ERROR and (why := lacking(study.records[0])):
        rows.append(("corrected labels", f"none: {why}", len(study.records)))
    if study.plan:
        rows.append(
            ("seal of the plan", str(study.plan.get("seal")), len(study.records))
        )
    ids = "".join(sorted(one["seal"] for one in study.records))
    seal = hashlib.sha256(ids.encode()).hexdigest()
    rows.append(("seal of the records", seal, len(study.records)))
    total = sum(one["seconds"] for one in study.records)
    rows.append(("training", f"{total:,.0f} seconds in all", len(study.records)))
    return pd.DataFrame(rows, columns=["what", "which", "runs"])
