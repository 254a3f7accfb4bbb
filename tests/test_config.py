"""What may be typed, and what is refused with the fix in the message."""

import contextlib
import math
import re
import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from lenet import config
from lenet.config import (
    CONF,
    FACTORS,
    GROUPS,
    RANGES,
    RECORDS,
    Config,
    Refusal,
    alternatives,
    check_number,
    composed,
    group_levels,
    names,
    read_conf,
    resolve,
    typed_keys,
    typed_settings,
)
from lenet.terminal import number

TYPED = sorted(RANGES.keys() & typed_keys())
NOT_NUMBERS = ("nan", "inf", "-inf", "1e999", "true", "abc", "'1'", "null", "", "[1]")
SECRET = "a-secret-that-was-planted"


def only_run(*typed: str) -> Config:
    """The only run of a command line."""
    runs, _ = composed(typed)
    assert len(runs) == 1
    return runs[0]


def refusal(*typed: str) -> str:
    """The message with which a command line is refused."""
    with pytest.raises(Refusal) as caught:
        composed(typed)
    assert caught.value.code == 2
    return str(caught.value)


def by_level() -> dict[str, list[str]]:
    """For each level (as it is typed) the keys that it has; "" for no level."""
    keys: dict[str, list[str]] = {"": [key for key in TYPED if "." not in key]}
    for key in TYPED:
        group, _, name = key.rpartition(".")
        owners = (
            [lv for lv, own in group_levels(group).items() if name in own]
            if group
            else []
        )
        for level in owners[:1]:
            keys.setdefault(f"{group}={level}", []).append(key)
    return keys


BY_LEVEL = by_level()
TAUGHT = {f"teacher={level}" for level in names("teacher")} - {"teacher=none"}


@cache
def tree(level: str) -> dict[str, Any]:
    """What Hydra makes of conf/ with this level."""
    with initialize_config_dir(str(CONF.absolute()), version_base="1.3"):
        content = OmegaConf.to_container(compose("config", level.split()), resolve=True)
    assert isinstance(content, dict)
    return {str(key): value for key, value in content.items()}


def outside(key: str, end: str) -> float:
    """The nearest number beyond an end of a key's range."""
    away = -1 if end == "low" else 1
    value: float = getattr(RANGES[key], end)
    return int(value + away) if RANGES[key].whole else math.nextafter(value, away * 1e9)


def chosen(key: str, runs: list[Config]) -> object:
    """What a run made of a key."""
    if key == "replicates":
        return len(runs)
    return runs[0].seed if key == "seed" else runs[0].treatment[key]


@st.composite
def lines(draw: st.DrawFn) -> list[str]:
    """Command lines of levels and numbers in range, some typed twice."""
    level = st.sampled_from([g for g in GROUPS if g != "tracker"])
    number = st.sampled_from(sorted(TYPED))
    typed = []
    for key in draw(st.lists(st.one_of(level, number), max_size=6)):
        if key in GROUPS:
            typed.append(f"{key}={draw(st.sampled_from(names(key)))}")
        else:
            ends = RANGES[key].low, RANGES[key].high
            typed.append(f"{key}={draw(st.sampled_from(ends)):.17g}")
    return typed


@pytest.mark.slow
@settings(max_examples=15, deadline=None)
@given(typed=lines())
def test_tree_is_the_one_that_hydra_composes(typed: list[str]) -> None:
    """Hydra is the slow oracle: the same values, and what it refuses is refused."""
    try:
        with initialize_config_dir(str(CONF.absolute()), version_base="1.3"):
            slow = OmegaConf.to_container(compose("config", typed), resolve=True)
    except HydraException:
        with pytest.raises(Refusal):
            config.tree(config.parse(typed))
        return
    assert config.tree(config.parse(typed)) == slow


def test_default_preset_is_modern() -> None:
    """Nothing typed means the preset modern, on MNIST, with seed 0."""
    runs, places = composed([])
    assert runs == composed(["preset=modern"])[0]
    assert [run.seed for run in runs] == [0]
    assert runs[0].level("activation") == "relu"
    assert runs[0].level("data") == "mnist"
    assert (places.output_dir, places.data_dir, places.tracker) == (
        "outputs",
        None,
        "none",
    )


