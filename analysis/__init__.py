"""From run folders to claims: statistics and tables, figures and the report, heads, extrapolation, convolution."""
