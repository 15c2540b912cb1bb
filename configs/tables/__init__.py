"""One file per claim, with its arms: most in the shape of a published table or figure, at a size for the machine."""

from typing import Any


def with_seeds(arms: dict[str, dict[str, Any]], seeds: int) -> list[dict[str, Any]]:
    """Rows of a sweep: every arm (`arms` has its fields by its label) with the seeds 0, 1, ... `seeds` - 1."""
    return [{'arm': arm, 'seed': seed} | fields for arm, fields in arms.items() for seed in range(seeds)]
