"""Simulate every file of models/ and write docs/gallery.md with one plot each.

Usage: python examples/gallery.py [NAME ...]. Without names every model is drawn and docs/gallery.md is written anew; with names
only their plots are. A plot shows what PLOTS says: the response of some variables, or the rate over a parameter.
"""

import argparse
import re
import warnings
from pathlib import Path

import matplotlib as mpl
import numpy as np
from PIL import Image

import eqsnn

mpl.use("Agg")
import matplotlib.pyplot as plt

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "gallery"
# how long to simulate (s), and what to draw: recorded variables, or `parameter: low, high` for a curve of rates
PLOTS: dict[str, tuple[float, tuple[str, ...] | tuple[str, float, float]]] = {
    "adex_patterns": (0.5, ("tonic.v", "adapting.v", "initial_burst.v", "irregular.v")),
    "eif": (1.0, ("cells.I_e", 0.2, 2.0)),
    "fitzhugh_nagumo": (0.06, ("cells.v", "cells.w")),
    "gap_junction": (0.1, ("cells.v",)),
    "gif": (1.0, ("cells.v", "cells.sfa_1")),
    "glif1": (1.0, ("cells.I_e", 50, 500)),
    "glif2": (1.0, ("cells.I_e", 50, 500)),
    "glif3": (1.0, ("cells.I_e", 50, 500)),
    "glif4": (1.0, ("cells.I_e", 50, 500)),
    "hindmarsh_rose": (1.0, ("cells.x", "cells.z")),
    "hodgkin_huxley": (0.5, ("cells.I_e", 2, 40)),
    "hill_tononi": (0.5, ("cortical.v", "thalamic.v")),
    "connor_stevens": (0.5, ("cells.I_e", 5, 40)),
    "izhikevich_2007": (0.5, ("regular.v", "bursting.v")),
    "kinetic_synapses": (0.2, ("cells.g_AMPA", "cells.g_NMDA", "cells.g_GABA")),
    "mat2": (0.3, ("cells.v", "cells.theta_1")),
    "morris_lecar": (0.5, ("class_1.v", "class_2.v")),
    "pospischil": (0.5, ("regular.v", "fast.v")),
    "qif": (1.0, ("cells.D", 0, 20)),
    "sleep_rate": (86400.0, ("sleep.f_W", "sleep.f_R", "sleep.h")),
    "srm0": (0.2, ("cells.v", "cells.eta")),
    "terman_rubin_gpe": (0.5, ("alone.v", "driven.v")),
    "terman_rubin_stn": (1.0, ("alone.v", "driven.v")),
    "theta": (1.0, ("cells.I_e", -0.2, 2)),
    "tsodyks_markram": (0.6, ("depressed.I_syn", "facilitated.I_syn")),
}
DEFAULT = 1.0  # seconds of a raster plot, for every other file


def parts(text: str) -> tuple[str, str, str]:
    """Return the title, the source and the equations of a file, as they stand there."""
    comments = [line[1:].strip() for line in text[: text.index("\nneuron ")].splitlines()]
    whole = "\n".join(comments)
    title, _, rest = whole.partition("\n\n")
    source = rest[rest.index("Source: ") + len("Source: ") :].split("\n\n")[0]
    body = text[text.index("\nneuron ") : text.index("\nnetwork:")]
    kinds = (
        r"(?:neuron|synapse) .*",
        r"    (?:d\w+/dt|threshold|\w+_post) ?[=:].*",
        r"    \w+ = .* : .*",
        r"    (?:reset|update|initial|background|refractory|(?:on_pre|on_post|on|every|event)\b[^:]*):.*",
        r"        .*=.*",
    )
    wanted = "|".join(kinds)
    lines = [
        line.split("   #")[0].rstrip() for line in body.splitlines() if re.fullmatch(wanted, line)
    ]
    return title.replace("\n", " "), source.replace("\n", " "), "\n".join(lines)


