"""The model, bound: which network, on which device, by which engine, for which camera."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, lru_cache, partial
from pathlib import Path
from threading import Event

import numpy as np
import torch

import model
from flows.settings import ReconstructSettings, TileSettings
from flows.sigma import sigma_of
from model.engine import GRAPHS, Engine, best_engine
from model.lift import noise_filter
from pipeline.ahead import cores
from pipeline.camera import SRGB, Camera, Floats, load_camera, resampled
from pipeline.closure import Closure
from pipeline.context import Context, Measured
from pipeline.curve import declared, full
from pipeline.errors import Refusal, heed
from pipeline.light import load_light
from pipeline.noise import noise
from pipeline.scene import Scene

logger = logging.getLogger("r2h")


def network_of(checkpoint: Path, device: str) -> model.R2HDiff:
    """The network of a checkpoint, loaded once a process. Raises CheckpointError."""
    # A file that is written anew is loaded anew; of one that is not there, the model tells.
    return _network(
        checkpoint, checkpoint.stat().st_mtime_ns if checkpoint.is_file() else 0, device
    )


@lru_cache(maxsize=2)
def _network(checkpoint: Path, stamp: int, device: str) -> model.R2HDiff:  # noqa: ARG001
    return model.load(checkpoint).to(device)


def chosen_engine(settings: TileSettings, network: model.R2HDiff) -> Engine:
    """The engine that is asked for, or the best there is."""
    return best_engine(network) if settings.engine == "auto" else settings.engine


def bind(
    settings: TileSettings,
    network: model.R2HDiff,
    engine: Engine,
    camera: Camera,
    scene: Measured,
    stop: Event | None = None,
) -> model.Reconstructor | model.Calibrated:
    """The model for a camera and a scene. Raises Refusal where they do not fit.

    Raises Stopped a window of the scene after ``stop`` is set.
    """
    if settings.tile % (step := network.config.reduction):
        rule = f"tiles suit the network: their sides are multiples of {step}"
        raise Refusal(rule, settings.tile, "Choose another --tile.")
    noises = settings.samples if settings.start == "noise" else 0
    law = sigma_of(settings)
    try:
        seen = camera.sensitivities.tobytes()
        bound = _bound(network, seen, settings.steps, engine, noises).at(scene.scale)
        likely = closure_of(settings, network, camera, scene.scale).likely
        seed = settings.seed if noises else None
        shown = views(scene.contexts, likely, bound.wavelengths, seed)
        bound = bound.attending(shown, threads_of(settings), partial(heed, stop))
        return bound if law is None else model.Calibrated(bound, law)
    except ValueError as error:
        fix = "Choose others, or leave --engine out."
        raise Refusal("camera, engine and sigma must suit the model", error, fix) from error


def views(
    contexts: Sequence[Context],
    change: Callable[[Floats], Floats],
    wavelengths: Sequence[float],
    seed: int | None,
) -> list[model.View]:
    """Windows as the model takes them, their linear RGB changed as its tiles' is.

    With a ``seed`` from the noise that the first sample starts from.
    """

    def start(of: Context) -> torch.Tensor | None:
        if seed is None:
            return None
        return torch.from_numpy(noise(of.window, len(wavelengths), seed))

    return [model.View(torch.from_numpy(change(of.rgb)), start(of), of.share) for of in contexts]


def camera_of(settings: ReconstructSettings, scene: Scene, bands: tuple[float, ...]) -> Camera:
    """The camera, with the encoding and white that the settings or the pixel type say.

    What declares a scale holds reflectance; else 8 bits, and what says that it is in sRGB, are a
    finished photograph. Raises Refusal where nothing says what white is, for a photograph in other
    colours, and where it is taken for a camera's raw values unasked.
    """
    camera = load_camera(settings.camera, load_light(settings.illuminant))
    eight_bit = scene.dtype == "uint8"
    finished = scene.colours is not None or (eight_bit and scene.declared_white is None)
    encoding = settings.encoding or ("srgb" if finished else "linear")
    if finished and settings.encoding is None:
        if settings.camera != SRGB:
            rule = "a camera's sensitivities are of its raw values, not of a finished photograph"
            fix = "Leave --camera out, or say with --encoding what the values are."
            raise Refusal(rule, f"--camera {settings.camera} for {scene.dtype} values", fix)
        if scene.colours == "srgb" and scene.declared_white is not None:
            rule, found = "pixel values are reflectance or in sRGB", "a scale, and a header of sRGB"
            raise Refusal(rule, found, "Say with --encoding which they are.")
        if scene.colours == "other":
            rule = "a finished photograph is in sRGB"
            found = "a header that says it may not be, or cannot be read"
            fix = "Convert it to sRGB, or say with --encoding what its values are."
            raise Refusal(rule, found, fix)
    white = settings.white or scene.declared_white or (255.0 if eight_bit else None)
    if white is None:
        rule = "it must be known which pixel value means reflectance 1"
        raise Refusal(rule, f"{scene.dtype} without a declared scale", "Give it with --white.")
    told = settings.white is not None and bool(full(np.float32(np.max(settings.white))))
    # Of 8 bits the curve ends at 255, whatever they are scaled by; else what is told goes first.
    said = None if eight_bit or told else declared(scene.declared_white, scene.declared_end)
    ends = said if encoding == "srgb" else scene.declared_end
    return resampled(camera, bands).reading(encoding, white, ends)


def closure_of(
    settings: TileSettings, network: model.R2HDiff, camera: Camera, scale: float
) -> Closure:
    """What spectra render back to: a scene's colours, or those likely without a stated noise."""
    if not settings.noise_level:
        return Closure(camera.sensitivities)
    seen, variance = torch.from_numpy(camera.sensitivities), (settings.noise_level / scale) ** 2
    likely = noise_filter(seen, network.prior.cpu(), variance).float().numpy()
    return Closure(camera.sensitivities, likely)


