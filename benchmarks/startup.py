"""(e) From the text of a model to its first gradient: with an empty cache, with a filled one; and JAX's compilation.

    python benchmarks/startup.py

Imports are not counted (for eqsnn they are sympy's and torch's, for JAX its own).
"""

import os
import tempfile
import time

import torch
from measure import machine, table
from peers import generated, jax_scan, problem

from eqsnn.backends import compile_c


def first(prepare, given) -> float:
    """Return the seconds until the first gradient."""
    begin = time.perf_counter()
    prepare(given)()
    return time.perf_counter() - begin


def main() -> None:
    given = problem.make(12, 64, 100, seed=0)
    torch.ones(
        3, requires_grad=True
    ).sum().backward()  # torch starts its own threads at the first gradient
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        os.environ["EQSNN_CACHE"] = folder
        compile_c.cache_folder.cache_clear()
        rows.append(["eqsnn, nothing cached", f"{first(generated.prepare, given):.2f}"])
        rows.append(["eqsnn, library cached", f"{first(generated.prepare, given):.2f}"])
    gradient = jax_scan.compiled(jax_scan.vmapped(1))
    inputs = [x[:, :, None] for x in (given.drive, given.target)]
    begin = time.perf_counter()
    gradient(given.parameters(), *inputs)
    rows.append(["JAX scan", f"{time.perf_counter() - begin:.2f}"])
    print(machine())
    print(table(["", "s"], rows))


if __name__ == "__main__":
    main()
