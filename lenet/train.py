"""Train the runs that a command line means: `python -m lenet.train activation=relu`.

What is typed is composed and checked first; then only the runs that have no record are
trained. Every run ends as a record, and the command says where it lies.
"""

import contextlib
import ctypes
import os
import platform
import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence

import hydra
import torch
from hydra._internal.utils import get_args_parser
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from lenet import data as datasets
from lenet import record, tracker
from lenet.config import (
    CONF,
    GROUPS,
    RANGES,
    Config,
    Places,
    Refusal,
    alternatives,
    composed,
    levels,
    names,
    resolve,
)
from lenet.record import Record
from lenet.stack import Progress, Report, structure, train

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h
STACK = 16  # runs in one stack at most; CONTRIBUTING has the measurement
EXAMPLES = """\
  python -m lenet.train                                    the modern preset on MNIST
  python -m lenet.train activation=relu replicates=5       seeds 0 to 4 as one stack
  python -m lenet.train preset=paper activation=relu       1998 with one level changed
  python -m lenet.train data=digits epochs=5               no download, seconds
  python -m lenet.train -m activation=relu,tanh seed=0,1,2 Hydra's multirun"""


def choose_device(name: str) -> torch.device:
    """The device to compute on; auto is the GPU where there is one."""
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise Refusal("device=cuda: torch sees no GPU here; use device=cpu", 3)
    return torch.device("cuda" if available and name != "cpu" else "cpu")


def reuse_memory() -> None:
    """Have glibc keep freed memory instead of giving it back to the kernel.

    The maps of a stack are megabytes that are freed and asked for again at every step;
    without this, the kernel may have to clear new pages at every one.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_THRESHOLD, 2**30)
        libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def run(
    configs: Sequence[Config],
    places: Places,
    report: Callable[[Sequence[Config]], Report] = lambda stack: lambda progress: None,
) -> list[Record]:
    """The records of these runs, in order; trains those that have none, as stacks.

    report: called with the runs of each stack as it begins, gives its progress report.
    """
    reuse_memory()
    device = choose_device(places.device)
    sets = {str(config.treatment["data"]) for config in configs}
    data = {name: datasets.load(name, places.data_dir, device) for name in sets}

    def name(config: Config) -> str:
        return record.run_id(config, data[str(config.treatment["data"])])

    found = {
        name(config): record.find(places.output_dir, name(config)) for config in configs
    }
    missing = {name(config): config for config in configs if not found[name(config)]}
    if missing:
        record.prepare(places.output_dir)
    for stack in stacks(list(missing.values())):
        dataset = data[str(stack[0].treatment["data"])]
        results = train(stack, dataset, report(stack))
        for position, (config, result) in enumerate(zip(stack, results, strict=True)):
            about = {
                "size": max(len(stack), 2),
                "position": position,
                "threads": torch.get_num_threads(),
                "device": str(device),
            }
            done = record.write(places.output_dir, config, dataset, result, about)
            found[done["run_id"]] = done
            tracker.mirror(places, done["run_id"])
    return [found[name(config)] for config in configs]  # type: ignore[misc]  # all found now


def stacks(configs: Sequence[Config], size: int = STACK) -> Iterator[list[Config]]:
    """Runs of one structure together, in even stacks of at most `size`."""
    by_structure: dict[object, list[Config]] = {}
    for config in configs:
        by_structure.setdefault(structure(config), []).append(config)
    for alike in by_structure.values():
        count = -(-len(alike) // size)
        for part in range(count):
            yield alike[part * len(alike) // count : (part + 1) * len(alike) // count]


@contextlib.contextmanager
def progress_bar(console: Console) -> Iterator[Callable[[Sequence[Config]], Report]]:
    """One bar for the stack in training, or plain lines where there is no terminal."""
    columns = ("{task.description}", BarColumn(20), TimeRemainingColumn())
    shown = [TextColumn(c) if isinstance(c, str) else c for c in columns]
    with Bar(*shown, console=console, disable=not console.is_terminal) as bar:

        def begin(stack: Sequence[Config]) -> Report:
            epochs, began = int(stack[0].number("epochs")), time.perf_counter()
            task = bar.add_task("starting")

            def report(now: Progress) -> None:
                done = now.epoch * now.steps + now.step
                rate = done * now.batch * len(stack) / (time.perf_counter() - began)
                test = "" if now.test_error is None else f", test {now.test_error:.2%}"
                text = f"epoch {min(now.epoch + 1, epochs)}/{epochs}: error "
                text += f"train {now.train_error:.2%}{test}; {rate:,.0f} images/s"
                bar.update(
                    task, description=text, completed=done, total=epochs * now.steps
                )
                if not console.is_terminal and now.test_error is not None:
                    console.print(text.replace(f"{now.epoch + 1}/", f"{now.epoch}/"))

            return report

        yield begin


def summary(found: Sequence[Record], places: Places) -> str:
    """One line: the mean test error, over how many runs, the time, and where."""
    errors = [r["response"]["test_error"] for r in found if r["status"] == "finished"]
    mean = (
        f"test error {sum(errors) / len(errors):.2%}" if errors else "no run finished"
    )
    diverged = len(found) - len(errors)
    lost = f", {diverged} diverged" if diverged else ""
    seconds = sum(r["seconds"] for r in found)
    where = record.folder(places.output_dir, found[0]["run_id"])
    others = f" and {len(found) - 1} more" if len(found) > 1 else ""
    return (
        f"{mean}, n = {len(found)}{lost}, {seconds:.0f} s, {where}/record.json{others}"
    )


def explain() -> str:
    """What may be typed: groups with their levels, years and sources, numbers."""
    lines = [__doc__ or "", "Examples:", EXAMPLES, "", "Groups (group=level):"]
    for group in GROUPS:
        if group == "preset":
            lines += ["  preset", *(f"    {name}" for name in names(group))]
            continue
        lines.append(f"  {group}")
        for name, content in levels(group).items():
            lines.append(f"    {name:<14}{content['year']}  {content['source']}")
    lines += ["", "Numbers (key=number):"]
    lines += [f"  {key:<28}{allowed}" for key, allowed in RANGES.items()]
    lines += ["", "Places: data_dir (or LENET_DATA), output_dir, device, study."]
    lines += ["Hydra's own flags: --hydra-help; tab completion: see the README."]
    return "\n".join(lines)


def say(text: str) -> None:
    """Print a result; that its reader is gone (`| head`) is no failure of the run."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@hydra.main(version_base="1.3", config_path=str(CONF.absolute()), config_name="config")
