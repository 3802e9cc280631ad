"""Which parameters of one population the spikes depend on: one is changed, the input stays, and F1 says what that did.

Usage: python examples/poster/identifiable.py izhikevich|lif [--seed 0]. F1 (1 ms, eight trials of 4 s) of the changed
population against the network itself; 1 where nothing happened. What leaves it at 1 no fit can find from spikes.
"""

import argparse

import protocol
import scores as score

CHANGES = {
    "izhikevich": {"a": (0.03, 0.10), "b": (0.005, 0.02), "c": (0.03, 0.10), "d": (0.10, 0.30), "tau_g": (0.03, 0.30)},
    "lif": {"tau_m": (0.03, 0.10), "tau_g": (0.03, 0.30), "v_rest": (0.01, 0.05), "k": (0.03, 0.10)},
}  # fmt: skip


def main() -> None:
    """Print a table: a line for each quantity and change, a column for each population."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=protocol.KINDS)
    parser.add_argument("--seed", type=int, default=0)
    a = parser.parse_args()
    truth = protocol.truth_of(a.kind)
    print("| change | " + " | ".join(protocol.POPULATIONS) + " |")
    print("|---" * (1 + len(protocol.POPULATIONS)) + "|")
    for quantity, shares in CHANGES[protocol.family(a.kind)].items():
        for share in shares:
            found = [
                score.same_input(
                    a.kind,
                    truth | {f"{p}.{quantity}": truth[f"{p}.{quantity}"] * (1 + share)},
                    a.seed,
                )["f1"][place]
                for place, p in enumerate(protocol.POPULATIONS)
            ]
            print(f"| {quantity} +{share:.1%} | " + " | ".join(f"{x:.3f}" for x in found) + " |")


if __name__ == "__main__":
    main()
