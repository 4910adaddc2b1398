"""Layers beside a small cube, as a run writes them: what views and reports are tested on."""

import numpy as np
import zarr

from pipeline.companion import Companion
from pipeline.cube import SpectralCube
from pipeline.grid import Window
from pipeline.group import consolidate
from pipeline.layers import _census
from pipeline.layout import NODATA, SCALE, add_array
from pipeline.store import open_store

FLOOR, STEP = 1e-4, 0.04


def add_layers(uri, factors=(2, 4)):
    """Every optional layer of a cube, made up but for the overviews; returns what each holds."""
    cube = SpectralCube.open(uri)
    values, valid = cube.read(Window(0, 0, cube.height, cube.width))
    random = np.random.default_rng(7)
    shape = valid.shape
    sigma = np.where(
        valid, 0.01 + 0.05 * values * np.linspace(1, 0.2, len(values))[:, None, None], 0
    )
    codes = np.rint(np.log(np.maximum(sigma, FLOOR) / FLOOR) / STEP).astype(np.uint8)
    codes[:, ~valid] = 255
    closure = np.where(valid, random.integers(0, 40, shape), 65535).astype(np.uint16)
    quality = np.zeros(shape, np.uint8)
    for flag, edge in ((1, 0.9), (2, 0.05)):
        mean = np.nan_to_num(values.mean(axis=0))
        quality[valid & ((mean > edge) if flag == 1 else (mean < edge))] |= flag
    quality[: shape[0] // 8, : shape[1] // 8] |= 8
    quality[~valid] = 0
    planes, bands = ("y", "x"), ("wavelength", "y", "x")
    group, put = (
        zarr.open_group(open_store(Companion.uri(uri)), mode="r+", use_consolidated=False),
        _putting(cube.chunk),
    )
    put(group, "uncertainty", bands, codes, {"log_floor": FLOOR, "log_step": STEP})
    put(group, "closure", planes, closure, {"scale_factor": 1e-5})
    put(group, "quality", planes, quality, {})
    put(group, "valid", planes, valid.astype(np.uint8), {})
    for factor in factors:
        counts = np.rint(_means(values, valid, factor) / SCALE)
        stored = np.where(np.isnan(counts), NODATA["uint16"], counts).astype(np.uint16)
        names = ("wavelength", f"y_{factor}", f"x_{factor}")
        put(group, f"overview_{factor}", names, stored, {"scale_factor": SCALE})
    group["census"][0, 0] = _census(quality, closure, valid, np.ones(3))
    if cube.sealed:
        consolidate(group)
    known = FLOOR * np.exp(STEP * codes.astype(np.float32))
    return {"uncertainty": known, "closure": closure * 1e-5, "quality": quality, "valid": valid}


def _putting(chunk):
    def put(group, name, dimensions, values, about):
        side = (chunk, chunk) if values.ndim == 2 else (len(values), chunk, chunk)
        layout = {"shape": values.shape, "chunks": side, "dtype": values.dtype}
        # The top of the type is nodata where the numbers mean something; flags and masks have none.
        v3 = group.metadata.zarr_format == 3
        fill = int(np.iinfo(values.dtype).max) if about else 0 if v3 else None
        if v3 and about:
            about = {**about, "_FillValue": fill}
        if name in group:
            del group[name]
        made = add_array(group, name, dimensions, about, fill_value=fill, **layout)
        made.with_config({"write_empty_chunks": True})[...] = values

    return put


def _means(values, valid, factor):
    """Area means of the valid pixels, (wavelength, ceil(h / factor), ceil(w / factor))."""
    rows, cols = (-(-size // factor) for size in valid.shape)
    out = np.full((len(values), rows, cols), np.nan, np.float32)
    for row in range(rows):
        for col in range(cols):
            part = np.s_[row * factor : (row + 1) * factor, col * factor : (col + 1) * factor]
            if valid[part].any():
                out[:, row, col] = values[:, *part][:, valid[part]].mean(axis=1)
    return out
