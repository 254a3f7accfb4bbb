"""Train the runs that a command line means: lenet train activation=tanh seed=3

From a checkout also `python -m lenet.train`.

What is typed is composed and checked first; then only the runs that have no record are
trained. Every run ends as a record, and the command says where it lies. Help, refusals
and finished runs need not wait for torch: functions that train import it.
"""

import contextlib
import ctypes
import json
import platform
import sys
import textwrap
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NoReturn

import hydra
import yaml
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from lenet import known_data, optuna_search
from lenet.config import (
    CONF,
    FACTORS,
    GROUPS,
    RANGES,
    RECORDS,
    Config,
    Places,
    Refusal,
    alternatives,
    composed,
    group_levels,
    names,
    parse,
    refuse_unfit_head,
    resolve,
)
from lenet.known_data import Known
from lenet.records import (
    own_pictures,
    result_message,
    run_lock,
    run_record,
    store,
    tracker,
)
from lenet.records.overfitting import overfitting
from lenet.records.record_types import Record, StackPlace
from lenet.records.teachers import teachers
from lenet.rounding import percent
from lenet.terminal import JSON, command, refusals, say
from lenet.training import edition

if TYPE_CHECKING:
    import torch

    from lenet.training.data import Data
    from lenet.training.stack import Progress, Report

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h
LARGEST_STACK = 16  # runs; docs/speed.md has the measurement
MANY = 100  # command lines whose check takes so long that it is told
EXAMPLES = """\
  lenet train                                        the modern preset on MNIST
  lenet train activation=tanh replicates=6           seeds 0 to 5 as one stack
  lenet train preset=paper activation=relu           1998 with one level changed
  lenet train data=digits epochs=5                   no download, seconds
  lenet train -m activation=relu,tanh seed=0,1,2,3,4,5     Hydra's multirun"""


def choose_device(name: str) -> "torch.device":
    """The device to compute on; auto is the GPU where there is one."""
    import torch

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


Begin = Callable[[Sequence[Config]], "Report"]  # a stack begins: its progress report


def silent(stack: Sequence[Config]) -> "Report":
    """No report at all."""
    return lambda progress: None


def train_missing(
    configs: Sequence[Config], places: Places, begin: Begin = silent
) -> list[Record]:
    """The records of these runs, in order; trains those that have none, as stacks.

    Waits for the runs that another process is training, and says which one that is.
    """
    ids, said = run_ids(configs, places), ""
    while True:
        records = attempt(configs, places, begin)
        others = [name for name, record in records.items() if not record]
        if not others:
            break
        if said != (said := run_lock.holders(places.output_dir, others)):
            print(said, file=sys.stderr)
        time.sleep(1)
    with tracker.mirroring(places, places.study or "", ids):
        return [record for name in ids if (record := records[name])]


def run_ids(configs: Sequence[Config], places: Places) -> list[str]:
    """The ids of these runs, in order; reads the data sets that no hash is known of."""
    data = identities(configs, places)
    return [
        run_record.run_id(config, data[str(config.treatment["data"])])
        for config in configs
    ]


def identities(
    configs: Sequence[Config], places: Places
) -> "Mapping[str, Known | Data]":
    """What identifies each data set of these runs, by name."""
    return {
        name: known_data.known(name) or load_one(name, places)
        for name in data_set_names(configs)
    }


def data_set_names(configs: Sequence[Config]) -> set[str]:
    """The names of the data sets of these runs."""
    return {str(config.treatment["data"]) for config in configs}


def attempt(
    configs: Sequence[Config], places: Places, begin: Begin = silent
) -> dict[str, Record | None]:
    """The records of these runs by run id; trains those that have none, as stacks.

    None for the runs that another process is training.
    """
    ids = run_ids(configs, places)
    records = {name: store.finished_record(places.output_dir, name) for name in ids}
    missing = {
        name: config
        for name, config in zip(ids, configs, strict=True)
        if not records[name]
    }
    if not missing:
        return records
    reuse_memory()
    run_record.commit()  # that of the code which runs, before it can change
    data = load_data_sets(list(missing.values()), places)
    # All that may be refused is refused before the first run is trained.
    for config in missing.values():
        dataset = data[str(config.treatment["data"])]
        refuse_unfit_head(config.level("head"), dataset.classes, dataset.name)
        teachers(config, dataset, places.output_dir)  # refused before any run trains
    store.prepare(places.output_dir)
    if choose_device(places.device).type == "cpu":
        edition.prove()
    for stack in stacks(missing):
        with run_lock.claim(places.output_dir, list(stack)) as mine:
            # Another process may have finished a run before this one could claim it.
            records |= {
                name: store.finished_record(places.output_dir, name) for name in mine
            }
            rest = [stack[name] for name in mine if not records[name]]
            if rest:
                dataset = data[str(rest[0].treatment["data"])]
                done = carry(rest, dataset, places, begin(rest))
                records |= {record["run_id"]: record for record in done}
    return records


def refuse_unusable_data(configs: Iterable[Config], places: Places) -> None:
    """A Refusal if the files of a data set of these runs are not there, or damaged."""
    for name in data_set_names([*configs]) - {"digits"}:  # which are no files
        load_one(name, replace(places, device="cpu"))


