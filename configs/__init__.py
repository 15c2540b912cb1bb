"""Each file here is an experiment: it has `get_config(variant)`, and `sweep()` if it is a table."""
