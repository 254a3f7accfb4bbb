"""A study is read from its records alone, and nothing is mixed or lost in silence."""

import itertools
import json
from types import SimpleNamespace

import pytest
import sealed_studies
from sealed_studies import PAPER, TODAY, make_record

from lenet.config import RECORDS, Refusal, composed, group_levels
from lenet.figures.level_names import estimand_heading, study_network, study_words
from lenet.report import study_report
from lenet.studies import study
from lenet.studies.effect import arms
from lenet.sweep import design

MODERN = {**PAPER, **TODAY}


def runs_of(tried, seeds=range(3), base=MODERN, **other):
    """Records of every combination of `tried`, levels with the numbers they bring."""
    brought = {
        "sgd": {"optimizer.lr": 0.1, "batch_size": 1},
        "adam": {"optimizer.lr": 0.002, "batch_size": 64},
    }
    records = []
    for values in itertools.product(*tried.values()):
        changes = dict(zip(tried, values, strict=True))
        for value in values:
            changes |= brought.get(value, {})
        records += [make_record({**base, **changes}, s, **other) for s in seeds]
    return records


def test_a_number_that_its_level_brings_is_no_factor(tmp_path):
    """optimizer=sgd,adam differ in lr and batch size too: one factor, optimizer."""
    tried = {"optimizer": ["sgd", "adam"], "activation": ["relu", "tanh"]}
    sealed_studies.write_runs(tmp_path, runs_of(tried))
    adhoc = study.ad_hoc_study(str(tmp_path), ["optimizer=adam", "activation=relu"], {})
    assert adhoc.reference == {"optimizer": "adam", "activation": "relu"}
    assert len(adhoc.runs) == 12 and adhoc.factorial
    name = adhoc.records[5]["run_id"][:9]
    again = study.ad_hoc_study(str(tmp_path), [name], {})
    assert again.reference == adhoc.treatments[1] | again.reference
    assert len(again.of(again.reference)) == 3


def test_a_number_that_is_crossed_with_its_level_is_a_factor():
    """Two learning rates of one optimizer are two levels, and so are numbers alone."""
    lr = {"optimizer": ["sgd", "adam"], "optimizer.lr": [0.1, 0.2]}
    rows = [
        dict(zip(lr, values, strict=True)) for values in itertools.product(*lr.values())
    ]
    assert list(study.differing(rows)) == ["optimizer", "optimizer.lr"]
    rows = [{"optimizer": "sgd", "optimizer.lr": value} for value in (0.1, 0.2, None)]
    assert list(study.differing(rows)) == ["optimizer.lr"]
    assert study.joined_factors(study.differing(rows), {}) == {
        "optimizer.lr": ("optimizer.lr",)
    }


def test_settings_that_change_together_are_one_factor_with_the_name_of_the_plan(
    tmp_path,
):
    """units is activation and init, and its level names both; without a plan too."""
    sealed_studies.factorial(tmp_path / "s", ("units", "head"), seeds=range(2))
    published = study.published_study(tmp_path / "s")
    assert published.settings == {"units": ("activation", "init"), "head": ("head",)}
    assert published.levels["units"] == ("scaled_tanh+lecun_sqrt", "relu+kaiming")
    assert (
        published.factorial and published.base == "paper" and published.new == "today"
    )
    assert published.year("units", "relu+kaiming") == 2015
    assert list(published.rungs) == ["head", "units"]
    sealed_studies.write_runs(tmp_path, published.records)
    name = published.records[0]["run_id"]
    adhoc = study.ad_hoc_study(str(tmp_path), [name], {})
    assert list(adhoc.reference) == ["activation+init", "head"]


def test_no_group_takes_the_name_of_a_factor():
    """Two numbers of a level that are varied together stand beside the level."""
    less = {
        "augmentation": "affine",
        "augmentation.degrees": 7,
        "augmentation.shear": 1,
    }
    more = {**less, "augmentation.degrees": 9, "augmentation.shear": 2}
    plan = {"levels": {"augmentation": {"more": more, "none": less}}}
    factors = study.joined_factors(
        study.differing([less, more, {"augmentation": "none"}]), plan
    )
    assert list(factors) == ["augmentation", "augmentation.degrees+augmentation.shear"]


