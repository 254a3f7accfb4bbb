"""Passes of runs through the compiled loops, on plain arrays.

Every run is trained by itself: by one thread, or by all threads together where there
are fewer runs than threads. What becomes of a run depends on neither.

A run's weights lie one after the other, each parameter from a multiple of eight on, in
the order of SLOTS. (For batches of one image: see single.py.)
"""

from collections.abc import Callable, Container, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np
from numba import get_num_threads

from lenet.training.factor.activation import LEVELS as ACTIVATIONS
from lenet.training.factor.connection import LEVELS as CONNECTIONS
from lenet.training.factor.head import LEVELS as HEADS
from lenet.training.factor.optimizer import HIDDEN
from lenet.training.factor.optimizer import LEVELS as OPTIMIZERS
from lenet.training.factor.pooling import LEVELS as POOLINGS
from lenet.training.factor.teacher import LEVELS as TEACHERS
from lenet.training.loops import (
    attacked_images,
    batch,
    evaluate,
    input_slope,
    muon,
    second_derivatives,
    single,
    tiles,
)
from lenet.training.loops.dense import C5_VECTORS, F6_VECTORS, Step
from lenet.training.loops.llvm import LANES
from lenet.training.loops.sizes import (
    C1_MAPS,
    C3_MAPS,
    C5_BLOCKS,
    C5_UNITS,
    CLASSES,
    DROPPED_UNITS,
    F6_BLOCKS,
    F6_ROW,
    F6_UNITS,
    IMAGE_SIZE,
    PICTURE_SIDE,
    PICTURE_SIZE,
    S4_ALL,
    S4_SIZE,
    TAPS,
)

Array = Any  # an array of NumPy's: its types would say little more than Any
NOTHING = np.empty(0)
SLOTS = {  # the numbers of each parameter
    "C1.weight": 150, "C1.bias": 6, "S2.coefficient": 6, "S2.bias": 6,
    "C3.weight": 2400, "C3.bias": 16, "S4.coefficient": 16, "S4.bias": 16,
    "C5.weight": 48000, "C5.bias": 120, "F6.weight": 10080, "F6.bias": 84,
    "output.weight": 840, "output.bias": 10,
}  # fmt: skip
BEGINS = {  # the name of where each begins, in Layout and in single.Weights
    "C1.weight": "c1", "C1.bias": "b1", "S2.coefficient": "k2", "S2.bias": "b2",
    "C3.weight": "c3", "C3.bias": "b3", "S4.coefficient": "k4", "S4.bias": "b4",
    "C5.weight": "c5", "C5.bias": "b5", "F6.weight": "f6", "F6.bias": "b6",
    "output.weight": "w7", "output.bias": "b7",
}  # fmt: skip
PADDED = {"output.weight": (F6_UNITS, F6_ROW)}  # numbers of a row, and with padding
MAPS = ("C1", "S2", "C3", "S4")
# What threads share out, see batch.gather.
BLOCKS = {"C5.weight": C5_BLOCKS, "F6.weight": F6_BLOCKS}


class Layout(NamedTuple):
    """Where each parameter begins, and which levels these are, as their places."""

    c1: int
    b1: int
    k2: int
    b2: int
    c3: int
    b3: int
    k4: int
    b4: int
    c5: int
    b5: int
    f6: int
    b6: int
    w7: int
    b7: int
    activation: int
    squash: int  # of F6
    pooling: int
    head: int
    teacher: int
    squashed: bool  # pooling has a coefficient, a bias and a squash
    linear: bool  # the head is a linear layer, not RBF units
    norm: bool
    rule: int  # the optimizer's
    inputs: Array  # of C3: which input each kernel has
    starts: Array  # and which is each map's first kernel
    bitmaps: Array


class Shown(NamedTuple):
    """What the runs of a pass see, one image after the other.

    Those that have a default may be empty: then there is none of it.
    """

    pictures: Array  # uint8, [picture, 28, 28]
    order: Array  # [run, image]: which picture
    labels: Array  # [run, image]
    where: Array = NOTHING  # [run, image, 2, 3]: `Source` of the augmentation
    masks: Array = NOTHING  # [run, image, 204]: factors of C5 and F6 (dropout)
    elastic: Array = NOTHING  # [run, image]: keys of elastic distortions
    smooth: Array = NOTHING  # [run, 28, 28]: what their noise is smoothed by
    alpha: Array = NOTHING  # [run]: and multiplied by
    holes: Array = NOTHING  # [run, image, 4]: `square` of the augmentation
    adversary: Array = NOTHING  # [run, image]: keys of the adversary's starts
    share: Array = NOTHING  # [run, image]: of an image in its mixture with the partner
    partner: Array = NOTHING  # [run, image]: which picture that is
    partner_label: Array = NOTHING
    partner_where: Array = NOTHING  # its distortions, as those above
    partner_elastic: Array = NOTHING
    partner_holes: Array = NOTHING
    answered: Array = NOTHING  # [run, image, class]: the teachers' shares
    heat: Array = NOTHING  # [run]: the temperature of a run's own
    weight: Array = NOTHING  # [run]: of the teachers in the loss


