"""Likelihood of observed spikes under escape noise."""

from torch import Tensor
from torch.nn.functional import logsigmoid


def escape_log_likelihood(margin: Tensor, observed: Tensor, *, width: float | Tensor) -> Tensor:
    """Log-probability of the observed spikes, summed over time: (neuron, lane).

    margin: (time, neuron, lane), the distance above threshold in each step, with the observed spikes forced; observed:
    0/1, broadcastable. A neuron spikes with probability 1/(1 + exp(-margin/width)). Stable for every margin.
    Source: Gerstner et al. 2014, Neuronal Dynamics, chapter 9 and 10.
    """
    above = margin / width
    return (observed * logsigmoid(above) + (1 - observed) * logsigmoid(-above)).sum(0)
