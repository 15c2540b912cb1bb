"""Many runs: which ones, in what order, by which processes and machines."""
