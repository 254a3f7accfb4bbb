"""The corrected error is what people's votes make of the answers of a run."""

import base64
import csv

import numpy as np
import pytest
import sealed_studies

from lenet.config import Refusal
from lenet.report import effect_tables, exhibit_files, study_report
from lenet.studies import corrected_labels, study
from lenet.training.data import Data

RNG = np.random.default_rng(11)


def answering(answers):
    """What a record says of these answers [image]: right, answers and test error."""
    labels = np.zeros(corrected_labels.IMAGES, dtype=np.uint8)
    for row in corrected_labels.labels().itertuples():
        labels[row.index] = row.label
    right = answers == labels
    return {
        "right": base64.b64encode(np.packbits(right).tobytes()).decode(),
        "answers": base64.b64encode(answers[~right].tobytes()).decode(),
        "response": {"test_error": float((~right).mean())},
        "images": corrected_labels.IMAGES,
    }


def random_answers():
    """Answers of which 1 % miss a label of 0, and some of the fifteen anything."""
    answers = np.where(RNG.random(corrected_labels.IMAGES) < 0.01, 7, 0).astype(
        np.uint8
    )
    places = corrected_labels.labels()["index"].to_numpy()
    answers[places] = RNG.integers(0, 10, len(places))
    return answers


def slow_error(answers):
    """Image by image: the share of misread ones among those that have a label."""
    rows = csv.DictReader(
        line for line in open(corrected_labels.LABELS) if not line.startswith("#")
    )
    votes = {int(row["index"]): row for row in rows}
    read, missed = 0, 0
    for place, answer in enumerate(answers):
        label = 0
        if place in votes:
            row = votes[place]
            if int(row["votes_guess"]) >= 3:
                label = int(row["guess"])
            else:
                continue
        read += 1
        missed += int(answer) != label
    return missed / read


def test_labels_that_do_not_stand_are_those_of_the_votes():
    """Ten have three votes of five for another digit; five have a majority for none."""
    rows = corrected_labels.labels()
    votes = rows[["votes_label", "votes_guess", "votes_neither"]]
    assert len(rows) == 15 and (votes.sum(axis=1) == 5).all()
    replaced = rows["votes_guess"] >= 3
    assert replaced.sum() == 10
    assert (rows["corrected"] == rows["guess"])[replaced].all()
    assert rows["corrected"].isna()[~replaced].all()
    assert (rows["votes_label"] < 3).all() and rows["index"].is_unique


def test_labels_are_those_of_the_data_set(mnist: Data) -> None:
    """The fifteen images have in MNIST the labels that the table says."""
    rows = corrected_labels.labels()
    assert mnist.test_labels[rows["index"].tolist()].tolist() == rows["label"].tolist()
    assert len(mnist.test_labels) == corrected_labels.IMAGES


@pytest.mark.parametrize("case", range(4))
def test_corrected_error_equals_the_slow_one(case):
    """Over 9,995 images, from what a record keeps."""
    answers = random_answers()
    base = {**sealed_studies.PAPER, "data": "mnist"}
    record = sealed_studies.make_record(base, case, **answering(answers))
    corrected = corrected_labels.record(record)
    assert corrected["response"]["corrected_error"] == pytest.approx(
        slow_error(answers)
    )
    assert corrected["response"]["test_error"] == record["response"]["test_error"]
    assert corrected["images"] == 9_995


def test_reading_as_people_do_has_no_error_left():
    """Who answers as the votes is wrong on fifteen by the labels, on none corrected."""
    answers = np.zeros(corrected_labels.IMAGES, dtype=np.uint8)
    for row in corrected_labels.labels().itertuples():
        answers[row.index] = row.guess
    base = {**sealed_studies.PAPER, "data": "mnist"}
    record = sealed_studies.make_record(base, 0, **answering(answers))
    assert record["response"]["test_error"] == pytest.approx(0.0015)
    assert corrected_labels.record(record)["response"]["corrected_error"] == 0


