"""How a parameter moves, given its gradient: element by element, so that a stack of
runs is a stack of independent optimizers.

Each level updates one parameter and its state in place. `rate` is the learning rate and
`number` gives the level's numbers, all of them one value per run, shaped to broadcast.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

Parameter = Float[Tensor, "run ..."]
State = dict[str, Tensor]
Number = Callable[[str], Float[Tensor, "run ..."]]


def memory(state: State, name: str, like: Tensor) -> Tensor:
    """A tensor of the state, zeros at first."""
    if name not in state:
        state[name] = torch.zeros_like(like)
    return state[name]


def sgd(w: Parameter, g: Parameter, state: State, rate: Tensor, number: Number) -> None:
    """w <- w - rate g."""
    w.sub_(rate * g)


def momentum(
    w: Parameter, g: Parameter, state: State, rate: Tensor, number: Number
) -> None:
    """v <- m v + g; w <- w - rate v (Polyak, 1964)."""
    v = memory(state, "velocity", w)
    v.mul_(number("momentum")).add_(g)
    w.sub_(rate * v)


def nesterov(
    w: Parameter, g: Parameter, state: State, rate: Tensor, number: Number
) -> None:
    """v <- m v + g; w <- w - rate (g + m v) (Sutskever et al., 2013)."""
    v = memory(state, "velocity", w)
    v.mul_(number("momentum")).add_(g)
    w.sub_(rate * (g + number("momentum") * v))


def rmsprop(
    w: Parameter, g: Parameter, state: State, rate: Tensor, number: Number
) -> None:
    """s <- d s + (1 - d) g^2; w <- w - rate g / (sqrt(s) + eps) (Tieleman, 2012)."""
    s = memory(state, "square", w)
    s.lerp_(g * g, 1 - number("decay"))
    w.sub_(rate * g / (s.sqrt() + number("epsilon")))


def adam(
    w: Parameter, g: Parameter, state: State, rate: Tensor, number: Number
) -> None:
    """w <- w - rate m' / (sqrt(s') + eps), m' and s' the averages of g and g^2
    corrected for their start at 0 (Kingma and Ba, 2015, Algorithm 1)."""
    m = memory(state, "mean", w)
    s = memory(state, "square", w)
    step = memory(state, "step", w[(0,) * w.ndim]).add_(1)
    m.lerp_(g, 1 - number("beta1"))
    s.lerp_(g * g, 1 - number("beta2"))
    scale = (1 - number("beta2") ** step).sqrt()
    rate = rate * scale / (1 - number("beta1") ** step)
    w.sub_(rate * m / (s.sqrt() + number("epsilon") * scale))


def sdlm(
    w: Parameter, g: Parameter, state: State, rate: Tensor, number: Number
) -> None:
    """w <- w - rate / (mu + h) g, h the curvature that lenet/curvature.py puts into the
    state before each pass (paper, App. C, p. 41-42)."""
    w.sub_(rate / (number("mu") + state["curvature"]) * g)


LEVELS: dict[str, Callable[[Parameter, Parameter, State, Tensor, Number], None]] = {
    "sgd": sgd,
    "momentum": momentum,
    "nesterov": nesterov,
    "rmsprop": rmsprop,
    "adam": adam,
    "adamw": adam,
    "sdlm": sdlm,
}
SECOND_ORDER = {"sdlm"}  # needs the curvature
DECOUPLED = {"adamw"}  # weight decay acts on the weights, not through the gradient
