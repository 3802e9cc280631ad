"""The free-running stage with composed losses: one objective for any text, on both backends."""

import numpy as np
import pytest
import torch

import eqsnn
from eqsnn.inference.objectives import FreeObjective, prepare
from eqsnn.inference.stages import Free, surrogate_only
from eqsnn.losses import TERMS, parse_loss

MODEL = """
neuron lif:
    dv/dt = (v_rest - v + drive)/tau_m{noise} : mV
    drive : mV (input)
    threshold: v >= -50*mV
    reset: v = v_rest
    initial: v = v_rest
    v_rest : mV = -60*mV
    tau_m : ms ~ lognormal(10*ms, 0.3) in [3*ms, 40*ms]
network:
    dt = 1*ms
    cells : lif[3]
"""
QUIET = eqsnn.loads(MODEL.format(noise=""))
NOISY = eqsnn.loads(MODEL.format(noise=" + 3*mV/ms**0.5*xi"))
EVERYTHING = " + ".join(f"0.1*{name}" for name in TERMS)


def recording(model, *, trials=3, drive=None, seconds=0.6):
    rng = np.random.default_rng(0)
    steps = round(seconds * 1000)
    given = rng.normal(18, 10, (trials, steps, 3)) if drive is None else drive
    return eqsnn.simulate(
        model, seconds, trials=trials, inputs={"drive": given}, parameters={"tau_m": 12.0}, seed=1
    )


def objective(model, target, loss, backend="pytorch", **settings):
    data = prepare(model.definition, target, torch.float64, backend)
    return FreeObjective(data, Free(loss=loss, window=0.3, warm_up=0.1, **settings), seed=0)


def values(model, *tau_m):
    sized = {
        n: torch.from_numpy(p.draw(np.random.default_rng(0)))[..., None]
        for n, p in model.parameters().items()
    }
    return sized | {"cells.tau_m": torch.tensor([list(tau_m)] * 3, dtype=torch.float64)}


@pytest.mark.parametrize("backend", ["pytorch", "native"])
@pytest.mark.parametrize("model", [QUIET, NOISY], ids=["known input", "private noise"])
def test_a_fit_with_every_term_runs_from_text_to_result(model, backend):
    target = recording(model)
    stages = (Free(loss=EVERYTHING, iterations=2, window=0.3, warm_up=0.1, learning_rate=0.05),)
    fit = eqsnn.fit(model, target, starts=2, stages=stages, backend=backend)
    assert np.isfinite(fit.history_objective).any()
    assert np.isfinite(fit.parameters["cells.tau_m"]).all()
    assert any("plain van Rossum" in warning for warning in fit.warnings) == (model is NOISY)


