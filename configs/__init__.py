"""An experiment is a file here: `get_config(variant)`, and `sweep()` when it is a table."""
