"""(h) Whole fits on both backends, end to end: the same objective, the same iterations, the same result.

    python benchmarks/fits.py [SHARE]

The network of twelve neurons with known input and the sleep network of the demonstration, with SHARE (default 0.1) of
their iterations, so that the torch backend finishes; the time of both is linear in the iterations. The first fit on
the native backend includes compilation.
"""

import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from measure import machine, ratio, table

import eqsnn

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
import known_input_network  # pyright: ignore[reportMissingImports]


def known_input(share: float, backend: str) -> eqsnn.Fit:
    """Fit the example's network from a far start."""
    model, targets, _ = known_input_network.network(0)
    stages = (
        replace(eqsnn.Forced(), iterations=max(1, round(250 * share))),
        replace(eqsnn.Free(), iterations=max(1, round(30 * share))),
    )
    return eqsnn.fit(model, targets, starts=4, stages=stages, backend=backend)


def sleep(share: float, backend: str) -> eqsnn.Fit:
    """Fit the sleep network of the demonstration."""
    path = Path(__file__).parents[1] / "models" / "sleep_lif.eqs"
    model = eqsnn.load(path)
    targets = eqsnn.simulate(model, 4.0, trials=6, seed=1, record=["x"])
    learned = model.learning(["tau_m", "tau_g", "v_rest", "k", "w"])
    stages = (
        replace(eqsnn.Forced(), iterations=max(1, round(60 * share)), window=0.1, warm_up=0.04),
    )
    return eqsnn.fit(learned, targets, starts=4, stages=stages, backend=backend)


def main() -> None:
    share = float(sys.argv[1]) if len(sys.argv) > 1 else 0.1
    torch.set_num_threads(1)  # as the command line does: more slow small networks down
    rows = []
    for name, fit in (("12 neurons, known input", known_input), ("sleep network", sleep)):
        seconds, values = {}, {}
        for backend in ("native", "pytorch"):
            begin = time.perf_counter()
            found = fit(share, backend)
            seconds[backend] = time.perf_counter() - begin
            values[backend] = np.concatenate([np.ravel(v) for v in found.parameters.values()])
        apart = np.abs(values["native"] - values["pytorch"]).max()
        own, peer = seconds["native"], seconds["pytorch"]
        rows.append([name, f"{own:.1f}", f"{peer:.1f}", ratio(peer, own), f"{apart:.1e}"])
    print(machine())
    print(table(["fit", "native, s", "pytorch, s", "", "largest difference of a value"], rows))


if __name__ == "__main__":
    main()
