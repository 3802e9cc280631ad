"""Identifiers for symbols: `wake->rem.w` becomes `wake_to_rem_w`."""

import keyword
import re
from collections.abc import Iterable

from sympy import Symbol


def identifiers(symbols: Iterable[Symbol], reserved: Iterable[str]) -> dict[Symbol, str]:
    """Return an identifier for every symbol, unlike each other and the `reserved` words."""
    names: dict[Symbol, str] = {}
    taken = set(reserved)
    for s in symbols:
        if s in names:
            continue
        base = re.sub(r"\W", "_", str(s).replace("->", "_to_").replace("'", "_"))
        base = f"_{base}" if base[0].isdigit() or keyword.iskeyword(base) else base
        name, count = base, 1
        while name in taken:
            count += 1
            name = f"{base}_{count}"
        taken.add(name)
        names[s] = name
    return names
