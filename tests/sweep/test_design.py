"""A design means exactly the treatments that it says, or is refused with the fix."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lenet.config import Refusal, composed, group_levels
from lenet.studies.statistics import blocks_needed
from lenet.sweep import design

SMALL = {"preset": "modern", "data": "digits", "augmentation": "none", "replicates": 2}
Written = Callable[..., str]


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Written:
    """Writes a design into a conf/design of its own; returns its name."""
    (tmp_path / "design").mkdir()
    monkeypatch.setattr(design, "CONF", tmp_path)

    def write(**content: object) -> str:
        given = {"kind": "one_factor", "base": SMALL, **content}
        (tmp_path / "design" / "mine.yaml").write_text(
            yaml.safe_dump(given, sort_keys=False)
        )
        return "mine"

    return write


def refused(name: str, *overrides: str) -> str:
    """The message with which a design is refused."""
    with pytest.raises(Refusal) as caught:
        design.load_design(name, overrides)
    assert caught.value.code == 2
    return str(caught.value)


def year(setting: tuple[str, object]) -> int:
    """When a level was published."""
    factor, level = setting
    return int(group_levels(factor)[str(level)]["year"])


def arms(loaded: design.Design) -> list[str]:
    """The names of a design's arms."""
    return [arm.name for arm in loaded.arms]


def test_one_factor_is_the_reference_and_each_level_alone(written: Written) -> None:
    """Each arm differs from the base by its own level, and by what follows from it."""
    name = written(factors={"activation": ["tanh", "gelu"], "dropout": [0.5]})
    loaded = design.load_design(name, [])
    assert arms(loaded) == [
        "reference",
        "activation=tanh",
        "activation=gelu",
        "dropout=0.5",
    ]
    reference = loaded.arms[0].treatment
    for arm in loaded.arms[1:]:
        different = {k for k in reference if reference[k] != arm.treatment[k]}
        assert different == set(arm.changes)
    assert loaded.seeds == [0, 1] and len(loaded.runs) == 8
    assert loaded.keys == ["activation", "dropout"]


def test_factorial_is_every_combination_of_groups(written: Written) -> None:
    """A level may set several keys; the first levels together are the reference."""
    units = {
        1998: {"activation": "scaled_tanh", "init": "lecun_sqrt"},
        "today": {"activation": "relu", "init": "kaiming"},
    }
    factors = {"units": units, "norm": ["none", "batch"], "dropout": [0.0, 0.5]}
    loaded = design.load_design(written(kind="factorial", factors=factors), [])
    assert len(loaded.arms) == 8
    first, last = loaded.arms[0], loaded.arms[-1]
    assert first.levels == {"units": "1998", "norm": "none", "dropout": "0.0"}
    assert first.treatment["init"] == "lecun_sqrt"
    assert last.treatment["init"] == "kaiming" and last.treatment["norm"] == "batch"


def test_ladder_turns_one_factor_after_the_other(written: Written) -> None:
    """From the first levels of all to the second ones; each arm turns one more."""
    units = {1998: {"activation": "tanh"}, "today": {"activation": "relu"}}
    factors = {"units": units, "norm": ["none", "batch"]}
    loaded = design.load_design(written(kind="ladder", factors=factors), [])
    assert [list(arm.levels.values()) for arm in loaded.arms] == [
        ["1998", "none"],
        ["today", "none"],
        ["today", "batch"],
    ]
    assert len(loaded.runs) == 2 * design.treatments("ladder", loaded.factors) == 6
    factors["norm"] = ["none"]
    assert "norm needs two levels in a ladder" in refused(
        written(kind="ladder", factors=factors)
    )


def test_the_best_is_reached_from_today_and_put_back_to_it() -> None:
    """The ladder ends at preset best; its leave-one-out puts back all that it has."""
    today, best = preset("modern"), preset("best")
    steps = design.load_design("ladder_best", []).arms
    assert (steps[0].treatment, steps[-1].treatment) == (today, best)
    first, *without = design.load_design("best_leave_one_out", []).arms
    assert first.treatment == best
    back = {key for arm in without for key in difference(best, dict(arm.treatment))}
    assert back == set(difference(best, today)) and len(without) == len(steps) - 1
    for arm in without:
        assert all(
            today.get(key) == value
            for key, value in arm.treatment.items()
            if value != best.get(key)
        )


def test_published_ladder_climbs_in_the_order_of_the_years() -> None:
    """From the treatment of the paper to the modern one; the factorial has its arms."""
    loaded, (modern,) = design.load_design("ladder", []), composed(["preset=modern"])[0]
    ends = loaded.arms[0].treatment, loaded.arms[-1].treatment
    assert ends == (composed(["preset=paper"])[0][0].treatment, modern.treatment)
    pairs = [list(tried.values()) for tried in loaded.factors.values()]
    years = [max(map(year, new.items())) for _, new in pairs]
    assert years == sorted(years) and years[0] < years[-1]


