"""Settings of training and evaluation."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from flows.settings import Settings, TileSettings
from pipeline.camera import SRGB
from pipeline.datasets import Name
from pipeline.rendering import Rendering
from pipeline.table import is_csv

PUBLISHED_BY = "basler-a2a5320-23uc"
"""The camera of ARAD_1K's own RGB images."""
Share = Annotated[float, Field(ge=0, le=1)]


class EvaluateSettings(TileSettings):
    """`r2h evaluate`: which scenes, seen by which camera, through which tiles, scored how."""

    scenes: tuple[str, ...] = ()
    """Scenes by name (none, and no split: all)."""
    split: Literal["train", "validation", "test"] | None = None
    """Scenes of one use: train, validation or test, where the data set has splits."""
    camera: str = PUBLISHED_BY
    """Camera that renders the scenes."""
    rendering: Rendering = "clean"
    """How: clean, or ntire2022 with shot noise, 8 bits and JPEG (not for srgb or a CSV)."""
    rgb: Literal["rendered", "published"] = "rendered"
    """What the methods are given: rendered from the cube, or published with it (ARAD_1K)."""
    protocol: Literal["full", "ntire2022"] = "full"
    """How scores are made: full, or ntire2022 (see docs/metrics.md)."""
    whole: bool = False
    """Also run each frame as one tile, to see what tiles cost."""
    calibrate: bool = False
    """Divide Harvard's cubes by calib.txt."""

    alternatives: ClassVar = (("scenes", "split"),)

    @model_validator(mode="after")
    def _published_as_they_are(self) -> Self:
        if self.rgb == "published" and (self.camera, self.rendering) != (PUBLISHED_BY, "clean"):
            raise ValueError(
                f"published RGB are of the camera {PUBLISHED_BY} and not rendered again: leave "
                "camera and rendering out, or set rgb to rendered"
            )
        return self

    @model_validator(mode="after")
    def _noise_of_a_known_unit(self) -> Self:
        # Its electrons are those of the table's unit: 750 of sRGB's at white, 646,000 of per cent.
        if self.rendering == "ntire2022" and (self.camera == SRGB or is_csv(self.camera)):
            raise ValueError(
                "ntire2022 counts photo-electrons in the unit of a camera's table, which is "
                f"arbitrary for {SRGB} and not known for a CSV: choose a measured camera of the "
                "library, or set rendering to clean"
            )
        return self


class NetworkSettings(Settings):
    """The network's switches; see `model.NetworkConfig`."""

    target: Literal["residual", "cube"] = "residual"
    schedule: Literal["linear", "cosine"] = "linear"
    widths: tuple[PositiveInt, ...] = (16, 32, 64, 104)
    heads: tuple[PositiveInt, ...] = (1, 2, 4, 8)
    bottom: int = Field(default=2, ge=0)
    hata: bool = True
    gsrm: bool = True
    normalise: bool = False
    bounded: bool = False


class TrainFiles(Settings):
    """What training reads beside its data set."""

    reflectances: str | None = None
    """Measured reflectances to repaint with and for metamers, an .npz file."""
    illuminants: str | None = None
    """Lights, an .npz file."""
    beside: str | None = None
    """A folder of other cubes, NAME.npz, from which crops are taken too."""


