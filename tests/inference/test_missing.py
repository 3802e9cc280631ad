"""Unobserved neurons and missing time: what counts, against loops over single steps; recovery; fits of some units."""

import numpy as np
import pytest
import torch

import eqsnn
from eqsnn.backends.density import DensityKernel
from eqsnn.compiler import forced_program
from eqsnn.inference.likelihood import ForcedObjective
from eqsnn.inference.objectives import FreeObjective, prepare
from eqsnn.inference.stages import Forced, Free, GradientFree
from eqsnn.simulation.recording import from_dense

LIF = """
neuron lif:
    dv/dt = (v_rest - v + I_syn + drive)/tau_m : mV
    dg/dt = -g/tau_g : 1
    I_syn : mV
    drive : mV (input)
    threshold: v >= -45*mV
    reset:
        v = v_rest
        g += 1
    initial: v = v_rest
    method: euler
    v_rest : mV ~ uniform(-75*mV, -50*mV)
    tau_m : ms ~ uniform(4*ms, 40*ms)
    tau_g : ms = 5*ms
synapse exponential:
    I_syn_post = w*g_pre : mV (summed)
    w : mV ~ normal(0*mV, 3*mV) in [-30*mV, 30*mV]
network:
    dt = 1*ms
    cells : lif[N]
    cells -> cells : exponential if i != j
"""


def network(n=3, trials=3, seconds=0.6, weights=6.0, seed=0):
    rng = np.random.default_rng(seed)
    truth = {
        "cells.v_rest": rng.uniform(-65, -55, n),
        "cells.tau_m": rng.uniform(8, 20, n),
        "cells->cells.w": rng.normal(0, weights, (n, n)) * (1 - np.eye(n)),
    }
    drive = rng.poisson(0.25, (trials, round(seconds * 1000), n)) * 55.0
    model = eqsnn.loads(LIF.replace("[N]", f"[{n}]"))
    recording = eqsnn.simulate(
        model, seconds, trials=trials, inputs={"drive": drive}, parameters=truth
    )
    return model, recording, truth


def values_of(model, truth, move=0.0):
    known = model.with_values(truth).parameters()
    rng = np.random.default_rng(5)
    found = {n: torch.from_numpy(p.draw(rng)).unsqueeze(-1) for n, p in known.items()}
    for name in truth if move else ():
        # what is 0 exactly is a synapse that does not exist
        found[name] += (
            move * torch.from_numpy(rng.normal(0, 1, found[name].shape)) * (found[name] != 0)
        )
    return found


def by_hand(values, recording, width, warm_up, units):
    """Log-likelihood of the counted steps and their number, neuron by neuron and step by step."""
    v_rest, tau_m = (values[f"cells.{n}"][:, 0].numpy() for n in ("v_rest", "tau_m"))
    w = values["cells->cells.w"][..., 0].numpy() * (1 - np.eye(len(v_rest)))
    spikes, seen = recording.dense(), recording.seen()
    total, count = 0.0, 0
    for trial in range(recording.n_trials):
        v, g = v_rest.copy(), np.zeros_like(v_rest)
        waiting = np.zeros(len(v), dtype=int)
        for t in range(spikes.shape[1]):
            drive = recording.inputs["drive"][trial, t]
            synaptic = w.T @ g
            v, g = v + (v_rest - v + synaptic + drive) / tau_m, g - g / 5
            margin, scale = v + 45, np.abs(-45 - v_rest)
            acting = np.zeros(len(v))
            for u in range(len(v)):
                p = 1 / (1 + np.exp(-margin[u] / (scale[u] * width)))
                if not seen[trial, t, u]:
                    acting[u] = p if width > 0.02 else float(margin[u] >= 0)
                    waiting[u] = warm_up
                    continue
                acting[u] = spikes[trial, t, u]
                if waiting[u] == 0 and t >= warm_up and u in units:
                    total += np.log(p if spikes[trial, t, u] else 1 - p)
                    count += 1
                waiting[u] = 0 if spikes[trial, t, u] else max(0, waiting[u] - 1)
            v, g = acting * v_rest + (1 - acting) * v, g + acting
    return total, count


