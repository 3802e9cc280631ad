"""cost: how much work and memory one step of a Program takes, counted from its statements."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sympy import Symbol

from eqsnn.backends.c_adjoint import Cut
from eqsnn.maths.program import NETWORK, Assign, Couple, Kind, Program, Reduce

FLOAT_BYTES = 4  # of a fit; its gradients are those of float32


@dataclass(frozen=True, slots=True)
class Cost:
    """`operations`: of each element of a population or projection and step, forward and backward, before the C compiler.

    The backward pass is counted as if every parameter were learned.

    `states`, `parameters`: numbers of values over all elements. `stored_bytes`: what the forward pass keeps for the
    backward pass, for each lane (a trial or a start) and step.
    """

    states: int
    parameters: int
    learned: int
    operations: Mapping[str, tuple[int, int]]
    stored_bytes: int


def cost(
    program: Program, step: Program, cut: Cut, learned: Iterable[str], sizes: Mapping[str, int]
) -> Cost:
    """Count the work of a step and its adjoint, common subexpressions shared and constants computed before.

    program: the step as it was before that, with the parameters of the file. sizes: elements of each space.
    """

    def elements(symbols: Iterable[Symbol], spaces: Mapping[Symbol, str]) -> int:
        return sum(1 if spaces[s] == NETWORK else sizes[spaces[s]] for s in symbols)

    spaces = step.space_of()
    parameters = {
        g.name: 1 if g.shared else sizes[g.space] for g in program.of_kind(Kind.PARAMETER)
    }
    states = [g.symbol for g in step.of_kind(Kind.STATE)]
    stored = {*states, *(cut.taped & spaces.keys())}
    forward, backward = _operations(step), _operations(cut.program)
    return Cost(
        states=elements(states, spaces),
        parameters=sum(parameters.values()),
        learned=sum(n for name, n in parameters.items() if name in set(learned)),
        operations={name: (forward.get(name, 0), backward.get(name, 0)) for name in step.spaces},
        stored_bytes=FLOAT_BYTES * elements(stored, spaces),
    )


def _operations(program: Program) -> dict[str, int]:
    """Return the operations of each element; a sum over synapses is a product and an addition for each of them."""
    found: dict[str, int] = {}
    for statement in program.statements:
        if isinstance(statement, Assign):
            space, count = statement.space, int(statement.expression.count_ops())
        elif isinstance(statement, Couple | Reduce):
            space, count = statement.projection, 2 if isinstance(statement, Couple) else 1
        else:
            space, count = statement.space, 1
        found[space] = found.get(space, 0) + count
    return found