def test_a_chain_of_treatments_is_a_ladder(tmp_path):
    """Treatments with one change more each are rungs in their own order."""
    changes, chain = {}, {"reference": {}}
    for key in ("augmentation", "activation", "head"):
        changes = {**changes, key: TODAY[key]}
        chain[key] = changes
    sealed_studies.write_study(tmp_path / "s", "grid", "paper", {}, chain, range(2))
    published = study.published_study(tmp_path / "s")
    assert list(published.rungs) == ["augmentation", "activation", "head"]
    assert not published.factorial
    sealed_studies.one_factor(tmp_path / "alone", seeds=range(2))
    assert not study.published_study(tmp_path / "alone").rungs


def test_rungs_of_one_year_follow_the_design_and_say_so(tmp_path, monkeypatch):
    """structure and augmentation are both of 2012: a factorial takes them in the order
    of its plan, either way, and the sentence of the rule names them."""
    for factors in (("structure", "augmentation"), ("augmentation", "structure")):
        folder = tmp_path / factors[0]
        monkeypatch.setitem(sealed_studies.TODAY, "augmentation", "affine")
        sealed_studies.factorial(folder, (*factors, "head"), range(2))
        published = study.published_study(folder)
        assert list(published.rungs) == ["head", *factors]
        assert published.order == (
            "One change at a time, in the order of the years from which each is known; "
            f"in one year, as the design lists them: {' before '.join(factors)} (2012)."
        )


@pytest.mark.parametrize("name", ["factorial", "ladder"])
def test_designs_list_their_factors_in_the_order_of_the_years(name):
    """So that a ladder trained as its design lists it is that of the years."""
    given = design.read_design(name)["factors"]
    tried = [design.design_levels(factor, some, []) for factor, some in given.items()]
    new = [list(settings.values())[1] for settings in tried]
    years = [
        max(group_levels(key)[str(value)]["year"] for key, value in settings.items())
        for settings in new
    ]
    assert years == sorted(years) and len(years) == 6


def test_ladder_against_the_years_does_not_claim_them(tmp_path):
    """Its order is that of its design, and without ties nothing is said of any."""
    changes = {"activation": "relu"}
    chain = {"reference": {}, "a": changes, "b": {**changes, "head": "softmax"}}
    sealed_studies.write_study(tmp_path / "s", "ladder", "paper", {}, chain, range(2))
    order = study.published_study(tmp_path / "s").order
    assert order == "One change at a time, in the order of the design."
    sealed_studies.factorial(tmp_path / "f", ("units", "head"), range(2))
    assert study.published_study(tmp_path / "f").order.endswith("each is known.")


def test_other_end_has_the_name_of_its_preset(tmp_path):
    """Where it is one in every factor, and else what the plan calls its levels."""
    today = {**TODAY, "augmentation": "affine"}
    chain = {"reference": {}, "head": {"head": "softmax"}, "all": today}
    sealed_studies.write_study(tmp_path / "s", "ladder", "paper", {}, chain, range(2))
    published = study.published_study(tmp_path / "s")
    assert published.new == "modern"


def test_levels_of_numbers_have_the_names_of_their_design(tmp_path):
    """ "distortions: large for small", and no values joined with a plus; the other end
    is called so too where all factors have levels of that name."""
    sizes = {
        "small": {"augmentation.degrees": 7.0, "augmentation.shift_pixels": 1.0},
        "large": {"augmentation.degrees": 10.0, "augmentation.shift_pixels": 2.0},
    }
    affine = {"augmentation": "affine", "augmentation.scale_low": 0.9}
    arms_ = {
        f"distortions={name}": {**affine, **settings}
        for name, settings in sizes.items()
    }
    softmax = {"softmax": {"head": "softmax"}}
    for heads, end in ((softmax, "large"), ({"new": {}}, "all changed")):
        folder = tmp_path / end
        tried = {"distortions": sizes, "head": heads}
        sealed_studies.write_study(folder, "grid", "modern", tried, arms_, range(2))
        published = study.published_study(folder)
        for arm in published.plan["arms"]:  # each is of a level of both factors
            arm["levels"]["head"] = list(heads)[0]
        change = SimpleNamespace(factor="distortions", level="10.0+2.0")
        change.reference = "7.0+1.0"
        words = study_words(published)
        assert words.change(change) == "distortions: large for small"
        assert published.new == end


