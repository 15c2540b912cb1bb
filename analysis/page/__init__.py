"""The report of a sweep: one page to look at, and its figures for papers."""