OPTIONAL: Mapping[str, tuple[Any, ...]] = {  # type, shape after run; None: images
    "where": (np.float32, None, 2, 3),
    "masks": (np.float32, None, DROPPED_UNITS),
    "elastic": (np.int64, None),
    "smooth": (np.float32, PICTURE_SIDE, PICTURE_SIDE),
    "alpha": (np.float32,),
    "holes": (np.int64, None, 4),
    "adversary": (np.int64, None),
    "share": (np.float32, None),
    "partner": (np.int64, None),
    "partner_label": (np.int64, None),
    "partner_where": (np.float32, None, 2, 3),
    "partner_elastic": (np.int64, None),
    "partner_holes": (np.int64, None, 4),
    "answered": (np.float32, None, CLASSES),
    "heat": (np.float32,),
    "weight": (np.float32,),
}


class OneShown(NamedTuple):
    """What one run of a pass sees; values: what each of the 256 bytes becomes."""

    pictures: Array
    order: Array
    labels: Array
    where: Array
    masks: Array
    elastic: Array
    smooth: Array
    alpha: Any
    holes: Array
    adversary: Array
    share: Array
    partner: Array
    partner_label: Array
    partner_where: Array
    partner_elastic: Array
    partner_holes: Array
    answered: Array
    heat: Any
    weight: Any
    values: Array
    number: Any


class Network(NamedTuple):
    """What the runs are, apart from their parameters."""

    activation: str
    pooling: str
    connection: str
    norm: str
    head: str
    scale: Array  # [run]: the input is pixel * scale + shift
    shift: Array
    number: Array  # [run]: the smoothing of `softmax`, j of `rbf_map`
    bitmaps: Array  # [class, unit], +-1
    running: Array  # [run, 2, 22]: mean and variance of batch norm, maps of C1 and C3
    teacher: str = "none"


class Adversary(NamedTuple):
    """How far images are moved to where they are harder, in pixels."""

    epsilon: Array  # [run]
    step: Array
    steps: int


class Steps(NamedTuple):
    """What an optimizer does after every batch; see factor/optimizer.py."""

    optimizer: str
    batch_size: int  # the last batch of a pass may be smaller
    each: Array  # [run, step, 3]: rate, share that decay takes, epsilon
    decay: Array  # [run]: times the weight is added to the gradient
    first: Array  # [run]: momentum or beta1
    second: Array  # [run]: beta2 or the decay of squares
    memory: Mapping[str, Mapping[str, Array]]  # its tensors, as the parameters
    hidden: Array = NOTHING  # [run, step, 2]: rate and share of the weights in HIDDEN,
    momentum: Array = NOTHING  # [run]: where they have a rule of their own


class Pass(NamedTuple):
    """What a pass says of its runs."""

    loss: Array  # [run, image], before its step
    answers: Array  # [run, image]: the class before its step, -1 for no number
    diverged: Array  # [run]: the step with a loss that is not finite, from which on
    # the run is as it was; or -1


def train_pass(
    parameters: Mapping[str, Array],
    steps: Steps,
    shown: Shown,
    network: Network,
    adversary: Adversary | None = None,
    threads: int | None = None,
) -> Pass:
    """What became of the runs, with a step of their optimizer after every batch on the
    mean of its losses; `parameters`, `steps.memory` and `network.running` are updated
    in place. A ValueError for arrays that the loops would read astray."""
    shown, memory = checked(shown), OPTIMIZERS[steps.optimizer].memory
    for values in [parameters, *(steps.memory[name] for name in memory if name)]:
        refuse_shapes(values, network, len(shown.order))
    # What needs a whole batch, or slopes by the image, has its images in the lanes.
    one_by_one = steps.batch_size == 1 and network.norm == "none" and not adversary
    work = train_images if one_by_one else train_batches
    return work(parameters, steps, shown, network, adversary, threads)


