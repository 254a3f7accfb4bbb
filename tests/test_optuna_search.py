"""A search with Optuna: by held-out images alone, resumed as if it had not stopped."""

import json
import math
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from lenet import optuna_search, train
from lenet.config import Config, Places, Refusal, composed
from lenet.optuna_search import read_search, run_search
from lenet.records.record_types import Record

pytest.importorskip("optuna", reason="the extra optuna is not installed")

SPACE = ("optimizer.lr=tag(log,interval(1e-4,1e-1))", "activation=relu,tanh")
FIXED = ("data=digits", "validation_size=200", "hydra/sweeper=optuna")


class Answer(dict[str, Any]):
    """A record's responses, of which the test error may not be read."""

    def get(self, key: str, default: Any = None) -> Any:
        assert key == "validation_error", f"a search read {key}"
        return super().get(key, default)

    def __getitem__(self, key: str) -> Any:
        return self.get(key)


class Trainer:
    """Stands in for training: an error that the settings alone decide, and who asked;
    it stops at the trial that it is told to."""

    def __init__(self, stop: int = -1) -> None:
        self.asked: list[tuple[float, str]] = []
        self.stop = stop

    def __call__(self, configs: Sequence[Config], places: Places) -> list[Record]:
        rate = configs[0].number("optimizer.lr")
        if len(self.asked) == self.stop:
            raise KeyboardInterrupt
        self.asked.append((rate, configs[0].level("activation")))
        worse = 0.1 * (configs[0].level("activation") == "tanh")
        error = abs(math.log10(rate) + 2.5) / 10 + worse
        return [{"response": Answer(validation_error=error)} for _ in configs]


def line(place: Path, trials: int, *more: str) -> list[str]:
    """A command line of a search."""
    return [*FIXED, *SPACE, f"output_dir={place}", f"hydra.sweeper.n_trials={trials}",
            *more]  # fmt: skip


@pytest.mark.slow
def test_search_goes_on_as_if_it_had_not_stopped(tmp_path: Path) -> None:
    """Stopped by Ctrl-C in a trial, ended early and taken up: the same proposals, and
    each is trained once."""
    whole, parts = Trainer(), Trainer(stop=4)
    expected = run_search(read_search(line(tmp_path / "whole", 14)), whole)
    with pytest.raises(KeyboardInterrupt):
        run_search(read_search(line(tmp_path / "parts", 6)), parts)
    parts.stop = -1
    run_search(read_search(line(tmp_path / "parts", 6)), parts)
    assert len(parts.asked) == 6
    result = run_search(read_search(line(tmp_path / "parts", 14)), parts)
    assert parts.asked == whole.asked and len(set(whole.asked)) > 12
    assert result.data["best_params"] == expected.data["best_params"]
    assert run_search(read_search(line(tmp_path / "parts", 14)), Trainer(stop=0))
    text = (tmp_path / "parts" / "multirun" / "optimization_results.yaml").read_text()
    assert f'"activation": "{result.data["best_params"]["activation"]}"' in text


def test_best_is_that_of_the_least_held_out_error(tmp_path: Path) -> None:
    """ReLU near 10^-2.5; every seed counts, and one that diverged reads nothing."""
    result = run_search(read_search(line(tmp_path, 30)), Trainer())
    assert result.data["best_params"]["activation"] == "relu"
    assert abs(math.log10(result.data["best_params"]["optimizer.lr"]) + 2.5) < 0.3
    lost = [{"response": {"validation_error": e}} for e in (0.2, None)]
    assert optuna_search.objective(lost) == pytest.approx(0.6)


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        (["activation=relu,tanh"], "validation_size=0: say validation_size=5000"),
        (["validation_size=9"], "needs something to search: activation="),
        (["validation_size=9,8"], "validation_size is not searched"),
        (["validation_size=9", "seed=1,2"], "seed is not searched; give it one value"),
        (["validation_size=9", "dropout=interval(0,2)"], "dropout=2.* out of range"),
        (["validation_size=9", "dropout=interval(0.5,0)"], "the smaller number first"),
        (["validation_size=9", "activation=interval(0,1)"], "has levels: name some"),
        (["validation_size=9", "activation=relu,rulu"], "did you mean relu"),
        (["validation_size=9", "dropout=0,0.1", "hydra.sweeper.n_trials=0"],
         "hydra.sweeper.n_trials=0 is out of range"),
        (["validation_size=9", "dropout=0,0.1", "hydra.sweeper.sampler=tpa"],
         "did you mean tpe"),
        (["validation_size=9", "dropout=0,0.1", "hydra/launcher=basic"],
         "a search trains here"),
    ],
)  # fmt: skip
def test_bad_search_is_refused(typed: list[str], says: str, tmp_path: Path) -> None:
    """Before anything is trained, with the fix, and nothing is left on disk."""
    words = ["data=digits", "hydra/sweeper=optuna", f"output_dir={tmp_path / 'o'}"]
    with pytest.raises(Refusal, match=says):
        read_search([*words, *typed])
    assert not list(tmp_path.iterdir())


def test_search_of_other_settings_is_not_mixed_in(tmp_path: Path) -> None:
    """Under one name lie the trials of one search; a storage of one's own is used."""
    own = f"hydra.sweeper.storage='sqlite:///{tmp_path / 'mine.db'}'"
    named = (own, "hydra.sweeper.study_name=mine")
    run_search(read_search(line(tmp_path / "o", 2, *named)), Trainer())
    assert (tmp_path / "mine.db").exists()
    with pytest.raises(Refusal, match="study_name=mine is a search of other settings"):
        run_search(
            read_search(line(tmp_path / "o", 2, *named, "epochs=3")),
            Trainer(),
        )
    with pytest.raises(Refusal, match=r"storage=nowhere cannot be opened"):
        other = line(tmp_path / "o", 2, "hydra.sweeper.storage=nowhere")
        run_search(read_search(other), Trainer())


def test_search_needs_multirun_and_known_keys() -> None:
    """Hydra's other sweepers are none of ours, and -m is what searches."""
    with pytest.raises(Refusal, match="of lenet train, with -m"):
        composed(["hydra/sweeper=optuna"])
    with pytest.raises(Refusal, match="did you mean optuna"):
        composed(["hydra/sweeper=optima"])
    with pytest.raises(Refusal, match="hydra/sweeper=optuna and"):
        composed(["hydra.sweeper._target_=os.system"])


def test_missing_optuna_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As every optional library does."""
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(Refusal, match=r"pip install 'lenet\[optuna\]'"):
        run_search(read_search(line(tmp_path, 2)), Trainer())


@pytest.mark.slow
def test_command_searches(tmp_path: Path) -> None:
    """The example of docs/command.md: real runs, which the store keeps."""
    typed = ["train", "-m", "hydra/sweeper=optuna", "hydra.sweeper.n_trials=2"]
    typed += ["data=digits", "train_size=64", "validation_size=50", "epochs=1"]
    command = [sys.executable, "-m", "lenet", *typed, "dropout=interval(0,0.5)"]
    done = subprocess.run(
        [*command, "--json", f"output_dir={tmp_path / 'o'}"],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent.parent,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["trials"] == 2 and 0 <= result["best_params"]["dropout"] <= 0.5
    assert "test error" not in done.stderr + done.stdout
    ids = [p.parent.name for p in (tmp_path / "o").glob("runs/*/record.json")]
    assert len(ids) == 2
    assert train.result_values([], Places()) == {"runs": []}
