"""The inner loops of C1 to S4, over vectors whose lanes are images or channels.

Where the lanes are images (batch.py), a map is its pixels, one vector each, and a
weight is the same number in every lane. Where the lanes are channels (single.py), a
vector holds one pixel of eight maps, a weight is a vector too, and what comes from the
layer below is one number at a time, in every lane (`splat`).

    s   the workspace: vectors, at places that the callers name
    w   the weights of C1 to S4, vectors
    g   what is found for each of them, vectors at the same places
"""
# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators
# Emitted and compiled functions take what numba hands them; numba has no types.

from lenet.training.factor.activation import LEVELS as ACTIVATIONS
from lenet.training.factor.pooling import LEVELS as POOLINGS
from lenet.training.loops.llvm import (
    LANES,
    added,
    emitted,
    lane_sums,
    loop,
    transposed,
    when,
)
from lenet.training.loops.sizes import (
    C1_MAPS,
    C3_SIDE,
    C3_SIZE,
    KERNEL,
    S2_SIDE,
    TAPS,
)


@emitted
def fill(s, x, n, source, k):
    """s[x : x + n] becomes source[k]."""
    value = source[k]
    with loop(n) as q:
        s[x + q] = value


@emitted
def activate(s, code, x, slope, n):
    """s[x : x + n] becomes f(x), s[slope : slope + n] becomes f'(x)."""
    # All formulas are compiled; `code` picks one when the program runs.
    for number, formula in enumerate(ACTIVATIONS.values()):
        with when(code, number), loop(n) as q:
            s[x + q], s[slope + q] = formula(s[x + q])


@emitted
def pool(s, code, x, gate, total, out, half, w, coefficient, bias):
    """s[out:] is x pooled; the gate, f' so far, takes the derivative of pooling."""
    for number, level in enumerate(POOLINGS.values()):
        with when(code, number), loop(half) as row, loop(half) as column:
            # The window of four pixels, in a map of 2 half by 2 half.
            corner = row * half * 4 + column * 2
            corners = [corner, corner + 1, corner + half * 2, corner + half * 2 + 1]
            place = row * half + column
            pooled, shares = level.reduce(*(s[x + q] for q in corners))
            for q, share in zip(corners, shares, strict=True):
                s[gate + q] = s[gate + q] * share
            # Subsampling keeps the four inputs' sum for its gradient (paper, p. 7).
            if level.trainable:
                s[total + place] = pooled
                pooled = pooled.fma(w[coefficient], w[bias])
            s[out + place] = pooled


@emitted
def unsquash(s, d, slope, total, n, w, g, coefficient, bias):
    """d by the output of a subsampling map becomes d by its sums; both gradients."""
    factor, by_bias, by_coefficient = w[coefficient], s.cell(), s.cell()
    with loop(n) as q:
        # dE by coefficient * sum + bias, and from it all three.
        delta = s[d + q] * s[slope + q]
        by_bias[0] = by_bias[0] + delta
        by_coefficient.add(delta, s[total + q])
        s[d + q] = delta * factor
    g[bias], g[coefficient] = by_bias[0], by_coefficient[0]


@emitted
def unpool(s, gate, d, half, g, bias):
    """The gate times d of its window: the convolution's delta; and the bias's."""
    total = [s.cell(), s.cell()]
    with loop(half * 2) as row, loop(half) as column:
        value = s[d + row / 2 * half + column]
        # Two neighbours of one window, each with a sum of its own: latency.
        for side in range(2):
            place = gate + row * half * 2 + column * 2 + side
            delta = s[place] * value
            s[place] = delta
            total[side][0] = total[side][0] + delta
    g[bias] = total[0][0] + total[1][0]


def met(column, pixels):
    """Which columns kx of a kernel a pixel of the input meets, in a row of outputs."""
    return range(max(0, column + 1 - pixels), min(KERNEL, column + 1))


def correlate(pixels):
    def emit(s, out, x, side, w, k):
        """s[out + p] += sum over the 5x5 kernel of w x, for a row of p."""
        line, kernel = s.at(out), w.at(k)
        total = [line[p] for p in range(pixels)]
        for ky in range(KERNEL):
            row = s.at(x + side * ky)
            factors = [kernel[KERNEL * ky + kx] for kx in range(KERNEL)]
            # A pixel of the input counts in up to five sums, once for each kx.
            for column in range(pixels + (KERNEL - 1)):
                value = row[column]
                for kx in met(column, pixels):
                    total[column - kx] = factors[kx].fma(value, total[column - kx])
        for p in range(pixels):
            line[p] = total[p]

    return emitted(emit)


def correlate_channels(pixels, step):
    def emit(s, out, x, side, inputs, w, k, bias):
        """s[out + p] = bias + sum over inputs and the 5x5 kernel of w x, a row of p.

        x and side count numbers; a pixel to the right is `step` numbers on, another
        input one number; w: [input, 5, 5] vectors.
        """
        total = [s.cell(w[bias]) for p in range(pixels)]
        with loop(inputs) as i:
            for ky in range(KERNEL):
                row = s.number(x + side * ky + i)
                kernel = w.at(k + i * TAPS + KERNEL * ky)
                factors = [kernel[kx] for kx in range(KERNEL)]
                # A pixel of the input counts in up to five sums, once for each kx.
                for column in range(pixels + (KERNEL - 1)):
                    value = row.splat(column * step)
                    for kx in met(column, pixels):
                        total[column - kx].add(factors[kx], value)
        for p in range(pixels):
            s[out + p] = total[p][0]

    return emitted(emit)


