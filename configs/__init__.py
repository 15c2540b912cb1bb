"""Each file here is an experiment: it has `get_config()`, which may take a variant, and `sweep()` if it is a table."""
