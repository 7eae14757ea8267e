"""The modifier `vary`: the same items of a task under named variations of their images or words.

A variation is data in the suite's file, so that any task can be varied without a second copy of its pictures. Every
variation is exact: turns by quarters, inversion and a resizing with a named filter give the same pixels everywhere.
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

BLANK = "{c}"
"""What stands in a template for the class, caption or cue."""


class Variation(BaseModel):
    """One way in which all items of a task are shown; without any change it is the task itself."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1, max_length=40)
    rotate: Literal[0, 90, 180, 270] = 0
    """Degrees counter-clockwise by which images are turned."""
    invert: bool = False
    """Whether images are shown as negatives."""
    scale: float = Field(default=1.0, gt=0.0, le=8.0)
    """Size of what is shown: below 1 the image is made smaller, on grey; above 1 its middle is enlarged."""
    templates: tuple[str, ...] = ()
    """Templates that take the place of the task's own; captions and cues are put into the first."""

    @model_validator(mode="after")
    def _templates_have_a_blank(self) -> Self:
        if wrong := [text for text in self.templates if BLANK not in text]:
            raise ValueError(f"the template {wrong[0]!r} has no {BLANK}")
        return self

    @property
    def changes_images(self) -> bool:
        """Whether images are shown otherwise than they are stored."""
        return bool(self.rotate or self.invert or self.scale != 1.0)

    def word(self, text: str) -> str:
        """A caption or cue as this variation words it."""
        return self.templates[0].replace(BLANK, text) if self.templates else text