def drives(name: str, steps: int) -> dict[str, np.ndarray]:
    """Return a step of current or a slow sine for each input of the older files."""
    rng = np.random.default_rng(0)
    given = {
        "adex": {"I_ext": np.full(steps, 900.0)},
        "adaptive_lif": {"stimulus": np.sin(np.arange(steps) / 40)},
        "plain_lif_receptor": {"stimulus": np.sin(np.arange(steps) / 40)},
        "glif": {"I_ext": 180 + 30 * rng.standard_normal((steps, 12))},
        "izhikevich": {"I": np.full(steps, 10.0)},
        "lif": {"I_ext": 16 + 8 * rng.standard_normal((steps, 12))},
    }
    if name.startswith("poster_"):
        events = 12.0 if "gif" in name else 8.0 if "izhikevich" in name else 0.6
        return {"x": rng.poisson(0.5, (steps, 12)) * events}
    return given.get(name, {})


def draw(name: str) -> None:
    """Simulate one model and write its plot."""
    model = eqsnn.load(ROOT / "models" / f"{name}.eqs")
    seconds, shown = PLOTS.get(name, (DEFAULT, ()))
    figure, axes = plt.subplots(figsize=(5, 2.2), dpi=72, layout="constrained")
    if len(shown) == 3 and not isinstance(shown[1], str):
        parameter, low, high = shown
        values = np.linspace(float(low), float(high), 20)
        rates = [
            eqsnn.simulate(model, seconds, burn_in=0.2, parameters={parameter: v}).rates()[0]
            for v in values
        ]
        axes.plot(values, rates, "o-", ms=3)
        axes.set(xlabel=f"{parameter} (unit of the file)", ylabel="rate (Hz)")
    else:
        steps = round(seconds * 1e3 / model.definition.dt)
        run = eqsnn.simulate(
            model,
            seconds,
            inputs=drives(name, steps),
            record=[str(v) for v in shown],
            seed=1,
        )
        every = max(1, steps // 2500)
        for variable in shown:
            trace = run.traces[str(variable)][0, ::every, 0]
            axes.plot(np.arange(len(trace)) * every * run.dt, trace, lw=0.8, label=variable)
        if shown:
            axes.legend(fontsize=6, loc="upper right")
            axes.set(xlabel="time (s)", ylabel="unit of the file")
        else:
            axes.plot(run.spike_times, run.unit_ids, "|", ms=3)
            axes.set(xlabel="time (s)", ylabel="neuron")
    figure.savefig(FOLDER / f"{name}.png")
    plt.close(figure)
    # sixteen colours are enough for lines and letters, and halve the file
    Image.open(FOLDER / f"{name}.png").convert("RGB").quantize(16).save(
        FOLDER / f"{name}.png", optimize=True
    )


def page(names: list[str]) -> str:
    """Return the text of docs/gallery.md."""
    lines = [
        "# Gallery of models",
        "",
        "Written by `python examples/gallery.py` from the files of [models/](../models/). Without other mention a plot shows the "
        "spikes of all neurons of the file's network.",
    ]
    for name in names:
        title, source, equations = parts(
            (ROOT / "models" / f"{name}.eqs").read_text(encoding="utf-8")
        )
        lines += ["", f"## [{name}](../models/{name}.eqs)", "", title, "", f"Source: {source}", ""]
        lines += ["```text", equations, "```", "", f"![{name}](gallery/{name}.png)"]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*")
    chosen = parser.parse_args().names
    names = sorted(path.stem for path in (ROOT / "models").glob("*.eqs"))
    FOLDER.mkdir(exist_ok=True)
    warnings.simplefilter("ignore")  # spikes that share a step, in files whose weights are drawn
    for name in chosen or names:
        draw(name)
        print(name, flush=True)
    if not chosen:
        (ROOT / "docs" / "gallery.md").write_text(page(names), encoding="utf-8")


if __name__ == "__main__":
    main()