def job(tree: DictConfig) -> None:
    """Hydra's task: train one composed configuration and print its line."""
    container = OmegaConf.to_container(tree, resolve=True)
    assert isinstance(container, dict)
    with refusals():
        configs, places = resolve({str(key): value for key, value in container.items()})
        with progress_bar(Console(stderr=True)) as report:
            found = run(configs, places, report)
    say(summary(found, places))


def check(arguments: Sequence[str]) -> None:
    """Refuse a command line that means anything but runs, before Hydra takes over."""
    parsed, unknown = get_args_parser().parse_known_args(list(arguments))
    flags = [text for text in unknown if text.startswith("-")]
    if flags:
        raise Refusal(f"{flags[0]} is no option; see --help")
    other = (parsed.config_name, parsed.config_path, parsed.config_dir)
    if any(other) or parsed.experimental_rerun:
        raise Refusal("conf/ is the only configuration: leave out --config-* and rerun")
    if parsed.info or parsed.hydra_help or parsed.shell_completion:
        return
    lines = alternatives(parsed.overrides) if parsed.multirun else [parsed.overrides]
    for line in lines:
        composed(line)


@contextlib.contextmanager
def refusals() -> Iterator[None]:
    """A Refusal in here becomes its message on stderr and its exit code.

    Hydra's task needs this within, since Hydra exits with 1 for whatever it catches.
    """
    try:
        yield
    except Refusal as refusal:
        Console(stderr=True).print(
            escape(str(refusal)), soft_wrap=True, highlight=False
        )
        raise SystemExit(refusal.code) from None


def command(main: Callable[[], None]) -> None:
    """Run a command; it ends with the exit code of what stopped it."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        with refusals():
            main()
    except KeyboardInterrupt:
        module = sys.modules["__main__"].__spec__  # None for a script
        program = ["-m", module.name] if module else sys.argv[:1]
        line = shlex.join(["python", *program, *sys.argv[1:]])
        print(
            f"interrupted; finished runs are kept; go on with: {line}", file=sys.stderr
        )
        raise SystemExit(130) from None


def main() -> None:
    """The entry point."""
    arguments = sys.argv[1:]
    if "--help" in arguments or "-h" in arguments:
        say(explain())
        return
    check(arguments)
    job()


if __name__ == "__main__":
    command(main)
