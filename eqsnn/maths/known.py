"""know: a named value that the model would compute (such as its private noise) is given with the data instead."""

from collections.abc import Iterable
from dataclasses import replace

from eqsnn.language.functions import symbol
from eqsnn.maths.program import Input, Kind, Program
from eqsnn.maths.simplify import select


def know(program: Program, names: Iterable[str]) -> Program:
    """Replace the assigned values `names` (as `population.x`) by drives; draws nobody needs any more disappear."""
    given = {symbol(name) for name in names}
    spaces = {statement.target: statement.space for statement in program.statements}
    drives = tuple(Input(s, spaces[s], Kind.DRIVE) for s in sorted(given & spaces.keys(), key=str))
    kept = tuple(statement for statement in program.statements if statement.target not in given)
    return select(
        replace(program, inputs=(*program.inputs, *drives), statements=kept), program.outputs
    )
