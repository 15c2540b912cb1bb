"""Files, whatever they are of: written whole or not at all, read without trust. Nothing here knows an experiment."""
