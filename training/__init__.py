"""Optimiser, step, evaluation, checkpoints and the loop around them. No model is named here."""
