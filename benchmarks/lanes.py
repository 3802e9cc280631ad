"""(a) 12 neurons, 4000 steps, van Rossum loss, forward and backward: eqsnn against the ways others do it.

    python benchmarks/lanes.py [LANES ...]

Python-loop peers run 500 of the steps; their time is linear in the steps and given for each step.
"""

import sys

from measure import machine, medians, ratio, table
from peers import (
    eager_torch,
    generated,
    hand_c,
    jax_scan,
    norse_peer,
    problem,
    snntorch_peer,
    spikingjelly_peer,
)

STEPS, FEW = 4000, 500


def main() -> None:
    rows = []
    for lanes in [int(text) for text in sys.argv[1:]] or [1, 16, 64, 256]:
        long, short = (problem.make(12, lanes, steps, seed=0) for steps in (STEPS, FEW))
        quick = {
            "eqsnn": generated.prepare(long),
            "C by hand": hand_c.prepare(long),
            "JAX scan": jax_scan.prepare(long),
        }
        slow = {
            "eager torch": eager_torch.prepare(short),
            "snnTorch": snntorch_peer.prepare(short),
            "Norse": norse_peer.prepare(short),
            "SpikingJelly": spikingjelly_peer.prepare(short),
        }
        seconds = {name: t / STEPS for name, t in medians(quick, rounds=5).items()}
        seconds |= {name: t / FEW for name, t in medians(slow, rounds=1).items()}
        own = seconds.pop("eqsnn")
        rows.append([str(lanes), f"{own * 1e6:.2f}", *(ratio(t, own) for t in seconds.values())])
    print(machine())
    print(table(["lanes", "eqsnn, us/step", *seconds], rows))


if __name__ == "__main__":
    main()
