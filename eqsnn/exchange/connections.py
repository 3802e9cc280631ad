"""Existing synapses, given as arrays, put into words: the condition of a projection, and its delays."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from eqsnn.exchange.literals import quantity_text
from eqsnn.language.units import TIME

Pairs = NDArray[np.int64]
LONGEST_LIST = 400  # characters; more pairs than that go into a file
LONGEST_DELAY = 20_000  # characters
WIDEST_BAND = 12  # neighbours on each side that a condition is tried for


def connection_text(i: Pairs, j: Pairs, n_pre: int, n_post: int) -> str | None:
    """Return the condition under which exactly these synapses exist, as `condition_text`; None if it would be long."""
    text = condition_text(i, j, n_pre, n_post)
    return text if len(text) <= LONGEST_LIST else None


def condition_text(i: Pairs, j: Pairs, n_pre: int, n_post: int) -> str:
    """Return the condition over i and j under which exactly these synapses exist, empty if all pairs do."""
    exists = np.zeros((n_pre, n_post), dtype=bool)
    exists[i, j] = True
    if exists.all():
        return ""
    rows, columns = np.flatnonzero(exists.any(1)), np.flatnonzero(exists.any(0))
    if not len(rows):
        return "False"
    whole = _pattern(exists)
    if whole is not None:
        return whole
    (a, b), (c, d) = ((int(k[0]), int(k[-1])) for k in (rows, columns))
    within = [*_between("i", a, b, n_pre), *_between("j", c, d, n_post)]
    part = exists[a : b + 1, c : d + 1]
    if within and part.all():
        return " and ".join(within)
    inner = _pattern(part, a, c) if within else None
    if inner is not None:
        return " and ".join([*within, inner])
    return _listed(exists)


def _between(name: str, first: int, last: int, size: int) -> Iterator[str]:
    if first == last:
        yield f"{name} == {first}"
        return
    if first > 0:
        yield f"{name} >= {first}"
    if last < size - 1:
        yield f"{name} <= {last}"


def _pattern(exists: NDArray[np.bool_], first_i: int = 0, first_j: int = 0) -> str | None:
    """Return a usual condition that holds for exactly the pairs of a table whose corner is (first_i, first_j)."""
    i = np.arange(exists.shape[0])[:, None] + first_i
    j = np.arange(exists.shape[1])[None, :] + first_j
    for text, table in _candidates(i, j, exists.shape[1]):
        if np.array_equal(np.broadcast_to(table, exists.shape), exists):
            return text
    return None


def _candidates(i: Pairs, j: Pairs, n_post: int) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    yield "i == j", i == j
    yield "i != j", i != j
    yield "i < j", i < j
    yield "i > j", i > j
    yield "i <= j", i <= j
    yield "i >= j", i >= j
    for k in range(1, WIDEST_BAND + 1):
        yield f"j == i + {k}", j == i + k
        yield f"j == i - {k}", j == i - k
        yield f"j == (i + {k}) % {n_post}", j == (i + k) % n_post
        yield f"i == j // {k + 1}", i == j // (k + 1)
        yield f"j == i // {k + 1}", j == i // (k + 1)
        yield f"j == i % {k + 1}", j == i % (k + 1)
        yield f"i // {k + 1} == j // {k + 1}", i // (k + 1) == j // (k + 1)
        band = abs(i - j) <= k
        yield f"abs(i - j) <= {k}", band
        yield f"abs(i - j) <= {k} and i != j", band & (i != j)
        yield f"abs(i - j) == {k}", abs(i - j) == k
        yield f"(i + j) % {k + 1} == 0", (i + j) % (k + 1) == 0


def _listed(exists: NDArray[np.bool_]) -> str:
    rows = []
    for i in np.flatnonzero(exists.any(1)):
        runs = _any_of([_run("j", first, last) for first, last in _runs(np.flatnonzero(exists[i]))])
        rows.append(f"(i == {i} and {runs})")
    return _any_of(rows)


def _run(name: str, first: int, last: int) -> str:
    return f"{name} == {first}" if first == last else f"({name} >= {first} and {name} <= {last})"


def _runs(places: Pairs) -> Iterator[tuple[int, int]]:
    for part in np.split(places, np.flatnonzero(np.diff(places) > 1) + 1):
        yield int(part[0]), int(part[-1])


def _any_of(parts: list[str]) -> str:
    """Join conditions by `or`, halves in parentheses, so that a long list nests no deeper than its logarithm."""
    if len(parts) <= 8:
        text = " or ".join(parts)
        return f"({text})" if len(parts) > 1 else text
    half = len(parts) // 2
    return f"({_any_of(parts[:half])} or {_any_of(parts[half:])})"


def delay_text(
    delays: NDArray[np.float64], i: Pairs, j: Pairs, sizes: tuple[int, int], dt: float
) -> str | None:
    """Return the delay of a pathway as text, empty if there is none: a time, or an expression over i and j.

    None if the delays follow no rule and there are too many to list.

    delays: in seconds, one or one for each synapse (i, j); sizes: of the two populations.
    What counts is the delay in whole steps, as Brian2 rounds it.
    """
    steps = (np.atleast_1d(delays) / dt + 0.5).astype(int)
    if (steps == steps[0]).all():
        value = float(np.atleast_1d(delays)[0])
        return quantity_text(value if int(value / dt + 0.5) else 0.0, TIME) if steps[0] else ""
    exact = np.atleast_1d(delays)
    for text, basis in (("abs(i - j)", abs(i - j)), ("i", i), ("j", j), ("(i + j)", i + j)):
        if np.ptp(basis) == 0:
            continue
        slope, first = np.polyfit(basis, exact, 1)
        slope, first = round(slope / dt, 6) * dt, round(first / dt, 6) * dt
        found = first + slope * basis
        clear = np.abs((found / dt + 0.5) % 1 - 0.5) < 0.49  # far from where rounding would decide
        if clear.all() and np.array_equal((found / dt + 0.5).astype(int), steps):
            return f"({quantity_text(first, TIME)} + {quantity_text(slope, TIME)}*{text})"
    shares = []
    for each in np.unique(steps[steps > 0]):
        of_these = steps == each
        condition = condition_text(i[of_these], j[of_these], *sizes)
        shares.append(f"{quantity_text(float(each * dt), TIME)}*int({condition or 'i >= 0'})")
    text = f"({' + '.join(shares)})"
    return text if len(text) <= LONGEST_DELAY else None
