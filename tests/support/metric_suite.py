"""Small tasks for every metric of DataComp's suite, and a model in closed form that both evaluators can run.

Pictures are noisy colours; class names and captions name a colour by its three numbers. So no two embeddings are equal
(where they are, evaluators break ties in their own ways), and scores lie well above chance and well below 1. Needs
neither our packages nor a network, so that the peer's environment can use it.
"""

import io
import json
import re
import tarfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from small_suite import npy, write_task

CLASSES = {
    "cars": 9, "vtab/caltech101": 7, "wilds/iwildcam": 8, "wilds/fmow": 6, "wilds/camelyon17": 2,
    "fairness/dollar_street": 12, "fairness/geode": 6,
}  # fmt: skip
SIZE = 150
FACES = {"race": 7, "gender": 2, "age": 9, "toxic": 24}
TEMPLATES = ("a photo of {c}.", "there is {c} in it", "{c}")
NOISE = 55.0
RETRIEVAL, RIDDLES, FAIR = "retrieval/flickr_1k_test_image_text_retrieval", "misc/winogavil", "fairness/fairface"


class NumberModel(torch.nn.Module):
    """Embeds an image by its mean colour and its upper row's, a text by the colour that it names and its length."""

    def transform(self, image: Image.Image) -> torch.Tensor:
        return torch.tensor(np.asarray(image.convert("RGB")), dtype=torch.float32).permute(2, 0, 1)

    def tokenizer(self, texts: list[str]) -> torch.Tensor:
        found = [[*map(int, re.findall(r"\d+", text)[:3]), len(text) % 7] for text in texts]
        return torch.tensor(found, dtype=torch.float32)

    def encode_image(self, images: torch.Tensor, normalize: bool = True) -> torch.Tensor:
        rows = torch.cat([images.mean(dim=(2, 3)), images[:, :, 0].mean(dim=2)], dim=1)
        return torch.nn.functional.normalize(rows, dim=-1) if normalize else rows

    def encode_text(self, tokens: torch.Tensor, normalize: bool = True) -> torch.Tensor:
        rows = torch.cat([tokens[:, :3], tokens[:, :3] + 4 * tokens[:, 3:]], dim=1)
        return torch.nn.functional.normalize(rows, dim=-1) if normalize else rows

    embed_image, embed_text = encode_image, encode_text


def write_metric_suite(root: Path) -> None:
    """A folder for every task, in CLIP_benchmark's layout."""
    rng = np.random.default_rng(20230427)
    for key, classes in CLASSES.items():
        names, labels = _colours(classes, rng), _unbalanced(classes, rng)
        samples = [
            {"png": _picture(names[label], rng), "cls": str(label).encode(), **_metadata(key, label, rng)}
            for label in labels
        ]
        write_task(_folder(root, key), samples, names=[_name(c) for c in names], templates=TEMPLATES)
    _faces(root, rng)
    _pairs(root, rng)
    _riddles(root, rng)


def pairs(root: Path) -> list[dict]:
    """The retrieval task as the original's dataset has it: PIL images and lists of captions."""
    return [{"image": _image(files), "caption": files["txt"].decode().splitlines()} for files in _read(root, RETRIEVAL)]


def riddles(root: Path) -> list[dict]:
    """The associations as the original's dataset has them: candidates by name."""
    found = []
    for files in _read(root, RIDDLES):
        told = json.loads(files["json"])
        images = [_image(files, f"{i}.") for i in range(len(files) - 1)]
        names = [f"candidate {i}" for i in range(len(images))]
        right = [names[i] for i in told["associations"]]
        found.append({"candidate_images": images, "cue": told["cue"], "candidates": names, "associations": right})
    return found


def _image(files: dict[str, bytes], prefix: str = "") -> Image.Image:
    data = next(files[prefix + kind] for kind in ("png", "jpg", "webp") if prefix + kind in files)
    return Image.open(io.BytesIO(data)).convert("RGB")


