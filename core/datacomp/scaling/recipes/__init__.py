"""Published scaling-law fits as functions of their published tables: each reproduces its paper's numbers."""