def test_record_without_answers_is_refused_with_the_reason():
    """Of edition 1, and of other data; a run that diverged stays without an error."""
    base = {**sealed_studies.PAPER, "data": "mnist"}
    fields = answering(random_answers())
    old = sealed_studies.make_record(
        base, 0, **{k: fields[k] for k in fields if k != "answers"}
    )
    with pytest.raises(Refusal, match="edition 1 do not say what missed images"):
        corrected_labels.record(old)
    with pytest.raises(Refusal, match="MNIST's 10,000 test images"):
        corrected_labels.record(sealed_studies.make_record(sealed_studies.PAPER, 0))
    gone = sealed_studies.make_record(base, 0, **fields, **sealed_studies.DIVERGED)
    assert corrected_labels.record(gone)["response"]["corrected_error"] is None
    with pytest.raises(ValueError, match="2 answers to 3 missed"):
        corrected_labels.right_corrected(
            np.array([0, 1, 0, 0], bool), np.zeros(2, np.uint8)
        )


def make_study(folder, keep=True):
    """Two treatments, seven seeds; softmax misses fewer and reads as people do."""
    answered = {}
    for arm, share in (("reference", 0.02), ("head=softmax", 0.01)):
        for seed in range(7):
            answers = np.where(RNG.random(corrected_labels.IMAGES) < share, 7, 0)
            rows = corrected_labels.labels()
            answers[rows["index"]] = rows["guess" if arm != "reference" else "label"]
            fields = answering(answers.astype(np.uint8))
            answered[arm, seed] = fields if keep else {**fields, "answers": None}
    arms = {"reference": {}, "head=softmax": {"head": "softmax"}}
    mnist = {name: {**changes, "data": "mnist"} for name, changes in arms.items()}
    sealed_studies.write_study(
        folder, "one_factor", "paper", {}, mnist, range(7), lost=answered
    )
    return study.published_study(folder)


def test_effects_are_given_on_the_corrected_labels_too(tmp_path, monkeypatch):
    """Beside each effect stands that by the votes, with a chart of its own; of records
    without answers the page says why there is none."""
    monkeypatch.setattr(exhibit_files, "FORMATS", {"svg": exhibit_files.FORMATS["svg"]})
    original = make_study(tmp_path / "s")
    study_report.write_report(tmp_path / "s", [original])
    rows = effect_tables.read_effects(tmp_path / "s" / "effects.csv").set_index(
        "response"
    )
    assert rows.index.tolist() == ["test_error", "corrected_error"]
    again = study.corrected(original)
    errors = again.runs.groupby("head")["corrected_error"].mean()
    assert rows["mean"]["corrected_error"] == pytest.approx(
        errors["softmax"] - errors["rbf"]
    )
    assert rows["mean"]["corrected_error"] < rows["mean"]["test_error"] - 0.0015
    assert np.isfinite(rows["low_digits"]["corrected_error"])
    drawn = (tmp_path / "s" / "ablation_chart_corrected.svg").read_text()
    assert "9,995 test images with corrected labels" in drawn
    study_report.write_report(
        tmp_path / "old", [make_study(tmp_path / "old", keep=False)]
    )
    rows = effect_tables.read_effects(tmp_path / "old" / "effects.csv")
    assert rows["response"].tolist() == ["test_error"]
    page = (tmp_path / "old" / "report.html").read_text()
    assert "edition 1 do not say what missed images were taken for" in page


def test_ladder_of_corrected_errors_says_so(tmp_path):
    """Every figure but curves and costs is there; its axis names the response."""
    answers = {
        (arm, seed): answering(random_answers())
        for arm in ("reference", "a", "b")
        for seed in range(3)
    }
    chain = {"reference": {}, "a": {"head": "softmax"}}
    chain["b"] = {"head": "softmax", "activation": "relu"}
    mnist = {name: {**changes, "data": "mnist"} for name, changes in chain.items()}
    place = tmp_path / "s"
    sealed_studies.write_study(
        place, "ladder", "paper", {}, mnist, range(3), lost=answers
    )
    corrected = study.corrected(study.published_study(place))
    (shown,) = study_report.exhibits(corrected, study.study_effects(corrected))
    assert shown.name == "ladder" and "the corrected error" in shown.about