def test_every_factor_has_a_level_in_both_presets() -> None:
    """A treatment names a level of every factor, and nothing but factors and numbers.

    The optimizer is typed, so that a preset's own may come later than this test.
    """
    for preset in names("preset"):
        treatment = only_run(f"preset={preset}", "optimizer=sgd").treatment
        assert all(treatment[factor] in names(factor) for factor in FACTORS)
        assert treatment.keys() - {*FACTORS, "data"} <= RANGES.keys()


@pytest.mark.parametrize("preset", names("preset"))
def test_preset_sets_numbers_of_its_own_levels(preset: str) -> None:
    """A number that its level lacks would be passed over."""
    content, treatment = (
        read_conf(f"preset/{preset}.yaml"),
        only_run(f"preset={preset}"),
    )
    for group in content.keys() & set(GROUPS):
        assert (
            content[group].keys() <= group_levels(group)[treatment.level(group)].keys()
        )


@pytest.fixture
def softer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """conf/ with a preset of its own: modern with two numbers of its levels changed."""
    caches = (config.group_levels, config.preset_treatments, config.read_conf)
    place = tmp_path / "conf"
    shutil.copytree(CONF, place)
    modern = (CONF / "preset" / "modern.yaml").read_text()
    numbers = "\nhead: {smoothing: 0.05}\naugmentation: {degrees: 10.0}\n"
    (place / "preset" / "softer.yaml").write_text(modern + numbers)
    monkeypatch.setattr(config, "CONF", place)
    for cached in caches:
        cached.cache_clear()
    yield
    for cached in caches:
        cached.cache_clear()


@pytest.mark.usefixtures("softer")
@pytest.mark.parametrize(
    ("typed", "smoothing", "degrees"),
    [
        ([], 0.05, 10.0),
        (["head.smoothing=0.1"], 0.1, 10.0),
        (["head=rbf"], None, 10.0),
        (["head=rbf_map", "augmentation=none"], None, None),
        (["augmentation=affine_elastic"], 0.05, 10.0),  # has degrees too
        (["augmentation=elastic"], 0.05, None),
    ],
)
def test_number_of_a_preset_holds_for_levels_that_have_it(
    typed: list[str], smoothing: float | None, degrees: float | None
) -> None:
    """As Hydra composes it, but for the numbers that it leaves to other levels."""
    with initialize_config_dir(str(config.CONF), version_base="1.3"):
        composed_tree = compose("config", overrides=["preset=softer", *typed])
    content = OmegaConf.to_container(composed_tree, resolve=True)
    assert isinstance(content, dict)
    (of_hydra,), _ = resolve({str(key): value for key, value in content.items()})
    run = only_run("preset=softer", *typed)
    assert run == of_hydra
    assert run.treatment.get("head.smoothing") == smoothing
    assert run.treatment.get("augmentation.degrees") == degrees
    message = refusal("preset=softer", "head=rbf", "head.smoothing=0.1")
    assert "has no number 'smoothing'" in message


@pytest.mark.parametrize("preset", names("preset"))
def test_one_override_changes_one_level(preset: str) -> None:
    """`preset=paper activation=gelu` is the paper with one level changed."""
    base = dict(only_run(f"preset={preset}", "optimizer=sgd").treatment)
    changed = only_run(f"preset={preset}", "optimizer=sgd", "activation=gelu").treatment
    assert base["activation"] != "gelu"
    assert dict(changed) == {**base, "activation": "gelu"}


@pytest.mark.usefixtures("softer")
@pytest.mark.parametrize("preset", [*names("preset"), "softer"])
@pytest.mark.parametrize("level", sorted(BY_LEVEL.keys() - {"", *TAUGHT}))
def test_typed_settings_mean_the_very_treatment(level: str, preset: str) -> None:
    """Every number of a level at the least that it may be, and each level with its
    own; after any preset, and no word more than needed."""
    least = [f"{key}={RANGES[key].low}" for key in BY_LEVEL[level]]
    for numbers in ([], [*least, "epochs=3", "batch_size=7"]):
        run = only_run("preset=paper", "data=digits", level, *numbers)
        typed = typed_settings(run.treatment, preset)
        assert only_run(f"preset={preset}", *typed) == run
        for word in typed:
            fewer = [other for other in typed if other != word]
            with contextlib.suppress(Refusal):
                assert only_run(f"preset={preset}", *fewer) != run


