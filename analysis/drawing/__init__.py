"""How figures look, and figures of lines. Knows nothing of runs."""
