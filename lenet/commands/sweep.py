"""Carry out a design and draw its chart: lenet sweep design=quick

The same command again trains what is missing and nothing else.

  action=run      train what has no record, then write the study (the default)
  action=plan     each arm: done, missing, failed, stale; time, disk, verdict or not
  action=status   how far a study is, from its plan: study=<name>
  action=verify   check the seal of every record and the hash of every weight file
  action=rerun    train one run again and compare its bits: run=<start of its id>
  workers=2       processes that train at a time (default: one for each core)
  hydra/launcher= submitit_slurm, submitit_local or ray in place of workers, with
                  hydra.launcher.partition=gpu and the like
  yes=true        more than 10,000 runs are meant

A design is one of lenet's, a file in ./conf/design, or design=my_design.yaml.

Other keys are those of lenet train and hold for all runs: replicates=5, epochs=3,
data=mnist, output_dir=outputs, study=name.
"""

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console

from lenet.config import (
    LAUNCHER,
    Refusal,
    short_text,
    suggest,
    typed_keys,
    typed_place,
    unknown_key,
)
from lenet.records import plan
from lenet.sweep import design
from lenet.terminal import Said, pair

OWN = ("design", "action", "workers", "yes", "run")
HYDRA = ("hydra.", "+hydra.", "hydra/")  # what sets the launcher
ACTIONS = {  # and the keys that each one reads; None: all but run=
    "run": None,
    "plan": None,
    "status": ("action", "study", "design", "output_dir"),
    "verify": ("action", "output_dir"),
    "rerun": ("action", "run", "output_dir", "data_dir"),
}


def explain() -> str:
    """What --help says."""
    return f"{__doc__}\nDesigns: {', '.join(design.available())}"


def main(arguments: Sequence[str]) -> Said:
    """Do what the arguments mean; the files, or what was asked."""
    given, overrides = parse_arguments(arguments)
    action = given.get("action", "run")
    if action == "status":
        return status(given, overrides)
    if action in ("run", "plan"):
        return plan_or_train(given, overrides, action)
    return verify_or_rerun(given, overrides, action)


def parse_arguments(arguments: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """The script's own keys with their values, and the settings of the runs."""
    given: dict[str, str] = {}
    overrides = []
    for text in arguments:
        key, _, value = text.partition("=")
        if key in given:
            raise Refusal(f"{key}= is there twice: say it once")
        if key in OWN:
            if not value:
                raise Refusal(f"{text}: write {key}=<value>")
            given[key] = value
        elif key in LAUNCHER:
            raise Refusal(unknown_key(key))
        elif key not in typed_keys() and not text.startswith(HYDRA):
            raise Refusal(
                suggest(short_text(key), {*OWN, *typed_keys()}, "key", "keys")
            )
        else:
            overrides.append(text)
    if given.get("action", "run") not in ACTIONS:
        raise Refusal(
            suggest(short_text(given["action"]), ACTIONS, "action", "actions")
        )
    if given.get("yes", "false") not in ("true", "false"):
        raise Refusal(f"yes={short_text(given['yes'])}: say yes=true, or leave it out")
    refuse_unread_keys(given, overrides)
    return given, overrides


def refuse_unread_keys(given: Mapping[str, str], overrides: Sequence[str]) -> None:
    """Refuse a key that the action would not look at."""
    action = given.get("action", "run")
    known = ACTIONS[action]
    for key in (*given, *(text.partition("=")[0] for text in overrides)):
        if known is None and key == "run":
            raise Refusal("run= goes with action=rerun")
        if known is not None and key not in known:
            raise Refusal(f"{key}= changes nothing of action={action}: leave it out")


def typed_folder(overrides: Sequence[str], key: str, default: str) -> str:
    """A place among the settings, without composing them."""
    values = [pair(text)[1] for text in overrides if text.startswith(f"{key}=")]
    return values[-1] if values else default


def workers(given: Mapping[str, str]) -> int | None:
    """The number of worker processes, None for the default."""
    text = given.get("workers")
    if text is None:
        return None
    if not text.isdecimal() or not 1 <= int(text[:9]) <= 256:
        raise Refusal(
            f"workers={short_text(text)} is out of range: a whole number from 1 to 256"
        )
    return int(text)


def status(given: Mapping[str, str], overrides: Sequence[str]) -> Said:
    """How far a study is; reads files only."""
    output_dir = typed_folder(overrides, "output_dir", "outputs")
    study = typed_folder(overrides, "study", given.get("design", ""))
    if not study:
        raise Refusal("say study=<name>, or design=<name>")
    study = typed_place("study", study)
    planned = plan.read_plan(Path(output_dir) / study)
    runs = plan.run_states(output_dir, planned)
    shown = [str(run) for run in runs if run.state in ("failed", "diverged")]
    counted = dict(Counter(run.state for run in runs))
    text = "\n".join([plan.plan_summary(planned, runs), *shown])
    return Said(text, {"study": study, "runs": len(runs), "states": counted})


def plan_or_train(
    given: Mapping[str, str], overrides: Sequence[str], action: str
) -> Said:
    """The plan of a study, or the files of one that was carried out."""
    from lenet.studies import statistics  # with torch, for which `status` need not wait
    from lenet.sweep import forecast, sweep
    from lenet.sweep.progress import progress_display

    if "design" not in given:
        raise Refusal(f"say design=<name>; designs: {', '.join(design.available())}")
    count = workers(given)
    engine = [override for override in overrides if override.startswith(HYDRA)]
    if count and engine:
        raise Refusal(
            f"workers={count} and {engine[0]} both say who trains: choose one"
        )
    settings = [text for text in overrides if text not in engine]
    chosen = design.load_design(given["design"], settings, given.get("yes") == "true")
    for note in chosen.notes:
        print(f"note: {note}", file=sys.stderr)
    planned, runs = sweep.make(chosen)
    if action == "plan":
        text = sweep.outlook(planned, runs, chosen.places, count)
        return Said(text, {"plan": text.splitlines()})
    if len(planned["seeds"]) < statistics.blocks_needed():
        print(f"note: {forecast.verdict(planned, None)}", file=sys.stderr)
    with progress_display(Console(stderr=True)) as show:
        places = chosen.places
        folder = sweep.carry_out(planned, runs, places, count, show, engine=engine)
    return Said.of_files(draw_study(folder))


def draw_study(folder: Path) -> list[Path]:
    """The files of a study that was carried out; in a design in which no level varies
    there is no effect to chart, and its records are it."""
    from lenet.report import index, study_report  # with the libraries that draw

    with plan.held(folder):  # against another sweep, with more seeds, of this study
        if plan.read_plan(folder)["factors"]:
            return [*study_report.write_study(folder), index.write_index(folder.parent)]
    return [folder / plan.RECORDS]


def verify_or_rerun(
    given: Mapping[str, str], overrides: Sequence[str], action: str
) -> Said:
    """Whether the runs of an output directory are sound, or one trained again."""
    from lenet.sweep import verify  # with torch, for which `status` need not wait

    output_dir = typed_folder(overrides, "output_dir", "outputs")
    if action == "verify":
        return verified_message(verify.everything(output_dir))
    if "run" not in given:
        raise Refusal("say run=<the start of a run id>, or a run's folder")
    data_dir = typed_folder(overrides, "data_dir", "") or None
    return verified_message(verify.rerun(given["run"], output_dir, data_dir))


def verified_message(text: str) -> Said:
    """What was found to be sound."""
    return Said(text, {"verified": text})
