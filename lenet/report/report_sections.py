"""The page of a study, section by section: figures, missed digits, runs, provenance.

What any page of figures has is in exhibit_page.py.
"""

import hashlib
from collections.abc import Sequence

import pandas as pd
from markupsafe import Markup

from lenet.records import run_record
from lenet.records.record_types import Record
from lenet.report import answer_section, effect_tables, missed_digits
from lenet.report.exhibit_page import Exhibit, document, figure
from lenet.report.reproduction import commands
from lenet.report.template import filled
from lenet.studies.corrected_labels import why_not_corrected
from lenet.studies.effect import TEST_ERROR, unique
from lenet.studies.study import Study


def study_page(
    studies: Sequence[Study], drawn: Sequence[Exhibit], findings: str = ""
) -> str:
    """The whole page as text, the same for the same records; findings: the section on
    what other studies say too."""
    title = " and ".join(study.name for study in studies)
    remarks = unique(study.remark for study in studies if study.remark)
    came_out = drawn[0].about if drawn else ""
    sections = [answer_section.answer_section(studies, came_out)]
    sections += [
        Markup(findings),
        *(figure(i, exhibit) for i, exhibit in enumerate(drawn)),
    ]
    sections += [section for study in studies for section in study_sections(study)]
    links = [("errors", "Errors")]
    links += [("findings", "Each change")] if findings else []
    links += [(exhibit.name, exhibit.title) for exhibit in drawn]
    if studies[0].response == TEST_ERROR:
        links.append(("missed", "Missed digits"))
    links += [("runs", "Runs"), ("origin", "Provenance")]
    return document(title, remarks, links, sections, lead=came_out)


def study_sections(study: Study) -> list[Markup]:
    """The sections of a study besides its figures: digits, runs, provenance."""
    runs = pd.DataFrame(
        {factor: str(row[factor]) for factor in study.reference}
        | {
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
    how = (
        f"Each command trains that run again{what_bits_need(study.records)}. Every "
        "level has the numbers of its file in conf/, tuned once; arms are not tuned "
        "again one by one."
    )
    listed = filled(
        "runs",
        title=f"Runs of {study.name}",
        about=how,
        count=len(runs),
        table=effect_tables.as_html(runs, [*study.reference, "status"]),
    )
    sources = filled(
        "origin", name=study.name, table=effect_tables.as_html(provenance(study))
    )
    digits = (
        [missed_digits.missed_section(study)] if study.response == TEST_ERROR else []
    )
    return [*digits, listed, sources]


def what_bits_need(records: Sequence[Record]) -> str:
    """What must be the same for a run that is trained again to have its bits."""
    if all(map(run_record.portable, records)):
        return ", on any processor and with any torch, to the same bits"
    return (
        ", at the commit below, with the same torch and kind of processor, to the same "
        "bits"
    )


def provenance(study: Study) -> pd.DataFrame:
    """What the numbers come from: each fact with how many of the runs share it."""
    facts: dict[tuple[str, str], int] = {}
    for record in study.records:
        edited = " (edited)" if record["code"]["dirty"] else ""
        stack = record["stack"]
        stated = {
            "commit": f"{record['code']['commit']}{edited}",
            "training": f"edition {run_record.edition(record)}, code SHA-256 "
            f"{record['code']['fingerprint']}",
            "data": f"{record['treatment']['data']}, SHA-256 {record['data']}",
            "hardware": f"{record['hardware']}, {stack['device']}, "
            f"{stack['threads']} threads",
            "versions": ", ".join(
                f"{package} {version}"
                for package, version in record["versions"].items()
            ),
            "status": record["status"],
        }
        for fact in stated.items():
            facts[fact] = facts.get(fact, 0) + 1
    rows = [(*fact, count) for fact, count in sorted(facts.items())]
    if study.response == TEST_ERROR and (why := why_not_corrected(study.records[0])):
        rows.append(("corrected labels", f"none: {why}", len(study.records)))
    if study.plan:
        rows.append(
            ("seal of the plan", str(study.plan.get("seal")), len(study.records))
        )
    # One seal over all records, whatever their order: the same runs, the same seal.
    ids = "".join(sorted(record["seal"] for record in study.records))
    seal = hashlib.sha256(ids.encode()).hexdigest()
    rows.append(("seal of the records", seal, len(study.records)))
    total = sum(record["seconds"] for record in study.records)
    rows.append(("training", f"{total:,.0f} seconds in all", len(study.records)))
    return pd.DataFrame(rows, columns=["what", "which", "runs"])
