"""The runs of a study, or of a folder, as one table for other programs.

A row per run: its id, study, seed, status, every setting of its treatment, responses in
fractions, and what it ran on. JSON lines hold the whole records, curves included.
"""

import json
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import pandas as pd

from lenet.config import Refusal, suggest
from lenet.records import atomic_files, store
from lenet.records import plan as plans
from lenet.records.record_types import Record

FORMATS = {"parquet": ".parquet", "csv": ".csv", "jsonl": ".jsonl"}


def chosen_records(output_dir: str, study: str | None) -> list[Record]:
    """The records of a study, published or still in runs/; or all of a folder."""
    if study is None:
        every = list(store.finished_records(output_dir))
        if not every:
            raise Refusal(f"{Path(output_dir) / 'runs'} has no finished run")
        return every
    folder = Path(output_dir) / study
    if not (folder / plans.PLAN).is_file():
        listed = ", ".join(plans.study_names(Path(output_dir))) or "none"
        raise Refusal(f"study={study}: the studies in {output_dir} are: {listed}")
    plan, published = plans.read_plan(folder), plans.published_records(folder)
    loose = (
        plans.peek(output_dir, name) for name in plan["runs"] if name not in published
    )
    return [*published.values(), *filter(None, loose)]


def record_table(records: Sequence[Record], study: str | None) -> pd.DataFrame:
    """A row per run; settings that a run does not have are empty."""
    return pd.DataFrame([row(record, study) for record in records])


def row(record: Record, study: str | None) -> dict[str, Any]:
    """One run as plain columns."""
    return {
        "run_id": record["run_id"],
        "study": study,
        "seed": record["seed"],
        "edition": record.get("edition", 1),
        "status": record["status"],
        **record["response"],
        **record["treatment"],
        "seconds": record["seconds"],
        "images": record["images"],
        "diverged_step": record["diverged_step"],
        "commit": record["code"]["commit"],
        "code": record["code"]["fingerprint"],
        "data_sha256": record["data"],
        "weights_sha256": record["weights"],
        "torch": record["versions"]["torch"],
        "hardware": record["hardware"],
    }


def write_record_table(
    records: Sequence[Record], study: str | None, form: str, path: Path
) -> Path:
    """Write the records in one of FORMATS; the path."""
    if form not in FORMATS:
        raise Refusal(suggest(form, FORMATS, "format", "formats"))
    if form == "jsonl":
        content = "".join(json.dumps(record) + "\n" for record in records).encode()
    elif form == "csv":
        text = record_table(records, study).to_csv(index=False, lineterminator="\n")
        content = str(text).encode()
    else:
        content = to_parquet(record_table(records, study))
    atomic_files.replace(path, content)
    return path


def to_parquet(rows: pd.DataFrame) -> bytes:
    """The table as Parquet; needs pyarrow."""
    stream = BytesIO()
    try:
        rows.to_parquet(stream, index=False)
    except ImportError:
        raise Refusal("Parquet needs pyarrow: pip install 'lenet[tables]'", 3) from None
    return stream.getvalue()
