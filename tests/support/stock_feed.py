"""open_clip_train's own data pipeline, for comparison with ours."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace


def stock_data() -> ModuleType:
    """`open_clip_train.data` as it is. It imports pandas for its reader of CSV files, which nobody asks for here."""
    lacking = importlib.util.find_spec("pandas") is None
    if lacking:
        sys.modules["pandas"] = ModuleType("pandas")
    try:
        import open_clip_train.data as stock
    finally:
        if lacking:
            del sys.modules["pandas"]
    return stock


def stock_loader(
    tars: list[Path], transform, tokenizer, *, samples: int, batch: int, weights: str | None = None, workers: int = 0
):
    """Its loader with `--dataset-resampled` over these tars; `weights` are `--train-data-upsampling-factors`."""
    args = SimpleNamespace(
        train_data="::".join(str(tar) for tar in tars),
        train_num_samples=samples,
        train_data_upsampling_factors=weights,
        dataset_resampled=True,
        batch_size=batch,
        workers=workers,
        world_size=1,
        seed=0,
    )
    return stock_data().get_wds_dataset(args, transform, is_train=True, tokenizer=tokenizer).dataloader
