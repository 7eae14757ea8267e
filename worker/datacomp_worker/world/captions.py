"""What people write under pictures: true captions in English and six other languages, and text that says nothing.

Wording varies with the generator that is passed; the same state of it gives the same text.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from datacomp_worker.world.scenes import Effect, Scene
from datacomp_worker.world.vocabulary import BACKGROUNDS, COLOURS, LANGUAGES, NUMBERS, PLACES, SHAPES, SIZES, Language

BACKGROUND_NAMED = 0.6
"""Share of true English captions that name the background."""

_OPENERS = (
    "a photo of {}",
    "a picture of {}",
    "an image of {}",
    "this is {}",
    "here you can see {}",
    "{}",
    "the image shows {}",
    "we have {} for you",
)
_SKETCHED = ("a sketch of {}", "an outline of {}", "a line drawing of {}")
_DIGITS = (
    "the number {digit} written by hand in {colour}",
    "a photo of the handwritten digit {digit}",
    "a handwritten {digit} in {colour} ink",
    "this is the digit {digit}, written by hand",
)
_WHERE = ("", " on the left", " on the right", " at the top", " at the bottom")
_BACKGROUND = (" on a {} background", " in front of a {} background", ", the background is {}")
_BOILERPLATE = (
    "click here to view the full size image",
    "free shipping on all orders over {n} dollars",
    "image not available at this time",
    "please log in to see this photo",
    "all rights reserved, do not copy this picture without our permission",
    "royalty free stock image number {n} by one of our contributors",
    "page {n} of our picture gallery",
    "subscribe to our newsletter for more pictures like this one",
    "a photo posted by one of our users {n} days ago",
    "download this free wallpaper in high resolution",
    "our products are available in many sizes and colours",
    "you may also like these {n} other items from the same shop",
    "this picture has been viewed {n} times by our visitors",
    "sign up today and get {n} percent off your first order",
)
_SHORT = ("{shape}", "{colour} {shape}", "photo", "picture {n}", "{colour}", "img {n}", "untitled")


def pick(options: Sequence[str], rng: np.random.Generator) -> str:
    """One of them, each as likely."""
    return options[int(rng.integers(len(options)))]


def describe(scene: Scene, rng: np.random.Generator, *, background: float = BACKGROUND_NAMED) -> str:
    """A true English caption of at least three words; the background is named in that share of captions."""
    if scene.digit >= 0:
        text = pick(_DIGITS, rng).format(digit=NUMBERS[scene.digit], colour=COLOURS[scene.colour])
    else:
        opener = pick(_SKETCHED if scene.effect == Effect.SKETCH else _OPENERS, rng)
        text = opener.format(noun_phrase(scene)) + _WHERE[scene.place]
    if rng.random() < background:
        text += pick(_BACKGROUND, rng).format(BACKGROUNDS[scene.background])
    return text


def noun_phrase(scene: Scene) -> str:
    """What the scene shows: `three red stars`, `a small blue ring`."""
    words = [word for word in (SIZES[scene.size], COLOURS[scene.colour], SHAPES[scene.shape]) if word]
    if scene.count > 1:
        return " ".join([NUMBERS[scene.count], *words[:-1], plural(words[-1])])
    return " ".join([article(words[0]), *words])


def article(word: str) -> str:
    """`a` or `an`."""
    return "an" if word[0] in "aeiou" else "a"


def plural(noun: str) -> str:
    """The plural of a shape's name."""
    return f"{noun}es" if noun.endswith("s") else f"{noun}s"


def where(place: int) -> str:
    """A class name for a place: `at the top`."""
    return _WHERE[place].strip() or f"in the {PLACES[place]}"


def translate(scene: Scene, language: Language, rng: np.random.Generator) -> str:
    """A true caption in another language."""
    if scene.digit >= 0:
        return pick(language.digit_sentences, rng).format(digit=language.numbers[scene.digit])
    sentences = language.counted_sentences if scene.count > 1 else language.sentences
    return pick(sentences, rng).format(
        shape=language.shapes[scene.shape],
        colour=language.colours[scene.colour],
        background=language.backgrounds[scene.background],
        number=language.numbers[scene.count],
    )


def foreign(scene: Scene, rng: np.random.Generator) -> tuple[str, str]:
    """A true caption in one of the other languages, and that language's code."""
    language = LANGUAGES[int(rng.integers(len(LANGUAGES)))]
    return translate(scene, language, rng), language.code


def boilerplate(rng: np.random.Generator) -> str:
    """English that would fit under any picture."""
    return pick(_BOILERPLATE, rng).format(n=int(rng.integers(10, 1000)))


def short(scene: Scene, rng: np.random.Generator) -> str:
    """One or two words, true where they say anything."""
    shape = NUMBERS[scene.digit] if scene.digit >= 0 else SHAPES[scene.shape]
    return pick(_SHORT, rng).format(shape=shape, colour=COLOURS[scene.colour], n=int(rng.integers(10, 1000)))