GAPS = np.array([[0, 0.2, 0.3, 1], [-1, 0.4, 0.45, -1], [1, 0.1, 0.6, 0], [-1, 0, 0.6, 2]])


@pytest.mark.parametrize("backend", ["pytorch", "native"])
@pytest.mark.parametrize("width", [0.25, 0.01], ids=["expected spikes", "own spikes"])
@pytest.mark.parametrize("units", [(), (1,)], ids=["all units", "one unit"])
def test_the_likelihood_is_the_sum_over_observed_steps(backend, width, units):
    model, recording, truth = network()
    missing = recording.hiding(GAPS)
    values = values_of(model, truth, move=0.5)
    data = prepare(model.definition, missing, torch.float64, backend, units=units)
    objective = ForcedObjective(data, Forced(window=10.0, warm_up=0.03), 0, values)
    total, count = by_hand(values, missing, width, 30, units or range(3))
    assert count > 300
    assert float(objective(values, width)) == pytest.approx(-total / count, rel=1e-9)


def test_windows_side_by_side_count_the_same_steps():
    model, recording, truth = network()
    data = prepare(model.definition, recording.hiding(GAPS), torch.float64)
    values = values_of(model, truth)
    one, many = (
        ForcedObjective(data, Forced(window=window, warm_up=0.03), 0, values)
        for window in (10.0, 0.05)
    )
    assert one.scale == many.scale
    assert many.lanes.width < 12 * recording.n_trials  # windows within a gap of all are not run


@pytest.mark.parametrize("width", [0.25, 0.01])
def test_the_gradient_for_observed_neurons_is_that_of_finite_differences(width):
    model, recording, truth = network()
    gaps = np.array([[-1, 0.2, 0.3, 1], [-1, 0, 0.6, 2]])
    data = prepare(model.definition, recording.hiding(gaps), torch.float64)
    values = values_of(model, truth, move=0.2)
    objective = ForcedObjective(data, Forced(window=10.0, warm_up=0.03), 0, values)
    learned = {n: v.clone().requires_grad_() for n, v in values.items()}
    objective(learned, width).sum().backward()
    # neuron 0 is always observed: what acts on it acts on nobody else
    for name, place in (("cells.tau_m", 0), ("cells->cells.w", 3), ("cells->cells.w", 6)):
        h, sides = 1e-5, []
        for sign in (1, -1):
            moved = {n: v.clone() for n, v in values.items()}
            moved[name].view(-1)[place] += sign * h
            sides.append(float(objective(moved, width)))
        slope = (sides[0] - sides[1]) / (2 * h)
        assert slope != 0
        gradient = learned[name].grad
        assert gradient is not None
        assert float(gradient.view(-1)[place]) == pytest.approx(slope, rel=1e-5)


def test_without_gaps_nothing_is_asked_for_and_masks_change_nothing():
    model, recording, truth = network()
    values = {n: v.requires_grad_() for n, v in values_of(model, truth, move=0.3).items()}
    plain = prepare(model.definition, recording, torch.float64)
    assert not plain.masked
    asked = {given.name for given in forced_program(model.definition).inputs}
    assert not asked & {"cells.seen", "cells.counted"}
    masked = prepare(model.definition, recording, torch.float64, masked=True)
    results = []
    for data in (plain, masked):
        objective = ForcedObjective(data, Forced(), 0, values)
        loss = objective(values, 0.1)
        results.append((loss, torch.autograd.grad(loss.sum(), list(values.values()), allow_unused=True)))  # fmt: skip
    torch.testing.assert_close(results[0][0], results[1][0], rtol=1e-12, atol=0)
    for one, two in zip(results[0][1], results[1][1], strict=True):
        if one is not None:
            torch.testing.assert_close(one, two, rtol=1e-9, atol=1e-14)


