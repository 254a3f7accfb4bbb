"""Anybody's runs as a table: a row per run, a column per setting and per number.

Reads a file of rows (CSV, Parquet, JSON lines, the exports of W&B and MLflow among
them) or a folder of runs: Hydra's multirun, MLflow's `mlruns`, TensorBoard's event
files. Nothing is asked of a server, and nothing in a file is run. What cannot be read
is a ValueError that names the file.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

NONE = "none"  # the level of a setting that a run does not have
# What trackers say of a run besides its settings, in the heads of their exports.
ABOUT = (
    *("Name", "State", "Notes", "User", "Tags", "Created", "Runtime", "Sweep", "ID"),
    *("Start Time", "Duration", "Run ID", "Source Type", "Source Name", "Status"),
    *("run_id", "experiment_id", "artifact_uri", "start_time", "end_time", "status"),
    *("_runtime", "_step", "_timestamp", "_wandb"),
)
STATES = ("State", "Status", "status")  # of those, what says how a run ended
ENDED = ("finished", "completed")  # how a run that came to its end is marked
STATUS = {"3": "FINISHED", "4": "FAILED", "5": "KILLED"}  # in MLflow's meta.yaml
PREFIXES = ("params.", "metrics.")  # of MLflow's search_runs


def read_table(path: str | Path) -> pd.DataFrame:
    """The rows of a file; texts stay as they were typed, and blanks are missing.

    The suffix says which kind: .csv, .tsv, .parquet (needs pyarrow), .jsonl or .json.
    """
    place = Path(path).expanduser()
    readers: dict[str, Callable[[Path], pd.DataFrame]] = {
        ".csv": lambda file: separated(file, ","),
        ".tsv": lambda file: separated(file, "\t"),
        ".parquet": read_parquet,
        ".jsonl": json_lines,
        ".json": json_lines,
    }
    if place.suffix not in readers:
        raise ValueError(f"{place}: give a file that ends in {', '.join(readers)}")
    try:
        rows = readers[place.suffix](place)
    except OSError as problem:
        raise ValueError(f"{place} cannot be read: {problem.strerror}") from None
    except (ValueError, KeyError) as problem:
        raise ValueError(f"{place} is no table: {problem}") from None
    return tidy(rows)


def separated(path: Path, separator: str) -> pd.DataFrame:
    """The rows of a CSV file; `None` and `NA` are texts there, levels for all we
    know, and only an empty cell is missing."""
    return pd.read_csv(
        path, sep=separator, keep_default_na=False, na_values=[""], encoding="utf-8-sig"
    )


def read_parquet(path: Path) -> pd.DataFrame:
    """The rows of a Parquet file."""
    try:
        return pd.read_parquet(path)
    except ImportError:
        raise ValueError("Parquet needs pyarrow: pip install pyarrow") from None


def json_lines(path: Path) -> pd.DataFrame:
    """The rows of a file with an object per line, or of a list of objects; what is
    nested is named with dots."""
    text = path.read_text(encoding="utf-8-sig")
    if text.lstrip().startswith("["):
        rows = json.loads(text)
    else:
        rows = [json.loads(line) for line in text.splitlines() if line.strip()]
    if not all(isinstance(row, dict) for row in rows):
        raise ValueError("a row is to be an object: {...}")
    return pd.DataFrame([flattened(row) for row in rows])


def flattened(nested: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """A nested mapping as one of plain values, keys joined with dots."""
    row: dict[str, Any] = {}
    for key, value in nested.items():
        if isinstance(value, Mapping):
            row |= flattened(value, f"{above}{key}.")
        else:
            row[f"{above}{key}"] = str(value) if isinstance(value, list) else value
    return row


def tidy(rows: pd.DataFrame) -> pd.DataFrame:
    """The table without what MLflow's export adds to the names of its columns."""
    names = {str(name): short_column(str(name)) for name in rows.columns}
    short = list(names.values())
    # A short name that two columns would share stays long in both.
    names = {
        full: word if short.count(word) == 1 else full for full, word in names.items()
    }
    tags = [name for name in names if name.startswith("tags.")]
    rows = rows.set_axis([str(name) for name in rows.columns], axis=1)
    return rows.drop(columns=tags).rename(columns=names)


