"""`datacomp reproduce`: the worker's stages, carried out again from a manifest."""
