"""What an error that was raised says."""

import pytest

from datacomp.problems import DatacompError


def code_of(error: pytest.ExceptionInfo[DatacompError]) -> str:
    """The code of its first problem."""
    return error.value.problems[0].code
