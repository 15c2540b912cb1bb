"""How figures look, figures of lines, and what maps are laid out with. Knows nothing of runs."""
