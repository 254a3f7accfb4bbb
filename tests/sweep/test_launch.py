"""The runs of a sweep, through Hydra's launchers: the same records, nothing lost."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from conftest import config
from faults import carry_out as here
from stub_worker import small, stub

from lenet.config import Config, Places, Refusal, composed
from lenet.records import plan, store
from lenet.sweep import design, progress, sweep
from lenet.sweep import hydra_launcher as launcher

ROOT = Path(__file__).parents[2]
SECRET = "a-secret-that-was-planted"
BASIC = ["hydra/launcher=basic"]


@pytest.mark.parametrize("name", ["quick", "leave_one_out", "robustness"])
def test_jobs_are_the_runs(name: str) -> None:
    """Each command line composes to the very runs that it is for, each run once."""
    chosen = design.load_design(name, [])
    _, runs = sweep.make(chosen)
    listed: list[str] = []
    for line, names in launcher.launcher_jobs(runs, chosen.places):
        assert composed(line)[0] == [runs[run_id] for run_id in names]
        listed += names
    assert sorted(listed) == sorted(runs)


def test_jobs_are_consecutive_seeds_of_one_treatment() -> None:
    """Seeds that are done leave a gap; more than a stack holds are split."""
    seeds = [0, 1, 2, 4, 5, *range(10, 30)]
    runs = {str(seed): config(seed=seed) for seed in reversed(seeds)}
    jobs = [names for _, names in launcher.launcher_jobs(runs, Places())]
    assert [[int(name) for name in names] for names in jobs] == [
        [0, 1, 2],
        [4, 5],
        [*range(10, 26)],
        [26, 27, 28, 29],
    ]


def test_paths_of_a_job_do_not_depend_on_its_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A job may begin elsewhere: its paths are absolute, whatever is in their names."""
    odd = tmp_path / "it's 100 % = {odd}, $x"
    odd.mkdir()
    monkeypatch.chdir(odd)
    monkeypatch.setenv("LENET_DATA", "images")
    ((line, _),) = launcher.launcher_jobs({"a": config()}, Places(output_dir="my runs"))
    places = composed(line)[1]
    assert places.output_dir == str(odd / "my runs")
    assert places.data_dir == str(odd / "images")


def test_launcher_trains_what_a_sweep_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What has a record is not launched; the study ends as one by worker processes."""
    monkeypatch.setattr("lenet.training.stack.train", stub)
    here(small(2), tmp_path)
    old = {path: path.stat().st_mtime_ns for path in tmp_path.glob("runs/*/*")}
    planned, runs = small()
    places = Places(output_dir=str(tmp_path))
    sweep.carry_out(planned, runs, places, engine=BASIC)
    assert {path: path.stat().st_mtime_ns for path in old} == old
    assert list(plan.published_records(tmp_path / "small")) == list(runs)


@pytest.mark.slow
def test_what_an_engine_has_done_is_shown_while_it_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the records as they appear: at the start, in between and at the end; what
    failed, and is launched again, is told of too."""
    failed: list[Sequence[Config]] = []

    def slow(configs: Sequence[Config], *rest: object) -> object:
        time.sleep(0.2)
        if configs[0].level("activation") == "tanh" and not failed:
            failed.append(configs)
            raise MemoryError("no memory for so many runs")
        return stub(configs, *rest)  # type: ignore[arg-type]

    seen: list[tuple[int, int, bool]] = []

    def show(state: progress.State) -> None:
        known = progress.seconds_left(state) is not None
        seen.append((state.done, len(state.failures), known))

    monkeypatch.setattr("lenet.training.stack.train", slow)
    monkeypatch.setattr(launcher, "LOOK", 0.02)
    planned, runs = small()
    places = Places(output_dir=str(tmp_path))
    sweep.carry_out(planned, runs, places, show=show, engine=BASIC)
    assert seen[0] == (0, 0, False) and seen[-1] == (8, 0, True)
    assert list(dict.fromkeys(seen)) == sorted(set(seen)) and (4, 4, True) in seen


