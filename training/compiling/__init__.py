"""Programs of XLA: traced, counted, compiled, and kept on disk."""
