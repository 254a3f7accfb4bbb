"""From the published records of a study to its effects and figures: no training, no
raw runs, and the same bytes again."""

import gzip
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from lenet import chart, effect, record
from lenet.config import FACTORS, Refusal, levels
from lenet.record import Record


def replace(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees the old one or the new one, whole."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.chmod(name, 0o644)
    os.replace(name, path)


def published(folder: Path) -> tuple[dict[str, Any], list[Record]]:
    """The plan and the records of a study, every seal checked, none of them missing."""
    try:
        plan = json.loads((folder / "plan.json").read_text())
        lines = gzip.decompress((folder / "records.jsonl.gz").read_bytes()).splitlines()
    except (OSError, EOFError, ValueError) as problem:
        raise Refusal(f"{folder} holds no study: {problem}") from None
    found = [json.loads(line) for line in lines]
    for sealed in (plan, *found):
        content = {key: value for key, value in sealed.items() if key != "seal"}
        if sealed["seal"] != record.digest(content):
            name = sealed.get("run_id", "plan.json")
            raise Refusal(f"{folder}: {name} was changed after it was written", 4)
    missing = set(plan["runs"]) - {one["run_id"] for one in found}
    if missing:
        raise Refusal(
            f"{folder}: {len(missing)} of {len(plan['runs'])} runs are missing"
        )
    return plan, found


def ablation(folder: Path) -> list[Path]:
    """Write a study's effects.csv and ablation chart from its records; their paths."""
    plan, found = published(folder)
    runs, factors = record.frame(found), plan["factors"]
    reference = {factor: plan["reference"][factor] for factor in factors}
    effects = effect.arms(runs, reference, study=plan["study"])
    finished = effect.converged(runs)
    figure = chart.ablation_chart(
        effects.table,
        effects.differences,
        reference=name_of(plan),
        years=years(),
        converged=effect.arms(finished, reference).table if len(finished) else None,
        data=f"{plan['reference']['data']}, {found[0]['images']:,} test images",
        code=code(found),
    )
    replace(folder / "effects.csv", effects.table.to_csv(index=False).encode())
    return [*chart.save(figure, folder / "ablation_chart"), folder / "effects.csv"]


def name_of(plan: dict[str, Any]) -> str:
    """What the reference of a study is called: its preset's name."""
    return str(plan.get("preset") or plan["design"])


def years() -> dict[str, dict[str, int]]:
    """The year of every level of every factor."""
    return {
        factor: {name: content["year"] for name, content in levels(factor).items()}
        for factor in FACTORS
    }


def code(found: list[Record]) -> str:
    """The commits and versions that a study's runs come from, for its caption."""
    commits = sorted({str(one["code"]["commit"])[:10] for one in found})
    edited = "+" if any(one["code"]["dirty"] for one in found) else ""
    versions = sorted({one["versions"]["torch"] for one in found})
    return f"commit {', '.join(commits)}{edited}, torch {', '.join(versions)}"