class TrainSettings(TrainFiles):
    """`r2h train`: which scenes, which cameras, how long."""

    kind: Literal["r2h-diff", "root-polynomial"] = "r2h-diff"
    """What is trained: r2h-diff or root-polynomial."""
    dataset: Name = "cave"
    """Whose layout the root has: arad, cave, harvard or own (a folder of NAME.npz)."""
    scenes: tuple[str, ...] = ()
    """Scenes by name."""
    split: Literal["train", "validation", "test"] | None = None
    """Scenes of one use: train, validation or test, where the data set has splits."""
    calibrate: bool = False
    """Divide Harvard's cubes by calib.txt."""
    resident: int | None = Field(None, ge=1)
    """Scenes in memory, from which crops are drawn at a time (none: all)."""
    visit: int = Field(250, ge=1)
    """Iterations after which other scenes are read, where not all are in memory."""
    cameras: dict[str, float] = Field(min_length=1)
    """Share of the crops that each camera sees; 'library' stands for all the others."""
    lights: dict[str, Share] = Field({})
    """Share of the crops in lights of each collection of the illuminants; the others are in equal
    energy."""
    held_out_cameras: tuple[str, ...] = ()
    """Cameras of the library that training never sees."""
    crop: int = Field(128, ge=8, multiple_of=8)
    """Side of a crop in pixels."""
    batch: int = Field(8, ge=1)
    """Crops an iteration."""
    exposure: float = Field(0.3, ge=0)
    """Spread of the random exposure: scales are multiplied by exp(uniform(-e, e))."""
    dimmed: float = Field(0.0, ge=0, le=1)
    """Share of the crops seen as beside something bright: up to eight times darker."""
    flips: bool = True
    """Mirror half of the crops."""
    rotations: bool = True
    """Turn crops by quarters."""
    mix: float = Field(0.0, ge=0, le=1)
    """Share of the crops into which up to half of another scene's crop is mixed."""
    noise: float = Field(0.0, ge=0, le=1)
    """Share of the crops photographed as in NTIRE 2022: shot noise, 8 bits, JPEG."""
    from_zero: float = Field(0.0, ge=0, le=1)
    """Share of the crops that are seen at the chain's start, from zero."""
    iterations: int = Field(ge=1)
    """Updates of the weights."""
    learning_rate: float = Field(1e-3, gt=0)
    """Peak learning rate."""
    gradient_weight: float = Field(1.0, ge=0)
    """Of the gradient consistency loss; 0 switches it off."""
    warm_up: int = Field(200, ge=1)
    """Iterations until the learning rate is at its peak."""
    clip_norm: float = Field(1.0, gt=0)
    """Largest norm of the gradient; a larger one is scaled down to it."""
    average: float = Field(0.999, ge=0, lt=1)
    """Decay of the moving average of the weights, which is what ships; 0 for the weights."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of the network's products: bfloat16 where the hardware has it; all else stays float32."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where it trains: auto, cpu or cuda."""
    tensorboard: bool = False
    """Write TensorBoard's records too."""
    save_every: int = Field(250, ge=1)
    """Iterations between saves of the state."""
    seed: int = Field(0, ge=0)
    """Of weights, crops and noise."""
    init: str | None = None
    """Checkpoint that training starts from, a file or the name of one that ships (none: random)."""
    repaint: float = Field(0.0, ge=0, le=1)
    """Share of the crops whose materials are exchanged for measured ones."""
    metamers: float = Field(0.0, ge=0, le=1)
    """Share of the crops moved to other spectra that their camera sees alike."""
    beside_scenes: tuple[str, ...] = ()
    """Those of the folder beside that are trained on, by name (none: all)."""
    beside_radiance: tuple[str, ...] = ()
    """Those that are radiance in sunlight: trained on as they are, and again as reflectance."""
    beside_share: float = Field(0.5, gt=0, lt=1)
    """Share of the crops that come from them."""
    network: NetworkSettings = NetworkSettings()

    alternatives: ClassVar = (("scenes", "split"),)

    @model_validator(mode="after")
    def _says_what(self) -> Self:
        # All of them would hold the scenes that others are scored on.
        if not self.scenes and self.split is None:
            raise ValueError("name scenes or a split to train on")
        if self.crop % (step := 2 ** (len(self.network.widths) - 1)):
            raise ValueError(f"crop must be a multiple of {step}: the network halves it so often")
        if sum(self.lights.values()) > 1:
            raise ValueError("shares of lights must sum to 1 at most: the rest is equal energy")
        return self

    @model_validator(mode="after")
    def _uses_what_it_is_given(self) -> Self:
        # A checkpoint would name it as what its training saw.
        named = {*self.beside_radiance} <= {*self.beside_scenes}
        needs = {
            "reflectances": ("repaint or metamers", self.repaint or self.metamers),
            "illuminants": ("lights", self.lights),
            "visit": ("resident", self.resident),
            "beside_radiance": ("beside_scenes that it names", named),
            "beside_share": ("beside", self.beside or self.beside_scenes),
        }
        for name, (needed, there) in needs.items():
            plain = type(self).model_fields[name].default
            if getattr(self, name) != plain and not there:
                raise ValueError(f"{name} counts only with {needed}: give that, or leave it out")
        return self


class CalibrateSettings(Settings):
    """`r2h calibrate`: on which errors sigma is fitted."""

    folds: tuple[tuple[str, ...], ...] = Field(min_length=2)
    """Scenes that are left out together: a network is trained on the others, its errors kept."""
    alike: tuple[tuple[str, ...], ...] = ()
    """Scenes that count as one, in the fit and where it is checked on what it did not see."""
    pixels: int = Field(1000, ge=1)
    """Pixels of each of a scene's four tiles."""
    samples: int = Field(4, ge=2)
    """Passes from noise that the law of samples is fitted on."""
    tile: int = Field(256, ge=8, multiple_of=8)
    """Side of a tile in pixels."""
    seed: int = Field(0, ge=0)
    """Of pixels and noise."""
    train: TrainSettings
    """How the networks are trained; its scenes are those of the folds."""