def test_the_reference_has_the_name_of_the_plan(tmp_path):
    """Also where its arm is named by a level, as in a grid of one factor."""
    arms_ = {"head=rbf": {}, "head=softmax": {"head": "softmax"}}
    sealed_studies.write_study(tmp_path / "s", "grid", "paper", {}, arms_, range(2))
    published = study.published_study(tmp_path / "s")
    labels = [published.label(treatment) for treatment in published.treatments]
    assert labels == ["paper", "head: softmax"]


def test_missing_runs_are_refused_or_said(tmp_path):
    """Without a record of each run there is no chart, or one that says so."""
    records = sealed_studies.one_factor(tmp_path / "s", seeds=range(3))
    sealed_studies.write_records(tmp_path / "s", records[:-2])
    with pytest.raises(Refusal, match=r"2 of 33 runs missing.*allow_partial=true"):
        study.published_study(tmp_path / "s")
    partial = study.published_study(tmp_path / "s", allow_partial=True)
    assert partial.origin.missing == "2 of 33 runs missing"
    assert (
        arms(partial.runs, partial.reference, seeds=partial.seeds)
        .table["missing"]
        .sum()
        == 2
    )


@pytest.mark.parametrize("which", ["record", "plan"])
def test_an_edited_record_or_plan_is_found(tmp_path, which):
    """A number edited by hand breaks the seal, and the statistics do not change."""
    folder = tmp_path / "s"
    records = sealed_studies.one_factor(folder, seeds=range(2))
    if which == "record":
        records[3]["response"]["test_error"] = 0.001
        sealed_studies.write_records(folder, records)
    else:
        plan = json.loads((folder / "plan.json").read_text())
        (folder / "plan.json").write_text(json.dumps({**plan, "seeds": [7]}))
    with pytest.raises(Refusal, match="changed after it was written") as refusal:
        study.published_study(folder)
    assert refusal.value.code == 4


@pytest.mark.parametrize(
    ("key", "other"),
    [
        ("code", {"code": {"fingerprint": "ef" * 32, "commit": None, "dirty": None}}),
        ("torch", {"versions": {"torch": "2.7", "lenet": "0"}}),
        ("data", {"data": "12" * 32}),
    ],
)
def test_other_code_torch_or_data_is_not_mixed_in_silence(tmp_path, key, other):
    """Runs of two versions are refused with the numbers of each and the way out."""
    records = runs_of({"activation": ["relu"]})
    records += runs_of({"activation": ["tanh"]}, **other)
    sealed_studies.write_runs(tmp_path, records)
    with pytest.raises(Refusal, match=rf"2 versions of {key}.*\(3 runs\).*{key}="):
        study.ad_hoc_study(str(tmp_path), ["activation=relu"], {})
    if key == "data":
        with pytest.raises(Refusal, match="2 versions of data"):
            study.ad_hoc_study(str(tmp_path), ["activation=relu"], {}, mix=True)
    else:
        mixed = study.ad_hoc_study(str(tmp_path), ["activation=relu"], {}, mix=True)
        assert f"mixed: 2 versions of {key}" in mixed.origin.missing


def test_what_is_asked_for_narrows_the_runs(tmp_path):
    """epochs=3 leaves other budgets out; code= takes the first letters of it."""
    old = {"fingerprint": "ef" * 32, "commit": None, "dirty": None}
    records = runs_of({"activation": ["relu", "tanh"], "epochs": [3, 5]})
    records += runs_of({"activation": ["relu", "tanh"]}, code=old)
    sealed_studies.write_runs(tmp_path, records)
    narrow = {"epochs": "3.0", "code": "abab"}
    chosen = study.ad_hoc_study(str(tmp_path), ["activation=relu"], narrow)
    assert list(chosen.reference) == ["activation"] and len(chosen.runs) == 6
    with pytest.raises(Refusal, match="none of the 18 runs"):
        study.ad_hoc_study(str(tmp_path), ["activation=relu"], {"epochs": "4"})
    with pytest.raises(
        Refusal, match=r"epochs=3\|5.*activation|activation.*epochs=3\|5"
    ):
        study.ad_hoc_study(str(tmp_path), ["activation=relu"], {"code": "ab"})


