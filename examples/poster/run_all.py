"""make poster: every experiment, every figure and the table; what was done before is taken from runs/poster.

Usage: python examples/poster/run_all.py [--seeds 0] [--kinds lif,izhikevich] [--experiments A,B,C,D] [--controls].
"""

import argparse
import time

import controls
import figure_1
import figure_2
import figure_3
import table
import torch
from drawing import write
from experiments import EXPERIMENTS, run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--kinds", default="lif,izhikevich")
    parser.add_argument("--experiments", default=",".join(EXPERIMENTS))
    parser.add_argument("--controls", action="store_true", help="run those, too (controls.py)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    seeds = [int(seed) for seed in arguments.seeds.split(",")]
    kinds, wanted = arguments.kinds.split(","), arguments.experiments.split(",")
    todo = [(experiment, kind, seed) for experiment in wanted for kind in kinds for seed in seeds]
    for number, (experiment, kind, seed) in enumerate(todo, start=1):
        began = time.monotonic()
        folder = run(experiment, kind, seed)
        print(f"{number} of {len(todo)}: {folder} ({time.monotonic() - began:.0f} s)", flush=True)
    for kind in kinds:
        if "D" in wanted:
            write(figure_1.draw(kind, seeds[0]), f"figure_1_{kind}")
        if {"A", "B"} <= set(wanted):
            write(figure_2.draw(kind, seeds), f"figure_2_{kind}")
        for experiment in wanted:
            write(figure_3.draw(experiment, kind, seeds[0]), f"figure_3_{experiment}_{kind}")
    table.main([])
    if arguments.controls:
        controls.main(["--seeds", arguments.seeds, "--kinds", arguments.kinds])


if __name__ == "__main__":
    main()
