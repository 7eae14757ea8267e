"""Bring your own data: the file that a participant hands in, and what is wrong with it."""

from datacomp.byod.reading import SUFFIXES, Row, check_dataset, rows_of, shape_of

__all__ = ["SUFFIXES", "Row", "check_dataset", "rows_of", "shape_of"]
