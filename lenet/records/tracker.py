"""Mirror runs into an experiment tracker, which can fail without harm.

The record is the result. A tracker gets a copy of it, once, in a process of its own
beside the training, so that one which is absent, crashes or hangs costs a warning and
nothing else. What has no copy yet, for that or any other reason, gets one when the same
command is given again.
"""

import contextlib
import fcntl
import json
import os
import select
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lenet.config import FACTORS, Places, Refusal
from lenet.records import plan
from lenet.records.record_types import Point, Record

SECONDS = 120.0  # without a new copy, after which a tracker is given up
POLL = 2.0  # seconds from one look for new records to the next


@contextlib.contextmanager
def mirroring(places: Places, study: str, names: Sequence[str]) -> Iterator[None]:
    """Mirror these runs as they get their records, while the body trains them.

    At the end it is waited for, while it makes a copy every SECONDS. One warning on
    stderr if it fails; if the body fails, it is stopped.
    """
    if places.tracker == "none":
        yield
        return
    arguments = [places.tracker, places.output_dir, study]
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "lenet.records.tracker", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            start_new_session=True,  # apart from Ctrl-C, and a group with its children
        )
        try:
            tell(process, json.dumps(list(names)))
            yield
            problem = waited(process, marks(places.output_dir, places.tracker))
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        if problem is None and process.returncode:
            errors.seek(0)
            last = errors.read().decode(errors="replace").strip().split("\n")[-1]
            problem = last or f"exit code {process.returncode}"
    if problem:
        name = places.tracker
        print(
            f"tracker={name} failed, the runs are unharmed: {problem}", file=sys.stderr
        )
    elif os.environ.get("WANDB_MODE") != "disabled" or places.tracker != "wandb":
        print(where(places.tracker, places.output_dir), file=sys.stderr)


def where(tracker: str, output_dir: str) -> str:
    """Where a tracker's copies lie, and the command that shows them."""
    folder = Path(output_dir)
    if tracker == "tensorboard":
        place = shlex.quote(str(folder / "tensorboard"))
        return f"tracker=tensorboard: see them with: tensorboard --logdir {place}"
    if tracker == "mlflow":
        if uri := os.environ.get("MLFLOW_TRACKING_URI"):
            return f"tracker=mlflow: they are at {uri}"
        place = shlex.quote(str(folder / "mlruns"))
        show = f"MLFLOW_ALLOW_FILE_STORE=true mlflow ui --backend-store-uri {place}"
        return f"tracker=mlflow: see them with: {show}"
    if "offline" in (os.environ.get("WANDB_MODE") or mode()):
        place = f"{shlex.quote(str(folder / 'wandb'))}/offline-run-*"
        return f"tracker=wandb: give them to W&B with: wandb sync {place}"
    return f"tracker=wandb: they are on W&B, in the project {project()}"


def mode() -> str:
    """W&B's mode where WANDB_MODE does not say it: online with a key alone."""
    return "online" if os.environ.get("WANDB_API_KEY") else "offline"


def project() -> str:
    """The project of W&B that the runs are in."""
    return os.environ.get("WANDB_PROJECT") or "lenet"


def tell(process: subprocess.Popen[bytes], line: str) -> None:
    """Say a line to a process, which may have ended."""
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(f"{line}\n".encode())
        process.stdin.flush()


def waited(process: subprocess.Popen[bytes], folder: Path) -> str | None:
    """Wait for a tracker as long as it goes on; what is wrong if it does not."""
    assert process.stdin is not None
    # The names were all that comes: a closed pipe says that no more records will.
    process.stdin.close()
    copies = -1
    # It may take as long as it likes, if it has made a new copy within the last
    # SECONDS.
    while (now := len(list(folder.glob("*")))) > copies:
        copies = now
        try:
            process.wait(SECONDS)
            return None
        except subprocess.TimeoutExpired as error:
            problem = str(error)
    return problem


def marks(output_dir: str, tracker: str) -> Path:
    """The folder with a file for each run that a tracker has, or is getting."""
    return Path(output_dir) / tracker / "mirrored"


@dataclass(frozen=True)
class Copy:
    """What a tracker is told of a run: its record, and its place in a study."""

    output_dir: Path
    record: Record
    study: str
    treatment: str  # what differs from the study's base; "" without a plan

    @property
    def levels(self) -> dict[str, str]:
        """The run's level of each factor, and its data."""
        return {key: str(self.record["treatment"][key]) for key in (*FACTORS, "data")}

    @property
    def config(self) -> dict[str, Any]:
        """The treatment and the seed."""
        return {**self.record["treatment"], "seed": self.record["seed"]}


def write_wandb(copy: Copy) -> bool:
    """Config, curve and result as a W&B run: group, the study; job type, the treatment;
    tags, the levels. Offline unless WANDB_MODE or a key says otherwise; the project is
    WANDB_PROJECT, or lenet. Whether there is a copy: not under WANDB_MODE=disabled.

    The run's id is the record's, so that what an interrupted copy left is continued, or
    taken away where it lies on this disk.
    """
    import wandb

    if os.environ.get("WANDB_MODE") == "disabled":
        return False
    os.environ.setdefault("WANDB_SILENT", "true")
    name = copy.record["run_id"]
    for left in (copy.output_dir / "wandb").glob(f"offline-run-*-{name}"):
        shutil.rmtree(left)
    chosen: Any = None if os.environ.get("WANDB_MODE") else mode()
    run = wandb.init(
        project=project(),
        id=name,
        name=f"{copy.treatment or name} seed={copy.record['seed']}",
        resume="allow",
        group=copy.study or None,
        job_type=copy.treatment or None,
        tags=[f"{factor}={level}" for factor, level in copy.levels.items()],
        config=copy.config,
        dir=copy.output_dir,
        mode=chosen,
    )
    for point in copy.record["curve"]:
        run.log(dict(point), step=point["epoch"])
    run.summary.update({**copy.record["response"], "status": copy.record["status"]})
    run.finish()
    return True


