"""Carry out a design: train what has no record, then write the study and its chart."""

import gzip
import json
from collections.abc import Callable, Sequence
from pathlib import Path

from lenet import record, report, train
from lenet.config import Config
from lenet.design import Design
from lenet.record import Record
from lenet.stack import Report


def carry_out(
    design: Design, progress: Callable[[Sequence[Config]], Report]
) -> list[Path]:
    """The files of a study, once every run of its design has a record.

    The same call again trains only what is missing.
    """
    found = train.run(design.runs, design.places, progress)
    folder = Path(design.places.output_dir) / (design.places.study or design.name)
    folder.mkdir(parents=True, exist_ok=True)
    plan = {
        "study": folder.name,
        "design": design.name,
        "kind": design.kind,
        "factors": list(design.factors),
        "reference": dict(design.reference),
        "runs": [done["run_id"] for done in found],
    }
    plan["seal"] = record.digest(plan)
    report.replace(folder / "plan.json", json.dumps(plan, indent=1).encode())
    report.replace(folder / "records.jsonl.gz", packed(found))
    # A design in which no level varies has no effect to chart: its records are it.
    return report.ablation(folder) if design.factors else [folder / "records.jsonl.gz"]


def packed(found: Sequence[Record]) -> bytes:
    """Records as compressed lines of JSON; the same bytes for the same records."""
    lines = "".join(json.dumps(one, sort_keys=True) + "\n" for one in found)
    return gzip.compress(lines.encode(), mtime=0)
