"""Whether what is stored is what was trained: each seal, weight file and bit."""

import secrets
from pathlib import Path
from typing import Any

from lenet import train
from lenet.config import Config, Places, Refusal, current
from lenet.records import atomic_files, plan, run_record, seal, store
from lenet.records.record_types import Plan, Record, StackPlace
from lenet.records.teachers import teachers
from lenet.rounding import decimals
from lenet.training.edition import EDITION


def everything(output_dir: str) -> str:
    """How many runs and studies are sound; a broken one is moved, and a Refusal (4)."""
    if not Path(output_dir).is_dir():
        raise Refusal(f"output_dir={output_dir}: there is no such folder")
    names, broken, said = store.finished_runs(output_dir), list[str](), list[str]()
    for name in names:
        try:
            if store.fault(output_dir, name):
                broken.append(name)
        except Refusal as unread:  # of another version, or on a disk that fails
            said.append(str(unread))
    bad = len(broken) + len(said)
    for name in broken:
        store.quarantine(output_dir, name)
    studies = sorted(path.parent for path in Path(output_dir).glob("*/plan.json"))
    wrong = {
        study.name: complaints for study in studies if (complaints := faults(study))
    }
    for complaints in (*wrong.values(), damaged_notes(output_dir)):
        said += complaints
    text = f"{len(names) - bad} of {len(names)} runs and "
    text += f"{len(studies) - len(wrong)} of {len(studies)} studies are sound"
    if broken:
        text += "; the same sweep again trains the others anew"
    if broken or said:
        raise Refusal("\n".join([*said, text]), 4)
    return text


def faults(study: Path) -> list[str]:
    """What is wrong with a study's plan, records and published weights, and the fix."""
    said = []
    planned: Plan | None = None
    try:
        planned = plan.read_plan(study)
    except Refusal as refusal:
        said.append(f"{refusal}; the same sweep again makes it anew")
    try:
        known = plan.published_records(study)
    except Refusal as refusal:
        return [*said, f"{refusal}; the same sweep again makes it anew"]
    for name, _, seed, treatment in plan.planned_runs(planned) if planned else ():
        record = known.get(name)
        if record and (record["seed"], current(record["treatment"])) != (
            seed,
            current(treatment),
        ):
            said.append(f"{study}: run {name} has another treatment than in the plan")
    for path in sorted(study.glob("weights/*.safetensors")):
        expected = known[path.stem]["weights"] if path.stem in known else None
        if fault := store.altered(path, expected):
            own = store.run_folder(str(study.parent), path.stem) / "model.safetensors"
            mended = "the same sweep again copies it from runs/"
            said.append(f"{fault}; {mended if own.exists() else 'restore it'}")
    return said


def damaged_notes(output_dir: str) -> list[str]:
    """What is wrong with the notes of failed attempts and with the repeated runs."""
    said = []
    root = Path(output_dir)
    for pattern, check in (
        ("attempts/*.json", plan.noted),
        ("reruns/*/record.json", store.read_record),
    ):
        for path in sorted(root.glob(pattern)):
            try:
                check(path)
            except Refusal as refusal:
                said.append(f"{refusal}; remove it")
    return said


def rerun(run: str, output_dir: str, data_dir: str | None) -> str:
    """Train a recorded run again: a line if every bit is the same, else a Refusal (4).

    Both results of a run that came out otherwise are kept: the new one in reruns/.
    """
    first = store.select(run, output_dir)
    name = first["run_id"]
    if run_record.edition(first) != EDITION:
        commit = first["code"]["commit"]
        raise Refusal(
            f"run {name} is of edition {run_record.edition(first)} of training, this "
            f"is edition {EDITION}: git worktree add ../earlier {commit} has the code "
            "of that one"
        )
    again, weights = trained_alone(first, output_dir, data_dir)
    different = run_record.different(first, again)
    if not different:
        return f"run {name}: the same bits again (weights {first['weights']})"
    # Neither result is known to be the right one, so that none is written over.
    place = Path(output_dir) / "reruns" / f"{name}-{secrets.token_hex(4)}"
    atomic_files.replace(place / "record.json", seal.seal_text(seal.sealed(again)))
    if weights:
        atomic_files.replace(place / "model.safetensors", weights)
    raise Refusal(
        f"run {name} came out otherwise: {', '.join(different)} differ"
        + by_how_much(first, again)
        + why(first, again)
        + f"; both are kept, the new one in {place}",
        4,
    )


def trained_alone(
    first: Record, output_dir: str, data_dir: str | None
) -> tuple[Record, bytes | None]:
    """A run's record, not yet sealed, and its weights, if they stayed finite.

    With the threads and the kind of device that it had, but alone: a run's bits may
    depend on no other run of its stack.
    """
    import torch
    from safetensors.torch import save

    from lenet.training import stack

    config = Config(current(first["treatment"]), first["seed"])
    alone: StackPlace = {**first["stack"], "size": 1, "position": 0}
    torch.set_num_threads(alone["threads"])
    train.reuse_memory()
    device: Any = alone["device"].split(":")[0]
    places = Places(data_dir, output_dir, device)
    data = train.load_data_sets([config], places)[str(config.treatment["data"])]
    taught_by = teachers(config, data, output_dir)
    result = stack.train([config], data, teachers=taught_by)[0]
    weights = save(dict(result.weights)) if run_record.stayed_finite(result) else None
    return run_record.record_content(config, data, result, alone, weights), weights


def by_how_much(first: Record, again: Record) -> str:
    """The test error that was and that is, where there are both."""
    was, now = (record["response"]["test_error"] for record in (first, again))
    if was is None or now is None:
        return ""
    errors = (f"{decimals(100 * error)} %" for error in (now, was))
    return " (test error {} where the record has {})".format(*errors)


def why(first: Record, again: Record) -> str:
    """What else differs between two records of one run, which may explain it."""
    known = [key for key in ("versions", "hardware") if first[key] != again[key]]
    if first["code"]["fingerprint"] != again["code"]["fingerprint"]:
        known.append(f"the code (it was commit {first['code']['commit']})")
    same = " on the same code, versions and hardware: training is not deterministic"
    return f" (and so do {', '.join(known)})" if known else same
