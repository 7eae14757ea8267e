"""A suite's data on disk: fetched from where the original's tools fetch it, and checked before it is evaluated on."""

from datacomp.suite_data.check import check_suite
from datacomp.suite_data.download import download_suite

__all__ = ["check_suite", "download_suite"]
