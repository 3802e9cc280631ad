"""Brian2 itself, an optional library: loaded when an import asks for it."""

import importlib
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from eqsnn.errors import InputError


def load_brian2() -> ModuleType:
    """Return the package `brian2`. Raises InputError where it is not installed."""
    try:
        return importlib.import_module("brian2")
    except ImportError:
        raise InputError(
            "from_brian2 needs the library Brian2, which is not installed; run `pip install 'brian2>=2.9'`"
        ) from None


def standard_names() -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Return the units and the functions that every model of Brian2 knows, by name."""
    names = importlib.import_module("brian2.core.namespace")
    return names.DEFAULT_UNITS, names.DEFAULT_FUNCTIONS


def method_of(group: Any, runner: Any, equations: Any, namespace: Mapping[str, Any]) -> str | None:
    """Return the name of the integrator that Brian2 would use for a group; None without differential equations.

    runner: the StateUpdater of the group. Raises InputError for a method that eqsnn does not have.
    """
    if runner is None or not equations.diff_eq_names:
        return None
    base = importlib.import_module("brian2.stateupdaters.base")
    updaters = base.StateUpdateMethod.stateupdaters
    choice = runner.method_choice
    if not isinstance(choice, str) and not callable(choice):
        names = {*equations.names, *equations.identifiers, "dt"}
        variables = group.resolve_all(names, namespace, user_identifiers=())
        choice = _first_that_applies(base, equations, variables, choice, group.name)
    if not isinstance(choice, str):
        choice = next(
            (name for name, updater in updaters.items() if updater is choice), repr(choice)
        )
    name = METHODS.get(choice.lower())
    if name is None:
        raise InputError(
            f"{group.name}: the integration method `{choice}` cannot be imported; "
            f"choose one of {', '.join(dict.fromkeys(METHODS.values()))}"
        )
    return name


METHODS = {
    "exact": "exact",
    "linear": "exact",
    "euler": "euler",
    "exponential_euler": "exponential_euler",
    "rk2": "rk2",
    "rk4": "rk4",
    "heun": "heun",
    "milstein": "milstein",
}


def _first_that_applies(base: Any, equations: Any, variables: Any, names: Any, group: str) -> str:
    for name in names:
        try:
            base.StateUpdateMethod.stateupdaters[name](equations, variables, {})
        except base.UnsupportedEquationsException:
            continue
        return name
    raise InputError(
        f"{group}: none of {', '.join(map(str, names))} can integrate its equations; name a method"
    )