def test_grid_crosses_any_number_of_levels(written: Written) -> None:
    """3 x 2 levels are six treatments."""
    factors = {"activation": ["tanh", "relu", "gelu"], "norm": ["none", "batch"]}
    assert len(design.load_design(written(kind="grid", factors=factors), []).arms) == 6


def test_path_searches_on_held_out_images_with_other_seeds(written: Written) -> None:
    """A path's search has the same arms, its own settings, and seeds of its own."""
    factors = {"activation": ["tanh", "relu"], "norm": ["none", "batch"]}
    own = {"validation_size": 100, "seed": 50, "replicates": 3}
    loaded = design.load_design(written(kind="path", factors=factors, search=own), [])
    assert len(loaded.search) == 12 and len(loaded.runs) == 8 + 12
    assert {run.seed for run in loaded.search} == {50, 51, 52}
    assert {run.treatment["validation_size"] for run in loaded.search} == {100}
    assert {arm.treatment["validation_size"] for arm in loaded.arms} == {0}
    assert "seed=50" in refused("mine", "seed=40", "replicates=11")


def test_level_whose_name_cannot_be_shown_is_refused(written: Written) -> None:
    """A name reaches the terminal as it is: without colours, bells and line ends."""
    name = "\x1b[31mred\a"
    message = refused(written(factors={"units": {name: {"activation": "tanh"}}}))
    assert "cannot be shown" in message and message.isprintable()


def test_setting_whose_key_is_a_number_is_refused(written: Written) -> None:
    """YAML's keys may be numbers; those of settings are words."""
    factors = {"activation": ["tanh", "relu"], "norm": ["none", "batch"]}
    content = {"kind": "path", "factors": factors, "search": {4.5: 1}}
    assert "4.5 is no key of search" in refused(written(**content))


def test_treatments_that_are_the_same_are_trained_once(written: Written) -> None:
    """What resolves to the same treatment is one arm, and a note says so."""
    factors = {"activation": ["relu", "tanh", "tanh"], "dropout": [0.0]}
    loaded = design.load_design(written(factors=factors), [])
    assert arms(loaded) == ["reference", "activation=tanh"]
    assert loaded.notes == [
        "activation=tanh is there twice: trained once",
        "activation=relu is the same as reference: trained once",
        "dropout=0.0 is the same as reference: trained once",
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"factors": None}, "no factors"),
        ({"factors": {"norm": []}}, "factor norm: list its levels"),
        ({"factors": {"units": {"today": 3}}}, "factor units: list its levels"),
        ({"factors": {"actvation": ["relu"]}}, "did you mean activation"),
        ({"factors": {"activation": ["rulu"]}}, "did you mean relu"),
        ({"factors": {"dropout": [2.0]}}, "dropout is a number from 0 to 0.95"),
        ({"factors": {"norm": ["batch"]}, "kind": "one_factors"}, "mean one_factor?"),
        ({"factors": {"norm": ["batch"]}, "seeds": [1, 1]}, "'seeds' is unknown"),
        ({"factors": {"norm": ["batch"]}, "kind": "factorial"}, "needs two levels"),
        ({"factors": {"norm": ["batch"]}, "kind": "path"}, "has a search"),
        ({"factors": {"norm": ["batch"]}, "kind": "tuning"}, "needs held-out images"),
        ({"factors": "quikc"}, "did you mean"),
    ],
)
def test_bad_designs_are_refused_with_the_fix(
    written: Written, tmp_path: Path, content: dict[str, object], message: str
) -> None:
    """What a design file gets wrong is said before anything runs."""
    (tmp_path / "design" / "quick.yaml").write_text("")
    assert message in refused(written(**content))


def test_two_factors_that_set_one_key_are_refused(written: Written) -> None:
    """In a crossed design one would silently overrule the other: both are named."""
    factors = {
        "units": {"a": {"init": "xavier"}, "b": {"init": "kaiming"}},
        "init": ["xavier", "orthogonal"],
    }
    message = refused(written(kind="grid", factors=factors))
    assert "units and init both set init" in message


def test_what_a_design_varies_cannot_be_typed(written: Written) -> None:
    """A typed level would make every arm of its factor the same."""
    groups = {"units": {"new": {"activation": "tanh", "init": "xavier"}}}
    assert "leave it out" in refused(written(factors=groups), "init=kaiming")


def test_typed_settings_hold_for_all_runs(written: Written) -> None:
    """The command line beats the base of the design."""
    name = written(factors={"norm": ["batch"]})
    loaded = design.load_design(name, ["replicates=3", "seed=7", "epochs=1"])
    assert loaded.seeds == [7, 8, 9]
    assert {run.treatment["epochs"] for run in loaded.runs} == {1}


def test_a_million_runs_need_a_yes(written: Written) -> None:
    """The number of runs is counted before any of them is composed."""
    sizes = {"dropout": [i / 1000 for i in range(900)]}
    rates = {"batch_size": list(range(1, 601))}
    name = written(kind="grid", factors=sizes | rates)
    assert "1,080,000 runs; if so, add yes=true" in refused(name)