def spread(pixels, pitch):
    def emit(s, out, d, w, k, low, count):
        """s[out : out + pixels + 4] += kernel rows low.. times d and the rows above it,
        which lie `pitch` vectors apart."""
        total = [s.cell(s[out + p]) for p in range(pixels + (KERNEL - 1))]
        with loop(count) as turn:
            kernel = w.at(k + (turn + low) * KERNEL)
            line = s.at(d - (turn + low) * pitch)
            factors = [kernel[kx] for kx in range(KERNEL)]
            # A delta leads to the five inputs of its window in this row.
            for p in range(pixels):
                value = line[p]
                for kx in range(KERNEL):
                    total[p + kx].add(factors[kx], value)
        for p in range(pixels + (KERNEL - 1)):
            s[out + p] = total[p][0]

    return emitted(emit)


@emitted
def spread_channels(s, out, d, w, k, low, count):
    """s[out : out + 14]: what the deltas of 16 maps give the inputs, a row of 14.

    d: the row of deltas [2 of 8 maps, 100 pixels] that kernel row 0 takes, in numbers;
    w from k on: [map, 5, 5] vectors over the inputs.
    """
    total = [s.cell() for p in range(S2_SIDE)]
    with loop(s.whole(2)) as half, loop(s.whole(LANES)) as lane, loop(count) as turn:
        kernel = w.at(k + (half * LANES + lane) * TAPS + (turn + low) * KERNEL)
        above = (turn + low) * (C3_SIDE * LANES)
        line = s.number(d + half * (C3_SIZE * LANES) + lane - above)
        factors = [kernel[kx] for kx in range(KERNEL)]
        for p in range(C3_SIDE):
            value = line.splat(p * LANES)
            for kx in range(KERNEL):
                total[p + kx].add(factors[kx], value)
    for p in range(S2_SIDE):
        s[out + p] = total[p][0]


def learn(pixels, parts):
    def emit(s, d, x, side, rows, g, k):
        """One row of a kernel's gradient, the sum over the map of d[p] x[p + kx]."""
        total = [[s.cell(), s.cell()] for kx in range(KERNEL)]  # two: latency
        with loop(rows) as row:
            for part in range(0, parts * pixels, pixels):
                line = s.at(x + row * side + part)
                delta = s.at(d + row * (parts * pixels) + part)
                deltas = [delta[p] for p in range(pixels)]
                # A pixel of the input meets up to five deltas, one for each kx.
                for column in range(pixels + (KERNEL - 1)):
                    value = line[column]
                    for kx in met(column, pixels):
                        total[kx][column % 2].add(deltas[column - kx], value)
        for kx in range(KERNEL):
            g[k + kx] = total[kx][0][0] + total[kx][1][0]

    return emitted(emit)


def learn_channels(pixels, step, halves, sums):
    def emit(s, d, x, side, rows, g, k, apart):
        """One row of the kernels from one input: sums over the map of d[p] x[p + kx].

        x and side count numbers, see correlate_channels; d: [half, row, pixel] vectors;
        the kernels of the second half lie `apart` vectors on. Each sum is made of so
        many, which take turns with the columns of x: latency.
        """
        places = [(half, kx) for half in range(halves) for kx in range(KERNEL)]
        total = {place: [s.cell() for turn in range(sums)] for place in places}
        with loop(rows) as row:
            line = s.number(x + side * row)
            delta = [s.at(d + half * rows * pixels + row * pixels)
                     for half in range(halves)]  # fmt: skip
            # A pixel of the input meets up to five deltas, one for each kx.
            for column in range(pixels + (KERNEL - 1)):
                value = line.splat(column * step)
                for kx in met(column, pixels):
                    for half in range(halves):
                        cells = total[half, kx]
                        cells[column % sums].add(delta[half][column - kx], value)
        for half, kx in places:
            g[k + apart * half + kx] = added([cell[0] for cell in total[half, kx]])

    return emitted(emit)


@emitted
def repeat(wide, w, n):
    """Each of the first n numbers of w as a vector; n is a multiple of LANES."""
    with loop(n) as k:
        wide[k] = w.splat(k)


@emitted
def add_lanes(narrow, wide, n):
    """The sums over the lanes of n vectors, as numbers; n is a multiple of LANES."""
    with loop(n / LANES) as block:
        narrow[block] = lane_sums([wide[block * LANES + k] for k in range(LANES)])


@emitted
def turn_over(s, x, blocks, rows, column, pitch):
    """s[x : x + 8 blocks] turned over: lane l goes to row l of rows, from a column on,
    of which a row has `pitch`, all in numbers."""
    with loop(blocks) as block:
        # Eight places of eight lanes become eight rows of eight numbers.
        square = transposed([s[x + block * LANES + k] for k in range(LANES)])
        for lane, vector in enumerate(square):
            rows.number(column + block * LANES + pitch * lane)[0] = vector


@emitted
def turn_kernels(turned, w, k):
    """C3's kernels [half, input, 25] over 8 maps as [map, 25] over the inputs."""
    with loop(w.whole(2)) as half, loop(w.whole(TAPS)) as tap:
        # Six inputs of eight maps become eight maps of six inputs and two zeros.
        first = k + half * (C1_MAPS * TAPS) + tap
        vectors = [w[first + TAPS * i] for i in range(C1_MAPS)] + [w.zero()] * 2
        for m, vector in enumerate(transposed(vectors)):
            turned[(half * LANES + m) * TAPS + tap] = vector


correlate_14, correlate_10 = correlate(14), correlate(10)
spread_10, spread_14 = spread(10, 10), spread(14, 28)
learn_28, learn_10 = learn(14, 2), learn(10, 1)
C1_forward, C3_forward = correlate_channels(7, 1), correlate_channels(10, LANES)
C1_learn, C3_learn = learn_channels(28, 1, 1, 2), learn_channels(10, LANES, 2, 1)
