"""A finished run is never lost or changed, and a damaged one is never believed."""

import base64
import contextlib
import hashlib
import json
import os
import pickle
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sealed_studies
import torch
from conftest import config
from safetensors.torch import save

from lenet.config import Config, Refusal
from lenet.records import atomic_files, run_lock, run_record, seal, store
from lenet.records.record_types import Record
from lenet.training.data import Data
from lenet.training.edition import ADDED, EDITION
from lenet.training.stack import Result, mistakes, train

ABOUT = {"size": 2, "position": 0, "threads": 1, "device": "cpu"}
FIELDS = {"schema", "run_id", "status", "diverged_step", "treatment", "seed"}
FIELDS |= {
    "response",
    "curve",
    "right",
    "images",
    "classes",
    "stack",
    "code",
    "data",
    "weights",
}
FIELDS |= {"versions", "hardware", "seconds", "step_sizes", "seal", "edition"}
FIELDS |= {"answers", "processor_seconds", "portable"}
RELU, TANH = config(), config({"activation": "tanh"})


@pytest.fixture(scope="module")
def results(digits: Data) -> list[Result]:
    """One trained run of each of two activations."""
    return [train([c], small(digits))[0] for c in (RELU, TANH)]


def small(digits: Data) -> Data:
    """A few of the digits, so that training takes no time."""
    return replace(
        digits,
        train_images=digits.train_images[:46],
        train_labels=digits.train_labels[:46],
        test_images=digits.test_images[:11],
        test_labels=digits.test_labels[:11],
    )


@pytest.fixture
def data(digits: Data) -> Data:
    return small(digits)


@pytest.fixture
def output(tmp_path: Path, data: Data, results: list[Result]) -> str:
    """An output folder with the records of both runs."""
    for c, result in zip((RELU, TANH), results, strict=True):
        run_record.write_run(str(tmp_path), c, data, result, ABOUT)
    return str(tmp_path)


def place(output: str, of: Config, data: Data) -> Path:
    return store.run_folder(output, run_record.run_id(of, data))


def files(output: str) -> dict[str, bytes]:
    """Every file under a folder, with its content."""
    paths = (path for path in Path(output).rglob("*") if path.is_file())
    return {str(path.relative_to(output)): path.read_bytes() for path in paths}


def test_run_id_is_that_of_treatment_seed_and_data(data: Data) -> None:
    """The same run has the same id, in whatever order its treatment is written."""
    name = run_record.run_id(RELU, data)
    backwards = dict(reversed(list(RELU.treatment.items())))
    assert run_record.run_id(Config(backwards, 0), data) == name
    assert len(name) == 16
    assert set(name) <= set("0123456789abcdef")


@pytest.mark.parametrize("key", sorted(RELU.treatment))
def test_run_id_depends_on_every_key_of_the_treatment(key: str, data: Data) -> None:
    """No level and no number can change without another run id."""
    changed = {**RELU.treatment, key: "another"}
    assert run_record.run_id(Config(changed, 0), data) != run_record.run_id(RELU, data)


