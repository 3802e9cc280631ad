"""gradcheck: the gradient modes side by side on a user's own model and data, each against what it claims to be.

All slopes are taken in the unit-scaled coordinates of a fit (inference/coordinates.py), so that parameters of different
units weigh alike.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from eqsnn.compiler import compile_program, exact_program
from eqsnn.errors import InputError
from eqsnn.inference.coordinates import coordinate_of
from eqsnn.inference.data import Data, prepare
from eqsnn.inference.lanes import run_lanes, windows
from eqsnn.inference.likelihood import ForcedObjective
from eqsnn.inference.objectives import FreeObjective
from eqsnn.inference.stages import Forced, Free
from eqsnn.inference.unknowns import Unknowns
from eqsnn.language.model import Model
from eqsnn.losses import Loss
from eqsnn.simulation import setup
from eqsnn.simulation.parameters import Parameter
from eqsnn.simulation.recording import Recording

SMALL = 1e-6  # step that sees the derivative
LANES = 256  # networks run side by side
GRAZING = (
    10.0  # tau that a crossing may take at its slope, over the distance from reset to threshold
)
ALL = "all"
MISS = 0.02  # of that distance: a maximum of the margin so close below threshold is nearly a spike
GOOD, POOR = 0.9, 0.3  # cosines
EXPLODED = 100.0  # relative error of a gradient that has lost its scale
OWN = 1e-2  # error of a gradient against its own objective that only a jump of this within the step explains

Point = dict[str, Tensor]
Aim = Callable[[Point], Tensor]


@dataclass(frozen=True, slots=True)
class Row:
    """One mode on one group of parameters, or on `all` of them.

    own_error: |gradient - g|/|g| with g the derivative, by central differences, of the objective the mode claims to
    differentiate (NaN for a surrogate, which claims none). cosine, signs, error: agreement with the change of the
    simulated loss over a finite step: cosine of the angle, share of equal signs, relative error (NaN for the
    likelihood, which is another objective). smoothed: cosine with
    the change of the loss averaged over random displacements of that size.
    """

    mode: str
    group: str
    own_error: float
    cosine: float
    signs: float
    error: float
    smoothed: float


@dataclass(frozen=True, slots=True)
class Gradcheck:
    """What `gradcheck` found. grazing: spikes that cross the threshold slowly; misses: maxima just below it."""

    rows: tuple[Row, ...]
    loss: float
    spikes: int
    target_spikes: int
    grazing: int
    misses: int
    step: float
    elements: Mapping[str, int]  # compared, by group
    verdict: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers and texts for JSON; what is not defined is None."""
        found = asdict(self)
        for row in found["rows"]:
            row |= {n: None for n, v in row.items() if isinstance(v, float) and not np.isfinite(v)}
        return found

    def summary(self) -> str:
        """Return the table and the verdict for people."""
        lines = [
            f"loss {self.loss:.4g}; {self.spikes} spikes of the model, {self.target_spikes} of the targets; "
            f"{self.grazing} grazing, {self.misses} near misses",
            f"finite steps of {self.step:g} in unit-scaled coordinates",
            "",
            f"{'parameters':<24}{'mode':<22}{'own error':>10}{'cosine':>8}{'signs':>7}{'error':>9}{'smoothed':>10}",
        ]
        for row in self.rows:
            numbers = f"{_text(row.own_error, '.1e'):>10}{_text(row.cosine, '.2f'):>8}{_text(row.signs, '.2f'):>7}"
            numbers += f"{_text(row.error, '.2g'):>9}{_text(row.smoothed, '.2f'):>10}"
            lines.append(f"{row.group:<24}{row.mode:<22}{numbers}")
        return "\n".join([*lines, "", *self.verdict])


def _text(value: float, form: str) -> str:
    return format(value, form) if np.isfinite(value) else "-"