@pytest.mark.slow
def test_job_that_fails_is_launched_again_and_then_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others finish; the attempts say why; a table of failures, exit code 1."""

    def broken(configs: Sequence[Config], *rest: object) -> object:
        if configs[0].level("activation") == "tanh":
            raise MemoryError("no memory for so many runs")
        return stub(configs, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr("lenet.training.stack.train", broken)
    planned, runs = small()
    with pytest.raises(Refusal, match="4 of 8 runs failed") as caught:
        sweep.carry_out(planned, runs, Places(output_dir=str(tmp_path)), engine=BASIC)
    assert caught.value.code == 1
    assert str(caught.value).count("MemoryError('no memory for so many runs')") == 4
    assert len(store.finished_runs(str(tmp_path))) == 4
    assert len(list((tmp_path / "attempts").iterdir())) == 1 + 1 + 4


@pytest.mark.slow
def test_bad_run_is_found_among_the_seeds_of_a_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Jobs become smaller from launch to launch, so that the others finish."""

    def broken(configs: Sequence[Config], *rest: object) -> object:
        if any(run.seed == 3 for run in configs):
            raise MemoryError("no memory for so many runs")
        return stub(configs, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr("lenet.training.stack.train", broken)
    planned, runs = small()
    with pytest.raises(Refusal, match="2 of 8 runs failed"):
        sweep.carry_out(planned, runs, Places(output_dir=str(tmp_path)), engine=BASIC)
    assert len(store.finished_runs(str(tmp_path))) == 6


def test_launcher_that_is_not_installed_names_the_extra(tmp_path: Path) -> None:
    """A launcher that is not there is refused before anything is trained."""
    planned, runs = small()
    places, engine = Places(output_dir=str(tmp_path)), ["hydra/launcher=kubernetes"]
    with pytest.raises(Refusal, match=r"pip install 'lenet\[submitit\]'") as caught:
        sweep.carry_out(planned, runs, places, engine=engine)
    assert caught.value.code == 2


SWEEP = """
import sys, stub_worker
from lenet.sweep import sweep
from lenet.config import Places
from lenet.terminal import command

output_dir, *engine = sys.argv[1:]
plan, runs = stub_worker.small(4, epochs=40)
places = Places(output_dir=output_dir)
command(lambda: sweep.carry_out(plan, runs, places, engine=engine))
"""  # real training on digits: two jobs of four seeds


def start(output_dir: Path, *engine: str) -> subprocess.Popen[str]:
    """A sweep in a process of its own, with a secret in its environment."""
    path = f"{ROOT}:{ROOT / 'tests'}"
    own = {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "WANDB_API_KEY": SECRET}
    return subprocess.Popen(
        [sys.executable, "-c", SWEEP, str(output_dir), *engine],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **own},
    )


def wait_for(look: Callable[[], object], process: subprocess.Popen[str]) -> None:
    """Until there is something to see."""
    deadline = time.monotonic() + 300
    while not look():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)


def ends_well(process: subprocess.Popen[str], output_dir: Path) -> None:
    """Exit code 0; every run has its record, sound; the secret is nowhere."""
    _, err = process.communicate(timeout=500)
    assert process.returncode == 0, err
    names = store.finished_runs(str(output_dir))
    assert len(names) == 8
    assert not any(store.fault(str(output_dir), name) for name in names)
    files = [path for path in output_dir.rglob("*") if path.is_file()]
    assert not [path for path in files if SECRET.encode() in path.read_bytes()]


@pytest.mark.cluster
def test_submitit_loses_nothing_with_a_job_that_is_killed(tmp_path: Path) -> None:
    """The jobs of the local executor are killed: the sweep launches them again."""
    pytest.importorskip("submitit", reason="pip install -e '.[submitit]'")
    process = start(tmp_path, "hydra/launcher=submitit_local")
    wait_for(lambda: list(tmp_path.glob("runs/*")), process)  # claimed: in training
    jobs = [path for path in Path("/proc").glob("[0-9]*") if is_job(path, tmp_path)]
    for job in jobs:
        os.kill(int(job.name), signal.SIGKILL)
    ends_well(process, tmp_path)
    assert jobs and list((tmp_path / "attempts").iterdir())


def is_job(path: Path, output_dir: Path) -> bool:
    """Whether a process is a job of submitit's for this output directory."""
    try:
        words = (path / "cmdline").read_bytes().decode().split("\0")
    except OSError:  # it ended
        return False
    return "submitit.core._submit" in words and any(str(output_dir) in w for w in words)


@pytest.mark.cluster
def test_ray_loses_nothing_with_a_node_that_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cluster of two nodes, each a group of processes here, loses one of them."""
    pytest.importorskip("ray", reason="pip install -e '.[ray]'")
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")  # or it writes a token into $HOME
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        node = cluster.add_node(num_cpus=1)
        init = "+hydra.launcher.ray.init"
        own = f"{init}.address='{cluster.address}'", f"{init}.object_store_memory=null"
        process = start(tmp_path, "hydra/launcher=ray", *own)
        wait_for(lambda: len(list(tmp_path.glob("runs/*"))) == 8, process)
        cluster.remove_node(node, allow_graceful=False)
        ends_well(process, tmp_path)
    finally:
        cluster.shutdown()


@pytest.mark.cluster
@pytest.mark.parametrize(
    ("package", "chosen"), [("submitit", "submitit_local"), ("ray", "ray")]
)
def test_multirun_goes_through_a_launcher(
    tmp_path: Path, package: str, chosen: str
) -> None:
    """Hydra's own multirun: each run has its record, exit code 0; a bad value among
    the good ones is refused, with exit code 2, before anything is launched."""
    pytest.importorskip(package, reason=f"pip install -e '.[{package}]'")

    def multirun(output_dir: Path, *typed: str) -> subprocess.CompletedProcess[str]:
        words = ["activation=relu,tanh", "data=digits", f"hydra/launcher={chosen}"]
        return subprocess.run(
            [sys.executable, "-m", "lenet.train", "-m", *words, *typed]
            + [f"output_dir={output_dir}"],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT), "RAY_AUTH_MODE": "disabled"},
        )

    refused = multirun(tmp_path / "refused", "seed=0,1", "epochs=1,-1")
    assert refused.returncode == 2 and "epochs=-1" in refused.stderr
    assert not list(tmp_path.iterdir())
    done = multirun(tmp_path / "outputs", "seed=0,1", "epochs=1")
    assert done.returncode == 0, done.stderr
    names = store.finished_runs(str(tmp_path / "outputs"))
    assert len(names) == 4
    assert not any(store.fault(str(tmp_path / "outputs"), name) for name in names)
