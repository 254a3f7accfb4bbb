"""Whatever is typed: exit code 2 or 3, at most three lines with the fix, no traceback,
nothing on disk, at once, and no secret. The commands run in this process, so that five
hundred lines share one import."""

import importlib
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lenet import terminal, train
from lenet.__main__ import run_verb
from lenet.commands import chart, sweep
from lenet.config import FACTORS, GROUPS, RANGES, Refusal, alternatives, typed_keys

ROOT = Path(__file__).parents[2]
SECRET = "a-secret-that-was-planted"
LONG = "x" * 300
SLOWEST = 20.0  # seconds of one line, of which a busy machine may import torch

NO_NUMBERS = ("nan", "inf", "-inf", "1e999", "-1e9", "abc", "true", "null!", "''")
NO_NUMBERS += ("[1]", "{a:1}", "1_0", "0x10", "1;2", "(1", "'1", "9" * 400, "9" * 5000)
NUMBERS = ("epochs", "seed", "batch_size", "optimizer.lr", "dropout", "replicates")
NO_LEVELS = ("zzz", "null", "[relu]", "{name:relu}", "../relu", "''", "relu;", LONG)
NO_PATHS = ("''", "' '", "a\0b", "'a\x1b[31m'", "null", "[a]", "${oc.env:HOME}", LONG)
NO_NAMES = (*NO_PATHS, "../x", "a/b", ".", "'a b'", "<b>", "runs", "attempts")
NO_NAMES += ("quarantine", "multirun", "reruns", "tensorboard", "wandb", "'=1'")
NO_KEYS = ("", "=", "=1", "epochs", "+epochs=2", "++epochs=2", "~epochs", "epoch=2")
NO_KEYS += (
    "+x=1",
    "_target_=os.system",
    "+optimizer._target_=os.system",
    "defaults=[]",
)
NO_KEYS += ("optimizer.lrr=1", "activation@other=relu", "seed.x=1", f"{LONG}=1")
NO_KEYS += ("[" * 3000, f"seed={'[' * 3000}1{']' * 3000}", "seed=\n1", "épochs=2")
NO_HYDRA = (
    "hydra.job.env_copy=[WANDB_API_KEY]",
    "+hydra.job.env_copy=[WANDB_API_KEY]",
    "hydra.job={env_copy:[WANDB_API_KEY]}",
    "hydra.job.env_set={A:1}",
    "+hydra.job.env_set.A=1",
    "hydra.run.dir=${env:HOME}",
    "hydra.run.dir=${oc.env:WANDB_API_KEY}",
    "'hydra.run.dir=${ oc.env:WANDB_API_KEY }'",
    "hydra.sweep.dir=${oc.decode:WANDB_API_KEY}",
    "hydra.job.name=${hydra:${oc.env:WANDB_API_KEY}}",
    "hydra.job.name=x-${oc.env:WANDB_API_KEY}",
    "hydra.job.name=a,b",
    "hydra.searchpath=[file:///tmp]",
    "hydra.mode=MULTIRUN",
    "hydra.foo=1",
    "hydra.output_subdir=x",
    "hydra.job.chdir=true",
    "hydra.job_logging={version:1}",
    "hydra.callbacks={a:{_target_:os.system}}",
    "+hydra.callbacks.a._target_=os.system",
    "hydra.launcher._target_=os.system",
    "+hydra.launcher.x={_target_:os.system}",
    "hydra/launcher=xyzzy",
    "hydra/sweeper=xyzzy",
    "hydra/help=default",
    "hydra={}",
)
ENDLESS = (
    "seed=range(0,1000000000)",
    "seed=range(1,inf)",
    "seed=range(-inf,1)",
    "seed=range(nan,1)",
    "seed=range(0,10,0)",
    "seed=range(0,20000)",
    "seed=range(0,1e300)",
    f"seed=range(0,{'9' * 400})",
    "optimizer.lr=range(0,1,1e-300)",
    "optimizer.lr=range(0.0,1.0,1e-9)",
    "seed=shuffle(range(0,1000000000))",
    "seed=sort(range(0,1000000000))",
    "dropout=interval(0,0.5)",
    "activation=glob(zz*)",
    "seed=range(3,0)",
    "activation=relu,zzz",
    "epochs=1,0",
    "seed=choice()",
)
FLAGS = (
    ["--epochs=3"],
    ["--config-name=other"],
    ["--config-dir=/"],
    ["--config-path=/tmp"],
    ["--experimental-rerun=job.pickle"],
    ["--resolve"],
    ["--package=x"],
    ["--run", "-m"],
    ["-m", "--cfg", "job"],
    ["--cfg", "zzz"],
    ["--cfg"],
    ["--info", "zzz"],
    ["--info", "defaults", "--run"],
    ["-x"],
    ["--"],
)
PRESETS = (
    ["preset=paper", "optimizer=sgd", "optimizer.momentum=0.5"],
    [
        "augmentation=affine_1998",
        "augmentation.scale_low=2",
        "augmentation.scale_high=1",
    ],
    ["seed=2147483647", "replicates=2"],
    ["data=digits", "train_size=2000"],
    ["data=digits", "train_size=1297", "validation_size=1"],
    ["data=digits", "validation_size=1297"],
    ["data=digits", "adversary=pgd", "adversary.held_out=1297"],
    ["train_size=60000", "validation_size=1"],
    ["data_dir=nowhere", "data=mnist"],
)
SETTINGS = [
    *([f"{key}={value}"] for key, value in product(NUMBERS, NO_NUMBERS)),
    *([f"{group}={value}"] for group, value in product(GROUPS, NO_LEVELS)),
    *([f"{key}={v}"] for key, v in product(("output_dir", "data_dir"), NO_PATHS)),
    *([f"study={value}"] for value in NO_NAMES),
    *([text] for text in (*NO_KEYS, *NO_HYDRA)),
    *PRESETS,
]


