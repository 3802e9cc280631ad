"""(f) How the time of forward and backward grows with lanes, neurons, steps and cores.

python benchmarks/scaling.py [FIGURE.svg]
"""

import os
import sys

import matplotlib.pyplot as plt
from measure import machine, medians, table
from peers import generated, problem

from eqsnn.backends.threads import usable_cores

LANES = [1, 2, 4, 8, 16, 32, 64, 128, 256]
NEURONS = [4, 12, 36, 100, 300]
STEPS = [500, 2000, 8000, 32000]


def microseconds(n: int, lanes: int, steps: int) -> float:
    """Return the microseconds of a step."""
    work = generated.prepare(problem.make(n, lanes, steps, seed=0))
    return medians({"eqsnn": work}, rounds=5)["eqsnn"] / steps * 1e6


def main() -> None:
    by_lanes = [microseconds(12, lanes, 2000) for lanes in LANES]
    by_neurons = [microseconds(n, 16, 500) for n in NEURONS]
    by_steps = [microseconds(12, 64, steps) for steps in STEPS]
    print(machine())
    for title, values, times in (
        ("lanes (12 neurons, 2000 steps)", LANES, by_lanes),
        ("neurons (16 lanes, 500 steps)", NEURONS, by_neurons),
        ("steps (12 neurons, 64 lanes)", STEPS, by_steps),
    ):
        rows = [[str(value), f"{time:.2f}"] for value, time in zip(values, times, strict=True)]
        print(f"\n{table([title, 'us/step'], rows)}")
    rows = []
    for cores in range(1, usable_cores() + 1):
        os.environ["OMP_NUM_THREADS"] = str(cores)
        rows.append(
            [str(cores), f"{microseconds(12, 256, 2000):.2f}", f"{microseconds(1000, 1, 300):.0f}"]
        )
    os.environ.pop("OMP_NUM_THREADS", None)
    head = ["cores", "12 neurons, 256 lanes, us/step", "1000 neurons, 1 lane, us/step"]
    print(f"\n{table(head, rows)}")
    if len(sys.argv) > 1:
        draw(by_lanes, by_neurons, sys.argv[1])


def draw(by_lanes: list[float], by_neurons: list[float], path: str) -> None:
    """Write the figure."""
    figure, axes = plt.subplots(1, 2, figsize=(8, 3), layout="constrained")
    axes[0].loglog(LANES, by_lanes, "o-")
    axes[0].set(xlabel="lanes (12 neurons)", ylabel="us/step, forward and backward")
    axes[1].loglog(NEURONS, by_neurons, "o-")
    axes[1].set(xlabel="neurons, dense (16 lanes)")
    figure.savefig(path)


if __name__ == "__main__":
    main()
