"""Paths: what parameters that act on several neurons do to each of them, by derivatives of its own for every synapse.

One backward pass then tells what every neuron contributes to the scores of what is common, instead of one for each.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from eqsnn.inference.likelihood import ForcedObjective, Split
from eqsnn.inference.scoring import Packing
from eqsnn.language.functions import symbol
from eqsnn.maths.initial import initial_state
from eqsnn.maths.reach import reached_from
from eqsnn.simulation import setup

FEW = 3  # blocks for which backward passes of their own cost less than a second compilation


class Path(NamedTuple):
    """What a neuron's parameter does through a projection.

    perturbation: the parameter of synapses whose derivative that is; pre, post: places of the neurons among all, pre
    empty where the parameter reaches no likelihood without a synapse. shape: of the projection's pairs.
    """

    parameter: str
    perturbation: str
    pre: Tensor
    post: Tensor
    shape: tuple[int, int]


class Paths(NamedTuple):
    """All paths of what is common to several blocks, and the known part that has their perturbations."""

    split: Split
    each: tuple[Path, ...]

    @property
    def parameters(self) -> frozenset[str]:
        """The parameters that act on several blocks."""
        return frozenset(p.parameter for p in self.each)

    def perturbations(self, lanes: int) -> dict[str, Tensor]:
        """Return perturbations of 0, (pre, post, lane), to differentiate by."""
        return {
            p.perturbation: torch.zeros(*p.shape, lanes, dtype=torch.float64, requires_grad=True)
            for p in self.each
        }

    def of_values(
        self, perturbations: Mapping[str, Tensor], slopes: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Return perturbations of coordinates as those of values; slopes: of values by coordinates, (entry, lane)."""
        return {
            p.perturbation: perturbations[p.perturbation] * slopes[p.parameter][:, None]
            for p in self.each
        }

    def shared(self, by_synapse: Mapping[str, Tensor], whole: Tensor, packing: Packing) -> Tensor:
        """Return what each group adds to the scores of what is common, (restart, group, common coordinate, window).

        by_synapse: derivatives by perturbations of coordinates, (pre, post, restart, window); whole: scores of what is
        common, summed over groups.
        """
        restarts, n_common, windows = whole.shape
        group_of = packing.groups[packing.blocks]
        found = whole.new_zeros(restarts, int(packing.groups.max()) + 1, n_common, windows)
        column = {packing.label(int(k)): c for c, k in enumerate(packing.common_places)}
        own: dict[str, tuple[Sequence[int], Sequence[int], Tensor]] = {}
        for path in self.each:
            part = by_synapse[path.perturbation]
            (entries,) = packing.shapes[path.parameter]
            if entries < len(part):
                part = part.sum(0, keepdim=True)
            here = [(flat, column[path.parameter, flat]) for flat in range(entries) if (path.parameter, flat) in column]  # fmt: skip
            flats, columns = [flat for flat, _ in here], [c for _, c in here]
            moved = torch.zeros_like(found[:, :, : len(flats)])
            moved.index_add_(1, group_of[path.post], part[flats].permute(2, 1, 0, 3))
            found[:, :, columns] += moved
            if len(path.pre):
                own[path.parameter] = flats, columns, path.pre
        rest = whole - found.sum(1)
        for flats, columns, pre in own.values():
            groups = group_of[pre[flats]]
            found[:, groups, columns] += rest[:, columns]
        return found


def paths_of(objective: ForcedObjective, packing: Packing) -> Paths | None:
    """Return the paths of what is common to several blocks, None where groups need backward passes of their own."""
    machinery, model = objective.kernel, objective.data.model
    common = {packing.label(int(k))[0] for k in packing.common_places}
    if not common or packing.n_blocks <= FEW:
        return None
    acting = common & machinery.acting_on_others
    read = {given.name for given in machinery.kernel.program.inputs} | machinery.held
    if not acting or (common - acting) & read:  # centres of priors are not read
        return None
    split = machinery.split(frozenset(acting))
    if split is None:
        return None
    initial = initial_state(model)
    for name in acting:
        here = reached_from(initial, {symbol(name)})
        if any(initial.outputs.get(str(s)) in here for s in split.by_synapse.carried):
            return None
    direct = split.by_synapse.direct | (machinery.held & acting)
    found = []
    for influence in split.by_synapse.influences:
        projection = model.projections[influence.projection]
        shape = setup.sizes_of(model, influence.projection)
        pre = torch.arange(0)
        if influence.parameter in direct:
            if projection.pre not in objective.populations or packing.shapes[influence.parameter] != shape[:1]:  # fmt: skip
                return None  # one value of several neurons: which of them it reached cannot be told
            pre = objective.neurons(projection.pre)
        post = objective.neurons(projection.post)
        found.append(Path(influence.parameter, influence.perturbation, pre, post, (shape[0], shape[1])))  # fmt: skip
    return Paths(split, tuple(found))