def train_batches(
    parameters: Mapping[str, Array],
    steps: Steps,
    shown: Shown,
    network: Network,
    adversary: Adversary | None,
    threads: int | None,
) -> Pass:
    """train_pass with images in the lanes."""
    slots, found = layout(network), nothing_yet(shown)
    plan, maps = planned_layout(network, slots, steps.optimizer), maps_of(slots)
    hidden, groups = flat_matrices(steps, network, slots), batch.ROUND
    # Batch norm's statistics are those of a whole batch: its groups are one round.
    if plan.norm:
        groups = -(-min(steps.batch_size, shown.order.shape[1]) // LANES)
    states: dict[int, tuple[Array, ...]] = {}

    def prepare(run: int, threads: int) -> Any:
        states[run] = flat_state(parameters, steps, slots, run)
        shares = thread_shares(slots, threads, apart(steps))
        return round_of(groups, maps), np.zeros(2, np.int64), shares

    def work(run: int, thread: int, threads: int, prepared: Any) -> None:
        if stands(steps, run):
            return
        kept, gate, shares = prepared
        seen, ball = one_shown(shown, network, run), ball_of(adversary, network, run)
        # Groups at a time: with batch norm all of the thread's, else a tile of them.
        mine = -(-groups // threads) if plan.norm else tiles.TILE
        updates = updates_of(steps, run, shares, hidden)
        batch.each_batch(
            tiles.Team(thread, threads, gate), plan, seen, updates, states[run], kept,
            own_space(mine, maps, seen.values[0], ball), network.running[run],
            of_run(found, run),
        )  # fmt: skip

    together(len(shown.order), threads, work, prepare)
    for run, state in states.items():
        unflat_state(state, slots, parameters, steps, run)
    return found._replace(diverged=found.diverged[:, 0])


def updates_of(
    steps: Steps, run: int, shares: Array, hidden: tuple[Array, Array]
) -> Any:
    """What the steps of a run are, see batch.Updates."""
    return batch.Updates(
        size=steps.batch_size,
        shares=shares,
        numbers=numbers_of(steps, run),
        each=np.ascontiguousarray(steps.each[run], np.float32),
        decay=np.float32(steps.decay[run]),
        matrices=hidden_of(steps, run, *hidden),
    )


def train_images(
    parameters: Mapping[str, Array],
    steps: Steps,
    shown: Shown,
    network: Network,
    adversary: Adversary | None,
    threads: int | None,
) -> Pass:
    """train_pass with channels in the lanes, for batches of one image."""
    places, found = positions(network), nothing_yet(shown)
    plan = planned_layout(network, layout(network), steps.optimizer)
    # A rule without averages or decay takes each step where its gradient is found.
    decayed = np.any(steps.decay) or np.any(steps.each[:, :, 1])
    fused = steps.optimizer in ("sgd", "sdlm") and not decayed
    mask, decays = kernel_mask(network, places), decay_spans(steps)
    hidden = matrices(steps, network, places, SPANS)

    def work(run: int, thread: int, threads: int, _: None) -> None:
        if thread or stands(steps, run):
            return  # one image after the other: nothing to share out
        state = laid_state(parameters, steps, places, run)
        if fused and not state[3].size:
            state = (*state[:3], np.ones_like(state[1]))  # sgd: steps of one size
        seen = one_shown(shown, network, run)
        s = aligned(single.SIZE * LANES).reshape(-1, LANES)
        s[: single.P.plane1] = seen.values[0]
        updates = single.Updates(
            fused=fused,
            numbers=numbers_of(steps, run),
            each=np.ascontiguousarray(steps.each[run], np.float32),
            decays=decays,
            matrices=hidden_of(steps, run, *hidden),
        )
        turned = np.zeros((C3_MAPS * TAPS, LANES), np.float32)
        outcome = of_run(found, run)
        single.each_image(s, state, turned, mask, plan, seen, updates, outcome)
        take_state(state, places, parameters, steps, run)

    together(len(shown.order), threads, work, lambda run, threads: None)
    return found._replace(diverged=found.diverged[:, 0])


def answers_of(
    parameters: Mapping[str, Array],
    shown: Shown,
    network: Network,
    adversary: Adversary | None = None,
    threads: int | None = None,
) -> tuple[Array, Array]:
    """[run, image]: the class that each run gives each image, -1 where a score is no
    number; and, where there is an adversary, whether it stays the label in its ball."""
    none = np.empty((*shown.order.shape[:1], 0, CLASSES), np.float32)
    return asked(parameters, shown, network, adversary, threads, none)


def class_scores(
    parameters: Mapping[str, Array],
    shown: Shown,
    network: Network,
    threads: int | None = None,
) -> Array:
    """[run, image, class]: the score that each run gives each class of each image."""
    scores = np.zeros((*shown.order.shape, CLASSES), np.float32)
    asked(parameters, shown, network, None, threads, scores)
    return scores


def asked(
    parameters: Mapping[str, Array],
    shown: Shown,
    network: Network,
    adversary: Adversary | None,
    threads: int | None,
    scores: Array,
) -> tuple[Array, Array]:
    """`answers_of`, which also fills in the scores [run, image, class], or none."""
    shown, slots = checked(shown), layout(network)
    plan, maps = planned_layout(network, slots, "sgd"), maps_of(slots)
    refuse_shapes(parameters, network, len(shown.order))
    runs, images = shown.order.shape
    answers, right = np.full((runs, images), -1), np.ones((runs, images), np.bool_)
    chunk = tiles.TILE * LANES
    chunks = -(-images // chunk)

    def work(run: int, thread: int, threads: int, w: Array) -> None:
        # Whole tiles for every thread: idle lanes are only in the run's last one.
        first, stop = (chunks * t // threads * chunk for t in (thread, thread + 1))
        seen, ball = one_shown(shown, network, run), ball_of(adversary, network, run)
        own = own_space(tiles.TILE, maps, seen.values[0], ball)
        evaluate.each_answer(
            first, min(stop, images), w, plan, seen, own, network.running[run],
            answers[run], right[run], scores[run],
        )  # fmt: skip

    together(runs, threads, work, lambda run, threads: flat(parameters, slots, run))
    return answers, right


class PixelLoops:
    """Scores of images of any numbers, and their slopes by the pixels, for runs whose
    weights stay: they are laid out once."""

    def __init__(self, parameters: Mapping[str, Array], network: Network) -> None:
        slots, self.network = layout(network), network
        refuse_shapes(parameters, network, len(network.scale))
        self.plan, self.maps = planned_layout(network, slots, "sgd"), maps_of(slots)
        runs = range(len(network.scale))
        self.weights = [flat(parameters, slots, run) for run in runs]
        self.spare: list[Any] = []  # what no thread uses now, see tiles.Own

    def scores(self, pixels: Array, threads: int | None = None) -> Array:
        """[run, image, class], of images [run, image, 28, 28]."""
        images = np.ascontiguousarray(pixels, np.float32)
        scores = np.empty((*images.shape[:2], CLASSES), np.float32)
        self.fill(images, scores, scores[:, :0], threads)
        return scores

    def slopes(self, pixels: Array, pulls: Array, threads: int | None = None) -> Array:
        """[run, image, 28, 28]: dE by each pixel, from dE by each score."""
        slopes = np.array(pixels, np.float32, order="C")
        pulls = np.ascontiguousarray(pulls, np.float32)
        self.fill(slopes, pulls[:, :0], pulls, threads)
        return slopes

    def fill(
        self, images: Array, scores: Array, pulls: Array, threads: int | None
    ) -> None:
        """Fill in the scores, or, where there are pulls, put the slopes by the pixels
        in the place of the images."""
        shape = (len(self.weights), images.shape[1], CLASSES)
        if images.shape != (*shape[:2], PICTURE_SIDE, PICTURE_SIDE):
            raise ValueError(f"images {images.shape} do not fit {shape[0]} runs")
        if shape not in (scores.shape, pulls.shape):
            raise ValueError(f"pulls {pulls.shape} do not fit images {images.shape}")

        def work(run: int, thread: int, threads: int, w: Array) -> None:
            mine = slice(*(shape[1] * t // threads for t in (thread, thread + 1)))
            scale = np.float32(self.network.scale[run])
            shift = np.float32(self.network.shift[run])
            own = self.taken(shift, run)
            input_slope.each_slope(
                own, w, self.plan, images[run, mine], scale, shift,
                self.network.running[run], scores[run, mine], pulls[run, mine],
            )  # fmt: skip
            self.spare.append(own)

        together(shape[0], threads, work, lambda run, threads: self.weights[run])

    def taken(self, background: Any, run: int) -> Any:
        """Space for one thread, with the border of every image in place."""
        try:
            own = self.spare.pop()
        except IndexError:
            ball = ball_of(None, self.network, run)
            return own_space(tiles.TILE, self.maps, background, ball)
        own.s[:, tiles.P.image : tiles.P.image + IMAGE_SIZE] = background
        return own


def curvature_of(
    parameters: Mapping[str, Array],
    shown: Shown,
    network: Network,
    threads: int | None = None,
) -> dict[str, Array]:
    """h_kk of every parameter, the mean over the images that its run is shown."""
    shown, slots = checked(shown), layout(network)
    plan, maps = planned_layout(network, slots, "sgd"), maps_of(slots)
    refuse_shapes(parameters, network, len(shown.order))
    found = {name: np.zeros_like(parameters[name]) for name in slots}

    def work(run: int, thread: int, threads: int, _: None) -> None:
        if thread:
            return  # a fraction of a second: nothing is shared out
        w, seen = flat(parameters, slots, run), one_shown(shown, network, run)
        g, ball = aligned(len(w)), ball_of(None, network, run)
        own = own_space(tiles.TILE, maps, seen.values[0], ball)
        kept = round_of(batch.ROUND, maps)
        # The recursion of App. C goes back through squared weights.
        second_derivatives.each_sample(w, w * w, plan, seen, kept, own, g)
        unflat(g / np.float32(len(seen.order)), slots, found, run)

    together(len(shown.order), threads, work, lambda run, threads: None)
    return found


def together(
    runs: int,
    threads: int | None,
    work: Callable[[int, int, int, Any], None],
    prepare: Callable[[int, int], Any],
) -> None:
    """Do the work of every run: work(run, thread, threads, what `prepare` gives)."""
    threads = threads or get_num_threads()
    alone = runs // threads * threads

    def whole(run: int) -> None:
        work(run, 0, 1, prepare(run, 1))

    with ThreadPoolExecutor(threads) as executor:
        # As many runs as every thread gets alike: one thread each.
        list(executor.map(whole, range(alone)))
        # Those that are left, fewer than threads: one after the other, by all threads.
        for run in range(alone, runs):
            shared = prepare(run, threads)
            parts = [
                executor.submit(work, run, thread, threads, shared)
                for thread in range(threads)
            ]
            for part in parts:
                part.result()


def layout(network: Network) -> dict[str, int]:
    """The numbers that each parameter in use takes, up to where the next one begins."""
    # S2 and S4 may have no parameters, and RBF units, the output, have none.
    absent = "S" * (not POOLINGS[network.pooling].trainable)
    absent += "o" * (not HEADS[network.head].trainable)
    slots = {name: n for name, n in SLOTS.items() if name[0] not in absent}
    slots["C3.weight"] = kernel_numbers(network)
    for name, (length, padded) in PADDED.items():
        if name in slots:
            slots[name] = slots[name] // length * padded
    return {name: -(-size // LANES) * LANES for name, size in slots.items()}


def kernel_numbers(network: Network) -> int:
    """The numbers of C3's kernels."""
    return TAPS * sum(map(len, CONNECTIONS[network.connection]))


def starts_of(slots: Mapping[str, int]) -> dict[str, int]:
    """Where each parameter begins."""
    starts = accumulate([0, *slots.values()][:-1])
    return dict(zip(slots, starts, strict=True))


def maps_of(slots: Mapping[str, int]) -> int:
    """The numbers that the weights of C1 to S4 take."""
    return sum(size for name, size in slots.items() if name[:2] in MAPS)


def planned_layout(
    network: Network, slots: Mapping[str, int], optimizer: str
) -> Layout:
    """The layout of a network whose parameters are laid out so."""
    table = CONNECTIONS[network.connection]
    # A parameter that is not in use takes no room, and nothing reads where it begins.
    at = starts_of({name: slots.get(name, 0) for name in SLOTS})
    head, codes = HEADS[network.head], list(ACTIVATIONS)
    return Layout(
        **{BEGINS[name]: start for name, start in at.items()},
        activation=codes.index(network.activation),
        squash=codes.index(head.squash or network.activation),
        pooling=list(POOLINGS).index(network.pooling),
        head=list(HEADS).index(network.head),
        teacher=list(TEACHERS).index(network.teacher),
        squashed=POOLINGS[network.pooling].trainable,
        linear=head.trainable,
        norm=network.norm != "none",
        rule=list(OPTIMIZERS).index(optimizer),
        inputs=np.array([i for row in table for i in row]),
        starts=np.cumsum([0] + [len(row) for row in table]),
        bitmaps=np.ascontiguousarray(network.bitmaps, np.float32),
    )


def aligned(size: int) -> Array:
    """So many zeros, from the start of a cache line on."""
    memory = np.zeros(size + 16, np.float32)
    start = -memory.ctypes.data % 64 // 4
    return memory[start : start + size]


def flat(values: Mapping[str, Array], slots: Mapping[str, int], run: int) -> Array:
    """A run's numbers, parameter after parameter."""
    row, start = aligned(sum(slots.values())), 0
    for name, size in slots.items():
        part, numbers = row[start : start + size], values[name][run].reshape(-1)
        if name in PADDED:
            length, padded = PADDED[name]
            part.reshape(-1, padded)[:, :length] = numbers.reshape(-1, length)
        else:
            part[: len(numbers)] = numbers
        start += size
    return row


def unflat(
    row: Array, slots: Mapping[str, int], values: Mapping[str, Array], run: int
) -> None:
    """The inverse of flat, into `values`."""
    start = 0
    for name, size in slots.items():
        part, numbers = row[start : start + size], values[name][run]
        if name in PADDED:
            length, padded = PADDED[name]
            part = part.reshape(-1, padded)[:, :length]
        numbers[...] = part.reshape(-1)[: numbers.size].reshape(numbers.shape)
        start += size


def flat_state(
    parameters: Mapping[str, Array], steps: Steps, slots: Mapping[str, int], run: int
) -> tuple[Array, ...]:
    """A run's weights, space for their gradients, and the optimizer's m and v, which
    are empty where it has none: w, g, m and v of batch.py."""
    w = flat(parameters, slots, run)
    memory = (
        flat(steps.memory[name], slots, run) if name else w[:0]
        for name in OPTIMIZERS[steps.optimizer].memory
    )
    return (w, aligned(len(w)), *memory)


def unflat_state(
    state: tuple[Array, ...],
    slots: Mapping[str, int],
    parameters: Mapping[str, Array],
    steps: Steps,
    run: int,
) -> None:
    """The inverse of flat_state, into `parameters` and `steps.memory`."""
    w, _, *memory = state
    unflat(w, slots, parameters, run)
    for name, row in zip(OPTIMIZERS[steps.optimizer].memory, memory, strict=True):
        if name:
            unflat(row, slots, steps.memory[name], run)


def positions(network: Network) -> dict[str, Array]:
    """Where each number of a parameter lies in the layout of single.py, in numbers."""
    table = CONNECTIONS[network.connection]
    kernels = np.array([(m, i) for m, row in enumerate(table) for i in row])
    taps, m, i = np.arange(TAPS), kernels[:, :1], kernels[:, 1:]
    # S4's unit (map, pixel) is number map // 8 * 200 + pixel * 8 + map % 8 there.
    maps, pixels = np.divmod(np.arange(S4_ALL), S4_SIZE)
    units = maps // LANES * (S4_SIZE * LANES) + pixels * LANES + maps % LANES
    at = single.K
    # Lanes: maps of C1 and C3, units of C5 and F6. The output is [class, unit].
    places = {
        "C1.weight": (at.c1 + taps) * LANES + np.arange(C1_MAPS)[:, None],
        "C3.weight": (at.c3 + m // LANES * single.C3_HALF + i * TAPS + taps) * LANES
        + m % LANES,
        "C5.weight": (at.c5 + units * C5_VECTORS) * LANES
        + np.arange(C5_UNITS)[:, None],
        "F6.weight": (at.f6 + np.arange(C5_UNITS) * F6_VECTORS) * LANES
        + np.arange(F6_UNITS)[:, None],
        "output.weight": at.w7 * LANES
        + np.arange(CLASSES)[:, None] * F6_ROW
        + np.arange(F6_UNITS),
    }
    for name in SLOTS.keys() - places.keys():  # one number for a map or a unit
        start = getattr(at, BEGINS[name])
        places[name] = start * LANES + np.arange(SLOTS[name])
    return {name: places[name].reshape(-1) for name in layout(network)}


def laid(values: Mapping[str, Array], places: Mapping[str, Array], run: int) -> Array:
    """A run's numbers, each in its place; 0 where there is none."""
    row = aligned(single.VECTORS * LANES)
    for name, place in places.items():
        row[place] = values[name][run].reshape(-1)
    return row.reshape(-1, LANES)


def take(
    row: Array, places: Mapping[str, Array], values: Mapping[str, Array], run: int
) -> None:
    """The inverse of laid, into `values`."""
    for name, place in places.items():
        part = values[name][run]
        part[...] = row.reshape(-1)[place].reshape(part.shape)


def laid_state(
    parameters: Mapping[str, Array], steps: Steps, places: Mapping[str, Array], run: int
) -> tuple[Array, ...]:
    """As flat_state, for single.py."""
    w, g = laid(parameters, places, run), laid({}, {}, run)
    memory = (
        laid(steps.memory[name], places, run) if name else g[:0]
        for name in OPTIMIZERS[steps.optimizer].memory
    )
    return (w, g, *memory)


def take_state(
    state: tuple[Array, ...],
    places: Mapping[str, Array],
    parameters: Mapping[str, Array],
    steps: Steps,
    run: int,
) -> None:
    """The inverse of laid_state, into `parameters` and `steps.memory`."""
    w, _, *memory = state
    take(w, places, parameters, run)
    for name, row in zip(OPTIMIZERS[steps.optimizer].memory, memory, strict=True):
        if name:
            take(row, places, steps.memory[name], run)


def kernel_mask(network: Network, places: Mapping[str, Array]) -> Array:
    """1 for each kernel of C3 that there is, 0 elsewhere; empty where all are."""
    if kernel_numbers(network) == SLOTS["C3.weight"]:
        return np.zeros((0, LANES), np.float32)
    whole = np.zeros(single.VECTORS * LANES, np.float32)
    whole[places["C3.weight"]] = 1
    return whole.reshape(-1, LANES)[single.K.c3 : single.K.b3]


SPANS = {  # where a parameter lies in single.py's weights: first vector, and how many
    name: (getattr(single.K, begin), single.W[begin]) for name, begin in BEGINS.items()
}


def decay_spans(steps: Steps) -> Array:
    """[part, 3], see single.Updates: where decay acts, which is not on biases."""
    spans = {name: SPANS[name] for name in SLOTS if name not in apart(steps)}
    return np.array(
        [(*span, int(not name.endswith("bias"))) for name, span in spans.items()]
    )


def thread_shares(
    slots: Mapping[str, int], threads: int, others: Container[str] = ()
) -> Array:
    """Which thread moves which weights, but for `others`: [thread, start, length,
    decayed], the two in the middle in vectors. A thread moves what it gathers, see
    batch.py."""
    rows, starts = [], starts_of(slots)
    for name, size in slots.items():
        if name in others:
            continue
        decayed, first = int(not name.endswith("bias")), starts[name] // LANES
        if name in BLOCKS:
            # The blocks of outputs whose gradients the thread has added up.
            blocks = BLOCKS[name]
            each = size // blocks // LANES
            for thread in range(threads):
                low, high = (blocks * t // threads for t in (thread, thread + 1))
                rows.append((thread, first + low * each, (high - low) * each, decayed))
        else:
            # C1 to S4: the first thread. The output, C5's and F6's biases: the last.
            owner = 0 if name[:2] in MAPS else threads - 1
            rows.append((owner, first, size // LANES, decayed))
    return np.array(rows)


def apart(steps: Steps) -> tuple[str, ...]:
    """The parameters that take a step of their own, each as one matrix."""
    return HIDDEN if steps.hidden.size else ()


def flat_matrices(
    steps: Steps, network: Network, slots: Mapping[str, int]
) -> tuple[Array, Array]:
    """`matrices` where a run's weights lie as `flat` has them."""
    begin = starts_of(slots)
    places = {name: begin[name] + np.arange(slots[name]) for name in apart(steps)}
    spans = {name: (begin[name] // LANES, slots[name] // LANES) for name in places}
    return matrices(steps, network, places, spans)


def matrices(
    steps: Steps,
    network: Network,
    places: Mapping[str, Array],
    spans: Mapping[str, tuple[int, int]],
) -> tuple[Array, Array]:
    """Shapes and places of the parameters that are one matrix each, see muon.py.

    places: where each number of a parameter lies among the run's; spans: in which
    vectors, the first and how many.
    """
    shapes, wheres, first = [], [np.empty(0, np.int64)], 0
    for name in apart(steps):
        numbers = matrix(name, network)
        # Rows and columns are whole vectors: -1 fills them up, and stands for 0.
        rows, columns = (-(-n // LANES) * LANES for n in numbers.shape)
        where = np.full((rows, columns), -1)
        there = np.zeros(where.shape, np.bool_)
        there[: numbers.shape[0], : numbers.shape[1]] = numbers >= 0
        where[there] = places[name][numbers[numbers >= 0]]
        shapes.append((first, rows, columns, *spans[name]))
        wheres.append(where.reshape(-1))
        first += where.size
    return np.array(shapes, np.int64).reshape(-1, 5), np.concatenate(wheres)


def matrix(name: str, network: Network) -> Array:
    """Which number of a weight stands where in its matrix, [out, what a unit sees]; -1
    for a kernel that C3 has not."""
    if name != "C3.weight":
        units = SLOTS[name.replace("weight", "bias")]
        return np.arange(SLOTS[name]).reshape(units, -1)
    kernels, count = np.full((C3_MAPS, C1_MAPS), -1), 0
    for row, inputs in enumerate(CONNECTIONS[network.connection]):
        kernels[row, list(inputs)] = range(count, count + len(inputs))
        count += len(inputs)
    numbers = kernels[:, :, None] * TAPS + np.arange(TAPS)
    return np.where(kernels[:, :, None] < 0, -1, numbers).reshape(C3_MAPS, -1)


def hidden_of(steps: Steps, run: int, shapes: Array, places: Array) -> Any:
    """What muon.py needs for a run, with space for one thread."""
    rule = np.zeros((5, LANES), np.float32)
    if not len(shapes):
        none = np.empty((0, 2), np.float32)
        return muon.Matrices(shapes, places, rule, none, (none[:, 0].copy(),) * 5)
    momentum = np.float32(steps.momentum[run])
    rule[:2] = np.array([momentum, np.float32(1) - momentum])[:, None]
    each = np.ascontiguousarray(steps.hidden[run], np.float32)
    # Room for the largest X [rows, columns], and for X X^T [rows, rows].
    whole, square = (int((shapes[:, 1] * shapes[:, k]).max()) for k in (2, 1))
    space = tuple(aligned(n) for n in (whole, whole, square, square, whole))
    return muon.Matrices(shapes, places, rule, each, space)


def nothing_yet(shown: Shown) -> Pass:
    """A pass that has not begun, its arrays to be filled in."""
    runs, images = shown.order.shape
    losses = np.zeros((runs, images), np.float32)
    return Pass(losses, np.full((runs, images), -1), np.full((runs, 1), -1))


def of_run(found: Pass, run: int) -> Any:
    """A run's part of a pass, see tiles.Outcome."""
    return tiles.Outcome(found.loss[run], found.answers[run], found.diverged[run])


def workspace(groups: int, background: Any) -> Array:
    """[group, place, lane], with the border of every image in place."""
    s = aligned(groups * tiles.SIZE * LANES).reshape(groups, tiles.SIZE, LANES)
    s[:, tiles.P.image : tiles.P.image + IMAGE_SIZE] = background
    return s


def own_space(groups: int, maps: int, background: Any, ball: Any) -> Any:
    """A thread's own arrays, with a workspace of so many groups, see tiles.Own."""
    s = workspace(groups, background)
    lanes, tested, wide = (aligned(maps * LANES).reshape(-1, LANES) for _ in range(3))
    canvas, before = (np.full(IMAGE_SIZE, background, np.float32) for _ in range(2))
    # Zeros, as what an idle lane has must be finite.
    given = np.zeros((tiles.TILE, PICTURE_SIZE, LANES), np.float32)
    none = np.empty((0, DROPPED_UNITS), np.float32)
    return tiles.Own(s, lanes, canvas, before, given, tested, none, ball, wide)


def round_of(groups: int, maps: int) -> Any:
    """What all threads read of a round of groups, see tiles.Round."""
    images = groups * LANES
    return tiles.Round(
        aligned(images * tiles.WIDTH).reshape(images, tiles.WIDTH),
        aligned(tiles.ROWS * images).reshape(tiles.ROWS, images),
        aligned(groups * maps).reshape(groups, maps),
        np.zeros((2, groups, C3_MAPS), np.float32),
    )


def ball_of(adversary: Adversary | None, network: Network, run: int) -> Any:
    """A run's ball, in units of its input."""
    zero = np.float32(0)
    if adversary is None:
        return attacked_images.Ball(zero, zero, 0, zero, zero)
    # The input is pixel * scale + shift: from `shift`, a pixel of 0, to that of 1.
    scale, shift = np.float32(network.scale[run]), np.float32(network.shift[run])
    epsilon, step = (np.float32(a[run]) * scale for a in adversary[:2])
    return attacked_images.Ball(epsilon, step, adversary.steps, shift, scale + shift)


def stands(steps: Steps, run: int) -> bool:
    """Whether a run stays as it is: all its rates are 0, as it has diverged."""
    return not steps.each[run, :, 0].any()


def numbers_of(steps: Steps, run: int) -> Array:
    """The numbers of a run's steps that stay the same, for `Step`."""
    first, second = np.float32(steps.first[run]), np.float32(steps.second[run])
    one, unset = np.float32(1), np.float32(0)  # unset: each step fills it in
    step = Step(
        rate=unset,
        decay=steps.decay[run],
        shrink_rest=unset,
        first=first,
        first_rest=one - first,
        second=second,
        rest=one - second,
        epsilon=unset,
    )
    return np.repeat(np.array(step, np.float32)[:, None], LANES, axis=1)


def one_shown(shown: Shown, network: Network, run: int) -> OneShown:
    """What a run sees."""
    pixels = np.arange(256, dtype=np.float32) / np.float32(255)
    scale, shift = np.float32(network.scale[run]), np.float32(network.shift[run])
    each = {name: getattr(shown, name)[run] for name in Shown._fields[1:]}
    values, number = pixels * scale + shift, np.float32(network.number[run])
    return OneShown(shown.pictures, **each, values=values, number=number)


def checked(shown: Shown) -> Shown:
    """`shown` as the loops take it; a ValueError for what they would read astray."""
    pictures, order, labels = shown[:3]
    refuse_out_of_range(shown.partner, len(pictures), "partner", "pictures")
    refuse_out_of_range(shown.partner_label, CLASSES, "partner_label", "classes")
    if (
        pictures.shape[1:] != (PICTURE_SIDE, PICTURE_SIDE)
        or labels.shape != order.shape
    ):
        shapes = [array.shape for array in shown[:3]]
        raise ValueError(f"pictures, order and labels do not fit: {shapes}")
    if pictures.dtype != np.uint8:
        raise ValueError(f"pictures are {pictures.dtype}: give uint8")
    refuse_out_of_range(order, len(pictures), "order", "pictures")
    refuse_out_of_range(labels, CLASSES, "labels", "classes")
    runs, images = order.shape
    arrays = {
        "pictures": pictures,
        "order": order.astype(np.int64, copy=False),
        "labels": labels.astype(np.int64, copy=False),
    }
    for name, (kind, *shape) in OPTIONAL.items():
        given = getattr(shown, name)
        fit = (runs, *(images if n is None else n for n in shape))
        if given.size and given.shape != fit:
            raise ValueError(f"{name} is {given.shape}, not {fit}")
        # Of what there is none, an empty array, of the type that was compiled.
        if not given.size:
            given = np.zeros((runs, *(n or 0 for n in shape)))
        arrays[name] = given.astype(kind, copy=False)
    return Shown(**{name: np.ascontiguousarray(a) for name, a in arrays.items()})


def some_shown(shown: Shown, run: int, chosen: Array) -> Shown:
    """What one run sees of the chosen images [image]; what is empty stays empty."""
    some = {}
    for name in Shown._fields[1:]:
        values, (_, *shape) = getattr(shown, name), OPTIONAL.get(name, (None, None))
        if values.size:
            own = values[run : run + 1]
            some[name] = own[:, chosen] if None in shape else own
    return shown._replace(**some)


def refuse_out_of_range(places: Array, count: int, name: str, what: str) -> None:
    """A ValueError for places that are not from 0 on below the count."""
    if places.size and not 0 <= places.min() <= places.max() < count:
        raise ValueError(f"{name}: some go beyond the {count} {what}")


def refuse_shapes(values: Mapping[str, Array], network: Network, runs: int) -> None:
    """A ValueError for parameters that the loops would read or write astray."""
    for name in layout(network):
        size = kernel_numbers(network) if name == "C3.weight" else SLOTS[name]
        array = values[name]
        if array.dtype != np.float32 or array.shape[0] != runs or array[0].size != size:
            raise ValueError(
                f"{name} is {array.dtype} {array.shape}: give float32 [{runs}, ...] of "
                f"{size} numbers a run"
            )
