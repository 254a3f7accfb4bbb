"""Passes of many runs through the compiled loops of lenet/lane.py, on plain arrays."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np
from numba import get_num_threads

from lenet.factor.connection import LEVELS as CONNECTIONS
from lenet.kernel import (
    ACTIVATIONS,
    HEADS,
    OPTIMIZERS,
    POOLINGS,
    SIZE,
    SLICES,
    TILE,
    Numbers,
    P,
)
from lenet.lane import SLOTS, Group, Plan, each_batch, each_pattern
from lenet.vector import LANES


class Shown(NamedTuple):
    """What the runs of a pass see, one image after the other."""

    pictures: np.ndarray  # float32 in [0, 1], [picture, 28, 28]
    order: np.ndarray  # [run, image]: which picture
    labels: np.ndarray  # [run, image]
    where: np.ndarray  # [run, image, 2, 3]: `Source` of the augmentation, or empty
    masks: np.ndarray  # [run, image, 204]: factors of C5 and F6 (dropout), or empty


class Network(NamedTuple):
    """What the runs are, apart from their parameters."""

    activation: str
    pooling: str
    connection: str
    head: str
    scale: np.ndarray  # [run]: the input is pixel * scale + shift
    shift: np.ndarray
    number: np.ndarray  # [run]: the smoothing of `softmax`, j of `rbf_map`
    bitmaps: np.ndarray  # [class, unit], +-1


class Steps(NamedTuple):
    """What an optimizer does after every batch; see lenet/factor/optimizer.py."""

    optimizer: str
    batch_size: int  # the last batch of a pass may be smaller
    each: np.ndarray  # [run, step, 3]: rate, share that decay takes, epsilon
    decay: np.ndarray  # [run]: times the weight is added to the gradient
    first: np.ndarray  # [run]: momentum or beta1
    second: np.ndarray  # [run]: beta2 or the decay of squares
    memory: Mapping[str, Mapping[str, np.ndarray]]  # its tensors, as the parameters


class Pass(NamedTuple):
    """What a pass says of its runs; every array is [run]."""

    errors: np.ndarray  # wrong predictions, each made before its step
    loss: np.ndarray  # summed over the patterns, float64
    diverged: np.ndarray  # the step with a loss that is not finite, from which on the
    # run is as it was and no longer counted; or -1


def lanes(rows: np.ndarray) -> np.ndarray:
    """rows [lane, value] as [value, lane], from the start of a cache line on."""
    memory = np.zeros(rows.size + 16, np.float32)
    start = -memory.ctypes.data % 64 // 4
    out = memory[start : start + rows.size].reshape(rows.shape[::-1])
    out[:] = rows.T
    return out


def structure(network: Network, optimizer: str = "sgd") -> Any:
    """(plan, slots of each parameter in use)."""
    table = CONNECTIONS[network.connection]
    inputs = np.array([i for row in table for i in row])
    starts = np.cumsum([0] + [len(row) for row in table])
    softmax = network.head == "softmax"
    absent = "S" * (network.pooling != "subsample") + "o" * (not softmax)
    slots = {name: size for name, size in SLOTS.items() if name[0] not in absent}
    slots["C3.weight"] = 25 * len(inputs)
    offsets = accumulate([0, *(slots.get(name, 0) for name in SLOTS)][:-1])
    code, scaled = map(list(ACTIVATIONS).index, (network.activation, "scaled_tanh"))
    pooling, head = list(POOLINGS).index(network.pooling), HEADS.index(network.head)
    codes = (code, code if softmax else scaled, pooling, head)
    rule = list(OPTIMIZERS).index(optimizer)
    bitmaps = np.ascontiguousarray(network.bitmaps, np.float32)
    return Plan._make([*offsets, *codes, rule, inputs, starts, bitmaps]), slots


def flat(
    values: Mapping[str, np.ndarray], slots: Mapping[str, int], runs: int
) -> np.ndarray:
    """[run, slot], parameter after parameter; one number a run is repeated."""
    rows = [
        np.broadcast_to(values[name].reshape(runs, -1), (runs, size))
        for name, size in slots.items()
    ]
    return np.concatenate(rows, 1, dtype=np.float32)


def unflat(
    rows: np.ndarray, slots: Mapping[str, int], values: Mapping[str, np.ndarray]
) -> None:
    """The inverse of flat, into `values`."""
    start = 0
    for name, size in slots.items():
        part = rows[: len(values[name]), start : start + size]
        values[name][...] = part.reshape(values[name].shape)
        start += size


def checked(shown: Shown) -> Shown:
    """`shown` as the kernels take it; ValueError for what they would read astray."""
    pictures, order, labels, where, masks = shown
    shapes = [array.shape for array in shown]
    if pictures.shape[1:] != (28, 28) or labels.shape != order.shape:
        raise ValueError(f"pictures, order and labels do not fit: {shapes[:3]}")
    if order.size and not 0 <= order.min() <= order.max() < len(pictures):
        raise ValueError(f"order goes beyond the {len(pictures)} pictures")
    if where.size and where.shape != (*order.shape, 2, 3):
        raise ValueError(f"where is {where.shape}, not {(*order.shape, 2, 3)}")
    if masks.size and masks.shape != (*order.shape, 204):
        raise ValueError(f"masks are {masks.shape}, not {(*order.shape, 204)}")
    where = where if where.size else np.empty((0, 0, 2, 3))
    masks = masks if masks.size else np.empty((0, 0, 204))
    kinds = (np.float32, np.int64, np.int64, np.float32, np.float32)
    pairs = zip((pictures, order, labels, where, masks), kinds, strict=True)
    return Shown(*(np.ascontiguousarray(array, kind) for array, kind in pairs))


def check(
    slots: Mapping[str, int], values: Mapping[str, np.ndarray], runs: int
) -> None:
    """ValueError for parameters that the kernels would read or write astray."""
    for name, size in slots.items():
        array = values[name]
        if array.dtype != np.float32 or array.shape[0] != runs or array[0].size != size:
            raise ValueError(
                f"{name} is {array.dtype} {array.shape}: give float32 [{runs}, ...] of "
                f"{size} numbers a run"
            )


def workspace(images: int, background: np.ndarray) -> np.ndarray:
    """[image, slot, lane], with the border of every image in place."""
    s = lanes(np.zeros((LANES, images * SIZE), np.float32)).reshape(images, SIZE, LANES)
    s[:, P.one : P.one + 10], s[:, P.image : P.image + 1024] = 1, background
    return s


def lane_groups(runs: int, slices: bool) -> list[tuple[np.ndarray, np.ndarray]]:
    """(the run of every lane, the slice of each batch that a lane has) of each group.

    LANES runs fill a group. A few that remain take SLICES lanes each, if `slices`; a
    group that is not full has the last run again.
    """
    full = runs // LANES * LANES
    if not slices or runs - full > LANES // 2:
        full = -(-runs // LANES) * LANES
    who = np.minimum(np.arange(full), runs - 1).reshape(-1, LANES)
    none, few = np.zeros(LANES, np.int64), LANES // SLICES
    groups = [(lanes, none) for lanes in who]
    for first in range(full, runs, few):
        lanes = np.minimum(np.arange(first, first + few), runs - 1).repeat(SLICES)
        groups.append((lanes, np.arange(LANES) % SLICES))
    return groups


def by_group(
    work: Callable[[Any, tuple[np.ndarray, ...]], Sequence[np.ndarray]],
    network: Network,
    slices: bool,
    threads: int | None,
) -> tuple[Pass, list[np.ndarray]]:
    """What becomes of the runs, and what `work` gives for each group, [lane, value], as
    [run, value]; a thread takes one group at a time."""
    groups = lane_groups(len(network.scale), slices)
    numbers = np.stack(network[4:7]).astype(np.float32)

    def one(lanes_of: tuple[np.ndarray, np.ndarray]) -> Any:
        who, part = lanes_of
        group = Group(who, part, *np.ascontiguousarray(numbers[:, who]))
        result = (np.zeros(LANES, np.int64), np.zeros(LANES), np.full(LANES, -1))
        return *result, *work(group, result)

    with ThreadPoolExecutor(threads or get_num_threads()) as executor:
        done = zip(*executor.map(one, groups), strict=True)
    home = np.flatnonzero(np.concatenate([part for _, part in groups]) == 0)
    values = [np.concatenate(part)[home[: len(network.scale)]] for part in done]
    return Pass(*values[:3]), values[3:]


def train_pass(
    parameters: Mapping[str, np.ndarray],
    rates: Mapping[str, np.ndarray],
    factors: np.ndarray,
    shown: Shown,
    network: Network,
    threads: int | None = None,
) -> Pass:
    """What became of the runs; `parameters` [run, ...] are updated in place by
    w -= factor * rate * dE/dw after every pattern (paper, App. C, p. 41).

    rates: as the parameters, or [run]; factors: [run, image]. C3.weight: [run, 60, 5,
    5] sorted by map, then by input, for the `table`; [run, 16, 6, 5, 5] for `full`.
    There is no dropout. Time goes in steps of LANES runs.
    """
    (plan, slots), shown = structure(network), checked(shown)
    runs = len(shown.order)
    check(slots, parameters, runs)
    for name in slots:
        if rates[name].shape not in ((runs,), parameters[name].shape):
            shapes = f"[{runs}] or {parameters[name].shape}"
            raise ValueError(f"rate of {name}: {shapes}, one a weight")
    if factors.shape != shown.order.shape:
        raise ValueError(f"factors are {factors.shape}, not {shown.order.shape}")
    weights, steps = flat(parameters, slots, runs), flat(rates, slots, runs)
    factors = np.ascontiguousarray(factors, np.float32)

    def work(group: Any, result: tuple[np.ndarray, ...]) -> list[np.ndarray]:
        w, r = lanes(weights[group.who]), lanes(steps[group.who])
        s, final = workspace(1, group.shift)[0], np.empty((LANES, len(w)), np.float32)
        each_pattern(s, w, r, plan, shown, group, factors, final, *result)
        return [final]

    done, (final,) = by_group(work, network, False, threads)
    unflat(final, slots, parameters)
    return done


def train_batches(
    parameters: Mapping[str, np.ndarray],
    steps: Steps,
    shown: Shown,
    network: Network,
    threads: int | None = None,
) -> Pass:
    """What became of the runs, with a step of their optimizer after every batch on the
    mean of its losses; `parameters` and `steps.memory` are updated in place."""
    (plan, slots), shown = structure(network, steps.optimizer), checked(shown)
    runs = len(shown.order)
    rule = OPTIMIZERS[steps.optimizer]
    kept = [name for name in rule[1] if name]
    changing = [parameters, *(steps.memory[name] for name in kept)]
    for values in changing:
        check(slots, values, runs)
    rows = [flat(values, slots, runs) for values in changing]
    starts = accumulate([0, *slots.values()][:-1])
    decayed = (not name.endswith("bias") for name in slots)
    parts = np.array(list(zip(starts, slots.values(), decayed, strict=True)))
    each, decay = (np.ascontiguousarray(a, np.float32) for a in steps[2:4])

    def work(group: Any, result: tuple[np.ndarray, ...]) -> list[np.ndarray]:
        state = [lanes(row[group.who]) for row in rows]
        memory = dict(zip(kept, state[1:], strict=True))
        m, v = (memory.get(name or "", state[0][:0]) for name in rule[1])
        first, second = steps.first[group.who], steps.second[group.who]
        numbers = np.zeros((len(Numbers._fields), LANES), np.float32)
        numbers[4:7] = first, 1 - first, 1 - second
        each_batch(
            workspace(TILE, group.shift), state[0], m, v, plan, shown, group,
            steps.batch_size, each, decay, parts, numbers, *result,
        )  # fmt: skip
        return [part.T for part in state]

    done, final = by_group(work, network, True, threads)
    for whole, values in zip(final, changing, strict=True):
        unflat(whole, slots, values)
    return done