def load_data_sets(configs: Sequence[Config], places: Places) -> "dict[str, Data]":
    """The data sets of these runs, by name, on the device that they are trained on."""
    return {name: load_one(name, places) for name in data_set_names(configs)}


def load_one(name: str, places: Places) -> "Data":
    """A data set on the device that is trained on."""
    from lenet.training import data

    return data.load_data(name, places.data_dir, choose_device(places.device))


def carry(
    stack: Sequence[Config], data: "Data", places: Places, report: "Report"
) -> list[Record]:
    """Train the claimed runs of one stack and write their records."""
    import torch

    from lenet.training.stack import train

    own, done = own_pictures.recorded_data(data, places.data_dir), []
    known = teachers(stack[0], data, places.output_dir)
    for position, result in enumerate(train(stack, data, report, known)):
        about: StackPlace = {
            "size": len(stack),
            "position": position,
            "threads": torch.get_num_threads(),
            "device": str(data.train_images.device),
        }
        run = places.output_dir, stack[position], data, result
        done.append(run_record.write_run(*run, about, own))
    return done


def stacks(
    runs: Mapping[str, Config], size: int = LARGEST_STACK
) -> Iterator[dict[str, Config]]:
    """Runs of one structure by run id: full stacks of `size`, then the rest."""
    from lenet.training.recipe import structure

    by_structure: dict[object, list[str]] = {}
    for name, config in runs.items():
        by_structure.setdefault(structure(config), []).append(name)
    for alike in by_structure.values():
        for first in range(0, len(alike), size):
            yield {name: runs[name] for name in alike[first : first + size]}


@contextlib.contextmanager
def progress_bar(console: Console) -> Iterator[Begin]:
    """One bar for the stack in training, or plain lines where there is no terminal."""
    columns = ("{task.description}", BarColumn(20), TimeRemainingColumn())
    shown = [
        TextColumn(column) if isinstance(column, str) else column for column in columns
    ]
    with Bar(*shown, console=console, disable=not console.is_terminal) as bar:

        def begin(stack: Sequence[Config]) -> "Report":
            epochs, began = int(stack[0].number("epochs")), time.perf_counter()
            task = bar.add_task("starting")

            def report(now: "Progress") -> None:
                done = now.epoch * now.steps + now.step
                rate = done * now.batch * len(stack) / (time.perf_counter() - began)
                text = f"epoch {min(now.epoch + 1, epochs)}/{epochs}: error "
                text += f"train {percent(now.train_error)}"
                if now.test_error is not None:
                    text += f", test {percent(now.test_error)}"
                text += f"; {rate:,.0f} images/s"
                bar.update(
                    task, description=text, completed=done, total=epochs * now.steps
                )
                if not console.is_terminal and now.test_error is not None:
                    console.print(text.replace(f"{now.epoch + 1}/", f"{now.epoch}/"))

            return report

        yield begin


def result_line(records: Sequence[Record], places: Places) -> str:
    """One line: the mean test error, over how many runs, the time, and where."""
    errors = [
        run_record.test_error(record)
        for record in records
        if record["status"] == "finished"
    ]
    mean = result_message.error_text(errors) if errors else "no run finished"
    diverged = len(records) - len(errors)
    lost = f", {diverged} diverged" if diverged else ""
    if overfitted := sum(
        overfitting(record["curve"]) is not None for record in records
    ):
        lost += f", {overfitted} overfitted catastrophically to the adversary"
    seconds = sum(record["seconds"] for record in records)
    where = store.run_folder(places.output_dir, records[0]["run_id"])
    n = len(records)
    others = f" and {n - 1} more" if n > 1 else ""
    return f"{mean}, n = {n}{lost}, {seconds:.0f} s, {where}/record.json{others}"


def explain() -> str:
    """What may be typed: groups with their levels, years and sources, numbers."""
    lines = [__doc__ or "", "Examples:", EXAMPLES, "", "Groups (group=level):"]
    for group in GROUPS:
        lines.append(f"  {group}")
        if group == "preset":
            lines += [line for name in names(group) for line in preset_help(name)]
            continue
        for name, content in group_levels(group).items():
            lines.append(f"    {name:<15}{content['year']}  {content['source']}")
    lines += ["", "Numbers (key=number):"]
    lines += [f"  {key:<28}{allowed}" for key, allowed in RANGES.items()]
    lines += [f"  {RECORDS:<28}run ids joined by +"]
    lines += ["", "Places: data_dir (or LENET_DATA), output_dir, device, study."]
    lines += [
        "Hydra's own flags: --hydra-help. Tab completion: lenet completion --help."
    ]
    return "\n".join(lines)


def preset_help(name: str) -> list[str]:
    """What --help says of a preset: the comment that opens it, and its levels."""
    text = (CONF / "preset" / f"{name}.yaml").read_text()
    _, about, *_ = text.splitlines()
    chosen = {
        key: value
        for entry in yaml.safe_load(text)["defaults"]
        for key, value in entry.items()
    }
    levels = " ".join(f"{factor}={chosen[f'override /{factor}']}" for factor in FACTORS)
    return [
        f"    {name:<15}{about.removeprefix('# ')}",
        *textwrap.wrap(levels, 88, initial_indent=" " * 18, subsequent_indent=" " * 18),
    ]


