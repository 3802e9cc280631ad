"""Optional libraries: loaded when a file or an object asks for them, never with eqsnn itself."""

import importlib
from typing import Any

from eqsnn.errors import InputError


def library(name: str, extra: str) -> Any:
    """Return an optional package. Raises InputError that says how to install it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        lacking = error.name or name
        raise InputError(
            f"this needs the library {lacking}, which is not installed; run `pip install 'eqsnn[{extra}]'`"
        ) from None
