"""Peer: `lax.scan` under `jax.jit(jax.value_and_grad(...))`.

The same work item, with nothing left out. No one way to write the recurrent input is the fastest at every size, so
`prepare` times the variants on the first steps of the problem and keeps the best one. Each call ends in
`block_until_ready`. Microseconds a step, forward and gradient, T = 200, on two cores in use by others too:

    neurons, lanes                   12, 1   12, 16   12, 64   12, 512   100, 16   1000, 1
    lanes innermost, product and sum   1.8      5.1     37        370       188      14300
    lanes innermost, einsum            2.0      7.7     17        182       215        702
    vmapped over the lanes             1.8      7.7     28        196        53        120

JAX obeys neither OMP_NUM_THREADS nor, for this work, XLA_FLAGS=--xla_cpu_multi_thread_eigen=false: at 1000 neurons it
keeps both cores busy. For one thread, bind the process to one core with taskset (120 us becomes 170 us).
"""

import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from peers.problem import KEEP_F, THRESHOLD, WIDTH, Problem, Result, Work

TRIAL = 100  # steps on which the variants are compared
MANY = 64  # neurons: above, lanes innermost are several times slower and are not tried
Parameters = dict[str, Array]
Losses = Callable[[Parameters, Array, Array], Array]
Gradient = Callable[..., tuple[tuple[Array, Array], Parameters]]


@jax.custom_jvp
def spike(x: Array) -> Array:
    """Return 1 where x >= 0; the derivative is 1/(WIDTH*(1 + |x|/WIDTH)^2)."""
    return (x >= 0).astype(x.dtype)


@spike.defjvp
def _spike_jvp(primals: Sequence[Array], tangents: Sequence[Array]) -> tuple[Array, Array]:
    """Return the step and its derivative along a tangent."""
    (x,), (dot,) = primals, tangents
    return spike(x), dot / (WIDTH * jnp.square(1.0 + jnp.abs(x) / WIDTH))


def losses(
    given: Parameters,
    drive: Array,
    target: Array,
    coupling: Callable[[Array, Array], Array],
    unroll: int,
) -> Array:
    """Return the loss of each lane, or the loss of one lane for parameters without lanes.

    Args:
        given: the parameters by name.
        drive: [steps, neuron, 1] or [steps, neuron].
        target: like the drive.
        coupling: the recurrent input from W and g.
        unroll: steps in one turn of the compiled loop.
    """
    W, v_rest = given["W"], given["v_rest"]
    rate_m, keep_g = 1.0 / given["tau_m"], 1.0 - 1.0 / given["tau_g"]

    def step(carry: tuple[Array, ...], now: tuple[Array, Array]) -> tuple[tuple[Array, ...], None]:
        v, g, f, total = carry
        v = v + (v_rest - v + coupling(W, g) + now[0]) * rate_m
        z = spike(v - THRESHOLD)
        v = v + z * (v_rest - v)
        g = g * keep_g + z
        f = f * KEEP_F + z - now[1]
        return (v, g, f, total + jnp.square(f).sum(0)), None

    zero = jnp.zeros_like(v_rest)
    start = (v_rest, zero, zero, jnp.zeros(v_rest.shape[1:]))
    return lax.scan(step, start, (drive, target), unroll=unroll)[0][3]


def innermost(coupling: Callable[[Array, Array], Array], unroll: int) -> Losses:
    """Return the losses with the lanes as the last dimension of every array."""
    return partial(losses, coupling=coupling, unroll=unroll)


def vmapped(unroll: int) -> Losses:
    """Return the losses as those of one lane, mapped over the last dimension."""
    one = partial(losses, coupling=jnp.matmul, unroll=unroll)
    mapped = jax.vmap(one, in_axes=(-1, None, None))
    return lambda given, drive, target: mapped(given, drive[:, :, 0], target[:, :, 0])


def variants(n: int) -> list[Losses]:
    """Return the ways to write the losses of n neurons that are compared."""
    if n > MANY:
        return [vmapped(1), vmapped(4)]
    couplings: list[Callable[[Array, Array], Array]] = [
        lambda W, g: (W * g[None]).sum(1),
        partial(jnp.einsum, "ijl,jl->il"),
    ]
    inner = [innermost(coupling, unroll) for coupling, unroll in product(couplings, (1, 4))]
    return [*inner, vmapped(1), vmapped(4)]


def compiled(variant: Losses) -> Gradient:
    """Return the function that gives ((sum, losses), gradients)."""

    def total(given: Parameters, drive: Array, target: Array) -> tuple[Array, Array]:
        of_lanes = variant(given, drive, target)
        return of_lanes.sum(), of_lanes

    return jax.jit(jax.value_and_grad(total, has_aux=True))


def seconds(call: Callable[[], object]) -> float:
    """Return the shortest of three calls, after one that compiles."""
    jax.block_until_ready(call())
    times = []
    for _ in range(3):
        begin = time.perf_counter()
        jax.block_until_ready(call())
        times.append(time.perf_counter() - begin)
    return min(times)


def prepare(problem: Problem) -> Work:
    """Return the evaluation with the fastest variant, compiled."""
    given = {name: jnp.asarray(value) for name, value in problem.parameters().items()}
    inputs = [jnp.asarray(x)[:, :, None] for x in (problem.drive, problem.target)]
    trial = [x[:TRIAL] for x in inputs]
    gradient = min(
        (compiled(variant) for variant in variants(problem.n)),
        key=lambda candidate: seconds(lambda: candidate(given, *trial)),
    )
    jax.block_until_ready(gradient(given, *inputs))

    def evaluate() -> Result:
        (_, of_lanes), gradients = jax.block_until_ready(gradient(given, *inputs))
        return np.asarray(of_lanes), {name: np.asarray(gradients[name]) for name in given}

    return evaluate
