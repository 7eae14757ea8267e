"""Bring your own data: the file that a participant hands in, and what is wrong with it."""

from datacomp.byod.reading import LONGEST_CAPTION, SUFFIXES, Row, check_dataset, plain_caption, rows_of, shape_of

__all__ = ["LONGEST_CAPTION", "SUFFIXES", "Row", "check_dataset", "plain_caption", "rows_of", "shape_of"]