@pytest.mark.parametrize("model", [QUIET, NOISY], ids=["known input", "private noise"])
def test_both_backends_agree_on_value_and_gradient(model):
    target = recording(model)
    found = []
    for backend in ("pytorch", "native"):
        given = values(model, 8.0, 12.0)
        given["cells.tau_m"].requires_grad_()
        losses = objective(model, target, EVERYTHING, backend)(given, 0.1)
        (gradient,) = torch.autograd.grad(losses.sum(), given["cells.tau_m"])
        found.append((losses.detach(), gradient))
    torch.testing.assert_close(found[0][0], found[1][0], rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(found[0][1], found[1][1], rtol=1e-6, atol=1e-9)
    assert (found[0][1] != 0).any()


def test_with_known_input_the_truth_has_loss_zero_in_every_term():
    target = recording(QUIET)
    for name in set(TERMS) - {"energy"}:
        losses = objective(QUIET, target, name, detach_reset=True)
        # windows start at rest, so their warm-up is all that may differ
        assert float(losses(values(QUIET, 12.0), 0.1)[0]) < 0.05 * float(
            losses(values(QUIET, 30.0), 0.1)[0]
        )


def test_the_step_adds_up_the_same_distance_as_the_spikes():
    target = recording(QUIET)
    fused, composed = (
        objective(QUIET, target, text)
        for text in ("2*van_rossum(tau=7ms)", "2*van_rossum(tau=7ms,7ms)")
    )
    assert fused.fused
    assert not composed.fused
    given = values(QUIET, 8.0, 12.0, 20.0)
    torch.testing.assert_close(fused(given, 0.1), composed(given, 0.1))


def test_rates_need_no_spikes_in_memory_and_are_the_same_without():
    target = recording(NOISY)
    rates = objective(NOISY, target, "rate")
    given = values(NOISY, 8.0, 12.0)
    found = rates.loss(rates.counts(given, 0.1))
    torch.testing.assert_close(found, rates.loss(rates.spikes(given, 0.1)))


def test_private_noise_takes_two_draws_unless_the_plain_distance_was_asked_for():
    target = recording(NOISY)
    assert objective(NOISY, target, "van_rossum").copies == 2
    assert objective(NOISY, target, "van_rossum").warnings == ()
    plain = objective(NOISY, target, "plain_van_rossum(tau=20ms)")
    assert plain.copies == 1
    assert plain.fused
    assert len(plain.warnings) == 1
    warning = plain.warnings[0]
    assert "12.5 Hz at tau = 20 ms" in warning
    assert "van_rossum(...)" in warning
    assert objective(QUIET, recording(QUIET), "plain_van_rossum").warnings == ()


def test_trials_are_compared_with_one_another_only_if_they_had_the_same_input():
    same = recording(NOISY, drive=np.random.default_rng(0).normal(18, 10, (600, 3)))
    assert objective(NOISY, same, "energy").repeated
    assert not objective(NOISY, recording(NOISY), "energy").repeated


def test_draws_are_independent_and_lie_where_the_objective_says():
    drive = np.random.default_rng(0).normal(18, 10, (600, 3))
    losses = objective(NOISY, recording(NOISY, drive=drive), "energy")
    sample = losses.spikes(values(NOISY, 12.0, 12.0), 0.1)
    first, second = sample.draws
    assert first.shape == (losses.lanes.n_steps, 3, 2, 2, 3)
    # restarts with equal parameters share their noise, draws and trials do not
    assert torch.equal(first[:, :, 0], first[:, :, 1])
    assert not torch.equal(first, second)
    assert not torch.equal(first[..., 0], first[..., 1])
    assert (first * (1 - sample.counted) == 0).all()


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        ("van_rosum", "column 1"),
        ("van_rossum(tau=0.5ms)", "one step"),
        ("psth(bin=1.5ms)", "step"),
        ("autocorrelogram(lag=1s)", "does not fit"),
    ],
)
def test_a_faulty_loss_is_refused_before_anything_is_compiled(loss, message, monkeypatch):
    target = recording(QUIET)
    monkeypatch.setattr(
        "eqsnn.inference.objectives.compile_program", lambda *_: pytest.fail("compiled")
    )
    with pytest.raises(eqsnn.InputError, match=message):
        eqsnn.fit(QUIET, target, starts=1, loss=loss)


def test_a_loss_is_a_text_or_a_value():
    text = "van_rossum(tau=5ms) + 0.1*rate"
    assert Free(loss=text).composed == Free(loss=parse_loss(text)).composed
    assert Free(tau=0.03).composed == parse_loss("van_rossum(tau=30ms)")
    assert surrogate_only("rate")[0].levels == (0.1,)


@pytest.mark.parametrize("loss", ["van_rossum", "van_rossum + 0.1*psth"])
@pytest.mark.parametrize("model", [QUIET, NOISY], ids=["known input", "private noise"])
def test_a_free_stage_on_part_of_the_data_sees_the_same_windows_of_every_trial(model, loss):
    target = recording(model, seconds=1.3)
    whole, part = (objective(model, target, loss, seconds=s) for s in (float("inf"), 0.9))
    assert part.lanes.begins == whole.lanes.begins[:1]
    assert part.target.shape[2] == target.n_trials
    alone = objective(model, target.window(0.0, 0.4), loss)
    tau = values(model, 9.0)
    torch.testing.assert_close(part(tau, 0.1), alone(tau, 0.1))