def test_command_line_beats_the_preset_in_any_order() -> None:
    """What is typed wins over the preset, whether it stands before or after it."""
    typed = ["epochs=3", "dropout=0.25", "preset=paper", "optimizer=adam"]
    for line in (typed, typed[::-1]):
        treatment = only_run(*line).treatment
        assert (treatment["epochs"], treatment["dropout"]) == (3, 0.25)
        assert treatment["optimizer"] == "adam"
        assert treatment["pooling"] == "subsample"


def test_numbers_of_the_level_in_use_are_in_the_treatment() -> None:
    """Each optimizer brings its own numbers and no other's."""
    for level, content in group_levels("optimizer").items():
        treatment = only_run(f"optimizer={level}").treatment
        brought = {key for key in treatment if key.startswith("optimizer.")}
        own = {f"optimizer.{name}" for name in content} & RANGES.keys()
        assert brought == own - {"optimizer.batch_size"}
        assert treatment["batch_size"] == content["batch_size"]


def test_batch_size_typed_beats_the_optimizers_own() -> None:
    """batch_size is the optimizer's own unless it is typed."""
    assert only_run("optimizer=sgd", "batch_size=7").treatment["batch_size"] == 7


def test_replicates_are_consecutive_seeds() -> None:
    """replicates=3 seed=5 are the seeds 5, 6, 7 of one treatment."""
    runs, _ = composed(["seed=5", "replicates=3"])
    assert [run.seed for run in runs] == [5, 6, 7]
    assert all(run.treatment == runs[0].treatment for run in runs)


def test_seed_zero_is_a_seed() -> None:
    """seed=0 is seed 0, also when it is typed."""
    assert only_run("seed=0").seed == 0


def test_last_seed_stays_in_range() -> None:
    """Replicates may not count beyond the last seed; the message names both keys."""
    last = int(RANGES["seed"].high)
    assert only_run(f"seed={last}").seed == last
    message = refusal(f"seed={last}", "replicates=2")
    assert f"seed={last} replicates=2" in message
    assert f"to {last}" in message


@pytest.mark.parametrize("end", ["low", "high"])
@pytest.mark.parametrize("level", list(BY_LEVEL))
def test_ends_of_a_range_are_allowed(level: str, end: str) -> None:
    """Each number of a level may be at both ends of its range."""
    values = {key: getattr(RANGES[key], end) for key in BY_LEVEL[level]}
    typed = [f"{key}={value!r}" for key, value in values.items()]
    if end == "high" and not level:
        typed.remove(f"seed={RANGES['seed'].high!r}")  # no room for the replicates
        del values["seed"]
        typed.remove("validation_size=30000")  # nor images for both sizes
        del values["validation_size"]
    typed += [f"{RECORDS}={'a' * 16}"] * (level in TAUGHT)
    runs, _ = composed([*level.split(), *typed])
    assert {key: chosen(key, runs) for key in values} == values


@pytest.mark.parametrize("end", ["low", "high"])
@pytest.mark.parametrize("key", TYPED)
def test_just_outside_a_range_is_refused(key: str, end: str) -> None:
    """The nearest number beyond an end is refused with key, value and range."""
    beyond = outside(key, end)
    group, _, name = key.rpartition(".")
    level = next(level for level, own in BY_LEVEL.items() if key in own)
    content = tree(level)
    changed = {**content[group], name: beyond} if group else beyond
    with pytest.raises(Refusal) as caught:
        resolve({**content, group or key: changed})
    message = f"{key}={beyond} is out of range: {key} is {RANGES[key]}"
    assert (caught.value.code, str(caught.value)) == (2, message)


def test_ranges_cover_every_number_of_every_level() -> None:
    """A number in a level's file has a range, and its default lies in it."""
    for group in set(GROUPS) - {"preset"}:
        for level, content in group_levels(group).items():
            words = {"name", "label", "year", "source", RECORDS.split(".")[1]}
            for name in content.keys() - words:
                assert content[name] in RANGES[f"{group}.{name}"], f"{level}.{name}"


