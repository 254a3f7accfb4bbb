"""Somebody else's runs become a table with nothing added and nothing lost."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from lenet.studies import own_runs

ROWS = [
    {"model": "svm", "depth": "None", "lr": "1e-3", "seed": "0", "acc": "0.91"},
    {"model": "svm", "depth": "3", "lr": "0.001", "seed": "1", "acc": "0.92"},
]


def written(path: Path) -> Path:
    """ROWS in a file of the kind that its suffix says."""
    table = pd.DataFrame(ROWS)
    if path.suffix in (".csv", ".tsv"):
        table.to_csv(path, index=False, sep="," if path.suffix == ".csv" else "\t")
    elif path.suffix == ".parquet":
        pytest.importorskip("pyarrow", reason="pandas reads Parquet with it")
        table.to_parquet(path)
    else:
        text = json.dumps(ROWS)
        if path.suffix == ".jsonl":
            text = "\n".join(map(json.dumps, ROWS)) + "\n"
        path.write_text(text)
    return path


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet", ".jsonl", ".json"])
def test_every_kind_of_file_gives_the_same_rows(suffix: str, tmp_path: Path) -> None:
    """The level `None` is a text, and a number is one however it was typed."""
    table = own_runs.read_table(written(tmp_path / f"runs{suffix}"))
    assert list(table.columns) == ["model", "depth", "lr", "seed", "acc"]
    assert table["depth"].tolist() == ["None", "3"]
    assert own_runs.level_values(table["lr"]).tolist() == [0.001, 0.001]
    assert own_runs.level_values(table["seed"]).tolist() == [0, 1]


def test_blank_is_a_level_of_its_own() -> None:
    """A setting that a run does not have is `none`; true and false are texts."""
    column = pd.Series([None, "adam", float("nan")])
    assert own_runs.level_values(column).tolist() == ["none", "adam", "none"]
    assert own_runs.level_values(pd.Series([True, False])).tolist() == [
        "True",
        "False",
    ]


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("runs.xlsx", "", "a file that ends in .csv"),
        ("runs.csv", "", "is no table"),
        ("runs.jsonl", "{", "is no table"),
        ("runs.jsonl", "[1, 2]", "a row is to be an object"),
        ("runs.parquet", "no", "is no table"),
    ],
)
def test_what_is_no_table_is_refused(
    name: str, content: str, why: str, tmp_path: Path
) -> None:
    """The message names the file."""
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=why) as refused:
        own_runs.read_table(tmp_path / name)
    assert name in str(refused.value)
    with pytest.raises(ValueError, match="cannot be read: No such file"):
        own_runs.read_table(tmp_path / "gone.csv")


def test_nested_settings_are_named_with_dots(tmp_path: Path) -> None:
    """A JSON line of a config: {"optimizer": {"lr": 0.1}} is optimizer.lr."""
    line = {"optimizer": {"name": "sgd", "lr": 0.1}, "widths": [6, 16], "acc": 0.9}
    (tmp_path / "a.jsonl").write_text(json.dumps(line))
    row = own_runs.read_table(tmp_path / "a.jsonl").iloc[0].to_dict()
    assert row == {
        "optimizer.name": "sgd",
        "optimizer.lr": 0.1,
        "widths": "[6, 16]",
        "acc": 0.9,
    }


def test_export_of_mlflow_loses_its_prefixes(tmp_path: Path) -> None:
    """metrics.acc is acc, params.lr is lr; what both have keeps its prefix."""
    head = "run_id,status,metrics.acc,params.lr,params.loss,metrics.loss,tags.user\n"
    (tmp_path / "m.csv").write_text(f"{head}ab,FINISHED,0.9,0.1,mse,0.2,me\n")
    table = own_runs.read_table(tmp_path / "m.csv")
    names = ["run_id", "status", "acc", "lr", "params.loss", "metrics.loss"]
    assert list(table.columns) == names


def job(folder: Path, overrides: list[str], metrics: Any, **config: Any) -> None:
    """A job of a Hydra app, as Hydra 1.3 leaves it."""
    (folder / ".hydra").mkdir(parents=True)
    text = "".join(f"- {override}\n" for override in overrides)
    (folder / ".hydra" / "overrides.yaml").write_text(text or "[]\n")
    (folder / ".hydra" / "config.yaml").write_text(json.dumps(config))
    if metrics is not None:
        (folder / "metrics.json").write_text(json.dumps(metrics))


def test_multirun_gives_overrides_and_metrics(tmp_path: Path) -> None:
    """In the order of the jobs' numbers; what a job was not given is read from its
    config, and a nested metric is named with dots."""
    job(tmp_path / "10", ["seed=1", "+optimizer=adam"], {"test": {"acc": 0.93}})
    job(
        tmp_path / "2",
        ["seed=0"],
        {"test": {"acc": "9.1e-1"}},
        optimizer="sgd",
        seed=0,
    )
    table = own_runs.multirun(tmp_path)
    assert table["job"].tolist() == ["2", "10"]
    assert table["optimizer"].tolist() == ["sgd", "adam"]
    assert table["test.acc"].tolist() == [0.91, 0.93]


def test_multirun_of_which_a_job_has_no_metrics_is_refused(tmp_path: Path) -> None:
    """A run that is missing is named."""
    job(tmp_path / "0", ["seed=0"], {"acc": 0.9})
    job(tmp_path / "1", ["seed=1"], None)
    with pytest.raises(ValueError, match=r"1 of 2 jobs have no metrics.json: 1\."):
        own_runs.multirun(tmp_path)
    with pytest.raises(ValueError, match="has no job of Hydra"):
        own_runs.multirun(tmp_path / "0" / ".hydra")


def test_last_row_of_a_log_counts(tmp_path: Path) -> None:
    """metrics=log.csv, a row per epoch."""
    job(tmp_path / "0", ["seed=0"], None)
    (tmp_path / "0" / "log.csv").write_text("epoch,acc\n1,0.5\n2,0.7\n")
    table = own_runs.multirun(tmp_path, "log.csv")
    assert table[["epoch", "acc"]].values.tolist() == [[2, 0.7]]


def mlflow_run(root: Path, name: str, status: int, stage: str = "active") -> None:
    """A run as MLflow's file store has it."""
    run = root / "0" / name
    for kind in ("params", "metrics", "tags"):
        (run / kind).mkdir(parents=True)
    (run / "meta.yaml").write_text(
        f"lifecycle_stage: {stage}\nrun_id: {name}\nstatus: {status}\n"
    )
    (run / "params" / "lr").write_text("0.1\n")
    (run / "metrics" / "acc").write_text("1700 0.5 0\n1720 0.9 10\n1710 0.7 5\n")


