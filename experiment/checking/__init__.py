"""Whether a config can work, said before anything is written."""
