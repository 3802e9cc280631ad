"""The torch backend runs where the tensors of its run lie."""

import pytest
import torch

from eqsnn.backends.pytorch import compile_torch
from eqsnn.compiler import free_program, model_from_text, read_model
from eqsnn.maths.simplify import select
from tests.maths.test_adjoint import DELAYED, every_model, gradients, sized, states_of

# torch's device without storage: whatever meets a tensor of another device there is refused as on a GPU
WITHOUT_STORAGE = "meta"
# these draw counts, whose largest must be known
COUNTING = {
    *("sleep_izhikevich", "sleep_izhikevich_intended", "sleep_lif", "sleep_lif_intended"),
}
# of the others the smallest that between them make every kind of constant
EVERYDAY = {"gap_junction", "gif", "lif_alpha", "tsodyks_markram"}

COUNTED_SYNAPSES = """
neuron cell:
    dv/dt = (n*mV - v)/tau : mV
    n : 1
    threshold: v > 1*mV
    reset: v = 0*mV
    initial: v = 0.5*mV
    tau : ms = 10*ms
synapse counted:
    n_post = 2 : 1 (summed)
network:
    dt = 1*ms
    a : cell[3]
    a -> a : counted if i != j
"""


def compiled(model):
    program = free_program(model)
    outputs = states_of(program, model)
    return compile_torch(select(program, outputs)), outputs


@every_model(COUNTING, EVERYDAY)
def test_every_model_runs_and_is_differentiated_on_another_device(path):
    model = sized(read_model(path))
    kernel, outputs = compiled(model)
    found, loss = gradients(kernel, model, outputs, device=WITHOUT_STORAGE)
    assert loss.device.type == WITHOUT_STORAGE
    assert any(gradient is not None for gradient in found.values())


@pytest.mark.parametrize("text", [DELAYED, COUNTED_SYNAPSES], ids=["delayed", "counted"])
def test_delays_junctions_synaptic_states_and_sums_of_numbers_stay_on_the_device_of_the_run(text):
    model = model_from_text(text)
    kernel, outputs = compiled(model)
    _, loss = gradients(kernel, model, outputs, device=WITHOUT_STORAGE)
    assert loss.device.type == WITHOUT_STORAGE


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU that torch can use")
@every_model()
def test_a_gpu_finds_the_states_and_the_gradients_of_the_cpu(path):
    model = sized(read_model(path))
    kernel, outputs = compiled(model)
    expected, loss = gradients(kernel, model, outputs)
    found, same = gradients(kernel, model, outputs, device="cuda")
    assert same.item() == pytest.approx(loss.item(), rel=1e-9)
    largest = max(float(g.norm()) for g in expected.values() if g is not None)
    for name, gradient in expected.items():
        if gradient is None:
            assert found[name] is None, name
            continue
        difference = (found[name].cpu() - gradient).norm()
        assert difference <= 1e-8 * gradient.norm() + 1e-12 * largest, name