def _read(root: Path, key: str) -> list[dict[str, bytes]]:
    found: dict[str, dict[str, bytes]] = {}
    for shard in sorted((_folder(root, key) / "test").glob("*.tar")):
        with tarfile.open(shard) as tar:
            for member in tar:
                stem, _, kind = member.name.partition(".")
                found.setdefault(stem, {})[kind] = tar.extractfile(member).read()
    return list(found.values())


def _folder(root: Path, key: str) -> Path:
    return root / f"wds_{key.replace('/', '-')}_test"


def _colours(n: int, rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 256, (n, 3))


def _name(colour: np.ndarray) -> str:
    return "-".join(map(str, colour))


def _unbalanced(classes: int, rng: np.random.Generator) -> np.ndarray:
    """Labels that lean towards the low numbers; all classes occur."""
    labels = np.minimum(rng.integers(0, classes, SIZE), rng.integers(0, classes, SIZE))
    labels[:classes] = np.arange(classes)
    return labels


def _picture(colour: np.ndarray, rng: np.random.Generator) -> bytes:
    pixels = np.clip(colour + rng.normal(0, NOISE, 3) + rng.normal(0, 20, (4, 5, 3)), 0, 255)
    file = io.BytesIO()
    Image.fromarray(pixels.round().astype(np.uint8)).save(file, "PNG")
    return file.getvalue()


def _metadata(key: str, label: int, rng: np.random.Generator) -> dict[str, bytes]:
    """Columns as WILDS and the original's evaluators name them."""
    rows = {
        "wilds/iwildcam": [*rng.integers(0, 4, 8), label],
        "wilds/fmow": [rng.integers(0, 6), rng.integers(0, 16), label],
        "wilds/camelyon17": [rng.integers(0, 5), rng.integers(0, 4), label],
        "fairness/dollar_street": [rng.integers(0, 4), rng.integers(0, 4), rng.integers(0, 4)],
        "fairness/geode": [rng.integers(0, 6), rng.integers(0, 3)],
    }
    return {"npy": npy(np.array(rows[key], np.int64))} if key in rows else {}


def _faces(root: Path, rng: np.random.Generator) -> None:
    colours = {name: _colours(n, rng) for name, n in FACES.items()}
    samples = []
    for _ in range(SIZE):
        right = {name: int(rng.integers(0, FACES[name])) for name in ("age", "gender", "race")}
        mixed = np.mean([colours[name][label] for name, label in right.items()], axis=0)
        row = [right["age"], right["gender"], right["race"], int(right["race"] != 1)]
        samples.append({"png": _picture(mixed, rng), "npy": npy(np.array(row, np.int64)), "cls": b"0"})
    names = [f"{name}:{_name(colour)}" for name, some in colours.items() for colour in some]
    templates = [f"{name}:{template}" for name in FACES for template in TEMPLATES[:2]]
    write_task(_folder(root, FAIR), samples, names=names, templates=templates)


def _pairs(root: Path, rng: np.random.Generator) -> None:
    samples = []
    for colour in _colours(40, rng):
        captions = [_name(np.clip(colour + rng.normal(0, 25, 3), 0, 255).astype(int)) for _ in range(3)]
        samples.append({"png": _picture(colour, rng), "txt": "\n".join(captions).encode()})
    write_task(_folder(root, RETRIEVAL), samples, names=None)


def _riddles(root: Path, rng: np.random.Generator) -> None:
    samples = []
    for number in range(60):
        n, right = (5, 6, 10, 12)[number % 4], 2 + number % 3
        cue, others = _colours(1, rng)[0], _colours(n, rng)
        chosen = sorted(int(place) for place in rng.permutation(n)[:right])
        pictures = {f"{i}.png": _picture(cue if i in chosen else others[i], rng) for i in range(n)}
        told = json.dumps({"cue": f"colour {_name(cue)}", "associations": chosen}).encode()
        samples.append({"json": told, **pictures})
    write_task(_folder(root, RIDDLES), samples, names=None)
