"""What a folder of runs says: a record of each run, and the arms that they make up. Nothing in it is trusted."""
