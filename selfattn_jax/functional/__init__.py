"""Pure functions of one head and one sequence: the pieces of an attention, and the composition of them."""
