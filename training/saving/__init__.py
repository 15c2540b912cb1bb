"""Checkpoints: written, and gone on from."""