def short_column(name: str) -> str:
    """`accuracy` for `metrics.accuracy`, as MLflow's search_runs has it."""
    for prefix in PREFIXES:
        if name.startswith(prefix):
            return name.removeprefix(prefix)
    return name


def level_values(texts: pd.Series) -> pd.Series:
    """A column of levels: numbers where all are such, texts elsewhere.

    What is missing is the level `none`, and 0.001 and 1e-3 are one level.
    """
    if pd.api.types.is_bool_dtype(texts):
        return texts.map(str).astype(object)
    numbers = pd.to_numeric(texts, errors="coerce")
    if texts.notna().all() and numbers.notna().all():
        return pd.Series(numbers.tolist(), texts.index, dtype=object)
    named = [NONE if pd.isna(value) else str(value) for value in texts]
    return pd.Series(named, texts.index, dtype=object)


def multirun(folder: str | Path, metrics: str = "metrics.json") -> pd.DataFrame:
    """The jobs of a Hydra multirun: what each was given, and what it measured.

    folder: holds the jobs, each with `.hydra/overrides.yaml`; a folder above them does
    too. metrics: the file that each job wrote, JSON or YAML (an object), or CSV or JSON
    lines, of which the last row counts.
    """
    root = Path(folder).expanduser()
    jobs = sorted(path.parent.parent for path in root.rglob(".hydra/overrides.yaml"))
    if not jobs:
        raise ValueError(
            f"{root} has no job of Hydra: no */.hydra/overrides.yaml is in it"
        )
    given = {job: overrides(job / ".hydra" / "overrides.yaml") for job in jobs}
    swept = list(dict.fromkeys(key for settings in given.values() for key in settings))
    rows, silent = [], []
    for job in sorted(jobs, key=job_order):
        name = str(job.relative_to(root))
        if not (job / metrics).is_file():
            silent.append(name)
            continue
        # What one job was given and another was not, that one has by default: its
        # composed settings say which value.
        whole = composed_settings(job) if set(swept) - set(given[job]) else {}
        settings = {key: given[job].get(key, whole.get(key)) for key in swept}
        rows.append({"job": name, **settings, **read_metrics(job / metrics)})
    if silent:
        lacking = f"{len(silent)} of {len(jobs)} jobs have no {metrics}: "
        raise ValueError(
            f"{root}: {lacking}{', '.join(silent)}. Run them again, move them out of "
            "the folder, or say metrics=<the file that every job writes>"
        )
    return pd.DataFrame(rows)


def job_order(job: Path) -> tuple[str, int, str]:
    """Jobs in the order of their numbers: 2 before 10."""
    number = int(job.name) if job.name.isdecimal() else -1
    return str(job.parent), number, job.name


def overrides(path: Path) -> dict[str, Any]:
    """What a job's overrides.yaml sets, as texts."""
    import yaml

    listed = yaml.safe_load(path.read_text(encoding="utf-8")) or []
    pairs = [str(text).lstrip("+").partition("=") for text in listed]
    return {key: value for key, _, value in pairs if not key.startswith("~")}


def composed_settings(job: Path) -> dict[str, Any]:
    """Every setting of a job as it was composed, by its dotted name."""
    import yaml

    path = job / ".hydra" / "config.yaml"
    if not path.is_file():
        return {}
    return flattened(yaml.safe_load(path.read_text(encoding="utf-8")) or {})


def read_metrics(path: Path) -> dict[str, Any]:
    """What a file of metrics says: its object, or its last row."""
    import yaml

    try:
        if path.suffix in (".csv", ".tsv", ".jsonl", ".parquet"):
            rows = read_table(path)
            if rows.empty:
                raise ValueError("it has no row")
            return {str(key): value for key, value in rows.iloc[-1].items()}
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError("it holds no object")
    except (OSError, ValueError, yaml.YAMLError) as problem:
        raise ValueError(f"{path} cannot be used: {problem}") from None
    return {key: plain_number(value) for key, value in flattened(content).items()}