def test_one_treatment_alone_has_no_effect(tmp_path):
    """A folder in which nothing differs is refused in words."""
    sealed_studies.write_runs(tmp_path, runs_of({"activation": ["relu"]}))
    with pytest.raises(Refusal, match="one treatment"):
        study.ad_hoc_study(str(tmp_path), ["activation=relu"], {})


def test_a_path_holds_its_search_apart(tmp_path):
    """Runs with held-out images choose the order, and are no part of the effects."""
    factors = ("units", "head")
    sealed_studies.factorial(
        tmp_path / "s", factors, range(4), "path", search=range(90, 92)
    )
    published = study.published_study(tmp_path / "s")
    assert len(published.runs) == 16 and len(published.held_out) == 8
    assert set(published.held_out["seed"]) == {90, 91}
    assert list(published.reference) == list(factors)


def test_an_arm_has_the_name_that_the_plan_gives_it(tmp_path):
    """Several settings under one level of the plan are that level, in label and effect;
    a plan without such names, and other runs, go by their settings."""
    both = {"pooling": TODAY["pooling"], "connection": TODAY["connection"]}
    arms_ = {
        "reference": {},
        "structure=today": both,
        "pooling=stride": {"pooling": "stride"},
    }
    sealed_studies.write_study(
        tmp_path / "s", "one_factor", "paper", {}, arms_, range(3)
    )
    published = study.published_study(tmp_path / "s")
    assert sorted(published.label(treatment) for treatment in published.treatments) == [
        "paper",
        "pooling: stride",
        "structure: today",
    ]
    assert published.names["structure", "today"] == both
    assert set(study.study_effects(published).table["factor"]) == {
        "structure",
        "pooling",
    }


def test_other_hardware_is_said_and_drawn(tmp_path):
    """Its kernels round otherwise: runs may be pooled, and the chart says so."""
    records = [
        *runs_of({"activation": ["relu", "tanh"]}, [0, 1], hardware="one"),
        *runs_of({"activation": ["relu", "tanh"]}, [2], hardware="other"),
    ]
    sealed_studies.write_runs(tmp_path, records)
    pooled = study.ad_hoc_study(str(tmp_path), ["activation=relu"], {})
    assert pooled.remark == "mixed: 2 kinds of hardware: one (4 runs), other (2 runs)"


def test_folder_without_runs_is_refused_with_the_fix(tmp_path):
    """As in a fresh clone, where all that there is has been published."""
    with pytest.raises(Refusal, match="has no finished run: train some, or say study="):
        study.ad_hoc_study(str(tmp_path), ["activation=relu"], {})


@pytest.mark.parametrize("kind", ["tuning", "one_factor"])
def test_a_tuning_is_measured_on_its_held_out_images(tmp_path, kind):
    """The test set is not asked, and its digits are not shown."""
    held_out = {"validation_size": 2}
    arms_ = {"reference": held_out, "head=rbf": {"head": "rbf", **held_out}}
    fields = {"response": {"test_error": 0.9, "validation_error": 0.25}}
    other = fields if kind == "tuning" else {}
    sealed_studies.write_study(
        tmp_path / "s", kind, "modern", {}, arms_, range(2), **other
    )
    published = study.published_study(tmp_path / "s")
    effects = study.study_effects(published)
    shown = [exhibit.name for exhibit in study_report.exhibits(published, effects)]
    if kind == "tuning":
        assert set(effects.table["response"]) == {"validation_error"}
        assert published.runs["right"].isna().all() and shown == ["ablation_chart"]
        assert "2 held-out training images" in published.origin.data
    else:
        assert set(effects.table["response"]) == {"test_error"}
        assert "learning_curves" in shown and "test images" in published.origin.data


