"""Train the runs of a sweep on an engine of Hydra's: SLURM, Ray, or another launcher.

A job is a command line of lenet.train: consecutive seeds of one treatment. What became
of it is known from the records alone, so that a job, a worker or a node that is killed
costs what it was at, and the next round launches that again.
"""

import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path

from hydra._internal.callbacks import Callbacks
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.types import HydraContext, RunMode

from lenet import train
from lenet.config import CONF, Config, Places, as_typed, composed
from lenet.records import plan, store

# Seeds in a job, of each launch of what has no record yet.
SIZES = (train.LARGEST_STACK, 4, 1)
LOOK = 5.0  # seconds from one look at the records to the next
Tell = Callable[[Mapping[str, str], Mapping[str, str]], None]  # statuses, failures


def launch_all(
    missing: Mapping[str, Config], places: Places, engine: Sequence[str], tell: Tell
) -> dict[str, str]:
    """Train runs through the launcher that `engine` sets: failures, by run id.

    tell: hears, every few seconds, the status of the runs that have a record by now,
    and why those failed that the last launches left without one.
    """
    left, causes = dict(missing), dict[str, str]()
    for size in SIZES:  # smaller ones, so that one bad run is found
        todo = dict(launcher_jobs(left, places, size))
        with watched(missing, places, causes, tell):
            launched = launch(list(todo), places, engine)
        for line, cause in launched.items():
            # What a launcher says of a job explains a failure only where no record came
            # of it.
            lost = [
                name
                for name in todo[line]
                if not store.finished_record(places.output_dir, name)
            ]
            if lost:
                plan.write_failure_note(places.output_dir, lost, cause, " ".join(line))
                causes |= dict.fromkeys(lost, cause)
        left = {
            name: config
            for name, config in left.items()
            if not store.finished_record(places.output_dir, name)
        }
        if not left:
            return {}
    return {name: causes[name] for name in left}


def refuse_missing_launcher(engine: Sequence[str]) -> None:
    """Refuse settings of a launcher that is not installed, naming what to install."""
    composed(engine)


@contextlib.contextmanager
def watched(
    runs: Mapping[str, Config], places: Places, causes: Mapping[str, str], tell: Tell
) -> Iterator[None]:
    """While the engine works, which returns only at its end, tell what has a record."""
    done, ended = dict[str, str](), threading.Event()

    def look() -> None:
        for name in runs.keys() - done.keys():
            if record := plan.peek(places.output_dir, name):
                done[name] = record["status"]
        tell(done, {name: cause for name, cause in causes.items() if name not in done})

    def watch() -> None:
        while not ended.wait(LOOK):
            look()

    look()
    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        look()


def launcher_jobs(
    runs: Mapping[str, Config], places: Places, size: int = train.LARGEST_STACK
) -> Iterator[tuple[tuple[str, ...], list[str]]]:
    """Command lines of lenet.train with their runs: up to `size` consecutive seeds of
    a treatment.

    Paths in them are absolute: a job may begin in another folder. The sweep mirrors.
    """
    # Where the job begins there may be no LENET_DATA.
    data_dir = places.data_dir or os.environ.get("LENET_DATA") or "data"
    where = [f"output_dir={quoted(places.output_dir)}", f"data_dir={quoted(data_dir)}"]
    where += [f"device={places.device}"]
    treatments: dict[tuple[str, ...], dict[int, str]] = {}
    for name, config in runs.items():
        line = tuple(
            f"{key}={as_typed(value)}" for key, value in config.treatment.items()
        )
        treatments.setdefault(line, {})[config.seed] = name
    for line, seeds in treatments.items():
        # Seeds that follow each other are all as far from their place in the list.
        for _, pairs in groupby(
            enumerate(sorted(seeds)), lambda pair: pair[1] - pair[0]
        ):
            alike = [seed for _, seed in pairs]
            for first in range(0, len(alike), size):
                part = alike[first : first + size]
                seed = (f"seed={part[0]}", f"replicates={len(part)}")
                yield (*line, *seed, *where), [seeds[chosen] for chosen in part]


def quoted(path: str) -> str:
    """An absolute path as a value of Hydra's grammar."""
    text = str(Path(path).expanduser().absolute())
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def launch(
    lines: Sequence[tuple[str, ...]], places: Places, engine: Sequence[str]
) -> dict[tuple[str, ...], str]:
    """Have the launcher run these lines, and wait: for each, why it may have failed."""
    path = create_config_search_path(str(CONF.absolute()))
    hydra = Hydra.create_main_hydra2("lenet.train", path)
    try:
        own = f"output_dir={quoted(places.output_dir)}"
        tree = hydra.compose_config("config", [own, *engine], RunMode.MULTIRUN)
        launcher = Plugins.instance().instantiate_launcher(
            HydraContext(hydra.config_loader, Callbacks(tree)), train.job, tree
        )
        done = launcher.launch([list(line) for line in lines], initial_job_idx=0)
        # `return_value` would raise what the job has raised.
        failures = [record._return_value for record in done]
        causes = [
            repr(failure) if failure else "it left no record" for failure in failures
        ]
    except (Exception, SystemExit) as problem:  # whatever an engine may raise
        causes = [f"{type(problem).__name__}: {problem}"] * len(lines)
    finally:
        # Hydra is set up once in a process, and the next call would find it so.
        GlobalHydra.instance().clear()
    return dict(zip(lines, causes, strict=True))
