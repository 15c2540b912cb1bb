"""From run folders to claims: statistics over seeds, and the tables that print them."""
