"""Webdataset tars as bytes: where samples lie in them, whose uid they have, and how new ones are written."""
