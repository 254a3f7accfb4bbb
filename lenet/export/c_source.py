"""A trained network as one C99 file without dependencies: weights and one function.

    void lenet5(const float image[784], float logits[10]);

For what has no Python: a few hundred lines of plain loops, 60,000 floats of weights,
24 kB of static memory.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from lenet.rounding import percent
from lenet.training.factor.activation import squash_of
from lenet.training.factor.head import LEVELS as HEADS

POOLINGS = {  # of four floats a, b, c, d, row by row
    "subsample": "a + b + c + d",
    "average": "(a + b + c + d) * 0.25f",
    "max": "fmaxf(fmaxf(a, b), fmaxf(c, d))",
    # 0 times the others: a parameter that is not used is a warning of strict compilers.
    "stride": "a + 0.0f * (b + c + d)",
}
HEAD = """\
/* LeNet-5, {name}: {test_error} of {test_images} test images of {data} misread.
   Run {run_id}, written by lenet export format=c.

   image: 28 x 28 pixels in [0, 1], row by row, light ink on black.
   logits: the largest is the digit. Link with -lm. */
#include <math.h>

"""
BODY = """\
static float squash(float a) {{ return {squash}; }}
static float squash_f6(float a) {{ return {squash_f6}; }}
static float pool(float a, float b, float c, float d) {{ return {pool}; }}

static float padded[32 * 32], c1[6 * 28 * 28], s2[6 * 14 * 14];
static float c3[16 * 10 * 10], s4[16 * 5 * 5], c5[120], f6[84];

/* A 5 x 5 kernel from each of `ins` maps to each of `outs`, a bias and a squash. */
static void convolve(const float *in, int ins, int side, const float *kernels,
                     const float *bias, float *out, int outs) {{
    int size = side - 4;
    for (int map = 0; map < outs; map++)
        for (int y = 0; y < size; y++)
            for (int x = 0; x < size; x++) {{
                float sum = bias[map];
                for (int i = 0; i < ins; i++)
                    for (int v = 0; v < 5; v++)
                        for (int u = 0; u < 5; u++)
                            sum += kernels[((map * ins + i) * 5 + v) * 5 + u]
                                 * in[(i * side + y + v) * side + x + u];
                out[(map * size + y) * size + x] = squash(sum);
            }}
}}

/* Four neighbours become one. */
static void reduce(const float *in, int maps, int side, const float *coefficient,
                   const float *bias, float *out) {{
    int size = side / 2;
    for (int map = 0; map < maps; map++)
        for (int y = 0; y < size; y++)
            for (int x = 0; x < size; x++) {{
                const float *at = in + (map * side + 2 * y) * side + 2 * x;
                float one = pool(at[0], at[1], at[side], at[side + 1]);
                if (coefficient) one = squash(coefficient[map] * one + bias[map]);
                out[(map * size + y) * size + x] = one;
            }}
}}

/* What each unit sums. */
static void sums(const float *in, int ins, const float *weight, const float *bias,
                 float *out, int outs) {{
    for (int unit = 0; unit < outs; unit++) {{
        float sum = bias[unit];
        for (int i = 0; i < ins; i++) sum += weight[unit * ins + i] * in[i];
        out[unit] = sum;
    }}
}}

void lenet5(const float image[784], float logits[10]) {{
    for (int y = 0; y < 32; y++)
        for (int x = 0; x < 32; x++) {{
            int inside = y >= 2 && y < 30 && x >= 2 && x < 30;
            float pixel = inside ? image[(y - 2) * 28 + x - 2] : 0.0f;
            padded[y * 32 + x] = pixel * scale[0] + shift[0];
        }}
    convolve(padded, 1, 32, C1_weight, C1_bias, c1, 6);
    reduce(c1, 6, 28, {s2}, s2);
    convolve(s2, 6, 14, C3_weight, C3_bias, c3, 16);
    reduce(c3, 16, 10, {s4}, s4);
    sums(s4, 400, C5_weight, C5_bias, c5, 120);
    for (int i = 0; i < 120; i++) c5[i] = squash(c5[i]);
    sums(c5, 120, F6_weight, F6_bias, f6, 84);
    for (int i = 0; i < 84; i++) f6[i] = squash_f6(f6[i]);
{output}}}
"""
SOFTMAX = "    sums(f6, 84, output_weight, output_bias, logits, 10);\n"
RBF = """\
    for (int digit = 0; digit < 10; digit++) {
        float distance = 0.0f;
        for (int i = 0; i < 84; i++) {
            float apart = f6[i] - output_bitmaps[digit * 84 + i];
            distance += apart * apart;
        }
        logits[digit] = -0.5f * distance;
    }
