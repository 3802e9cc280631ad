"""Targets of the poster's later models, and how each is fitted: for authors_models.py."""

from dataclasses import dataclass, field, replace

import numpy as np

import eqsnn

# the scale of all voltages is free in these: score their ratios to E_L
SCALED = ("delta_theta_s", "delta_V", "theta_inf")
WEAK = {
    "w": (0.25, 0.25, 0.45, 0.35)
}  # weights from the interval of the starts would let LIF_R fire in every third step
LIF = {"tau_m": (2.8, 1.8), "E_L": (-56, -64), "tau_s": (3.5, 2.0), "w": (0.55, 0.55, 0.5, 0.5)}
GLIF = {
    "tau_m": (3.4, 2.6), "G": (0.7, 0.8), "E_L": (-52, -62), "delta_theta_s": (18, 18), "b_s": (0.4, 0.25),
    "f_v": (0.14, 0.14), "delta_V": (10, 12), "f_I": (0.5, 0.35), "b_v": (0.3, 0.4), "a_v": (0.2, 0.3),
    "theta_inf": (-12, -11), "tau_s": (4.5, 2.4), "tau_g": (4.5, 2.4), "w": (0.55, 0.45, 0.5, 0.35),
}  # fmt: skip
GIF = {
    "tau_m": (10, 10), "tau_s": (3, 6), "tau_theta": (1000, 1000), "J_theta": (1.0, 0.2), "E_L": (3.5, 2.0),
    "c": (0.2, 0.2), "Delta_u": (5, 5), "w": (2, 2, 4, 4),
}  # fmt: skip
PLACES = ("exc", "inh"), ("exc->exc", "exc->inh", "inh->exc", "inh->inh")
ESCAPE = eqsnn.Forced(
    widths=(0.1, 0.03, 0.01, 0.003, 0.001), iterations=120, learning_rate=0.1, final_rate=0.05, window=0.25, warm_up=0.06, keep=1
)  # fmt: skip
# nothing to anneal where spikes are drawn
DRAWN = replace(ESCAPE, widths=(0.02,), iterations=300, learning_rate=0.05)


# an upstroke multiplies derivatives a thousandfold: a search without them, neuron by neuron
GUIDED = tuple(
    eqsnn.GradientFree(
        "cmaes", eqsnn.Free(tau=tau, window=1.0, warm_up=0.2, guided=True), evaluations=evaluations, population=24, step=step, keep=1
    )
    for tau, evaluations, step in ((0.01, 7200, 0.5), (0.003, 4800, 0.1))
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """What is particular to a model: its target, the size of its input events, its stages and restarts."""

    target: dict = field(
        default_factory=dict
    )  # by parameter for exc and inh, or the four projections; else drawn
    event: float = 1.0
    stages: tuple[eqsnn.Forced | eqsnn.GradientFree, ...] = (ESCAPE,)
    more: int = 1  # times the data
    shrunk: float = 1.0  # factor of the weights at the start


CASES = {
    "poster_lif": Case(LIF, 0.9),
    "poster_lif_asc": Case(event=0.6),
    "poster_lif_hs_17": Case(event=0.6),
    "poster_lif_r": Case(WEAK, 1.0),
    "poster_lif_r_soft": Case(WEAK, 0.6),
    "poster_lif_r_asc": Case(event=1.4),
    "poster_lif_r_asc_soft": Case(event=0.8),
    "poster_glif": Case(GLIF, 0.8),
    "poster_glif_soft": Case(GLIF, 0.4),
    "poster_izhikevich": Case(event=8.0, stages=GUIDED),
    "poster_microgif": Case(GIF, 20.0, (DRAWN,), more=2, shrunk=0.15),
    "poster_microgif_exact": Case({**GIF, "w": (1, 1, 3, 3)}, 25.0, (replace(ESCAPE, widths=(0.3, *ESCAPE.widths)),)),
}  # fmt: skip


def truth_of(model: eqsnn.Model, case: Case, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Return a target within the bounds of the file."""
    found = {}
    for name, p in model.parameters().items():
        if not p.learned:
            continue
        group, local = name.rsplit(".", 1)
        low, high = p.low / p.unit.scale, p.high / p.unit.scale
        assert p.prior is not None
        limits = p.prior.arguments if p.prior.name == "uniform" else (p.low, p.high)
        base = rng.uniform(limits[0], limits[1]) / p.unit.scale
        if local in case.target:
            base = case.target[local][PLACES["->" in group].index(group)]
        noise = rng.standard_normal(p.shape) * (0.05 if local == "w" else 0.025)
        found[name] = np.clip(
            base * (1 + noise), low + 0.01 * (high - low), high - 0.01 * (high - low)
        )
    return found