def test_mlruns_are_read_without_mlflow(tmp_path: Path) -> None:
    """The last step of a metric counts; a deleted run is none."""
    mlflow_run(tmp_path, "aa", 3)
    mlflow_run(tmp_path, "bb", 4)
    mlflow_run(tmp_path, "cc", 3, "deleted")
    (tmp_path / "0" / "meta.yaml").write_text("experiment_id: '0'\n")
    table = own_runs.mlruns(tmp_path)
    assert table.to_dict("records") == [
        {"run_id": "aa", "status": "FINISHED", "lr": "0.1", "acc": 0.9},
        {"run_id": "bb", "status": "FAILED", "lr": "0.1", "acc": 0.9},
    ]
    with pytest.raises(ValueError, match="has no run of MLflow"):
        own_runs.mlruns(tmp_path / "none")


def test_event_files_give_settings_and_the_last_scalar(tmp_path: Path) -> None:
    """HPARAMS where there are some, and what a folder is called."""
    pytest.importorskip("tensorboard", reason="reads event files")
    from torch.utils.tensorboard import SummaryWriter

    for seed in range(2):
        with SummaryWriter(str(tmp_path / f"optimizer=sgd,seed={seed}")) as writer:
            writer.add_scalar("acc", 0.5, 0)
            writer.add_scalar("acc", 0.75, 1)
            writer.add_hparams({"lr": 0.25, "name": "a"}, {"final": 0.5 + seed / 4})
    table = own_runs.read_tensorboard(tmp_path)
    columns = ["optimizer", "seed", "lr", "name", "acc", "final"]
    assert table[columns].values.tolist() == [
        ["sgd", "0", 0.25, "a", 0.75, 0.5],
        ["sgd", "1", 0.25, "a", 0.75, 0.75],
    ]