@pytest.mark.parametrize("text", NOT_NUMBERS)
@pytest.mark.parametrize("key", ["optimizer.lr", "epochs", "seed"])
def test_values_that_are_no_number_are_refused(key: str, text: str) -> None:
    """nan, inf, text, a switch, nothing and a list are not numbers."""
    message = refusal(f"{key}={text}")
    assert message.startswith(f"{key}=")
    assert key in message.removeprefix(f"{key}=")


@pytest.mark.parametrize("text", ["1.5", "0", "-1", str(2**64), "1e300"])
def test_epochs_must_be_a_whole_number_in_range(text: str) -> None:
    """A fraction, zero, a negative and a huge number of epochs are refused."""
    assert "epochs is a whole number from 1 to 1000" in refusal(f"epochs={text}")


def test_equal_numbers_are_one_treatment() -> None:
    """2, 2.0 and 2e0 epochs are the same; so are a dropout of 0, 0.0 and -0.0."""
    same = [str(only_run(f"epochs={text}").treatment) for text in ("2", "2.0", "2e0")]
    assert len(set(same)) == 1
    zeros = [
        str(only_run(f"dropout={text}").treatment) for text in ("0", "0.0", "-0.0")
    ]
    assert len(set(zeros)) == 1


@settings(max_examples=20, deadline=None)
@given(
    key=st.sampled_from(["optimizer.lr", "epochs", "dropout", "head.smoothing"]),
    number=st.one_of(st.floats(), st.integers(), st.integers(0, 20), st.floats(0, 1)),
)
def test_number_is_that_number_in_range_or_refused(key: str, number: float) -> None:
    """Whatever number is typed is the value of the run, in range, or it is refused."""
    allowed = number in RANGES[key] or (
        RANGES[key].whole and float(number).is_integer() and int(number) in RANGES[key]
    )
    if allowed:
        assert only_run(f"{key}={number!r}").treatment[key] == number
    else:
        assert f"{key}=" in refusal(f"{key}={number!r}")


@settings(max_examples=60, deadline=None)
@given(text=st.text(max_size=12))
def test_text_is_read_or_refused(text: str) -> None:
    """No text in the place of a value raises anything but a Refusal."""
    for key in ("epochs", "activation", "study", "data_dir"):
        try:
            alternatives([f"{key}={text}"])
        except Refusal as refused:
            assert refused.code == 2


@settings(max_examples=200, deadline=None)
@given(
    key=st.sampled_from(sorted(RANGES)),
    value=st.one_of(st.none(), st.booleans(), st.text(), st.floats(), st.integers()),
)
def test_checked_number_lies_in_its_range(key: str, value: Any) -> None:
    """check_number gives the number it was given, in range, or refuses."""
    try:
        number = check_number(key, value)
    except Refusal:
        return
    assert number == value
    assert not isinstance(number, bool)
    assert number is None or RANGES[key].low <= float(number) <= RANGES[key].high


@pytest.mark.parametrize(
    ("typed", "suggestion"),
    [
        ("activation=rulu", "relu"),
        ("activation=RELU", "relu"),
        ("optimizer=adamm", "adam"),
        ("pooling=subsmaple", "subsample"),
        ("data=digts", "digits"),
        ("tracker=wand", "wandb"),
        ("preset=papr", "paper"),
        ("device=cudaa", "cuda"),
        ("activaton=relu", "activation"),
        ("optimiser=adam", "optimizer"),
        ("epoch=3", "epochs"),
        ("batchsize=3", "batch_size"),
        ("sede=1", "seed"),
        ("outputdir=x", "output_dir"),
        ("lr=0.1", "optimizer.lr"),
        ("momentum=0.1", "optimizer.momentum"),
        ("optimizer.lrr=0.1", "optimizer.lr"),
        ("optimizer.batch_size=8", "batch_size"),
        ("augmentation.shift_pixel=1", "augmentation.shift_pixels"),
    ],
)
def test_misspelt_word_gets_the_nearest_one(typed: str, suggestion: str) -> None:
    """A misspelt key or level is refused with the one that was meant."""
    message = refusal(typed)
    match = re.search(r"did you mean ([\w.]+)\?", message)
    assert match, message
    assert match[1] == suggestion
    key, _, value = typed.partition("=")
    assert repr(key) in message or f"{key} {value!r}" in message


def test_unknown_level_lists_the_levels() -> None:
    """The message for an unknown level lists the group's levels."""
    assert refusal("norm=xyzzy").endswith(f"levels: {', '.join(names('norm'))}")