NOISY = """
neuron n:
    dv/dt = (v_rest - v + drive)/tau_m + 4*mV*x/ms : mV
    x = randn() : 1 (constant over dt)
    drive : mV (input)
    threshold: v >= -50*mV
    reset: v = v_rest
    initial: v = v_rest
    method: euler
    v_rest : mV ~ uniform(-70*mV, -55*mV)
    tau_m : ms ~ uniform(4*ms, 40*ms)
network:
    dt = 1*ms
    cells : n[2]
"""


def noisy():
    model = eqsnn.loads(NOISY)
    truth = {"v_rest": np.array([-62.0, -60.0]), "tau_m": np.array([10.0, 14.0])}
    drive = np.full((1, 400, 2), 2.0)
    recording = eqsnn.simulate(model, 0.4, inputs={"drive": drive}, parameters=truth, seed=2)
    gaps = np.array([[0, 0.1, 0.15, 0], [0, 0.2, 0.22, 1]])
    return model, recording.hiding(gaps), values_of(model, truth)


def by_quadrature(values, recording, unit, width, n=601):
    """The likelihood of one noisy neuron with the density of its potential on a fine grid, and no kernel of ours."""
    v_rest, tau = (float(values[f"cells.{name}"][unit, 0]) for name in ("v_rest", "tau_m"))
    x = np.linspace(-95, -35, n)
    spikes, seen = recording.dense()[0, :, unit], recording.seen()[0, :, unit]
    rate = spikes[seen].mean()
    density, total = None, 0.0
    for spike, known in zip(spikes, seen, strict=True):
        start = np.array([v_rest]) if density is None else x
        mass = np.array([1.0]) if density is None else density
        # before the reset, the normal density of the next potential around what each start leads to
        moved = start + (v_rest - start + 2.0) / tau
        kernel = np.exp(-0.5 * ((x[:, None] - moved) / 4) ** 2)
        ahead = (kernel / kernel.sum(0)) @ mass
        chance = 1 / (1 + np.exp(-(x + 50) / (width * (-50 - v_rest))))
        if not known:
            # a share of a spike moves the potential by this share towards the reset
            moved = rate * v_rest + (1 - rate) * x
            density = np.zeros(n)
            low = ((moved - x[0]) / (x[1] - x[0])).astype(int)
            part = (moved - x[low]) / (x[1] - x[0])
            np.add.at(density, low, ahead * (1 - part))
            np.add.at(density, low + 1, ahead * part)
            continue
        ahead = ahead * (chance if spike else 1 - chance)
        total += np.log(ahead.sum())
        density = ahead / ahead.sum()
        if spike:
            density = np.zeros(n)
            density[np.argmin(np.abs(x - v_rest))] = 1.0
    return total


@pytest.mark.parametrize(("density", "tolerance"), [("grid", 0.005), ("moments", 0.02)])
def test_noise_integrated_out_is_predicted_through_a_gap(density, tolerance):
    model, recording, values = noisy()
    data = prepare(model.definition, recording, torch.float64)
    stage = Forced(density=density, window=10.0, warm_up=0.0, bins=256)
    objective = ForcedObjective(data, stage, 0, values)
    found = objective.by_window(values, 1, 0.05).detach()[:, 0, 0]
    for unit in (0, 1):
        exact = by_quadrature(values, recording, unit, 0.05)
        assert float(found[unit]) == pytest.approx(exact, rel=tolerance)


def test_the_density_in_a_gap_is_the_same_in_c_and_in_torch_and_its_gradient_is_exact():
    model, recording, values = noisy()
    stage = Forced(density="grid", window=10.0, warm_up=0.0, bins=64, precision="double")
    found = {}
    for backend in ("native", "pytorch"):
        data = prepare(model.definition, recording, torch.float64, backend)
        objective = ForcedObjective(data, stage, 0, values)
        learned = {n: v.clone().requires_grad_() for n, v in values.items()}
        loss = objective(learned, 0.05).sum()
        loss.backward()
        found[backend] = [loss, *(v.grad for v in learned.values())]
    assert isinstance(objective.kernel.grids[0].kernel, DensityKernel)
    for one, two in zip(found["native"], found["pytorch"], strict=True):
        torch.testing.assert_close(one, two, rtol=1e-8, atol=1e-10)


