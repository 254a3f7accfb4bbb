"""Images moved to where a run's loss is larger, before it learns from them.

As factor/adversary.py: an L-infinity ball around each image, a start drawn by the
image's key, steps along the sign of the gradient. All of it is in units of the
network's input, of which a pixel's are `scale` times as many.
"""
# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators
# Emitted and compiled functions take what numba hands them; numba has no types.

from collections import namedtuple
from typing import Any, no_type_check

import numpy as np

from lenet.training.loops.cache import compiled
from lenet.training.loops.dense import answer, judge
from lenet.training.loops.input_image import GOLDEN, mixed
from lenet.training.loops.llvm import LANES
from lenet.training.loops.sizes import (
    CLASSES,
    EDGE,
    PICTURE_SIDE,
    SIDE,
)
from lenet.training.loops.tiles import (
    P,
    aim,
    backward_dense,
    delta_image,
    forward_dense,
    forward_maps,
)

# epsilon and step in units of the input, how many steps, and the input's bounds.
Ball: Any = namedtuple("Ball", ["epsilon", "step", "steps", "low", "high"])


@compiled
@no_type_check
def move_to_start(s, given, lane, key, ball, inside):
    """The lane's image goes to a place drawn by its key; `given` keeps where it was."""
    for y in range(PICTURE_SIDE):
        for x in range(PICTURE_SIDE):
            place, q = P.image + (y + EDGE) * SIDE + x + EDGE, PICTURE_SIDE * y + x
            # 24 bits of the mixed key: uniform from -1 to below 1.
            bits = (mixed(key + (q + 1) * GOLDEN) >> 40) & 0xFFFFFF
            draw = np.float32(bits) * np.float32(2.0**-23) - np.float32(1)
            given[q, lane] = s[place, lane]
            moved = s[place, lane] + ball.epsilon * draw
            if inside:
                moved = min(max(moved, ball.low), ball.high)
            s[place, lane] = moved


@compiled
@no_type_check
def climb(s, given, ball):
    """A step of every pixel along the sign of dE, within the ball and the bounds."""
    zero, step, epsilon = np.float32(0), ball.step, ball.epsilon
    for y in range(PICTURE_SIDE):
        for x in range(PICTURE_SIDE):
            place, q = P.image + (y + EDGE) * SIDE + x + EDGE, PICTURE_SIDE * y + x
            # dE by the image lies in rows of 32, behind two columns of the border.
            by = P.d2 + SIDE * y + x + EDGE
            for lane in range(LANES):
                slope = s[by, lane]
                way = step if slope > zero else (-step if slope < zero else zero)
                # The ball first, then the bounds of a pixel.
                change = s[place, lane] + way - given[q, lane]
                change = min(max(change, -epsilon), epsilon)
                moved = given[q, lane] + change
                s[place, lane] = min(max(moved, ball.low), ball.high)


@compiled
@no_type_check
def climb_margin(s, lane, label):
    """dE by the scores where E is the largest other score less the label's."""
    # The largest score of the other classes.
    best = 1 if label == 0 else 0
    for c in range(CLASSES):
        if c != label and s[P.score + c, lane] > s[P.score + best, lane]:
            best = c
    # E = s[best] - s[label]: its derivative is 1 at the one and -1 at the other.
    for c in range(CLASSES):
        pull = np.float32(c == best) - np.float32(c == label)
        s[P.pull + c, lane] = pull


@compiled
@no_type_check
def move_images(s, count, w, plan, shown, at, own):
    """The images of a tile, moved to where the network as it tests errs more."""
    given, ball = own.given, own.ball
    # A start in the ball, which may lie outside a pixel's bounds.
    for i in range(count):
        for lane in range(LANES):
            if at[i, lane] >= 0:
                key = shown.adversary[at[i, lane]]
                move_to_start(s[i], given[i], lane, key, ball, False)
    # Steps that make the loss larger; the weights stay, and nothing is dropped.
    for _ in range(ball.steps):
        for i in range(count):
            forward_maps(s[i], own.tested, plan)
        forward_dense(s, count, w, plan, at, own.none)
        for i in range(count):
            aim(s[i], shown, at[i], np.float32(1))
            judge(s[i], plan.head, plan.teacher, P.score, P.target, P.number, P.factor,
                  P.loss, P.pull, P.answered)  # fmt: skip
        backward_dense(s, count, w, plan)
        for i in range(count):
            delta_image(s[i], own.tested, own.lanes, plan)
            climb(s[i], given[i], ball)


@compiled
@no_type_check
def judge_under_attack(count, w, plan, shown, at, own, right):
    """Which images of a tile keep their class, as they are and on a path of the
    largest other score; right: [image], True at first."""
    s, given, ball = own.s, own.given, own.ball
    # First the image itself, then the start and the point after every step.
    for turn in range(ball.steps + 2):
        for i in range(count):
            forward_maps(s[i], own.wide, plan)
        forward_dense(s, count, w, plan, at, own.none)
        for i in range(count):
            for lane in range(LANES):
                t = at[i, lane]
                if t >= 0:
                    right[t] &= answer(s[i], P.score, lane) == shown.labels[t]
        if turn == 0:
            for i in range(count):
                for lane in range(LANES):
                    if at[i, lane] >= 0:
                        key = shown.adversary[at[i, lane]]
                        move_to_start(s[i], given[i], lane, key, ball, True)
        elif turn <= ball.steps:
            for i in range(count):
                for lane in range(LANES):
                    label = shown.labels[at[i, lane]] if at[i, lane] >= 0 else 0
                    climb_margin(s[i], lane, label)
            backward_dense(s, count, w, plan)
            for i in range(count):
                delta_image(s[i], own.wide, own.lanes, plan)
                climb(s[i], given[i], ball)
