"""(b) Larger networks, dense and sparse, forward and backward, against the JAX scan.

    python benchmarks/size.py

`summed` is the work item of the peers: every presynaptic trace counts at every step, so a dense network is read whole
at every step. `event` is the same network as Brian2's users write it, `on_pre: s += w`: only neurons that fire cost
anything on the way forward. JAX does the summed work, dense, in every row: it has no sparse scan to compare with.
"""

from measure import machine, medians, ratio, table
from peers import generated, jax_scan, problem

CASES = [(100, 1, 2000), (100, 16, 1000), (1000, 1, 1000), (1000, 16, 300)]


def main() -> None:
    rows = []
    for n, lanes, steps in CASES:
        given = problem.make(n, lanes, steps, seed=0)
        work = {
            "JAX scan": jax_scan.prepare(given),
            "summed": generated.prepare(given),
            "event": generated.prepare(given, coupling="event"),
            "summed, 10 %": generated.prepare(given, probability=0.1),
            "event, 10 %": generated.prepare(given, coupling="event", probability=0.1),
        }
        seconds = {name: t / steps for name, t in medians(work, rounds=2).items()}
        peer = seconds.pop("JAX scan")
        rows.append(
            [
                f"{n}, {lanes}",
                f"{peer * 1e6:.1f}",
                *(f"{t * 1e6:.1f} ({ratio(peer, t)})" for t in seconds.values()),
            ]
        )
    print(machine())
    print("us/step; in brackets how many times slower the JAX scan is")
    print(table(["neurons, lanes", "JAX scan, dense", *seconds], rows))


if __name__ == "__main__":
    main()
