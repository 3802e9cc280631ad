"""What the time after spikes says of where bursts end, and what it costs, against the whole likelihood.

Usage: python benchmarks/after_spikes.py [--seconds 60] [--seed 0]. REM of the Izhikevich sleep network, its input unknown: prints
the log-likelihood at the truth and its changes (nats) by all steps and by those within 10 to 80 ms after a spike (a
partial likelihood), and the seconds of an evaluation.
"""

import argparse
import math
import time

import torch
from measure import table
from sleep import EACH, POPULATIONS, WIDTH, log_likelihoods, simulated, values_at

import eqsnn
from eqsnn.inference.likelihood import ForcedObjective

CHANGES: tuple[dict[str, float], ...] = (
    {"rem.c": 0.9995}, {"rem.c": 1.0005}, {"rem.c": 0.9995, "rem.d": 1.05}, {"rem.d": 1.05}, {"rem.d": 0.95}, {"rem.a": 0.9},
)  # fmt: skip
AFTER = (math.inf, 0.08, 0.04, 0.02, 0.01)  # seconds
REM = POPULATIONS.index("rem")


def main() -> None:
    """Evaluate the truth and each change of it by more and less of the time."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    a = parser.parse_args()
    torch.set_num_threads(1)
    model, _, data, known = simulated("izhikevich", a.seconds, a.seed)
    values = values_at(model, {}, *({n: known[n] * f for n, f in c.items()} for c in CHANGES))
    needed = (torch.arange(len(POPULATIONS)) == REM).repeat_interleave(EACH)
    names = [", ".join(f"{n.split('.')[1]} x {f:g}" for n, f in change.items()) for change in CHANGES]  # fmt: skip
    rows = []
    for after in AFTER:
        stage = eqsnn.Forced(
            widths=(WIDTH,), density="grid", window=1.0, warm_up=1.0, after_spike=after
        )
        objective = ForcedObjective(data, stage, 0, values)
        started = time.perf_counter()
        found = log_likelihoods(objective, values, needed)[REM]
        took = (time.perf_counter() - started) / len(found)
        told = "all" if after == math.inf else f"{1000 * after:g} ms after a spike"
        rows.append(
            [told, *(f"{x:.0f}" for x in [found[0], *(found[1:] - found[0])]), f"{took:.2f}"]
        )
    print(table(["steps that count", "truth", *names, "seconds"], rows))


if __name__ == "__main__":
    main()
