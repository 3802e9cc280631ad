"""(d) Memory against the number of steps: 12 neurons, 64 lanes, forward and backward.

    python benchmarks/memory.py

Each row is a process of its own: its largest resident size above that after a run of 200 steps. JAX keeps what every
step leaves, as any scan without checkpoints does.
"""

import resource
import subprocess
import sys

from measure import machine, table

STEPS = [1_000, 10_000, 100_000]


def measure(peer: str, steps: int) -> None:
    """Print the megabytes that a run adds to a process, its inputs excepted."""
    from peers import generated, jax_scan, problem  # noqa: PLC0415 (one peer in each process)

    prepare = {"eqsnn": generated.prepare, "jax": jax_scan.prepare}[peer]
    prepare(problem.make(12, 64, 200, seed=0))()
    given = problem.make(12, 64, steps, seed=0)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    prepare(given)()
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print((after - before) / 1024)


def main() -> None:
    rows = []
    for steps in STEPS:
        row = [f"{steps}"]
        for peer in ("eqsnn", "jax"):
            command = [sys.executable, __file__, peer, str(steps)]
            run = subprocess.run(command, capture_output=True, text=True, check=False)
            row.append(f"{float(run.stdout):.0f}" if run.returncode == 0 else "out of memory")
        rows.append(row)
    print(machine())
    print(table(["steps", "eqsnn, MB", "JAX scan, MB"], rows))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        measure(sys.argv[1], int(sys.argv[2]))
    else:
        main()
