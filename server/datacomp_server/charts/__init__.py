"""Charts: what is to be seen as plain data, drawn by Altair in a process of its own, kept while nothing changes."""