def plain_number(value: Any) -> Any:
    """A text such as 1e-3, which YAML takes for no number, as the number that it is."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def mlruns(folder: str | Path) -> pd.DataFrame:
    """The runs of MLflow's file store: its parameters and the last of each metric.

    Plain files, read without MLflow: <experiment>/<run>/{meta.yaml,params,metrics}.
    """
    import yaml

    root, rows = Path(folder).expanduser(), []
    for meta in sorted(root.rglob("meta.yaml")):
        run = meta.parent
        if not ((run / "params").is_dir() or (run / "metrics").is_dir()):
            continue  # the experiment's own
        about = yaml.safe_load(meta.read_text(encoding="utf-8")) or {}
        if about.get("lifecycle_stage") == "deleted":
            continue
        state = STATUS.get(str(about.get("status")), "")
        rows.append(
            {
                "run_id": run.name,
                "status": state or str(about.get("status")),
                **{key: text.strip() for key, text in folder_texts(run / "params")},
                **{
                    key: float(last(text))
                    for key, text in folder_texts(run / "metrics")
                },
            }
        )
    if not rows:
        raise ValueError(f"{root} has no run of MLflow: no */meta.yaml is in it")
    return pd.DataFrame(rows)


def folder_texts(folder: Path) -> Iterator[tuple[str, str]]:
    """The name and the text of every file below a folder."""
    for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
        if path.is_file():
            key = path.relative_to(folder).as_posix()
            yield key, path.read_text(encoding="utf-8")


def last(text: str) -> str:
    """The value in the line with the last step: `time value step`."""
    lines = [line.split() for line in text.splitlines() if line.strip()]
    return max(lines, key=lambda words: (int(words[2]), int(words[0])))[1]


def read_tensorboard(folder: str | Path) -> pd.DataFrame:
    """The runs of a folder of TensorBoard: settings, and the last of each scalar.

    Settings are the run's HPARAMS, or what its folder's name says: lr=0.1,seed=3.
    """
    try:
        from tensorboard.backend.event_processing.event_accumulator import (
            EventAccumulator,
        )
    except ImportError:
        raise ValueError("event files need tensorboard: pip install tensorboard") from (
            None
        )
    root = Path(folder).expanduser()
    events = sorted({path.parent for path in root.rglob("*tfevents*")})
    rows: dict[str, dict[str, Any]] = {}
    for run in events:
        seen = EventAccumulator(str(run), size_guidance={"scalars": 0})
        seen.Reload()
        scalars = {tag: seen.Scalars(tag)[-1].value for tag in seen.Tags()["scalars"]}
        last_ones = {tag: last_tensor(seen, tag) for tag in seen.Tags()["tensors"]}
        tensors = {
            tag: float(np.ravel(value)[0])
            for tag, value in last_ones.items()
            if value.size == 1 and value.dtype.kind in "fiu"  # a text is none
        }
        name = str(run.relative_to(root))
        row = {**hparams(seen), **in_name(name), **tensors, **scalars}
        # add_hparams writes a run of its own below the one that it is about
        above = next((known for known in rows if name.startswith(f"{known}/")), name)
        rows[above] = {"run": above, **rows.get(above, {}), **row}
    if not rows:
        raise ValueError(f"{root} has no event file of TensorBoard")
    return pd.DataFrame(list(rows.values()))


def last_tensor(seen: Any, tag: str) -> Any:
    """The last value of a tag that TensorFlow wrote as a tensor."""
    from tensorboard.util.tensor_util import make_ndarray

    return make_ndarray(seen.Tensors(tag)[-1].tensor_proto)


def hparams(seen: Any) -> dict[str, Any]:
    """The settings that a run's HPARAMS name."""
    from tensorboard.plugins.hparams import metadata

    try:
        content = seen.PluginTagToContent(metadata.PLUGIN_NAME)
        raw = content[metadata.SESSION_START_INFO_TAG]
    except KeyError:  # none were written
        return {}
    settings = metadata.parse_session_start_info_plugin_data(raw).hparams
    kinds = ("number_value", "string_value", "bool_value")
    return {
        key: getattr(value, value.WhichOneof("kind"))
        for key, value in settings.items()
        if value.WhichOneof("kind") in kinds
    }


def in_name(name: str) -> dict[str, str]:
    """The settings in a folder's name: `lr=0.1,seed=3` or `lr=0.1/seed=3`."""
    parts = [part for word in name.split("/") for part in word.split(",")]
    pairs = [part.partition("=") for part in parts if "=" in part]
    return {key.strip(): value.strip() for key, _, value in pairs}
