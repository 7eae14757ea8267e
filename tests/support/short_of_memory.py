"""A training child on a device with little memory: `SHORT_OF_MEMORY` = "<images that fit> <samples seen before>"."""

import os
import sys

import open_clip.model
import torch

from datacomp_worker.training.child import main

fit, before = map(int, os.environ["SHORT_OF_MEMORY"].split())
forward, seen = open_clip.model.CLIP.forward, []


def limited(self, image=None, text=None):
    if len(image) > fit and sum(seen) >= before:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
    seen.append(len(image))
    return forward(self, image, text)


if __name__ == "__main__":
    open_clip.model.CLIP.forward = limited
    sys.exit(main(sys.argv[1]))