def test_steps_count_after_spikes_that_were_seen_but_not_after_those_expected_in_a_gap():
    model, recording, values = noisy()
    data = prepare(model.definition, recording, torch.float64)
    stage = Forced(density="grid", window=10.0, warm_up=0.0, after_spike=5e-3)
    objective = ForcedObjective(data, stage, 0, values)
    spikes, seen = recording.dense()[0], recording.seen()[0]
    after = [spikes[max(0, t - 5) : t].any(0) for t in range(len(spikes))]
    assert objective.scale == (np.array(after) & seen).sum() > 0


@pytest.mark.parametrize(
    "loss",
    ["van_rossum", "van_rossum(tau=2ms,12ms)", "rate", "psth", "energy", "autocorrelogram", "crosscorrelogram"],
)  # fmt: skip
def test_what_the_targets_do_in_a_gap_changes_no_loss(loss):
    model, recording, truth = network(seconds=0.5)
    values = values_of(model, truth, move=0.5)
    gaps = np.array([[0, 0.2, 0.3, 1], [-1, 0.0, 0.5, 2]])
    found = []
    for seed in (1, 2):
        other = np.random.default_rng(seed).random(recording.dense().shape) < 0.2
        seen = recording.hiding(gaps).seen()
        spikes = from_dense(
            np.where(seen, recording.dense(), other), 1e-3, inputs=recording.inputs
        ).hiding(gaps)
        data = prepare(model.definition, spikes, torch.float64)
        objective = FreeObjective(data, Free(loss=loss, window=0.5, warm_up=0.0), 0)
        learned = {n: v.clone().requires_grad_() for n, v in values.items()}
        value = objective(learned, 0.1).sum()
        value.backward()
        gradient = learned["cells->cells.w"].grad
        assert gradient is not None and torch.isfinite(gradient).all()
        found.append(value.item())
    assert found[0] == found[1] != 0


@pytest.mark.parametrize("loss", ["van_rossum", "rate", "psth", "crosscorrelogram"])
def test_with_known_input_the_truth_has_loss_zero_whatever_is_missing(loss):
    model, recording, truth = network(seconds=0.5)
    missing = recording.hiding(np.array([[0, 0.2, 0.3, 1], [-1, 0.0, 0.5, 2]]))
    data = prepare(model.definition, missing, torch.float64)
    objective = FreeObjective(data, Free(loss=loss, window=0.5, warm_up=0.0), 0)
    assert float(objective(values_of(model, truth), 0.1)) == pytest.approx(0, abs=1e-12)


def test_a_free_running_fit_of_some_units_takes_the_others_as_they_were_observed():
    model, recording, truth = network(seconds=0.5)
    wrong = values_of(model, truth)
    wrong["cells.v_rest"][1] -= 8.0
    stage = Free(window=0.5, warm_up=0.0)
    whole = FreeObjective(prepare(model.definition, recording, torch.float64), stage, 0)
    some = FreeObjective(
        prepare(model.definition, recording, torch.float64, units=(0, 2)), stage, 0
    )
    assert float(whole(wrong, 0.1)) > 0.1
    assert float(some(wrong, 0.1)) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    "stages",
    [
        (Forced(iterations=3), Free(iterations=2)),
        (Forced(iterations=6, optimiser="scoring"), Free(iterations=2)),
        (GradientFree("cmaes", Forced(), evaluations=320),),
        (GradientFree("cmaes", Free(), evaluations=320),),
    ],
    ids=["adam", "scoring", "forced without gradients", "free without gradients"],
)
def test_a_fit_of_some_units_leaves_what_acts_on_none_of_them_at_its_start(stages):
    model, recording, _ = network()
    fit = eqsnn.fit(model, recording, starts=2, stages=stages, units=[0, 2], validation=0)
    moved = {n: fit.parameters[n] != fit.start[n] for n in fit.learned}
    assert moved["cells.v_rest"].tolist() == moved["cells.tau_m"].tolist() == [True, False, True]
    weights = np.zeros((3, 3), dtype=bool)
    weights[:, [0, 2]] = True
    np.testing.assert_array_equal(moved["cells->cells.w"], weights & ~np.eye(3, dtype=bool))
    notes = [warning for warning in fit.warnings if "only units 0, 2 were fitted" in warning]
    assert len(notes) == 1 and "cells.v_rest (1 of 3)" in notes[0]