@pytest.mark.parametrize(
    "typed",
    [
        "+unknown=1",
        "++x=1",
        "+epochs=3",
        "++epochs=3",
        "+activation=relu",
        "++activation=relu",
        "~activation",
        "~activation=relu",
        "~epochs",
        "+optimizer.momentum=0.5",
        "++optimizer.momentum=0.5",
        "+data@other=mnist",
        "activation@other=relu",
        "_target_=os.system",
        "+_target_=os.system",
        "optimizer._target_=os.system",
        "+optimizer._target_=os.system",
        "++tracker._target_=os.system",
        "optimizer={_target_:os.system}",
        "+optimizer={_target_:os.system}",
        "defaults=[]",
        "optimizer.name=sgd",
        "optimizer.source=x",
        "seed.x=1",
        "activation=[relu]",
        "activation={name:relu}",
        "activation=../activation/relu",
        "activation=null",
        "epochs",
        "=1",
        "",
    ],
)
def test_only_known_keys_are_set_to_plain_values(typed: str) -> None:
    """Keys are not added, removed or nested, and nothing can be instantiated."""
    assert refusal(typed)


@pytest.mark.parametrize("key", ["study", "data_dir", "output_dir", "epochs", "norm"])
def test_interpolation_is_not_resolved(
    key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A secret in the environment cannot be put into a value, nor into a message."""
    monkeypatch.setenv("WANDB_API_KEY", SECRET)
    for value in ("${oc.env:WANDB_API_KEY}", "'${oc.env:WANDB_API_KEY}'", "${seed}"):
        message = refusal(f"{key}={value}")
        assert SECRET not in message
        assert key in message


@pytest.mark.parametrize("key", ["hydra.run.dir", "hydra.job.name", "hydra.sweep.dir"])
def test_hydra_puts_no_secret_into_the_name_of_a_file(
    key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The launchers' settings may refer to each other, not to the environment."""
    monkeypatch.setenv("WANDB_API_KEY", SECRET)
    message = refusal(f"{key}=x-${{oc.env:WANDB_API_KEY}}")
    assert key in message and SECRET not in message
    composed([f"{key}=${{hydra.runtime.cwd}}"])


@pytest.mark.parametrize(
    "name", ["../x", "a/b", ".", "..", "a\0b", "'a b'", "a\nb", "\x1b[31m", "<b>", "''"]
)
def test_study_is_a_plain_name(name: str) -> None:
    """A study has no path, NUL, markup or control character in its name."""
    message = refusal(f"study={name}")
    assert "study" in message
    assert message.isprintable()


@pytest.mark.parametrize("name", ["first", "Second-2", "a_b"])
def test_study_name_is_kept(name: str) -> None:
    """A plain name is the study's."""
    assert composed([f"study={name}"])[1].study == name


@pytest.mark.parametrize("value", ["a\0b", "'a\0b'", "'\x1b[31m'", "''", "' '", "null"])
def test_output_dir_is_printable_text(value: str) -> None:
    """An output folder without a name, or with a control character, is refused."""
    assert "output_dir" in refusal(f"output_dir={value}")


def test_number_of_another_level_is_refused_with_the_fix() -> None:
    """sgd has no momentum: the message names key, level's group and number."""
    message = refusal("optimizer=sgd", "optimizer.momentum=0.5")
    assert "optimizer.momentum=0.5" in message
    assert "'momentum'" in message
    assert "conf/optimizer/" in message


def test_low_above_high_is_refused_naming_both() -> None:
    """An empty interval of scales is refused, with both keys in the message."""
    low, high = "augmentation.scale_low", "augmentation.scale_high"
    message = refusal("augmentation=affine_1998", f"{low}=2", f"{high}=1.5")
    assert f"{low}=2.0" in message
    assert f"{high}=1.5" in message


def test_several_values_need_multirun() -> None:
    """A list of values without -m is refused, and the message says so."""
    for typed in ("seed=0,1", "activation=glob(*)", "seed=range(3)"):
        assert f"{typed}: several values need -m" in refusal(typed)


def test_hydras_keys_are_allowed_and_checked() -> None:
    """hydra.* is Hydra's: it changes no run, and a wrong key of it is refused."""
    assert only_run("hydra.job.name=x", "hydra/job_logging=none") == only_run()
    assert "hydra.foo" in refusal("hydra.foo=1")
    assert "launcher" in refusal("hydra/launcher=xyzzy")


def test_multirun_is_every_combination() -> None:
    """The swept values of -m are crossed, the last one fastest."""
    lines = alternatives(["activation=relu,tanh", "epochs=3", "seed=range(2)"])
    assert lines == [
        ["activation=relu", "epochs=3", "seed=0"],
        ["activation=relu", "epochs=3", "seed=1"],
        ["activation=tanh", "epochs=3", "seed=0"],
        ["activation=tanh", "epochs=3", "seed=1"],
    ]


def test_multirun_knows_choice_and_glob() -> None:
    """choice() and glob() are lists of values; a glob goes over the group's levels."""
    assert len(alternatives(["activation=choice(relu,tanh)"])) == 2
    every = [line[0] for line in alternatives(["pooling=glob(*)"])]
    assert every == [f"pooling={name}" for name in names("pooling")]


def test_multirun_over_nothing_is_refused() -> None:
    """A sweep over no value, or over an interval, is refused: nothing would run."""
    for typed in ("activation=glob(zz*)", "seed=range(3,0)", "dropout=interval(0,0.5)"):
        with pytest.raises(Refusal, match=re.escape(typed)):
            alternatives([typed])


def test_levels_have_a_year_and_a_source() -> None:
    """Each level's file says its own name, a year and where it comes from."""
    for group in set(GROUPS) - {"preset"}:
        assert set(group_levels(group)) == set(names(group))
        for name, content in group_levels(group).items():
            assert (CONF / group / f"{name}.yaml").is_file()
            assert 1900 < content["year"] < 2030
            assert len(content["source"]) > 10


def test_fraction_is_a_number() -> None:
    """8/255, as radii are written, is the same run as its decimals; 1/0 is no number,
    and a whole number is none."""
    typed = ("adversary=pgd", "data=digits", "adversary.epsilon=")
    epsilon = only_run(*typed[:2], f"{typed[2]}8/255").treatment["adversary.epsilon"]
    assert epsilon == 8 / 255
    assert (
        only_run(*typed[:2], f"{typed[2]}{8 / 255!r}").treatment[typed[2][:-1]]
        == epsilon
    )
    assert "out of range" in refusal(*typed[:2], f"{typed[2]}1/0")
    assert "out of range" in refusal("batch_size=8/2")
    assert number("epsilon", "8/255") == epsilon


@pytest.mark.parametrize(
    ("typed", "advice"),
    [
        (
            "partition=a,b",
            "write hydra.launcher.partition=<value>, with hydra/launcher",
        ),
        ("mem_gb=4GB", "write hydra.launcher.mem_gb=<value>, with hydra/launcher"),
        (
            "hydra.launcher.mem_gb=4GB",
            "the number of GB alone, hydra.launcher.mem_gb=4",
        ),
        ("hydra.launcher.mem_gb=4", "it goes with a launcher, hydra/launcher=submitit"),
        ("hydra.launcher.partition=a,b", "\"hydra.launcher.partition='a,b'\""),
        ("replicates=3,5", "one number; certain seeds are seed=3,5 with -m"),
        ("study=123", "\"study='123'\""),
        ("optimizer.lr='0.001'", "is a text: leave out the inner quotes"),
        ("device=gpu", "a GPU is device=cuda"),
        ("device=mps", "device=cpu trains in compiled loops"),
    ],
)
def test_refusal_has_the_right_advice(typed: str, advice: str) -> None:
    """What others typed, and what they should have typed."""
    message = refusal(typed)
    assert advice in message and "To append" not in message
    if typed == "replicates=3,5":
        with pytest.raises(Refusal, match="one number"):
            alternatives([typed])


def test_labels_are_for_readers_alone() -> None:
    """Each level has a short one, its own within the factor; no run has any."""
    for factor in FACTORS:
        labels = [content["label"] for content in group_levels(factor).values()]
        assert len(set(labels)) == len(labels)
        assert all(0 < len(label) < 32 and "+" not in label for label in labels)
    assert not [key for key in only_run().treatment if key.endswith("label")]
    with pytest.raises(Refusal, match="unknown"):
        only_run("activation.label=mine")
