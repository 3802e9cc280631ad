"""initial_state: the Program that computes every state before the first step."""

from sympy import Integer, Symbol

from eqsnn.language.functions import symbol
from eqsnn.language.model import Model, Role
from eqsnn.maths.build import Builder, Names, Scope, abbreviations, indices, space_of, stored
from eqsnn.maths.integrators import DT
from eqsnn.maths.program import NETWORK, Kind, Program


def initial_state(model: Model) -> Program:
    """Return the Program whose outputs `population.state` are the states before the first step.

    A state starts at 0, as in Brian2, or at what the `initial` block says.
    """
    build = Builder(model)
    build.read("dt", NETWORK, Kind.SETTING)
    for name in (*model.populations, *model.projections):
        block = build.block(name)
        build.spaces[name] = space_of(model, name)
        current: Names = {DT: DT}
        for variable in block.variables.values():
            if variable.role is Role.PARAMETER:
                full = f"{name}.{variable.name}"
                current[symbol(variable.name)] = build.read(
                    full, name, Kind.PARAMETER, variable.shared
                )
            elif variable.role in (Role.STATE, Role.VARIABLE):
                current[symbol(variable.name)] = Integer(0)
        scope = Scope(name, current | indices(build, name, block), abbreviations(block))
        for statement in block.initial:
            value = build.assign(
                f"{name}.{statement.target}", name, scope.resolve(statement.expression)
            )
            scope.current[symbol(statement.target)] = value
        for local in stored(block):
            start = scope.current[symbol(local)]
            if not isinstance(start, Symbol):
                start = build.assign(f"{name}.{local}.start", name, start)
            build.outputs[f"{name}.{local}"] = start
    return Program(build.spaces, tuple(build.inputs), tuple(build.statements), {}, build.outputs)