def job(tree: DictConfig) -> None:
    """Hydra's task: train one composed configuration and print its line."""
    train_composed(tree, result_line)


def job_as_json(tree: DictConfig) -> None:
    """Hydra's task with --json: the same, for a program."""
    train_composed(tree, lambda *trained: json.dumps(result_values(*trained)))


def train_composed(
    tree: DictConfig, said: Callable[[list[Record], Places], str]
) -> None:
    """Train one composed configuration and print what is said of it."""
    container = OmegaConf.to_container(tree, resolve=True)
    assert isinstance(container, dict)
    alone = OmegaConf.is_missing(HydraConfig.get().job, "num")  # no job of a launcher
    with refusals(memory=alone):
        configs, places = resolve({str(key): value for key, value in container.items()})
        with progress_bar(Console(stderr=True)) as report:
            records = train_missing(configs, places, report)
    say(said(records, places))
    if alone:
        say("\n".join(result_message.advice_lines(records, places)), sys.stderr)


def result_values(records: Sequence[Record], places: Places) -> dict[str, Any]:
    """The runs for a program: what each was, what came out, and where it lies."""
    keys = ("run_id", "status", "seed", "treatment", "response", "seconds")
    names = [record["run_id"] for record in records]
    where = [store.run_folder(places.output_dir, name) for name in names]
    return {
        "runs": [
            {key: value for key, value in record.items() if key in keys}
            | {"record": str(place / "record.json")}
            for record, place in zip(records, where, strict=True)
        ]
    }


def refuse_mistyped(arguments: Sequence[str]) -> None:
    """Refuse a command line that means anything but runs, before Hydra takes over."""
    parser = get_args_parser()
    parser.error = refuse_unreadable  # type: ignore[method-assign]  # or it prints the usage
    parsed, unknown = parser.parse_known_args(list(arguments))
    flags = [text for text in unknown if text.startswith("-")]
    if flags:
        raise Refusal(f"{flags[0]} is no option; see --help")
    other = (parsed.config_name, parsed.config_path, parsed.config_dir)
    if any(other) or parsed.experimental_rerun:
        raise Refusal("conf/ is the only configuration: leave out --config-* and rerun")
    shown = (parsed.cfg, parsed.info, parsed.shell_completion, parsed.hydra_help)
    if sum(map(bool, (*shown, parsed.run, parsed.multirun))) > 1:
        raise Refusal("one of --run, --multirun, --cfg, --info and the like at a time")
    if (parsed.resolve or parsed.package) and not parsed.cfg:
        raise Refusal("--resolve and --package go with --cfg")
    if parsed.info or parsed.hydra_help or parsed.shell_completion:
        return
    if parsed.multirun and optuna_search.is_search(parsed.overrides):
        optuna_search.read_search(parsed.overrides)
        return
    lines = alternatives(parsed.overrides) if parsed.multirun else [parsed.overrides]
    if len(lines) > MANY:
        print(f"note: {len(lines):,} command lines are checked first", file=sys.stderr)
    for line in lines:
        store.refuse_unusable_output_dir(composed(line)[1].output_dir)


def settings_first(arguments: Sequence[str]) -> list[str]:
    """What was typed, key=value first: of what comes both before and after -m, Hydra
    reads the first part alone."""
    return sorted(arguments, key=lambda text: text.startswith("-") or "=" not in text)


def refuse_unreadable(message: str) -> NoReturn:
    """Refuse what the parser of Hydra's flags cannot read."""
    raise Refusal(f"{message}; see --help")


def main() -> None:
    """The entry point."""
    arguments = settings_first([text for text in sys.argv[1:] if text != JSON])
    as_json = len(arguments) + 1 < len(sys.argv)
    refuse_mistyped(arguments)
    overrides = [text for text in arguments if not text.startswith("-")]
    if {"-m", "--multirun"} & {*arguments} and optuna_search.is_search(overrides):
        records = optuna_search.run_search(
            optuna_search.read_search(overrides), train_missing
        )
        say(json.dumps(records.data) if as_json else records.text)
        return
    quiet = [f"hydra/{log}=none" for log in ("job_logging", "hydra_logging")]
    sys.argv[1:] = [*quiet * as_json, *arguments]  # Hydra reads them there
    task = job_as_json if as_json else job
    hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")(task)()
    if {"-m", "--multirun"} & {*arguments}:
        say(charted(overrides), sys.stderr)


def charted(overrides: Sequence[str]) -> str:
    """What comes after a multirun."""
    swept = [
        override.key_or_group
        for override in parse(overrides)
        if override.is_sweep_override()
    ]
    (first, *_), places = composed(alternatives(overrides)[0])
    return result_message.of_multirun(first.treatment, swept, places.output_dir)


if __name__ == "__main__":
    command(main, explain)
