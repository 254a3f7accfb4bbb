"""Which runs the dots of the ablation chart are, and what trains them."""

from collections.abc import Mapping, Sequence

from lenet.figures import ablation_chart, level_names
from lenet.figures.ablation_chart import Side
from lenet.figures.canvas import points
from lenet.report.exhibit_page import Dots
from lenet.report.reproduction import commands
from lenet.studies.effect import ALONE, Level
from lenet.studies.study import Study

SHOWN = 8  # letters of a run's id


def dot_texts(studies: Sequence[Study], sides: Sequence[Side]) -> Dots:
    """By side, row and seed of a dot: what it is, and the command of its run.

    The dot of a main effect is a mean over many runs: it has no command.
    """
    known = {study.name: study for study in studies}
    rows = {key: row for row, key in enumerate(ablation_chart.order(sides))}
    dots: Dots = {}
    for at, side in enumerate(sides):
        study = known[str(side.effects["study"].iloc[0])]
        runs = runs_of_dots(study) if side.estimand.startswith(ALONE) else {}
        trained = commands_by_run(study) if runs else {}
        base = ids(study, study.reference)
        old = {key[:2]: key for key in ablation_chart.effect_keys(side.effects)}
        # A chart that is turned shows the effect the other way: its two runs change
        # places.
        turned = bool(runs) and level_names.puts_back(study)
        for dot in side.differences.itertuples(index=False):
            factor, level, reference = old[str(dot.factor), str(dot.level)]
            text = f"seed {dot.seed}: {points(dot.difference)} points"
            arm = runs.get((factor, reference if turned else level), {})
            if run := arm.get(int(dot.seed), ""):
                pair = [run[:SHOWN], base[int(dot.seed)][:SHOWN]]
                new, before = pair[::-1] if turned else pair
                text += f", run {new} minus {before}"
            place = at, rows[factor, level, reference], int(dot.seed)
            dots[place] = text, trained.get(run, "")
    return dots


def runs_of_dots(study: Study) -> dict[tuple[str, str], dict[int, str]]:
    """The run ids of each arm, by its factor and level and by seed."""
    names = {frozenset(change.items()): key for key, change in study.names.items()}
    by_seed = {}
    for treatment in study.treatments:
        if changed := study.changed(treatment):
            joined = "+".join(changed), "+".join(map(str, changed.values()))
            name = names.get(frozenset(changed.items()), joined)
            by_seed[name] = ids(study, treatment)
    return by_seed


def ids(study: Study, treatment: Mapping[str, Level]) -> dict[int, str]:
    """The run ids of a treatment by seed."""
    runs = study.of(treatment)
    return dict(zip(map(int, runs["seed"]), runs["run_id"], strict=True))


def commands_by_run(study: Study) -> dict[str, str]:
    """The command of each run by its id."""
    names = [record["run_id"] for record in study.records]
    return dict(zip(names, commands(study), strict=True))
