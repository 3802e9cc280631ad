"""(c) Forward only, against Brian2: compiled program (cpp_standalone) and compiled steps (cython).

    python benchmarks/forward.py

Brian2's own measure of its loop over the steps, without compilation, start of the process and files. Lanes are one
group of N*L neurons for Brian2. `summed` and `event` as in size.py.
"""

from typing import get_args

from measure import machine, medians, ratio, table
from peers import brian2_peer, generated, problem

CASES = [(12, 64, 4000), (100, 16, 1000), (1000, 1, 1000)]


def main() -> None:
    rows = []
    for n, lanes, steps in CASES:
        given = problem.make(n, lanes, steps, seed=0)
        for coupling in get_args(brian2_peer.Coupling):
            own = medians(
                {"eqsnn": generated.prepare(given, coupling=coupling, gradient=False)}, rounds=9
            )["eqsnn"]
            cells = []
            for target in get_args(brian2_peer.Target):
                peer = brian2_peer.prepare(given, target=target, coupling=coupling)
                found = []
                for _ in range(3):
                    peer()
                    found.append(peer.seconds)
                cells.append(
                    f"{sorted(found)[1] / steps * 1e6:.1f} ({ratio(sorted(found)[1], own)})"
                )
            rows.append([f"{n}, {lanes}", coupling, f"{own / steps * 1e6:.2f}", *cells])
    print(machine())
    print("us/step; in brackets how many times slower Brian2 is")
    head = ["neurons, lanes", "synapses", "eqsnn", "Brian2 cpp_standalone", "Brian2 cython"]
    print(table(head, rows))


if __name__ == "__main__":
    main()
