"""Mirror a finished run into an experiment tracker, which can fail without harm.

The record is the result. A tracker gets a copy, in a process of its own with bounded
time, so that one which is absent, crashes or hangs costs a warning and nothing else.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lenet.config import Places

SECONDS = 120


def mirror(places: Places, run_id: str) -> None:
    """Copy a run's record to the chosen tracker; one warning on stderr if it fails."""
    if places.tracker == "none":
        return
    arguments = [places.tracker, places.output_dir, run_id, places.study or ""]
    command = [sys.executable, "-m", "lenet.tracker", *arguments]
    try:
        done = subprocess.run(
            command,
            check=False,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=SECONDS,
        )
        last = done.stderr.strip().split("\n")[-1] or f"exit code {done.returncode}"
        problem = last if done.returncode else None
    except (OSError, subprocess.TimeoutExpired) as error:
        problem = str(error)
    if problem:
        name = places.tracker
        print(f"tracker={name} failed, the run is unharmed: {problem}", file=sys.stderr)


def wandb(output_dir: Path, record: dict[str, Any], study: str) -> None:
    """Config, curve and result as a W&B run; offline unless WANDB_MODE or a key says
    otherwise. The run's id is the record's, so a second mirror adds no second run."""
    import wandb

    os.environ.setdefault("WANDB_SILENT", "true")
    mode: Any = "online" if os.environ.get("WANDB_API_KEY") else "offline"
    run = wandb.init(
        project="lenet",
        id=record["run_id"],
        resume="allow",
        group=study or None,
        config={**record["treatment"], "seed": record["seed"]},
        dir=output_dir,
        mode=None if os.environ.get("WANDB_MODE") else mode,
    )
    for point in record["curve"]:
        run.log(point, step=point["epoch"])
    run.summary.update({**record["response"], "status": record["status"]})
    run.finish()


def tensorboard(output_dir: Path, record: dict[str, Any], study: str) -> None:
    """Curve and result as an event file under <output_dir>/tensorboard/<run_id>."""
    from torch.utils.tensorboard import SummaryWriter

    folder = output_dir / "tensorboard" / study / record["run_id"]
    with SummaryWriter(folder) as writer:
        text = json.dumps({**record["treatment"], "seed": record["seed"]}, indent=1)
        writer.add_text("config", f"    {text}".replace("\n", "\n    "))
        for point in record["curve"]:
            for name in set(point) - {"epoch"}:
                writer.add_scalar(name, point[name], point["epoch"])


LEVELS: dict[str, Callable[[Path, dict[str, Any], str], None] | None] = {
    "none": None,
    "wandb": wandb,
    "tensorboard": tensorboard,
}


def main() -> None:
    """Mirror one run: tracker, output directory, run id, study."""
    name, output_dir, run_id, study = sys.argv[1:]
    path = Path(output_dir) / "runs" / run_id / "record.json"
    copy = LEVELS[name]
    assert copy is not None
    try:
        copy(Path(output_dir), json.loads(path.read_text()), study)
    except ImportError as error:
        sys.exit(f"{error}: pip install lenet[{name}]")


if __name__ == "__main__":
    main()