def test_run_id_depends_on_seed_data_and_code(
    data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another seed, data set or training code is another run."""
    name = run_record.run_id(RELU, data)
    others = [
        run_record.run_id(Config(RELU.treatment, 1), data),
        run_record.run_id(RELU, replace(data, sha256="0" * 64)),
    ]
    monkeypatch.setattr(run_record, "EDITION", 99)
    others.append(run_record.run_id(RELU, data))
    assert name not in others
    assert len(set(others)) == 3


def test_run_id_outlives_code_and_added_factors(
    data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither another spelling of the code nor a factor that came later, at what all
    runs had before, makes another run; at another level it does."""
    name = run_record.run_id(RELU, data)
    monkeypatch.setattr("lenet.training.edition.fingerprint", lambda: "edited")
    monkeypatch.setitem(ADDED, "colour", "none")
    with_colour = [
        Config({**RELU.treatment, "colour": level}, 0) for level in ("none", "red")
    ]
    same, other = (run_record.run_id(run, data) for run in with_colour)
    assert run_record.run_id(RELU, data) == same == name != other


def test_record_has_the_range_of_sdlms_step_sizes(tmp_path: Path, data: Data) -> None:
    """Least and largest eta/(mu + h) of the first pass, as trained; null without h."""
    run = config({"optimizer": "sdlm", "train_size": 5})
    (result,) = train([run], data)
    done = run_record.write_run(str(tmp_path), run, data, result, ABOUT)
    low, high = done["step_sizes"]
    assert (low, high) == result.step_sizes
    assert 0 < low < high < 0.0251  # eta/mu is 0.025
    (plain,) = train([RELU], data)
    assert (
        run_record.write_run(str(tmp_path), RELU, data, plain, ABOUT)["step_sizes"]
        is None
    )


def test_record_has_every_field(output: str, data: Data, results: list[Result]) -> None:
    """A record says what the run was, what came out, and where it was made."""
    record = store.finished_record(output, run_record.run_id(RELU, data))
    assert record is not None
    assert record.keys() == FIELDS
    assert record["treatment"] == RELU.treatment
    assert (record["status"], record["seed"]) == ("finished", 0)
    assert (record["data"], record["stack"]) == (data.sha256, ABOUT)
    assert record["curve"] == results[0].curve
    point = record["curve"][-1]
    assert {"epoch", "train_error", "test_error", "seconds"} <= point.keys()
    compiled_by = {"numba", "llvmlite"}
    assert {"python", "lenet", "torch", "numpy"} | compiled_by <= record[
        "versions"
    ].keys()
    assert record["edition"] == EDITION
    assert point["train_wrong"] == round(point["train_error"] * 46)
    assert record["code"].keys() == {"fingerprint", "commit", "dirty"}
    assert record["hardware"]
    assert record["seconds"] > 0 and record["processor_seconds"] > 0
    weights = (place(output, RELU, data) / "model.safetensors").read_bytes()
    assert record["weights"] == hashlib.sha256(weights).hexdigest()


def test_right_bits_are_the_test_error(output: str, data: Data) -> None:
    """The bits of the images classified correctly give the test error, and so does
    the curve's last point; they are in the order of the test file."""
    for c in (RELU, TANH):
        record = store.finished_record(output, run_record.run_id(c, data))
        assert record is not None
        bits = np.frombuffer(base64.b64decode(record["right"]), np.uint8)
        right = np.unpackbits(bits)[: record["images"]]
        assert record["images"] == len(data.test_images) == 11
        assert record["response"]["test_error"] == (11 - right.sum()) / 11
        assert record["curve"][-1]["test_error"] == pytest.approx(1 - right.mean())
        logits = run_record.load_stack([record], output)(data.test_images / 255)
        wrong = mistakes(logits, data.test_labels)[0]
        assert right.astype(bool).tolist() == (~wrong).tolist()
        taken_for = np.frombuffer(base64.b64decode(record["answers"]), np.uint8)
        assert taken_for.tolist() == logits.argmax(-1)[0][wrong].tolist()


def test_record_says_whether_its_bits_are_those_of_any_machine(
    data: Data, results: list[Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A processor's are; a GPU's are not, nor those of before there were editions."""
    record = run_record.record_content(RELU, data, results[0], ABOUT, None)
    assert run_record.portable(record) and run_record.edition(record) == EDITION
    before = {k: v for k, v in record.items() if k not in ("edition", "portable")}
    assert not run_record.portable(before) and run_record.edition(before) == 1
    monkeypatch.setattr(run_record, "hardware", lambda device: "a GPU")
    about = {**ABOUT, "device": "cuda:0"}
    assert not run_record.portable(
        run_record.record_content(RELU, data, results[0], about, None)
    )


@pytest.mark.parametrize("count", [1, 7, 8, 9, 10_000])
def test_packed_bits_come_back(count: int) -> None:
    """Packing is undone by unpacking, for any number of images."""
    right = np.random.default_rng(count).random(count) < 0.5
    assert (run_record.unpacked(run_record.packed_bits(right), count) == right).all()


def test_diverged_run_has_a_record_without_weights(
    tmp_path: Path, data: Data, results: list[Result]
) -> None:
    """A run that diverged is a result: its step is kept, and it has no test error."""
    result = replace(results[0], diverged_step=3)
    written = run_record.write_run(str(tmp_path), RELU, data, result, ABOUT)
    assert (written["status"], written["diverged_step"]) == ("diverged", 3)
    assert written["response"] == {"test_error": None}
    assert written["weights"] is None
    assert len(files(str(tmp_path))) == 1
    with pytest.raises(Refusal, match="diverged"):
        run_record.load_stack([written], str(tmp_path))


def test_first_writer_wins(output: str, data: Data, results: list[Result]) -> None:
    """A finished run is not written again, not even its time of change."""
    path = place(output, RELU, data) / "record.json"
    before, changed = files(output), path.stat().st_mtime_ns
    other = replace(results[0], seconds=99.0, weights=results[1].weights)
    written = run_record.write_run(output, RELU, data, other, ABOUT)
    assert files(output) == before
    assert path.stat().st_mtime_ns == changed
    assert written["seconds"] == results[0].seconds


def write_one(output: str, data: Data, result: Result, factor: float) -> Record:
    """The record of a run whose training is not deterministic, by whoever claims it."""
    weights = {key: value * factor for key, value in result.weights.items()}
    name = run_record.run_id(RELU, data)
    while True:
        with run_lock.claim(output, [name]) as mine:
            if mine:
                changed = replace(result, weights=weights)
                return run_record.write_run(output, RELU, data, changed, ABOUT)


@pytest.mark.slow
def test_writers_at_once_leave_one_record_with_its_weights(
    tmp_path: Path, data: Data, results: list[Result]
) -> None:
    """Of several processes that end the same run, one has written both files."""
    output = str(tmp_path)
    with get_context("spawn").Pool(2) as pool:  # a fork would inherit held locks
        write = partial(write_one, output, data, results[0])
        written = pool.map(write, [float(i + 1) for i in range(6)], chunksize=1)
    assert all(other == written[0] for other in written)
    assert {Path(name).name for name in files(output)} == {
        "record.json",
        "model.safetensors",
    }
    run_record.load_stack(written[:1], output)


def test_no_temporary_file_is_left(output: str) -> None:
    """A run's folder holds its record and its weights, and nothing else."""
    names = sorted(Path(name).name for name in files(output))
    assert names == ["model.safetensors"] * 2 + ["record.json"] * 2


def test_weights_of_a_killed_attempt_are_replaced(
    tmp_path: Path, data: Data, results: list[Result]
) -> None:
    """Weights without a record are no run's: the record's own are written."""
    left = place(str(tmp_path), RELU, data)
    left.mkdir(parents=True)
    (left / "model.safetensors").write_bytes(b"of an attempt that was killed")
    written = run_record.write_run(str(tmp_path), RELU, data, results[0], ABOUT)
    run_record.load_stack([written], str(tmp_path))


@pytest.mark.parametrize("step", ["fsync", "link"])
def test_write_that_fails_leaves_no_record(
    tmp_path: Path,
    data: Data,
    results: list[Result],
    monkeypatch: pytest.MonkeyPatch,
    step: str,
) -> None:
    """A full disk is exit code 3 with the path; nothing is torn, and it can be tried
    again."""

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(os, step, full)
        with pytest.raises(Refusal, match="No space left") as caught:
            run_record.write_run(str(tmp_path), RELU, data, results[0], ABOUT)
    assert caught.value.code == 3
    assert str(tmp_path) in str(caught.value)
    assert not files(str(tmp_path))
    assert store.finished_record(str(tmp_path), run_record.run_id(RELU, data)) is None
    written = run_record.write_run(str(tmp_path), RELU, data, results[0], ABOUT)
    assert store.finished_record(str(tmp_path), written["run_id"]) == written


def edit(change: Callable[[Record], Any]) -> Callable[[bytes], bytes]:
    """An edit of a record by hand, its seal left as it was."""

    def edited(content: bytes) -> bytes:
        record = json.loads(content)
        change(record)
        return json.dumps(record, indent=1).encode()

    return edited


def flip(content: bytes, at: int) -> bytes:
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "truncated": lambda content: content[:-2],
    "half": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "not UTF-8": lambda content: b"\xff\xfe" + content,
    "a list": lambda content: b"[]",
    "a number": lambda content: b"1",
    "nested": lambda content: b"[" * 100_000,
    "no seal": edit(lambda record: record.pop("seal")),
    "test error": edit(lambda record: record["response"].update(test_error=0.001)),
    "not a number": edit(
        lambda record: record["response"].update(test_error=float("nan"))
    ),
    "seed": edit(lambda record: record.update(seed=1)),
    "level": edit(lambda record: record["treatment"].update(activation="gelu")),
    "curve": edit(lambda record: record["curve"][0].update(train_error=0.5)),
    "added": edit(lambda record: record.update(note="better")),
    "removed": edit(lambda record: record.pop("hardware")),
    "schema": edit(lambda record: record.update(schema=0)),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_record_is_set_aside(
    output: str,
    data: Data,
    damage: str,
    capsys: pytest.CaptureFixture[str],
    results: list[Result],
) -> None:
    """A record that is not as it was written goes to quarantine/ and is reported on
    stderr; the run counts as missing and can be made again."""
    folder = place(output, RELU, data)
    path = folder / "record.json"
    damaged = DAMAGES[damage](path.read_bytes())
    path.write_bytes(damaged)
    with pytest.raises(Refusal) as caught:
        store.read_record(path)
    assert caught.value.code == 4
    assert str(path) in str(caught.value)
    assert store.finished_record(output, folder.name) is None
    out, err = capsys.readouterr()
    assert not out
    assert folder.name in err
    assert "quarantine" in err
    aside = list((Path(output) / "quarantine").glob(f"*/{folder.name}/record.json"))
    assert [other.read_bytes() for other in aside] == [damaged]
    assert not folder.exists()
    run_record.write_run(output, RELU, data, results[0], ABOUT)
    assert store.finished_record(output, folder.name) is not None


def test_record_of_an_earlier_layout_is_read(output: str, data: Data) -> None:
    """Indented, and in any order of its keys: the seal is of what it says."""
    path = place(output, RELU, data) / "record.json"
    record = store.read_record(path)
    for again in (record, dict(reversed(list(record.items())))):
        path.write_text(json.dumps(again, indent=1))
        assert store.read_record(path) == record


def test_every_flipped_bit_is_noticed(output: str, data: Data) -> None:
    """There is no byte of a record in which a flipped bit goes unnoticed.

    White space between the values is no content, so it is left out, and so is a last
    digit that is one more than a double holds.
    """
    path = place(output, RELU, data) / "record.json"
    content = path.read_bytes()
    visible = [at for at, byte in enumerate(content) if byte not in b" \n"]
    same = 0
    for at in visible[::7]:
        path.write_bytes(flip(content, at))
        with contextlib.suppress(ValueError):
            if json.loads(path.read_bytes()) == json.loads(content):
                same += 1
                continue
        with pytest.raises(Refusal):
            store.read_record(path)
    assert same < 5


def test_record_copied_from_another_run_is_set_aside(output: str, data: Data) -> None:
    """A record with a good seal in another run's folder is not that run's."""
    source, target = (place(output, c, data) / "record.json" for c in (TANH, RELU))
    target.write_bytes(source.read_bytes())
    assert store.finished_record(output, target.parent.name) is None
    assert store.finished_record(output, source.parent.name) is not None
    assert (Path(output) / "quarantine").is_dir()


def test_record_that_cannot_be_read_is_left_alone(
    output: str, data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that fails while reading says nothing about the record: exit code 3."""

    def broken(*arguments: object) -> None:
        raise OSError(5, "Input/output error")

    before = files(output)
    with monkeypatch.context() as disk:
        disk.setattr(atomic_files, "open", broken, raising=False)
        with pytest.raises(Refusal, match="Input/output error") as caught:
            store.finished_record(output, run_record.run_id(RELU, data))
    assert caught.value.code == 3
    assert files(output) == before


def test_record_of_another_schema_is_left_alone(output: str, data: Data) -> None:
    """A whole record of another schema is refused with the version that reads it."""
    path = place(output, RELU, data) / "record.json"
    record = json.loads(path.read_bytes())
    del record["seal"]
    record["schema"] = store.SCHEMA + 1
    path.write_text(json.dumps({**record, "seal": seal.digest(record)}))
    with pytest.raises(Refusal, match=record["versions"]["lenet"]):
        store.finished_record(output, path.parent.name)
    assert path.exists()


def test_unknown_run_is_missing(tmp_path: Path) -> None:
    """A run without a record is not finished, and looking for it writes nothing."""
    assert store.finished_record(str(tmp_path), "0" * 16) is None
    assert not list(tmp_path.iterdir())


def test_loaded_stack_has_the_recorded_test_errors(output: str, data: Data) -> None:
    """Each run, and the runs of one structure as a stack, are as they were trained."""
    records = list(store.finished_records(output))
    assert [record["treatment"]["activation"] for record in records].count("tanh") == 1
    for stack in ([records[0]], [records[1]], [records[1], records[1]]):
        model = run_record.load_stack(stack, output)
        assert not model.training
        wrong = mistakes(model(data.test_images / 255), data.test_labels)
        errors = [record["response"]["test_error"] for record in stack]
        assert wrong.double().mean(1).tolist() == pytest.approx(errors)


def test_stack_of_two_structures_is_refused(output: str) -> None:
    """relu and tanh are two programs: they are loaded one after the other."""
    with pytest.raises(Refusal, match="structure"):
        run_record.load_stack(list(store.finished_records(output)), output)
    with pytest.raises(Refusal, match="structure"):
        run_record.load_stack([], output)


class Malicious:
    """What runs code as it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return pytest.fail, ("the weights were unpickled",)


WEIGHTS: dict[str, Callable[[bytes], bytes]] = {
    "truncated": lambda content: content[:-1],
    "empty": lambda content: b"",
    "bit-flipped": lambda content: flip(content, len(content) - 1),
    "a pickle": lambda content: pickle.dumps(Malicious()),
    "other tensors": lambda content: save({"C1.weight": torch.zeros(6, 1, 5, 5)}),
}


@pytest.mark.parametrize("damage", WEIGHTS)
def test_damaged_weights_are_refused_before_loading(
    output: str, data: Data, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights that are not the record's are not read as tensors at all."""
    path = place(output, RELU, data) / "model.safetensors"
    path.write_bytes(WEIGHTS[damage](path.read_bytes()))
    monkeypatch.setattr("safetensors.torch.load", lambda _: pytest.fail("was read"))
    with pytest.raises(Refusal, match="SHA-256") as caught:
        run_record.load_stack([store.select(path.parent.name, output)], output)
    assert caught.value.code == 4
    assert str(path) in str(caught.value)


def test_weights_of_another_run_are_refused(output: str, data: Data) -> None:
    """The weights of another run, whole as they are, are not this run's."""
    source, target = (
        place(output, c, data) / "model.safetensors" for c in (TANH, RELU)
    )
    target.write_bytes(source.read_bytes())
    with pytest.raises(Refusal, match="SHA-256"):
        run_record.load_stack([store.select(target.parent.name, output)], output)


def test_missing_weights_are_named(output: str, data: Data) -> None:
    """A record without its weights file is refused with the path and a way out."""
    path = place(output, RELU, data) / "model.safetensors"
    path.unlink()
    message = f"{path} is not there.*output_dir=<folder>"
    with pytest.raises(Refusal, match=message) as caught:
        run_record.load_stack([store.select(path.parent.name, output)], output)
    assert caught.value.code == 3


def test_run_is_selected_by_prefix_or_folder(output: str, data: Data) -> None:
    """run= is a unique prefix of a run id, or a run's folder."""
    names = [run_record.run_id(c, data) for c in (RELU, TANH)]
    for name in names:
        assert store.select(name, output)["run_id"] == name
        assert store.select(name[:8], output)["run_id"] == name
        assert store.select(f"{output}/runs/{name}", "elsewhere")["run_id"] == name


def test_published_run_is_selected_where_none_was_trained(tmp_path: Path) -> None:
    """In a fresh clone run= means a run of a published study, in however many."""
    for name, seeds in (("a", range(2)), ("b", range(1))):
        records = sealed_studies.one_factor(tmp_path / name, seeds=seeds)
    wanted = records[0]["run_id"]
    assert store.select(wanted[:10], str(tmp_path)) == records[0]
    with pytest.raises(Refusal, match=r"fits 22 of the 22 runs"):
        store.select("", str(tmp_path))


@pytest.mark.parametrize(("run", "count"), [("", 2), ("zz", 0), ("../runs", 0)])
def test_ambiguous_prefix_is_refused(output: str, run: str, count: int) -> None:
    """A prefix that fits no run, or several, is refused with their number."""
    with pytest.raises(Refusal, match=f"fits {count} of the 2 runs"):
        store.select(run, output)


def test_frame_has_a_row_per_run(output: str) -> None:
    """The table of records has the factors, the response and the right bits."""
    records = list(store.finished_records(output))
    table = run_record.record_frame(records)
    assert len(table) == 2
    assert set(table["activation"]) == {"relu", "tanh"}
    assert {"run_id", "seed", "status", "test_error", "right"} <= set(table)
    for row in table.itertuples():
        assert row.test_error == (~row.right).sum() / len(row.right)


@pytest.mark.parametrize("place", ["a value", "a key", "a list"])
@pytest.mark.parametrize("text", ["\x1b[31mred", "a\nb", "\x7f", "\x9b2J", "a\u202eb"])
def test_control_characters_are_refused_under_any_seal(text: str, place: str) -> None:
    """A name that would write to a terminal or break a page, edited in and sealed anew,
    is read nowhere; letters of other scripts and backslashes are."""
    held = {"a value": {"name": text}, "a key": {text: 1}, "a list": [[text]]}[place]
    for content in (seal.seal_text(seal.sealed({"x": held})),
                    json.dumps(seal.sealed({"x": held})).encode()):  # fmt: skip
        with pytest.raises(Refusal, match="control characters") as caught:
            seal.unsealed(content, "plan.json")
        assert caught.value.code == 4
    good = seal.sealed({"x": ["Größe", "数", "a\\b"]})
    assert seal.unsealed(seal.seal_text(good), "plan.json") == good
