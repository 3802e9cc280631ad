"""Likelihood of observed spikes under escape noise."""

from torch import Tensor
from torch.nn.functional import logsigmoid

from eqsnn.errors import InputError


def escape_log_likelihood(margin: Tensor, observed: Tensor, *, width: float | Tensor) -> Tensor:
    """Log-probability of the observed spikes, summed over time: (neuron, lane).

    margin: (time, neuron, lane), the distance above threshold in each step with the observed spikes forced; observed:
    0/1, broadcastable; width in the unit of the margin. A neuron spikes in a step with probability
    1/(1 + exp(-margin/width)), independently given the margins. Stable for every margin: log(p) of the hopeless case
    is margin/width, not log(0). Raises InputError for a width that is not positive.
    Source: Gerstner et al. 2014, Neuronal Dynamics, chapters 9 and 10.
    """
    if not bool((width > 0) if isinstance(width, int | float) else (width > 0).all()):
        raise InputError(f"the escape width is {width}; positive numbers are expected")
    # p(no spike) = p(spike) at the opposite margin
    return logsigmoid((2 * observed - 1) * margin / width).sum(0)


def escape_loss(margin: Tensor, observed: Tensor, *, width: float | Tensor) -> Tensor:
    """Negative log-likelihood of the observed spikes, summed over time and neurons: (lane,); see above."""
    return -escape_log_likelihood(margin, observed, width=width).sum(0)
