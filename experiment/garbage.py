"""How often this process looks for garbage."""

import gc


def collect_seldom() -> None:
    """Has Python look for cycles of garbage far less often from now on.

    Imports and traced programs are millions of objects that stay: looking through them at Python's own pace takes a
    tenth of a command's start (benchmarks/NOTES.md). What no cycle holds, arrays included, is freed at once as ever.
    """
    gc.set_threshold(50_000, 10, 10)
