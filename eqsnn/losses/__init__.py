"""Losses: spikes of model and target to one number; they know no simulator."""

from eqsnn.losses.composition import Loss, parse_loss
from eqsnn.losses.terms import TERMS, Sample

__all__ = ["TERMS", "Loss", "Sample", "parse_loss"]
