"""One batch, computed by several processes of a machine."""