def write_tensorboard(copy: Copy) -> bool:
    """Config, curve and result as an event file in
    <output_dir>/tensorboard/<study>/<treatment>/<run_id>, with HPARAMS."""
    from torch.utils.tensorboard import SummaryWriter
    from torch.utils.tensorboard.summary import hparams

    place = copy.output_dir / "tensorboard" / copy.study
    folder = place / copy.treatment.replace("/", "_") / copy.record["run_id"]
    shutil.rmtree(folder, ignore_errors=True)  # what an interrupted copy left
    with SummaryWriter(folder) as writer:
        text = json.dumps(copy.config, indent=1)
        writer.add_text("config", f"    {text}".replace("\n", "\n    "))
        for point in copy.record["curve"]:
            for name, value in point_numbers(point).items():
                writer.add_scalar(name, value, point["epoch"])
        results = tracked_result(copy.record)
        settings = {
            key: value for key, value in copy.config.items() if value is not None
        }
        # add_hparams would make a run of its own of them, beside this one
        for part in hparams(settings, dict.fromkeys(results, 0)):
            writer.file_writer.add_summary(part)
        last = copy.record["curve"][-1]
        for name in results.keys() - last.keys():
            writer.add_scalar(name, results[name], last["epoch"])
    return True


def tracked_result(record: Record) -> dict[str, float]:
    """What was measured of a run, by name; of one that diverged nothing."""
    return {
        key: float(str(value))
        for key, value in record["response"].items()
        if value is not None
    }


def point_numbers(point: Point) -> dict[str, float]:
    """What is measured at a point of a curve, by name."""
    return {key: float(str(value)) for key, value in point.items() if key != "epoch"}


def write_mlflow(copy: Copy) -> bool:
    """Parameters, metrics by epoch and the result as a run of MLflow, in the experiment
    of the study: in MLFLOW_TRACKING_URI, or in <output_dir>/mlruns, with no server."""
    from mlflow.entities import Metric, Param, RunTag
    from mlflow.tracking import MlflowClient

    # MLflow 3 writes no folder unless this says so; a folder needs no server.
    os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
    own = (copy.output_dir / "mlruns").absolute().as_uri()
    client = MlflowClient(os.environ.get("MLFLOW_TRACKING_URI") or own)
    name, record = copy.study or "lenet", copy.record
    known = client.get_experiment_by_name(name)
    experiment = known.experiment_id if known else client.create_experiment(name)
    mine = f"tags.lenet_run = '{record['run_id']}'"
    for left in client.search_runs([experiment], mine):  # by an interrupted copy
        client.delete_run(left.info.run_id)
    tags = {"lenet_run": record["run_id"], "treatment": copy.treatment}
    label = f"{copy.treatment or record['run_id']} seed={record['seed']}"
    run = client.create_run(experiment, tags=tags, run_name=label).info.run_id
    now, metrics = int(time.time() * 1000), list[Metric]()
    for point in record["curve"]:
        step = point["epoch"]
        errors = point_numbers(point).items()
        metrics += [Metric(key, value, now, step) for key, value in errors]
    last = metrics[-1].step + 1 if metrics else 0
    results = tracked_result(record)
    metrics += [Metric(key, value, now, last) for key, value in results.items()]
    params = [Param(key, str(value)) for key, value in copy.config.items()]
    levels = [RunTag(key, value) for key, value in copy.levels.items()]
    client.log_batch(run, metrics=metrics, params=params, tags=levels)
    client.set_terminated(
        run, "FINISHED" if record["status"] == "finished" else "FAILED"
    )
    return True


LEVELS: dict[str, Callable[[Copy], bool] | None] = {
    "none": None,
    "wandb": write_wandb,
    "tensorboard": write_tensorboard,
    "mlflow": write_mlflow,
}


def mirror_once(tracker: str, copy: Copy) -> None:
    """Mirror a run that has no copy yet and that no other process is mirroring."""
    # A mark is made and locked before a copy and written to after it: an empty one that
    # nobody holds is that of a copy that was interrupted.
    mark = marks(str(copy.output_dir), tracker) / copy.record["run_id"]
    mark.parent.mkdir(parents=True, exist_ok=True)
    send = LEVELS[tracker]
    assert send is not None
    with mark.open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        if not os.fstat(lock.fileno()).st_size:
            if send(copy):
                lock.write("mirrored\n")


def main() -> None:
    """Mirror the runs named on standard input, until all are or it is closed."""
    tracker, output_dir, study = sys.argv[1:]
    waiting, arms, published = json.loads(sys.stdin.readline()), {}, {}
    with contextlib.suppress(Refusal):  # runs without a plan
        folder = Path(output_dir) / study
        planned = plan.planned_runs(plan.read_plan(folder))
        arms = {name: arm for name, arm, _, _ in planned}
        published = plan.published_records(folder)
    last = False
    while waiting and not last:
        # Readable without another line means closed. What was recorded until then is
        # looked at once more below.
        last = bool(select.select([sys.stdin], [], [], POLL)[0])
        for name in list(waiting):
            record = plan.peek(output_dir, name) or published.get(name)
            if record:
                waiting.remove(name)
                mirror_once(
                    tracker, Copy(Path(output_dir), record, study, arms.get(name, ""))
                )


if __name__ == "__main__":
    try:
        main()
    except ImportError as error:
        sys.exit(f"{error}: pip install 'lenet[{sys.argv[1]}]'")