@lru_cache(maxsize=4)
def _bound(
    network: model.R2HDiff, sensitivities: bytes, steps: int, engine: Engine, noises: int
) -> model.Reconstructor:
    """The model for a camera, float32 sensitivities (3, bands).

    Kept, so that what looks at windows is made once for all scenes.
    """
    seen = torch.frombuffer(bytearray(sensitivities), dtype=torch.float32).reshape(3, -1)
    return model.Reconstructor(network, seen, 1.0, steps, engine, noises)


def threads_of(settings: TileSettings) -> int:
    """Tiles to compute at once: what is asked for, else one a core that this process may use."""
    return settings.threads or cores()


@contextmanager
def threads_kept() -> Iterator[None]:
    """Torch has as many threads after as before."""
    before = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(before)


def device_of(settings: ReconstructSettings) -> str:
    """Where the model runs: cpu or cuda. Raises Refusal where that is not there, or of no use."""
    # Tiles run side by side, each on one thread; the sums of the main thread are small.
    torch.set_num_threads(1)
    exact_products()
    if settings.device == "cpu" or (settings.device == "auto" and settings.engine in GRAPHS):
        return "cpu"
    if (why := _no_cuda()) is None:
        return "cuda"
    if settings.device == "cuda":
        raise Refusal("--device cuda needs a CUDA device", why, "Use --device cpu or auto.")
    if torch.cuda.is_available():
        logger.warning("the GPU is of no use (%s): computed on the CPU", why)
    return "cpu"


@cache
def _no_cuda() -> str | None:
    """Why nothing can be computed on CUDA; None where it can.

    Torch also counts a card that it has no kernels for, so it is asked for a product.
    """
    if not torch.cuda.is_available():
        return "none"
    try:
        one = torch.ones(8, 8, device="cuda")
        (one @ one).sum().item()
    except RuntimeError as error:
        return " ".join(str(error).split())
    return None


def exact_products() -> None:
    """On CUDA let float32 be float32, as a cube's attributes call it, and the same every time.

    TF32 would round every product to 10 bits.
    """
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.deterministic = True