def test_factor_of_a_design_has_labels_or_its_own_names_throughout(tmp_path):
    """One part without a label: all keep the names that the design gives them."""
    arms_ = {
        "reading=eq. 9": {"head": "rbf_map"},
        "reading=mu 0.1": {"optimizer.mu": 0.1},
        "structure=today": {"pooling": "max", "connection": "full"},
    }
    sealed_studies.write_study(
        tmp_path / "s", "one_factor", "paper", {}, arms_, range(3)
    )
    words = study_words(study.published_study(tmp_path / "s"))
    assert words.designed == {"reading"} and "reading" not in words.labels
    assert words.labels["structure"]["today"] != "today"


@pytest.mark.parametrize(
    "preset, arm, heading",
    [
        ("paper", {"activation": "relu"}, "added to LeNet-5 of 1998"),
        ("modern", {"head": "rbf"}, "kept in LeNet-5 of today (effect of having it)"),
        ("modern", {"norm": "batch"}, "alone in LeNet-5 of today"),
        ("best", {"optimizer": "adam"}, "kept in LeNet-5 at its best (effect of"),
        ("best", {"activation": "tanh"}, "alone in LeNet-5 at its best"),
    ],
)
def test_arms_are_added_or_put_back(tmp_path, preset, arm, heading):
    """Added: levels of today to 1998. Put back: those of the preset before."""
    (base,) = composed([f"preset={preset}"])[0]
    (key,) = arm
    levels = {"reference": dict(base.treatment), "arm": {**base.treatment, **arm}}
    folder = tmp_path / "s"
    sealed_studies.write_study(folder, "one_factor", preset, {}, levels, range(2))
    published = study.published_study(folder)
    assert list(published.levels) == [key]
    assert estimand_heading(published, "alone").startswith(heading)


def test_numbers_that_a_design_leaves_unnamed_are_said_one_by_one(tmp_path):
    """The reference of a leave-one-out has no name in its design: its numbers have."""
    small = {"augmentation.degrees": 7.0, "augmentation.shift_pixels": 1.0}
    large = {"augmentation.degrees": 10.0, "augmentation.shift_pixels": 2.0}
    arms_ = {"reference": large, "augmentation=small distortions": small}
    tried = {"augmentation": {"small distortions": small}}
    folder = tmp_path / "s"
    sealed_studies.write_study(folder, "leave_one_out", "best", tried, arms_, range(2))
    words = study_words(study.published_study(folder))
    turned = SimpleNamespace(factor="augmentation", level="10.0+2.0")
    turned.reference = "small distortions"
    assert words.change(turned) == "augmentation: degrees 10 and shift pixels 2"


@pytest.mark.parametrize(
    "base, called",
    [
        ({}, "LeNet-5 of today"),
        ({"data": "fashion", "epochs": 3, "train_size": 5}, "LeNet-5 of today"),
        ({"augmentation": "none"}, "LeNet-5 of today with no distortions"),
        (
            {"average": "pass", "optimizer.lr": 0.25},
            "LeNet-5 of today with weights averaged over a pass and lr 0.25",
        ),
        (  # its own step size and batch come with it
            {"optimizer": "sgd", "optimizer.lr": 0.05, "batch_size": 64},
            "LeNet-5 of today with SGD",
        ),
        (  # who they are is told by the plan
            {"teacher": "consistent", RECORDS: "a" * 16, "teacher.weight": 0.9}
            | {"teacher.temperature": 2.0},
            "LeNet-5 of today with trained runs' answers as seen and weight 0.9",
        ),
        ({"dropout": 0.5, "norm": "batch", "pooling": "average"}, "as s changes it"),
    ],
)
def test_reference_is_named_with_what_it_changes_of_its_preset(tmp_path, base, called):
    """What is not the preset is never called by its name alone."""
    arms_ = {"reference": base, "activation=tanh": {**base, "activation": "tanh"}}
    sealed_studies.write_study(
        tmp_path / "s", "one_factor", "modern", {}, arms_, range(3)
    )
    published = study.published_study(tmp_path / "s")
    assert study_network(published).endswith(called)
    assert estimand_heading(published, "alone").endswith(study_network(published))
