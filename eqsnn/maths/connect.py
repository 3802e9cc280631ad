"""connect: which pairs of neurons a projection joins, and after how many steps what is sent arrives."""

import zlib

import numpy as np
from numpy.typing import NDArray
from sympy import Expr

from eqsnn.errors import EqsError, ModelError
from eqsnn.language.functions import symbol
from eqsnn.language.model import Model, Projection, Targets
from eqsnn.maths.build import mentioned
from eqsnn.maths.evaluate import evaluate


def existing_pairs(model: Model, name: str) -> NDArray[np.bool_]:
    """Return which synapses of a projection exist, bool (pre, post).

    A probability is drawn from the projection's name, so that a model file means the same network every time.
    Raises ModelError for a population without a size, and for listed pairs that no neurons have.
    """
    projection = model.projections[name]
    shape = _shape(model, projection)
    if projection.pairs is not None:
        exists = _listed(projection, shape)
    elif projection.targets is not None and projection.targets.values is not None:
        exists = _generated(projection, projection.targets, shape)
    else:
        exists = np.ones(shape, dtype=bool)
    if projection.targets is not None and projection.targets.values is None:
        aims = _over_pairs(projection.targets.expression, shape)
        exists &= aims == np.arange(shape[1])
    if projection.condition is not None and not _generates(projection):
        exists &= _over_pairs(projection.condition, shape) != 0
    if isinstance(projection.probability, Expr) or projection.probability < 1:
        rng = np.random.default_rng(zlib.crc32(projection.name.encode()))
        exists &= rng.random(shape) < _probability(projection, shape)
    return exists


def delay_steps(
    model: Model, projection: Projection, delay: float | Expr
) -> int | NDArray[np.int64]:
    """Return a delay in steps: a number, or one for each pair (pre, post). Raises ModelError if it is negative.

    Rounded as Brian2 does: half up of the quotient in double.
    """
    if not isinstance(delay, Expr):
        return int(delay / model.dt + 0.5)
    values = _over_pairs(delay, _shape(model, projection))
    if not (np.isfinite(values) & (values >= 0)).all():
        raise _error(
            projection,
            f"a delay of `{projection.name}` is {values.min():g} ms",
            "write an expression that is never negative",
        )
    return (values / model.dt + 0.5).astype(np.int64)


def delay_mask(projection: str, steps: int) -> str:
    """Name the setting that is 1 for the pairs of a projection with this delay, else 0."""
    return f"{projection}.(delayed {steps})"


def connection_settings(model: Model) -> dict[str, NDArray[np.float64]]:
    """Return what a Program reads about synapses: counts of them, and which have which delay."""
    found: dict[str, NDArray[np.float64]] = {}
    for name, projection in model.projections.items():
        counts = {symbol("N_incoming"): 0, symbol("N_outgoing"): 1}
        used = mentioned(model.synapse_of(name)) & counts.keys()
        if used:
            exists = existing_pairs(model, name)
            found |= {f"{name}.{s}": exists.sum(counts[s]).astype(float) for s in used}  # type: ignore[index]
        for delay in (projection.delay, *projection.delays.values()):
            steps = delay_steps(model, projection, delay)
            if isinstance(steps, np.ndarray):
                found |= {delay_mask(name, n): (steps == n).astype(float) for n in np.unique(steps)}
    return found


def _shape(model: Model, projection: Projection) -> tuple[int, int]:
    sizes = [model.populations[end].size for end in (projection.pre, projection.post)]
    for size, end in zip(sizes, (projection.pre, projection.post), strict=True):
        if size is None:
            raise _error(
                projection,
                f"`{projection.name}` depends on the size of `{end}`, which the file does not give",
                f"write the size, as in `{end} : {model.populations[end].neuron}[10]`",
            )
    return sizes[0] or 0, sizes[1] or 0


def _error(projection: Projection, message: str, hint: str) -> ModelError:
    if projection.span is None:
        return ModelError(f"{message}; {hint}")
    return EqsError(projection.span, message, hint)


def _generates(projection: Projection) -> bool:
    return projection.targets is not None and projection.targets.values is not None


def _over_pairs(expression: Expr, shape: tuple[int, int], **more: NDArray | float) -> NDArray:
    pre, post = shape
    values = {
        symbol("i"): np.arange(pre)[:, None],
        symbol("j"): np.arange(post)[None, :],
        symbol("N_pre"): float(pre),
        symbol("N_post"): float(post),
    }
    values |= {symbol(name): value for name, value in more.items()}
    return np.broadcast_to(evaluate(expression, values), shape)  # type: ignore[arg-type]


def _probability(projection: Projection, shape: tuple[int, int]) -> float | NDArray:
    if not isinstance(projection.probability, Expr):
        return projection.probability
    if _generates(projection):
        return 1.0  # drawn for each iterate already
    return _over_pairs(projection.probability, shape)


def _generated(
    projection: Projection, targets: Targets, shape: tuple[int, int]
) -> NDArray[np.bool_]:
    """Run the iterator for every presynaptic neuron; a pair that is hit twice has one synapse."""
    assert targets.values is not None
    pre, post = shape
    i = np.arange(pre)
    outer = {symbol("i"): i, symbol("N_pre"): float(pre), symbol("N_post"): float(post)}
    limits = [np.broadcast_to(evaluate(limit, outer), (pre,)) for limit in targets.values]
    exists = np.zeros(shape, dtype=bool)
    for n, *limit in zip(i, *limits, strict=True):
        k = np.arange(*(int(v) for v in limit))
        values = {**outer, symbol("i"): float(n), symbol(targets.iterator): k}
        aims = np.broadcast_to(evaluate(targets.expression, values), k.shape)
        hit = np.equal(np.mod(aims, 1), 0) & (aims >= 0) & (aims < post)
        values[symbol("j")] = aims
        if projection.condition is not None:
            hit = hit & (evaluate(projection.condition, values) != 0)
        exists[n, aims[hit].astype(int)] = True
    if isinstance(projection.probability, Expr):
        raise _error(
            projection,
            f"`{projection.name}` has an iterator and a probability that varies",
            "write a number, or put the probability on a projection with `if`",
        )
    return exists


def _listed(projection: Projection, shape: tuple[int, int]) -> NDArray[np.bool_]:
    assert projection.pairs is not None
    exists = np.zeros(shape, dtype=bool)
    for i, j in projection.pairs:
        if not (0 <= i < shape[0] and 0 <= j < shape[1]):
            raise _error(
                projection,
                f"a listed synapse of `{projection.name}` joins neuron {i} to neuron {j}, but there "
                f"are {shape[0]} and {shape[1]}",
                "count neurons from 0",
            )
        exists[i, j] = True
    return exists
