"""The command that trains a run again."""

from lenet.config import typed_settings
from lenet.records.record_types import Record
from lenet.studies.study import Study, settings_of


def commands(study: Study) -> list[str]:
    """The command that trains each run again: the modern preset and what differs."""
    return [rerun_command(record) for record in study.records]


def rerun_command(record: Record) -> str:
    """What to type for one run, whose preset is the default one."""
    words = typed_settings(settings_of(record), "modern")
    return " ".join(["python -m lenet.train", *words, f"seed={record['seed']}"])
