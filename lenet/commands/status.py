"""What is there: runs, studies and how far they are, and published weights.

lenet status                    everything in output_dir=outputs
lenet status study=quick        one study: how far it is, and which runs failed
    output_dir=outputs
    runs=10         so many runs are listed, the newest first
"""

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lenet.commands import sweep
from lenet.config import (
    Refusal,
    current,
    preset_treatments,
    short_text,
    typed_settings,
)
from lenet.records import plan, store
from lenet.records.record_types import Record
from lenet.rounding import percent
from lenet.terminal import Said, typed

KEYS = {"study": "", "output_dir": "outputs", "runs": "10"}


def main(arguments: Sequence[str]) -> Said:
    """What lies in an output directory; reads files alone."""
    given = typed(arguments, KEYS)
    count = given.pop("runs")
    if not count.isdecimal() or len(count) > 6:
        raise Refusal(f"runs={short_text(count)}: say how many to list, runs=10")
    root = Path(given["output_dir"]).expanduser()
    if given["study"]:
        return sweep.status({}, [f"{key}={value}" for key, value in given.items()])
    if not root.is_dir():
        raise Refusal(
            f"output_dir={root}: there is no such folder; nothing was trained"
        )
    every = store.finished_runs(str(root))
    shown, studies, networks = (
        newest(root, every, int(count)),
        study_folders(root),
        nets(),
    )
    listed = ", the newest:" if shown else ""
    lines = [f"{len(every)} runs in {root / 'runs'}{listed}"]
    lines += [run["said"] for run in shown]
    lines += [study["said"] for study in studies] or ["no study"]
    lines += [network["said"] for network in networks]
    data = {"runs": len(every), "newest": shown, "studies": studies}
    return Said("\n".join(lines), {**data, "networks": networks})


def newest(root: Path, every: Sequence[str], count: int) -> list[dict[str, Any]]:
    """The runs that ended last: id, when, seed, what came out, what was typed."""

    def ended(name: str) -> float:
        return os.stat(store.record_path(str(root), name)).st_mtime

    rows = []
    for name in sorted(every, key=ended, reverse=True)[:count] if count else ():
        record, when = plan.peek(str(root), name), time.localtime(ended(name))
        about = dict[str, Any](run_id=name)
        about["ended"] = time.strftime("%Y-%m-%d %H:%M", when)
        said = f"  {name[:8]}  {about['ended']}  "
        if record is None:
            about |= {"status": "damaged", "said": f"{said}damaged: lenet verify"}
        else:
            about |= {"seed": record["seed"], "status": record["status"]}
            about |= {"test_error": record["response"]["test_error"]}
            about |= {"typed": line(record)}
            about["said"] = f"{said}{outcome(record)}  {about['typed']}"
        rows.append(about)
    return rows


def outcome(record: Record) -> str:
    """How a run ended, in a few letters."""
    error = record["response"]["test_error"]
    return record["status"] if error is None else f"test error {percent(error)}"


def line(record: Record) -> str:
    """What would be typed to train a run: the preset it is nearest to, what differs."""
    treatment = current(record["treatment"])
    lines = [
        [f"preset={preset}", *typed_settings(treatment, preset)]
        for preset in preset_treatments()
    ]
    return " ".join([*min(lines, key=len), f"seed={record['seed']}"])


def nets() -> list[dict[str, Any]]:
    """The networks that come with lenet, each by the name that `run=` takes."""
    rows = []
    for name in store.networks():
        record = store.select(name, "")
        said = f"network {name}: run={name}, {outcome(record)}"
        about = {"network": name, "run_id": record["run_id"]}
        rows.append({**about, "said": f"{said}, published with lenet"})
    return rows


def study_folders(root: Path) -> list[dict[str, Any]]:
    """Each study: its name, how many of its runs are done, and published weights."""
    rows = []
    for name in plan.study_names(root):
        study = root / name
        planned = plan.read_plan(study)
        states = [run.state for run in plan.run_states(str(root), planned)]
        done = states.count("done") + states.count("diverged")
        weights = len(list((study / "weights").glob("*.safetensors")))
        said = f"study {name}: {done} of {len(states)} runs done"
        said += f", weights of {weights} published" if weights else ""
        about = {"study": name, "done": done, "runs": len(states)}
        rows.append({**about, "weights": weights, "said": said})
    return rows
