"""What a run answers to images, as they are and under attack."""
# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators
# Emitted and compiled functions take what numba hands them; numba has no types.

from typing import no_type_check

import numpy as np

from lenet.training.loops import norm
from lenet.training.loops.attacked_images import judge_under_attack
from lenet.training.loops.batch import place
from lenet.training.loops.cache import entrance
from lenet.training.loops.dense import answer
from lenet.training.loops.llvm import LANES
from lenet.training.loops.maps import repeat
from lenet.training.loops.sizes import CLASSES
from lenet.training.loops.tiles import TILE, P, forward_dense, forward_maps, put


@entrance
@no_type_check
def each_answer(first, stop, w, plan, shown, own, running, answers, right, scores):
    """The answers to the images from `first` to `stop`, and the scores, unless those
    are empty; where there is a ball, whether they stay right in it."""
    s, wide = own.s, own.wide
    repeat(wide, w, len(wide))
    if plan.norm:
        norm.testing(wide, plan, running[0], running[1])
    at = np.empty((TILE, LANES), np.int64)
    # Up to TILE groups at a time; the last of a run's images may fill less.
    for start in range(first, stop, TILE * LANES):
        count = min(TILE, -(-(stop - start) // LANES))
        place(at, start, stop)
        for i in range(count):
            put(s[i], shown, at[i], own.canvas, own.before)
        # Under attack only `right` is filled in.
        if own.ball.steps:
            judge_under_attack(count, w, plan, shown, at, own, right)
            continue
        for i in range(count):
            forward_maps(s[i], wide, plan)
        forward_dense(s, count, w, plan, at, own.none)
        for i in range(count):
            for lane in range(LANES):
                if at[i, lane] >= 0:
                    answers[at[i, lane]] = answer(s[i], P.score, lane)
                    if scores.size:
                        for c in range(CLASSES):
                            scores[at[i, lane], c] = s[i, P.score + c, lane]
