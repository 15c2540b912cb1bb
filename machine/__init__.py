"""The machine: the cores and the memory that a process may use. Nothing here imports anything else of patchwise."""