"""


@dataclass(frozen=True)
class Expression:
    """A float of C as its text: what an activation's formula makes of it is its C."""

    text: str

    def joined(self, sign: str, other: Any) -> "Expression":
        return Expression(f"({self.text} {sign} {c_expression(other)})")

    def __add__(self, other: Any) -> "Expression":
        return self.joined("+", other)

    def __sub__(self, other: Any) -> "Expression":
        return self.joined("-", other)

    def __mul__(self, other: Any) -> "Expression":
        return self.joined("*", other)

    def __truediv__(self, other: Any) -> "Expression":
        return self.joined("/", other)

    __radd__, __rmul__ = __add__, __mul__

    def __rsub__(self, other: Any) -> "Expression":
        return Expression(c_expression(other)) - self

    def __rtruediv__(self, other: Any) -> "Expression":
        return Expression(c_expression(other)) / self

    def __gt__(self, other: Any) -> "Expression":
        return self.joined(">", other)

    def __lt__(self, other: Any) -> "Expression":
        return self.joined("<", other)

    def where(self, mask: "Expression", other: Any) -> "Expression":
        return Expression(f"({mask.text} ? {self.text} : {c_expression(other)})")

    def maximum(self, other: Any) -> "Expression":
        return self.called("fmaxf", other)

    def clamp(self, low: float, high: float) -> "Expression":
        return self.called("fmaxf", low).called("fminf", high)

    def exp(self) -> "Expression":
        return self.called("expf")

    def tanh(self) -> "Expression":
        return self.called("tanhf")

    def erf(self) -> "Expression":
        return self.called("erff")

    def sqrt(self) -> "Expression":
        return self.called("sqrtf")

    def called(self, name: str, *others: Any) -> "Expression":
        return Expression(
            f"{name}({', '.join([self.text, *map(c_expression, others)])})"
        )


def c_expression(value: Any) -> str:
    """An expression, or a number as a float to its last bit."""
    if isinstance(value, Expression):
        return value.text
    # Nine digits bring every float of 32 bits back.
    text = f"{float(value):.9g}"
    return f"{text}f" if "." in text or "e" in text else f"{text}.0f"


def squash(level: str) -> str:
    """The C of an activation, of a float a."""
    return c_expression(squash_of(level)(Expression("a")))


def c_program(
    name: str,
    weights: Mapping[str, Tensor],
    levels: Mapping[str, Any],
    about: Mapping[str, Any],
) -> str:
    """The C file of a network; weights as `formats.folded` gives them."""
    trainable = levels["pooling"] == "subsample"
    head = HEADS[levels["head"]]
    body = BODY.format(
        squash=squash(levels["activation"]),
        squash_f6=squash(head.squash or levels["activation"]),
        pool=POOLINGS[levels["pooling"]],
        s2="S2_coefficient, S2_bias" if trainable else "0, 0",
        s4="S4_coefficient, S4_bias" if trainable else "0, 0",
        output=SOFTMAX if head.trainable else RBF,
    )
    arrays = "\n".join(array(key, tensor) for key, tensor in weights.items())
    error = percent(about["test_error"])
    opening = HEAD.format(name=name, **{**about, "test_error": error})
    return f"{opening}{arrays}\n{body}"


def array(name: str, tensor: Tensor) -> str:
    """A tensor as an array of floats, to their last bit."""
    texts = [c_expression(value) for value in tensor.flatten().tolist()]
    rows = [", ".join(texts[i : i + 6]) for i in range(0, len(texts), 6)]
    lines = ",\n    ".join(rows)
    return f"static const float {name}[{len(texts)}] = {{\n    {lines}\n}};"
