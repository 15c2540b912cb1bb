"""The one kind of error that is the user's to mend."""


class ConfigError(ValueError):
    """A setting that cannot work. Commands print it as one line on stderr and exit with status 2.

    The message names the field, the value, and what would do:
    `model.num_heads=3 must divide model.embed_dim=64; try 1, 2, 4, 8`.
    """