def goes_through(line: list[str]) -> bool:
    """Whether a line that is bad for others is none for lenet.train."""
    allowed = ("data_dir=null", "study=null", "hydra/sweeper=xyzzy")
    return line[0] in allowed and line[0] != "hydra/sweeper=xyzzy"


TRAIN = [line for line in SETTINGS if not goes_through(line)]
TRAIN += [
    [f"{key}={RANGES[key].high + 1:.17g}"] for key in sorted(typed_keys() & {*RANGES})
]
TRAIN += [["-m", text] for text in ENDLESS] + [list(flags) for flags in FLAGS]
DESIGNED = [["design=quick", *line] for line in SETTINGS[::3] if not goes_through(line)]
SWEEP = [
    *DESIGNED,
    [],
    ["design=zzz"],
    ["design="],
    ["design"],
    ["design=quick", "design=path"],
    ["design=../quick"],
    [f"design={LONG}"],
    ["design=quick", "action=zzz"],
    ["design=quick", "action="],
    *(["design=quick", f"workers={n}"] for n in ("0", "-1", "1.5", "abc", "9" * 5000)),
    ["design=quick", "workers=2", "hydra/launcher=submitit_local"],
    ["design=quick", "hydra/launcher=xyzzy"],
    ["design=quick", "yes=maybe"],
    ["design=quick", "run=abc"],
    ["design=quick", "activation=relu"],
    ["design=quick", "seed=0,1"],
    ["design=quick", "seed=range(0,1000000000)"],
    ["design=factorial", "replicates=1000"],
    ["design=quick", "train_size=2000"],
    ["design=quick", "action=plan", "train_size=2000"],
    ["design=tuning_optimizer", "validation_size=0"],
    ["design=quick", "--config-name=x"],
    *(
        [f"action={action}", *more, bad]
        for action, more in (
            ("status", ["study=quick"]),
            ("verify", []),
            ("rerun", ["run=abc"]),
        )
        for bad in (
            *("run=abc", "epochs=zzz", "epochs=3", "activation=zzz", "workers=2"),
            *("yes=true", "hydra/launcher=ray", "replicates=2", "zzz=1", "output_dir="),
            *("output_dir=nowhere", f"output_dir={LONG}", "output_dir='a\x1b'"),
            "output_dir=a\0b",
        )
        if not (action == "rerun" and bad == "run=abc")
    ),
    ["action=status"],
    ["action=status", "study=../x"],
    ["action=status", "study=runs"],
    ["action=status", f"study={LONG}"],
    ["action=status", "study=zzz"],
    ["action=verify"],
    ["action=rerun"],
    ["action=rerun", f"run={LONG}"],
    ["action=rerun", "run=zzz", "data_dir=nowhere"],
]
COMMON = (["zzz=1"], ["output_dir="], [f"output_dir={LONG}"], ["output_dir='a\x1b'"])
COMMON += (
    ["="],
    [""],
    ["--zzz"],
    ["output_dir=a\0b"],
    [f"{LONG}=1"],
    ["output_dir=' '"],
)
READING = (*COMMON, ["data_dir="], ["data_dir=nowhere"], [f"data_dir={LONG}"])
OTHERS: dict[str, list[list[str]]] = {
    "ablation_chart": [
        *COMMON,
        [],
        ["study=zzz"],
        ["study=a,b,c"],
        ["study="],
        ["reference=[activation=relu]"],
        ["reference="],
        ["study=../x", "reference=[a=b]"],
        ["study=runs", "reference=[a=b]"],
        [f"study={LONG}", "reference=[a=b]"],
        ["mix=maybe"],
        ["allow_partial=1"],
        ["epochs=3"],
        ["output_dir=nowhere", "study=quick"],
        ["study=zzz", "width=abc"],
        ["study=zzz", "width=0"],
        ["study=zzz", f"width={LONG}"],
        ["study=zzz", "columns=3"],
        ["study=zzz", "format=gif"],
        ["study=zzz", f"format={LONG}"],
        ["study=zzz", "title=foo"],
        ["study=zzz", f"caption={LONG}"],
    ],
    "attack": [
        *READING,
        [],
        ["run="],
        ["run=zzz"],
        [f"run={LONG}"],
        ["run=zzz", "attack=zzz"],
        ["run=zzz", "output_dir=nowhere"],
        ["run=../.."],
    ],
    "robustness_chart": [
        *READING,
        [],
        ["study=zzz"],
        ["study=x", "effort=zzz"],
        ["study=x", "norm=zzz"],
        ["study=x", "allow_partial=2"],
        ["study=x", "epsilon=zzz"],
    ],
    "interpretation": [
        *READING,
        [],
        ["run=a", "study=b"],
        ["run=zzz"],
        [f"run={LONG}"],
        ["study=zzz"],
        ["study=zzz", "methods=[zzz]"],
        ["study=zzz", "probe.train=1"],
        ["study=zzz", "probe.train=zzz"],
        ["study=zzz", "probe.zzz=1"],
        ["study=zzz", "layers.image=-1"],
    ],
    "paper_1998": [*READING, [], ["output_dir=nowhere"]],
    "architecture": [*COMMON, ["study=x"]],
    "benchmark": [
        *(["images=0"], ["images=abc"], ["repeats=-1"], ["repeats=0"], ["zzz=1"]),
        *(["device=nope"], ["device=cuda"], ["child=x"], ["child={}"], ["cases=zzz"]),
    ],
    "attack_benchmark": [["zzz=1"], [""], ["repeats=3"], ["--zzz"]],
}
LINES = [("train", line) for line in TRAIN] + [("sweep", line) for line in SWEEP]
LINES += [(name, line) for name, lines in OTHERS.items() for line in lines]