@dataclass(frozen=True, slots=True)
class _Ground:
    """Where gradients are compared: a point, the map to parameters, and the elements of each group that are looked at."""

    data: Data
    unknowns: Unknowns
    point: Point
    chosen: Mapping[str, Tensor]  # places in the flattened parameter
    step: float
    draws: int
    rng: np.random.Generator

    def values(self, z: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return all parameters; 0 for synapses that do not exist."""
        return self.unknowns.everything(z)

    def aim(self, objective: FreeObjective | ForcedObjective, width: float) -> Aim:
        """Return an objective as a function of coordinates."""
        return lambda z: objective(self.values(z), width)

    def gradient(self, aim: Aim) -> dict[str, Tensor]:
        """Return the derivative that a mode computes, of the chosen elements of each group."""
        z = {name: value.clone().requires_grad_() for name, value in self.point.items()}
        found = torch.autograd.grad(aim(z).sum(), list(z.values()), allow_unused=True)
        return {
            name: torch.zeros(len(places)) if g is None else g.reshape(-1)[places]
            for (name, places), g in zip(self.chosen.items(), found, strict=True)
        }

    def slopes(self, aim: Aim, step: float, around: Point | None = None) -> dict[str, Tensor]:
        """Return central differences of the chosen elements, averaged over the lanes of `around`."""
        around = self.point if around is None else around
        copies = next(iter(around.values())).shape[-1]
        places = [(name, int(k)) for name, chosen in self.chosen.items() for k in chosen]
        found: list[Tensor] = []
        with torch.no_grad():
            for part in _parts(places, max(1, LANES // (2 * copies))):
                z = {n: v.repeat(*[1] * (v.dim() - 1), 2 * len(part)) for n, v in around.items()}
                for m, (name, k) in enumerate(part):
                    row = z[name].reshape(-1, z[name].shape[-1])[k]
                    row[2 * m * copies : (2 * m + 1) * copies] += step
                    row[(2 * m + 1) * copies : (2 * m + 2) * copies] -= step
                losses = aim(z).reshape(len(part), 2, copies).mean(2)
                found.append((losses[:, 0] - losses[:, 1]) / (2 * step))
        sizes = [len(chosen) for chosen in self.chosen.values()]
        return dict(zip(self.chosen, torch.cat(found).split(sizes), strict=True))

    def scattered(self) -> Point:
        """Return the point in many lanes, displaced at random by about one step."""
        return {
            name: value
            + self.step
            * torch.from_numpy(self.rng.standard_normal((*value.shape[:-1], self.draws)))
            for name, value in self.point.items()
        }


def _parts(items: list, size: int) -> Iterator[list]:
    for first in range(0, len(items), size):
        yield items[first : first + size]


def gradcheck(
    model: Model,
    parameters: Mapping[str, Parameter],
    recording: Recording,
    *,
    at: Mapping[str, Any] | None = None,
    loss: str | Loss = "van_rossum",
    tau: float = 0.010,
    widths: tuple[float, ...] = (0.3, 0.1, 0.03),
    escape_widths: tuple[float, ...] = (0.25, 0.025),
    step: float = 0.02,
    draws: int = 8,
    elements: int = 24,
    seconds: float = 1.0,
    seed: int = 0,
    backend: str = "auto",
) -> Gradcheck:
    """Compare the gradient modes at one point: `at` (values in the units of the file) or a draw from the distributions.

    widths, escape_widths: of the surrogate (with the reset detached as in a fit, and with it) and of the escape
    likelihood; step: of the finite differences, in units of
    the spread of the distributions; draws: displacements that smooth the loss; elements: of each group, at most;
    seconds: of the recording that are used. Raises InputError if nothing is unknown or there are no spikes.
    """
    unknown = {name: p for name, p in parameters.items() if p.learned}
    if not unknown:
        raise InputError(
            "no parameter of the model is unknown, so there is no gradient; write `~ distribution`, or use --learn NAME"
        )
    if recording.duration > seconds:
        recording = recording.window(0.0, seconds)
    if not len(recording.spike_times):
        raise InputError("the targets hold no spikes; gradients of a silent recording say nothing")
    ground = _ground(
        model, parameters, unknown, recording, at or {}, step, draws, elements, seed, backend
    )
    common = {"loss": loss, "tau": tau, "window": seconds, "warm_up": 0.0}
    detached = FreeObjective(ground.data, Free(**common), seed)
    attached = FreeObjective(ground.data, Free(**common, detach_reset=False), seed)
    exact = FreeObjective(ground.data, Free(**common, gradient="exact"), seed)
    forced = Forced(window=seconds, warm_up=0.0)
    escape = ForcedObjective(ground.data, forced, seed, ground.values(ground.point))
    around = ground.scattered()
    rows: list[Row] = []
    on_grid = ground.aim(detached, widths[0])
    changes = ground.slopes(on_grid, step), ground.slopes(on_grid, step, around)
    for width in widths:
        for objective, name in ((detached, "surrogate"), (attached, "surrogate + reset")):
            found = ground.gradient(ground.aim(objective, width))
            rows += _rows(f"{name} {width:g}", found, None, *changes)
    aim = ground.aim(exact, 0.0)
    own = ground.slopes(aim, SMALL)
    of_times = ground.slopes(aim, step), ground.slopes(aim, step, around)
    rows += _rows("exact", ground.gradient(aim), own, *of_times)
    for width in escape_widths:
        aim = ground.aim(escape, width)
        own = ground.slopes(aim, SMALL)
        rows += _rows(f"escape {width:g}", ground.gradient(aim), own, *changes)
    with torch.no_grad():
        value = float(on_grid(ground.point))
    spikes, grazing, misses = _crossings(ground, tau, seconds, seed)
    counts = len(recording.spike_times)
    ordered = tuple(sorted(rows, key=lambda row: [ALL, *unknown].index(row.group)))
    return Gradcheck(
        rows=ordered,
        loss=value,
        spikes=spikes,
        target_spikes=counts,
        grazing=grazing,
        misses=misses,
        step=step,
        elements={name: len(places) for name, places in ground.chosen.items()},
        verdict=_verdict(ordered, spikes, counts, grazing, misses),
    )


def _ground(
    model: Model,
    parameters: Mapping[str, Parameter],
    unknown: Mapping[str, Parameter],
    recording: Recording,
    at: Mapping[str, Any],
    step: float,
    draws: int,
    elements: int,
    seed: int,
    backend: str,
) -> _Ground:
    rng = np.random.default_rng(seed)
    data = prepare(model, recording, torch.float64, backend)
    coordinates = {name: coordinate_of(parameter) for name, parameter in unknown.items()}
    known, point, chosen = {}, {}, {}
    for name, parameter in parameters.items():
        if not parameter.learned:
            known[name] = torch.from_numpy(parameter.draw(rng)).to(torch.float64).unsqueeze(-1)
            continue
        drawn = np.asarray(parameter.draw_start(rng), dtype=float)
        if name in at:
            drawn = np.broadcast_to(np.asarray(at[name], float) * parameter.unit.scale, drawn.shape)
        point[name] = coordinates[name].to_real(torch.from_numpy(drawn.copy()).unsqueeze(-1))
        exists = data.synapses.get(name.rsplit(".", 1)[0])
        places = np.arange(point[name].numel())
        if exists is not None and exists.numel() == len(places):
            places = np.nonzero(exists.reshape(-1).numpy())[0]
        picked = rng.permutation(places)[:elements]
        chosen[name] = torch.from_numpy(np.sort(picked))
    chosen = {name: places for name, places in chosen.items() if len(places)}
    unknowns = Unknowns(model, unknown, coordinates, known, data.synapses)
    return _Ground(data, unknowns, point, chosen, step, draws, rng)


def _rows(
    mode: str,
    gradient: Mapping[str, Tensor],
    own: Mapping[str, Tensor] | None,
    change: Mapping[str, Tensor],
    smoothed: Mapping[str, Tensor],
) -> list[Row]:
    def whole(parts: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {ALL: torch.cat([parts[name] for name in gradient]), **parts}

    loss, mean = whole(change), whole(smoothed)
    claimed = None if own is None else whole(own)
    another = mode.startswith("escape")
    return [
        Row(
            mode,
            group,
            float("nan") if claimed is None else _error(found, claimed[group]),
            _cosine(found, loss[group]),
            float((torch.sign(found) == torch.sign(loss[group])).double().mean()),
            float("nan") if another else _error(found, loss[group]),
            _cosine(found, mean[group]),
        )
        for group, found in whole(gradient).items()
    ]


def _cosine(a: Tensor, b: Tensor) -> float:
    # gradients that exploded still have a direction
    a, b = (each / each.abs().max() for each in (a, b))
    return float((a * b).sum() / (a.norm() * b.norm()))


def _error(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


def _crossings(ground: _Ground, tau: float, seconds: float, seed: int) -> tuple[int, int, int]:
    """Return how many spikes the network with exact spike times fires, how many graze, how many are nearly fired."""
    data = ground.data
    names = setup.spiking_populations(data.model)
    outputs = tuple(
        f"{name}.{x}" for name in names for x in ("spike", "rise", "margin", "threshold_to_reset")
    )
    kernel = compile_program(exact_program(data.model, known=data.known), outputs, data.backend)
    lanes = windows(data, kernel.step, Free(window=seconds, warm_up=0.0), seed)
    with torch.no_grad():
        values = ground.values(ground.point)
        recorded = run_lanes(data, kernel, lanes, values, 1, {}, record=outputs).recorded
    spikes = grazing = misses = 0
    for name in names:
        spike, rise, margin, scale = (
            recorded[f"{name}.{x}"] for x in ("spike", "rise", "margin", "threshold_to_reset")
        )
        fired = (spike > 0.5) & (lanes.weights > 0)
        slow = rise / (data.model.dt * 1e-3) * tau * GRAZING < scale
        close = (margin < 0) & (margin > -MISS * scale)
        top = (margin[1:-1] > margin[:-2]) & (margin[1:-1] >= margin[2:]) & close[1:-1]
        spikes += int(fired.sum())
        grazing += int((fired & slow).sum())
        misses += int(top.sum())
    return spikes, grazing, misses


def _verdict(
    rows: tuple[Row, ...], spikes: int, targets: int, grazing: int, misses: int
) -> tuple[str, ...]:
    """Say what to do, from the measured agreement."""
    said: list[str] = []
    if not spikes:
        said.append(
            "The model is silent here: no spike time can be moved, and the exact gradient is zero. Start with the "
            "escape likelihood (the stage Forced), which needs no spike of the model."
        )
    wrong = [r for r in rows if r.mode == "exact" and r.group != ALL and r.own_error > OWN]
    if wrong:
        said.append(
            f"The exact gradient of {', '.join(r.group for r in wrong)} is not the difference of its own loss over a "
            "step of 1e-6: some spike appears, vanishes or moves to another step right there; look at another point, "
            "or lower dt."
        )
    whole = {row.mode: row for row in rows if row.group == ALL}
    usable = [
        row for row in whole.values() if row.mode.startswith("surrogate") and row.error < EXPLODED
    ]
    best = max(usable, key=lambda row: np.nan_to_num(row.smoothed, nan=-2.0), default=None)
    agreement = float("nan") if best is None else best.smoothed
    exact = whole["exact"].smoothed
    far = not 0.8 < spikes / targets < 1.25
    if spikes and exact >= GOOD:
        said.append(
            f"exact: agrees with the loss over a finite step (cosine {exact:.2f}); use Free(gradient='exact') to polish."
        )
    elif spikes:
        said.append(
            f"exact: cosine {exact:.2f} with the loss over a finite step, because spikes appear and vanish "
            f"({grazing} grazing, {misses} near misses); it is for smaller steps, nearer the optimum."
        )
    if best is None:
        said.append("surrogate: the gradient explodes at every width; shorten the windows.")
    else:
        said.append(
            f"surrogate: the best is `{best.mode}` (cosine {agreement:.2f})"
            + ("; it does not point downhill here." if agreement < POOR else ".")
        )
    if far or not max(np.nan_to_num(exact, nan=-2.0), np.nan_to_num(agreement, nan=-2.0)) >= POOR:
        said.append(
            "This is far from the targets, or no free-running gradient can be trusted: run the escape likelihood "
            "first (the default stages of `eqsnn fit`)."
        )
    return tuple(said)