def test_the_likelihood_of_a_fit_of_some_units_counts_no_other():
    model, recording, _ = network()
    fit = eqsnn.fit(model, recording, starts=1, stages=(Forced(iterations=3),), units=[0, 2])
    problem, z = fit.likelihood()
    each = problem.posterior(z)[0]
    assert fit.provenance.units == (0, 2)
    assert float(each[1]) == 0.0 and bool((each[[0, 2]] < 0).all())


def test_units_that_cannot_be_fitted_are_refused():
    model, recording, _ = network()
    hidden = recording.hiding(np.array([[-1, 0, 0.6, 2]]))
    with pytest.raises(eqsnn.InputError, match="no unit 7 to fit; whole numbers from 0 to 2"):
        eqsnn.fit(model, recording, units=[7])
    with pytest.raises(eqsnn.InputError, match="unit 2 was never recorded"):
        eqsnn.fit(model, hidden, units=[2])
    with pytest.raises(eqsnn.InputError, match="no step of the data counts"):
        late = recording.hiding(np.array([[2, 0, 0.6, -1]]))
        eqsnn.fit(model, late, starts=1, stages=(Forced(iterations=1),))


def recovered(fit, truth, kept):
    errors = {n: np.abs(fit.parameters[f"cells.{n}"] - truth[f"cells.{n}"]) for n in ("v_rest", "tau_m")}  # fmt: skip
    weights, exact = (v["cells->cells.w"][np.ix_(kept, kept)] for v in (fit.parameters, truth))
    return (
        errors["v_rest"][kept].mean(),
        (errors["tau_m"] / truth["cells.tau_m"])[kept].mean(),
        np.linalg.norm(weights - exact) / np.linalg.norm(exact),
    )


STAGES = (Forced(iterations=60, learning_rate=0.15, warm_up=0.05),)


def test_two_neurons_that_were_never_recorded_leave_the_others_recoverable():
    model, recording, truth = network(n=12, trials=4, seconds=1.5, weights=2.5)
    seen = list(range(10))
    part = recording.select(seen)
    targets = eqsnn.Recording(
        part.spike_times, part.unit_ids, part.trial_ids, part.duration, part.dt, 10, 4,
        inputs=recording.inputs,
    )  # fmt: skip
    fit = eqsnn.fit(model, targets, starts=2, stages=STAGES, validation=0, recorded=seen)
    rest, tau, weights = recovered(fit, truth, seen)
    assert rest < 1.0 and tau < 0.08 and weights < 0.45
    assert any("units 10, 11 were never recorded" in warning for warning in fit.warnings)


def test_with_a_third_of_the_time_missing_the_network_is_recovered():
    model, recording, truth = network(n=12, trials=4, seconds=1.5)
    rng = np.random.default_rng(1)
    gaps = [
        [trial, k * 0.15, (k + 1) * 0.15, -1]
        for trial in range(4)
        for k in rng.choice(10, 3, replace=False)
    ]
    fit = eqsnn.fit(model, recording.hiding(np.array(gaps)), starts=2, stages=STAGES, validation=0)
    rest, tau, weights = recovered(fit, truth, list(range(12)))
    assert rest < 1.5 and tau < 0.1 and weights < 0.2
