"""ParticleKernel: the log-likelihood of observed spikes with private noise integrated out by sampling.

A particle filter for each neuron of each lane (Doucet & Johansen 2011, "A tutorial on particle filtering and smoothing",
in The Oxford Handbook of Nonlinear Filtering). With shares W_i (summing to one), the probability g_i of the
observation given particle i and Z = sum_i W_i g_i:

    log-likelihood += log Z,  W_i <- W_i g_i / Z.

Particles are kept in the order of their potential, and their random numbers in a step are the points of a shifted
low-discrepancy sequence in that order (array-RQMC, L'Ecuyer, Lecot & Tuffin 2008, doi:10.1287/opre.1080.0556; Gerber &
Chopin 2015, doi:10.1111/rssb.12104). They are drawn anew, systematically (Kitagawa 1996,
doi:10.1080/10618600.1996.10474692), where their effective number 1/sum W_i^2 falls below nine tenths of them or one has died.
Both make a sample of few particles even, and an estimate that moves little when a parameter does.

Gradient: random numbers are a function of (seed, trial, neuron, particle, step) alone, so that states are smooth
functions of parameters and g_i is differentiated through them. A copied particle keeps the derivative of the log share
it was copied with (Scibior & Wood 2021, arXiv:2106.10314); the backward recursion is then the particle form of Fisher's
identity (Poyiadjis, Doucet & Singh 2011, doi:10.1093/biomet/asq062). The estimate exp(sum log Z) of the likelihood is
unbiased, and so is its gradient; both logarithms have a bias of order 1/particles, and the gradient is that of the
expected estimate, not of the estimate at fixed random numbers, which jumps where a particle is copied from another.

Compiled C where there is a compiler, else torch operations (the reference, slow).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from eqsnn.backends.c_particles import DEAD, ENOUGH, emit_particles, turns
from eqsnn.backends.compile_c import Compiler, load_library
from eqsnn.backends.kernel import Noise
from eqsnn.backends.noise import draw, key_of
from eqsnn.backends.pairs import evaluate, load_pairs, modulo, run_pairs
from eqsnn.backends.pytorch import compile_once
from eqsnn.language.functions import symbol
from eqsnn.maths.escape import ESCAPE_WIDTH
from eqsnn.maths.hidden import Hidden
from eqsnn.maths.particles import SPREAD, particle_step
from eqsnn.maths.program import Input, Kind


@dataclass(frozen=True, slots=True)
class Sampled:
    """What a call needs besides parameters. Tensors of 64-bit floats.

    observed: (time, neuron, some lanes). counted: (time, some lanes), the weight of each step. initial: of each noisy
    state, (neuron, lane). noise: seed, and the trial and first step of some lanes. Of fewer lanes than the run, lane l
    reads l modulo their number.
    """

    observed: Tensor
    counted: Tensor
    initial: tuple[Tensor, ...]
    noise: Noise


class ParticleKernel:
    """A particle filter of one population. `n_particles` of each neuron."""

    def __init__(self, hidden: Hidden, n_particles: int, compiler: Compiler | None) -> None:
        self.hidden, self.n_particles = hidden, n_particles
        self.step = particle_step(hidden, n_particles)
        self.written = emit_particles(self.step, n_particles)
        self.held, self.feeds = self.written.held, self.written.feeds
        self.library = None
        if compiler is not None:
            self.library = load_library(self.written.text, compiler)
            load_pairs(self.library, "particles", sizes=7)

    @property
    def streams(self) -> list[Input]:
        """The noise of the filter: the shift of each draw of the particles, and one number for the resampling."""
        space = self.hidden.population
        names = [*(d.symbol for d in self.step.draws), symbol(f"{space}.(resampling)")]
        return [Input(s, space, Kind.UNIFORM) for s in names]

    def __call__(
        self,
        held: Mapping[str, Tensor | float],
        feeds: Mapping[str, Tensor],
        window: Sampled,
        escape_width: float,
    ) -> Tensor:
        """Return the log-likelihood of the counted steps, (neuron, lane).

        held: parameters and settings, (neuron or 1, lane or 1) or floats; feeds: (time, neuron, lane).
        """
        return evaluate(self, held, feeds, window, escape_width, window.initial[0].shape)

    def by_c(
        self, window: Sampled, escape_width: float, wanted: bool, values: tuple[Tensor, ...]
    ) -> tuple[Tensor, list[Tensor]]:
        """Return the log-likelihood and, if wanted, its derivatives by every value."""
        assert self.library is not None
        library, noise = self.library, window.noise
        n_neurons, n_lanes = window.initial[0].shape
        n_steps = len(window.observed)

        def call(inputs: Any, results: Any, pair: int, team: Any, arena: int) -> int:
            return library.particles(
                inputs, results, pair, n_steps, n_neurons, n_lanes, window.observed.shape[2],
                window.counted.shape[1], len(noise.stream), escape_width, int(wanted), team, arena,
            )  # fmt: skip

        keys = torch.tensor([key_of(noise.seed, given.name) for given in self.streams])
        doubles = [v.to(torch.float64) for v in (window.observed, window.counted, *window.initial)]
        numbers = [v.to(torch.int64) for v in (noise.stream, noise.first, keys)]
        needed = library.arena_bytes(n_steps, int(wanted))
        lone = [*doubles, *numbers]
        return run_pairs(call, values, lone, (n_neurons, n_lanes), needed, wanted)

    def by_torch(
        self, held: list[Tensor], feeds: list[Tensor], window: Sampled, escape_width: float
    ) -> Tensor:
        """Return the same by torch operations: the independent reference."""
        program = self.step.program
        as_parameters = tuple(replace(g, kind=Kind.PARAMETER) for g in program.inputs)
        run = compile_once(replace(program, inputs=as_parameters))
        states = [str(s) for s in self.hidden.states]
        neurons, lanes = window.initial[0].shape
        n, n_steps = self.n_particles, len(window.observed)
        *drawn, renewing = self._numbers(neurons, lanes, n_steps, window.noise)
        seen_by = modulo(window.observed, lanes)
        counted = modulo(window.counted.unsqueeze(1), lanes)
        now = [v.expand(n, neurons, lanes) for v in window.initial]
        share = torch.full((n, neurons, lanes), -math.log(n), dtype=torch.float64)
        total = torch.zeros(neurons, lanes, dtype=torch.float64)
        named: dict[str, Any] = dict(zip(self.held, held, strict=True))
        named[ESCAPE_WIDTH] = escape_width
        for t in range(n_steps):
            named |= {name: fed[t] for name, fed in zip(self.feeds, feeds, strict=True)}
            named |= dict(zip(states, now, strict=True))
            named |= {str(d.symbol): v[t] for d, v in zip(self.step.draws, drawn, strict=True)}
            named[f"{self.hidden.population}.observed"] = seen_by[t]
            named[SPREAD] = _spread(now[0], share)
            out = run(named, {}, torch.float64)
            now = [out[f"next.{s}"].expand(n, neurons, lanes) for s in states]
            share = share + out["log_weight"]
            norm = torch.logsumexp(share, 0)
            total = total + counted[t] * norm
            now, share = _renewed(now, share - norm, renewing[t])
        return total

    def _numbers(self, neurons: int, lanes: int, n_steps: int, noise: Noise) -> list[Tensor]:
        """All random numbers: (time, particle, neuron, lane) of each draw, (time, neuron, lane) of the resampling."""
        copies = -(-lanes // len(noise.stream))
        wide = Noise(
            noise.seed, noise.stream.repeat(copies)[:lanes], noise.first.repeat(copies)[:lanes]
        )
        *shifts, renewing = (
            draw(wide, given, neurons, n_steps, torch.float64).expand(n_steps, neurons, lanes)
            for given in self.streams
        )
        points = torch.from_numpy(turns(len(shifts), self.n_particles))
        found = []
        for d, shift, row in zip(self.step.draws, shifts, points, strict=True):
            u = row.reshape(1, -1, 1, 1) + shift.unsqueeze(1)
            u = torch.where(u >= 1, u - 1, u)
            normal = torch.special.ndtri(u.clamp(1e-300, 1 - 1e-16))
            found.append(normal if d.law == "normal" else u)
        return [*found, renewing]


def _spread(potential: Tensor, share: Tensor) -> Tensor:
    w = share.detach().exp()
    w = w / w.sum(0)
    mean = (w * potential.detach()).sum(0)
    return (w * (potential.detach() - mean) ** 2).sum(0).sqrt()


def _renewed(now: list[Tensor], share: Tensor, u: Tensor) -> tuple[list[Tensor], Tensor]:
    """Order particles; draw them anew where too few count: shares keep the derivative of those they were copied with."""
    n = len(share)
    w = share.detach().exp()
    wanted = ((w**2).sum(0) * n * ENOUGH > 1) | (w.min(0).values * n < DEAD)
    order = torch.argsort(now[0].detach(), dim=0, stable=True)
    passed = torch.cumsum(torch.gather(w, 0, order), 0)
    points = (torch.arange(n, dtype=torch.float64).reshape(-1, 1, 1) + u) / n
    found = np.empty(points.shape, dtype=np.int64)
    for at in np.ndindex(*points.shape[1:]):
        place = (slice(None), *at)
        found[place] = np.searchsorted(passed[place].numpy(), points[place].numpy())
    chosen = torch.gather(order, 0, torch.from_numpy(found).clamp(max=n - 1))
    copied = torch.gather(share, 0, chosen)
    fresh = copied - copied.detach() - math.log(n)
    origin = torch.where(wanted, chosen, order)
    states = [torch.gather(v, 0, origin) for v in now]
    return states, torch.where(wanted, fresh, torch.gather(share, 0, order))