def test_yes_lets_a_large_design_through(
    written: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Above the limit a yes is enough."""
    monkeypatch.setattr(design, "RUNS_UNASKED", 3)
    name = written(factors={"norm": ["batch"]})
    assert "4 runs" in refused(name)
    assert len(design.load_design(name, [], yes=True).runs) == 4


def test_unknown_design_is_refused_with_the_nearest() -> None:
    """A misspelt design gets a did-you-mean."""
    assert "did you mean quick?" in refused("qick")


def preset(name: str, *levels: str) -> dict[str, object]:
    """The treatment of a preset with some levels changed."""
    return dict(composed([f"preset={name}", *levels])[0][0].treatment)


def difference(treatment: dict[str, object], other: dict[str, object]) -> set[str]:
    """The keys in which two treatments differ."""
    return {
        key
        for key in treatment.keys() | other.keys()
        if treatment.get(key) != other.get(key)
    }


def test_six_factors_cover_1998_against_today() -> None:
    """Every key in which the presets differ belongs to exactly one factor, and the six
    together turn the one preset into the other."""
    factors = design.read_design("factorial")["factors"]
    tried = {
        name: design.design_levels(name, given, []) for name, given in factors.items()
    }
    assert len(tried) == 6
    paper, modern, seen = preset("paper"), preset("modern"), list[str]()
    for old, new in (pair.values() for pair in tried.values()):
        assert {key: paper[key] for key in old} == old
        line = [f"{key}={value}" for key, value in new.items()]
        seen += difference(paper, preset("paper", *line))
    assert sorted(seen) == sorted(difference(paper, modern))
    loaded = design.load_design("factorial", [])
    assert len(loaded.arms) == 64
    assert loaded.arms[0].treatment == paper and loaded.arms[-1].treatment == modern


@pytest.mark.parametrize("name", design.available())
def test_every_design_in_conf_loads(name: str) -> None:
    """The designs that come with the project compose; unless they only choose, on
    held-out images, they say nothing twice and have enough seeds for a verdict."""
    loaded = design.load_design(name, [])
    if not loaded.arms[0].treatment["validation_size"]:
        assert not loaded.notes
        assert len(loaded.seeds) >= blocks_needed()


WORDS = st.sampled_from(
    ["activation", "dropout", "units", "relu", "none", "seed", "mine", "quick", "a=b"]
)
LEAVES = st.one_of(
    *(WORDS, st.integers(-2, 3), st.floats(), st.none(), st.booleans()),
    st.text(max_size=3),
)
CONTENTS = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(WORDS | LEAVES, inner, max_size=2)
    ),
    max_leaves=4,
)


@given(
    content=st.fixed_dictionaries(
        {"kind": st.sampled_from(design.KINDS), "base": st.just(SMALL) | CONTENTS},
        optional={"factors": CONTENTS, "search": CONTENTS, "else": CONTENTS},
    )
)
@settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_any_design_loads_or_is_refused(
    written: Written, content: dict[str, object]
) -> None:
    """Whatever a design file holds, what comes is a Design or a Refusal (2)."""
    try:
        loaded = design.load_design(written(**content), [])
    except Refusal as refusal:
        assert refusal.code == 2 and str(refusal)
    else:
        assert len(loaded.runs) >= len(loaded.arms) >= 1


def test_secret_cannot_be_put_into_a_design(
    written: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interpolation is refused in a design as on the command line, and not resolved."""
    monkeypatch.setenv("WANDB_API_KEY", "a-secret-that-was-planted")
    for content in (
        {"factors": {"activation": ["${oc.env:WANDB_API_KEY}"]}},
        {"base": {"study": "${oc.env:WANDB_API_KEY}"}, "factors": {"norm": ["batch"]}},
    ):
        message = refused(written(**content))
        assert "interpolation" in message and "a-secret" not in message


def test_design_of_ones_own_is_found(
    written: Written, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In ./conf/design by its name, before lenet's of that name, or as a file."""
    written(factors={"activation": ["gelu"]})
    monkeypatch.chdir(tmp_path)
    place = tmp_path / "conf" / "design"
    place.mkdir(parents=True)
    content = {"kind": "one_factor", "base": SMALL, "factors": {"dropout": [0.5]}}
    for path in (place / "own.yaml", place / "mine.yaml", tmp_path / "a_file.yaml"):
        path.write_text(yaml.safe_dump(content))
    assert design.available() == ["mine", "own"]
    for name, called in (("own", "own"), ("mine", "mine"), ("a_file.yaml", "a_file")):
        loaded = design.load_design(name, [])
        assert (loaded.name, loaded.keys) == (called, ["dropout"])


def test_design_that_is_not_there_is_refused(written: Written, tmp_path: Path) -> None:
    """With the nearest name, or the path; a name is no way out of the folder."""
    written(factors={"activation": ["gelu"]})
    assert "did you mean mine?" in refused("mime")
    assert "there is no such file" in refused("nowhere/own.yaml")
    assert "is unknown" in refused("../mine")
    (tmp_path / "my design.yaml").write_text(
        (tmp_path / "design/mine.yaml").read_text()
    )
    assert "name the file in letters" in refused(str(tmp_path / "my design.yaml"))