def test_there_are_five_hundred_lines() -> None:
    """The table is as long as it is said to be, and no line is in it twice."""
    assert len({(name, *line) for name, line in LINES}) >= 500


# The programs of scripts/ that are a command of lenet's.
COMMANDS = {"sweep": "sweep", "attack": "attack", "ablation_chart": "chart"}
COMMANDS |= {"robustness_chart": "robustness", "interpretation": "interpret"}


@pytest.fixture(scope="module")
def programs() -> Iterator[Callable[[str], Callable[[], None]]]:
    """The entry point of a program."""

    def entry(name: str) -> Callable[[], None]:
        if name in COMMANDS:
            return lambda: run_verb(COMMANDS[name], sys.argv[1:])
        module = train if name == "train" else importlib.import_module(name)
        main: Callable[[], None] = module.main
        return main

    sys.path.insert(0, str(ROOT / "scripts"))
    yield entry
    sys.path.remove(str(ROOT / "scripts"))


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """The handlers of signals, which a command changes, are as they were."""
    before = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def shown(line: list[str]) -> str:
    """The id of a case."""
    text = " ".join(line)
    return ascii(text if len(text) < 60 else f"{text[:30]}({len(text)})")


@pytest.mark.parametrize(
    ("name", "line"), LINES, ids=[f"{name}-{shown(line)}" for name, line in LINES]
)
def test_bad_line_is_refused(
    name: str,
    line: list[str],
    programs: Callable[[str], Callable[[], None]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Exit code 2 or 3, at most three short lines, no file, within seconds."""
    import urllib.request

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_API_KEY", SECRET)
    monkeypatch.setenv("LENET_DATA", str(tmp_path / "nowhere"))
    monkeypatch.setattr(urllib.request, "urlopen", no_network)
    monkeypatch.setattr(sys, "argv", [f"{name}.py", *line])
    monkeypatch.setattr(
        "lenet.training.stack.train", lambda *rest: pytest.fail("it trained")
    )
    program, began = programs(name), time.monotonic()
    with pytest.raises(SystemExit) as stop:
        terminal.command(program)
    took = time.monotonic() - began
    out, err = capsys.readouterr()
    messages = [text for text in err.splitlines() if not text.startswith("note: ")]
    assert stop.value.code in (2, 3), err
    assert 1 <= len(messages) <= 3 and len(err) < 2000, err
    assert "Traceback" not in err and SECRET not in err + out and not out
    assert all(text.isprintable() for text in messages)
    assert not list(tmp_path.iterdir())
    assert took < SLOWEST


def no_network(*arguments: object, **named: object) -> None:
    """In the place of a download."""
    raise OSError("no network")


WORDS = st.sampled_from(
    [
        *("[", "]", "{", "}", "(", ")", ",", ":", "'", '"', "\\", "$", "${", "=", "+"),
        *("~", "@", "%", "range(", "choice(", "glob(", "sort(", "float(", "null"),
        *(
            "0",
            "1",
            "1e9",
            "-3",
            "nan",
            "inf",
            "relu",
            "*",
            "..",
            "/",
            " ",
            "é",
            "\x1b",
        ),
    ]
)
KEYS = st.sampled_from([*FACTORS, "seed", "epochs", "optimizer.lr", "output_dir", "x"])


@settings(
    max_examples=300,
    deadline=10_000,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    key=st.one_of(KEYS, st.text(max_size=8)),
    words=st.lists(WORDS, max_size=12).map("".join),
    sign=st.sampled_from(["=", "+=", "", "=="]),
)
def test_line_of_the_grammar_is_read_or_refused(
    key: str, words: str, sign: str, tmp_path: Path
) -> None:
    """Whatever Hydra's grammar makes of a line: command lines, or a Refusal."""
    text = f"{key}{sign}{words}"
    try:
        typed = alternatives([text])
    except Refusal as refusal:
        assert refusal.code in (2, 3) and str(refusal).count("\n") < 3
        return
    assert 1 <= len(typed) <= 1000
    for line in typed[:2]:
        try:
            train.refuse_mistyped(line)
        except Refusal as refusal:
            assert refusal.code in (2, 3)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may search any folder")
def test_folder_that_cannot_be_searched_is_refused(tmp_path: Path) -> None:
    """A parent without permission: exit code 3."""
    (tmp_path / "closed").mkdir(0o000)
    with pytest.raises(Refusal) as caught:
        train.refuse_mistyped([f"output_dir={tmp_path}/closed/x"])
    assert caught.value.code == 3


def test_loop_of_links_is_refused(tmp_path: Path) -> None:
    """A link to itself leads nowhere: exit code 3."""
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(Refusal, match="leads nowhere|loop") as caught:
        train.refuse_mistyped([f"output_dir={tmp_path}/loop/x"])
    assert caught.value.code == 3


def test_quotes_and_home_mean_the_same_to_every_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`'s p'` is a folder without quotes, and `~` the home folder, for train, sweep,
    status and every script."""
    from lenet.config import composed

    monkeypatch.setenv("HOME", "/home/of/somebody")
    for typed, meant in (
        ("output_dir='s p'", "s p"),
        ('output_dir="s p"', "s p"),
        ("output_dir='~/x'", "/home/of/somebody/x"),
        (r"output_dir='it\'s'", "it's"),
    ):
        assert composed([typed])[1].output_dir == meant
        assert terminal.pair(typed) == ("output_dir", meant)
        assert sweep.typed_folder([typed], "output_dir", "") == meant
        assert chart.typed_pairs([typed], chart.OWN) == {"output_dir": meant}
    for script in (ROOT / "scripts").glob("*.py"):  # none reads its arguments itself
        source = script.read_text(encoding="utf-8")
        assert not re.search(r"""(split|partition)\(["']=""", source), script
        assert re.search(r"\b(typed\(|pair, |run_script\()", source), script
