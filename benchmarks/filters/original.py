"""Runs the original's own `baselines.py` (a clone of mlfoundations/datacomp) unchanged but for what no machine has.

The clone is copied; in the copy its downloads are replaced by the files given, and CUDA by the CPU. Nothing that
decides which rows are kept is touched.
"""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from measured import Measured, run

DOWNLOAD = """

def download(name, root=None):
    return os.path.join(os.environ["BASELINE_ASSETS"], name)
"""
ON_CPU = {
    "baselines/apply_filter.py": {'f"cuda:{device}"': '"cpu"', 'nltk.download("wordnet")': "None"},
    "baselines.py": {"not torch.cuda.is_available()": "False"},
}
ASSETS_SCRIPT = """
import sys, numpy, torch
source, assets = sys.argv[1:]
torch.save(numpy.load(f"{source}/centroids.npy"), f"{assets}/small_centroids")
targets = numpy.array_split(numpy.load(f"{source}/targets.npy"), 5)
for i, part in enumerate(targets):
    torch.save({"image_features": torch.from_numpy(part)}, f"{assets}/in1k_clip_vit_l14_{i}")
"""


@dataclass(frozen=True)
class Original:
    """A clone made ready."""

    directory: Path
    python: Path
    assets: Path

    @classmethod
    def prepare(cls, clone: Path, python: Path, work: Path, language_model: Path, sources: Path | None) -> Original:
        """Copy the clone into `work`. `sources` holds wordnet/, synsets.txt, centroids.npy and targets.npy."""
        directory, assets = work / "original", work / "assets"
        shutil.copytree(clone, directory, ignore=shutil.ignore_patterns(".git"))
        with (directory / "baselines" / "utils.py").open("a") as file:
            file.write(DOWNLOAD)
        for name, changes in ON_CPU.items():
            path = directory / name
            text = path.read_text()
            for old, new in changes.items():
                if old not in text:
                    raise SystemExit(f"{name} of the clone does not hold {old!r}: is it another version?")
                text = text.replace(old, new)
            path.write_text(text)
        assets.mkdir()
        shutil.copy(language_model, assets / "fasttext")
        if sources is not None:
            shutil.copy(sources / "synsets.txt", assets / "imagenet21k_wordnet_ids")
            shutil.copytree(sources / "wordnet", assets / "nltk_data" / "corpora" / "wordnet")
            subprocess.run([python, "-c", ASSETS_SCRIPT, sources, assets], check=True)
        return cls(directory, python, assets)

    def run(self, name: str, metadata: Path, out: Path, *options: str, workers: int = 1) -> Measured:
        """One baseline; `out` is there when it went well."""
        command = [str(self.python), "baselines.py", "--name", name, "--metadata_dir", str(metadata)]
        command += ["--save_path", str(out), "--num_workers", str(workers), "--num_gpus", "1", *options]
        variables = {
            "BASELINE_ASSETS": str(self.assets),
            "NLTK_DATA": str(self.assets / "nltk_data"),
            "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1",  # its centroids are a pickled NumPy array
        }
        return run(command, cwd=self.directory, variables=variables)
