"""From a command line to a run folder: flags, validation, where results go, what is shown meanwhile."""
