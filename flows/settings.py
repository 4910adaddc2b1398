"""Settings of every use: frozen, checked, and read from TOML; a key nobody knows is refused."""

import os
import tomllib
from datetime import date
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from flows.refused import refusal
from pipeline.errors import Refusal
from pipeline.moment import as_given
from pipeline.uri import at_home


def _split(value: Any) -> Any:
    return value.split(",") if isinstance(value, str) and "," in value else value


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, str) and value.isdigit() else value


def _written(value: Any) -> Any:
    """TOML has dates of its own."""
    return value.isoformat() if isinstance(value, date) else value


def _moment(value: str | None) -> str | None:
    return None if value is None else as_given(value)


Numbers = BeforeValidator(_split)
"""Lets a tuple be written as one string with commas, as a command line gives it."""


Positive = Annotated[float, Field(gt=0)]


class Settings(BaseModel):
    """Base of all settings."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False
    )

    alternatives: ClassVar[tuple[tuple[str, ...], ...]] = ()
    """Names of which one at most may be given."""

    @field_validator("*", mode="before")
    @classmethod
    def _home(cls, value: Any) -> Any:
        """``~`` is the home, for all who read and write alike; and nothing is no value."""
        if value == "":
            raise ValueError("an empty text is no value: leave the setting out")
        if isinstance(value, list | tuple):
            return type(value)(map(cls._home, value))
        value = os.fspath(value) if isinstance(value, os.PathLike) else value
        return at_home(value) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _one_of_each(self) -> Self:
        for group in self.alternatives:
            if sum(bool(getattr(self, name)) for name in group) > 1:
                raise ValueError(f"give at most one of {', '.join(group)}")
        return self


class TileSettings(Settings):
    """How any scene goes through the model."""

    checkpoint: str | None = None
    """Weights, a safetensors file or the name of some that ship (none: r2h-wide)."""
    steps: int = Field(5, ge=1, le=5)
    """Denoising steps."""
    start: Literal["zero", "noise"] = "zero"
    """What the chain starts from: zero, which is most accurate, or noise; several samples from
    noise."""
    samples: int = Field(1, ge=1, le=64)
    """Passes from start noise that are averaged; from 2 on the cube comes with sigma, to
    which their spread counts, and passes start from noise."""
    seed: int = Field(0, ge=0)
    """Of the start noise."""
    tile: int = Field(256, ge=8, multiple_of=8)
    """Side of a tile in pixels."""
    overlap: int = Field(32, ge=0)
    """Pixels that neighbouring tiles share, at most half a tile."""
    chunk: int = Field(256, ge=1)
    """Side of a stored chunk in pixels."""
    engine: Literal["auto", "torch", "torch-bfloat16", "onnxruntime", "openvino-bfloat16"] = "auto"
    """What computes: torch, torch-bfloat16 (its network's products rounded), onnxruntime (CPU
    only), openvino-bfloat16 (CPUs that have BF16: in two thirds of the time), or auto: onnxruntime,
    on a GPU torch-bfloat16."""
    noise_level: float = Field(0.0, ge=0)
    """Standard deviation of the noise in linear RGB, white = 1; above 0 the cube renders back to
    the colour that is likely without it."""
    uncertainty: Literal["none", "fast"] = "none"
    """Sigma beside the cube: fast, from what a single pass knows, or none (samples always come with
    theirs)."""
    threads: int | None = Field(None, ge=1, le=1024)
    """Tiles computed at once on the CPU, each on one thread, 1024 at most (none: one a core of the
    machine, or of its container)."""

    @model_validator(mode="after")
    def _samples_start_from_noise(self) -> Self:
        if self.samples > 1 and self.start == "zero":
            if "start" in self.model_fields_set:
                rule = "samples above 1 differ by their start noise"
                raise ValueError(f"{rule}: start cannot be zero")
            self.__dict__["start"] = "noise"  # as the settings themselves are frozen
        return self


class SceneSettings(TileSettings):
    """How any RGB raster becomes a cube."""

    bands: Annotated[tuple[int, int, int] | None, Numbers] = None
    """Red, green and blue band, from 1 (none: by the file's colour interpretation)."""
    window: Annotated[tuple[int, int, int, int] | None, Numbers] = None
    """Part of the scene: row,column,height,width in pixels."""
    bbox: Annotated[tuple[float, float, float, float] | None, Numbers] = None
    """Part of the scene: left,bottom,right,top in its CRS."""
    aoi: str | None = None
    """Part of the scene: a GeoJSON file of polygons, longitude and latitude."""
    camera: str = "srgb"
    """Camera of the library, or a CSV file of sensitivities."""
    encoding: Literal["srgb", "linear"] | None = None
    """What pixel values are: srgb or linear (none: srgb for 8-bit images and those that say they
    are, linear for others and those that declare a scale)."""
    white: Annotated[Positive | tuple[Positive, Positive, Positive] | None, Numbers] = None
    """Pixel value of reflectance 1, or one for each of red, green and blue (none: what the file
    declares, else 255 for 8-bit images)."""
    illuminant: str = "E"
    """Light of the scene, which the image is balanced for: E, D65, A, ... or a CSV file."""
    max_pixels: float = Field(1e11, gt=0)
    """Most pixels of a scene: larger ones are refused before anything is made."""
    region: int | None = Field(None, ge=1)
    """Side of a unit of work in pixels, whole chunks (none: planned)."""
    memory: float | None = Field(None, gt=0)
    """GB that the run may take (none: what the machine or its container has; other runs on it and
    a batch system's limit are not seen)."""
    disk: float | None = Field(None, gt=0)
    """GB that the cube may take before compression (none: what is free)."""
    max_seam: float | None = Field(None, gt=0)
    """Fail where, of the pixels that tiles share, 1 % differ by more than this reflectance (the
    figure is the upper edge of a bin, up to 19 % high)."""
    batch: int = Field(1, ge=1)
    """Tiles that the model sees at once."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the model runs: auto, cpu or cuda."""
    dtype: Literal["uint16", "float32"] = "uint16"
    """Stored type: uint16 (a count is 1e-4) or float32."""
    zarr_format: Annotated[Literal[2, 3], BeforeValidator(_whole)] = 2
    """2, which every reader opens, or 3."""
    endpoint: str | None = None
    """URL of another S3 than AWS's (none: AWS_ENDPOINT_URL_S3, else AWS_ENDPOINT_URL, else AWS)."""
    sidecars: bool = True
    """Write a VRT, a colour quicklook and a STAC item beside the cube."""
    datetime: Annotated[str | None, BeforeValidator(_written), AfterValidator(_moment)] = None
    """When the picture was taken, ISO 8601, else in UTC (none: what its EXIF or TIFF tags say)."""
    overwrite: bool = False
    """Replace the cube that is there."""

    alternatives: ClassVar[tuple[tuple[str, ...], ...]] = (("window", "bbox", "aoi"),)

    @model_validator(mode="after")
    def _seam_needs_overlap(self) -> Self:
        if self.max_seam is not None and not 0 < self.overlap < self.tile / 2:
            raise ValueError("max_seam needs 0 < overlap < tile / 2, pixels that two tiles share")
        return self


class ReconstructSettings(SceneSettings):
    """`r2h reconstruct`: from one RGB raster to one cube."""

    source: str
    """RGB raster: GeoTIFF, COG, JPEG 2000, PNG or JPEG, at any path or URI; with a *, all that
    match are sheets of one scene."""
    destination: str
    """Cube to write, by custom NAME.zarr."""
    resume: bool = False
    """Go on with the cube that is there."""

    alternatives: ClassVar = (*SceneSettings.alternatives, ("overwrite", "resume"))


class BatchSettings(Settings):
    """`r2h batch`: which rasters become which cubes."""

    inputs: tuple[str, ...] = ()
    """Rasters: paths and URIs; with a *, each file that matches is a scene."""
    listed: str | None = None
    """Text file with a path, URI or glob a line."""
    catalog: str | None = None
    """Static STAC catalog, collection or item collection."""
    asset: str = "visual"
    """Key of the asset that is taken of each item."""
    output: str
    """Folder or URI below which cubes are written."""
    name: str = "{stem}.zarr"
    """Of each cube: stem, parent and index of the input; of items also id, collection and date."""
    keep_going: bool = False
    """Leave out inputs that cannot be done, as failed, rather than refuse the whole batch."""
    report: str | None = None
    """JSON lines, one a scene (none: batch.jsonl in the output)."""
    scene: SceneSettings = Field(default_factory=lambda: load(SceneSettings, None))
    """How each is done. With overwrite, cubes of other settings are replaced."""


Some = TypeVar("Some", bound=Settings)


def load(kind: type[Some], path: str | None, /, **given: Any) -> Some:
    """Settings from defaults, then a TOML file, then what was ``given`` (None means not given).

    A name without a folder that is no file is looked for among the package's own configs. Raises
    Refusal, naming the key, for anything unknown or out of range.
    """
    given = {key: value for key, value in given.items() if value is not None}
    # What was given replaces, of the file, its alternatives too.
    replaced = {name for group in kind.alternatives if given.keys() & set(group) for name in group}
    merged = {key: value for key, value in _read(path).items() if key not in replaced} | given
    try:
        return kind(**merged)
    except ValidationError as error:
        raise refusal(kind, error.errors()[0], list(given)) from None


def _read(path: str | None) -> dict[str, Any]:
    if path is None:
        return {}
    file = Path(path)
    try:
        shipped = files("configs") / path
        named = file.name == path and not file.exists() and shipped.is_file()
        return tomllib.loads((shipped if named else file.absolute()).read_text("utf-8-sig"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        fix = "Give a file, or one of the package's own configs by name."
        raise Refusal("a config must be a readable TOML file", f"{path}: {error}", fix) from None
