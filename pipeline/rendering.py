"""What a camera makes of a reference cube: the RGB that a method is given."""

from io import BytesIO
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.camera import Camera, Floats
from pipeline.errors import Refusal

Rendering = Literal["clean", "ntire2022"]
Bytes = NDArray[np.uint8]

ELECTRONS = 750
"""Photo-electrons of a signal of 1 in the unit of the camera's table: NTIRE 2022's for its Basler,
whose flat white of 1 has a signal of 8.6 to 9.3, so some 6,470 in red and green, 6,950 in blue.

Any other table's unit is taken for that one. The library's others peak at 1: 3,000 to 8,800 at
white. sRGB's response is 1 by definition: 750. A table in per cent has a hundred times as many."""
BRIGHTNESS = 0.18
"""Mean of the exposed image, of full range."""
FULL = 255
QUALITY = 65
"""Of the JPEG, with Pillow's colour subsampling (4:2:0), which is OpenCV's too."""


def render(cube: Floats, camera: Camera, rendering: Rendering = "clean", seed: int = 0) -> Floats:
    """Linear RGB (3, height, width), white = 1, of a cube (wavelengths, height, width).

    ``clean``: the sensitivities times the cube, negative answers clipped as a sensor's are.

    ``ntire2022``: as the camera of the NTIRE 2022 spectral challenge (Arad et al., CVPRW 2022; its
    RGB track, no mosaic) takes a photograph of it, then divided by the white that its exposure is
    known to have given. The same seed gives the same noise. See `photograph`.

    Raises Refusal for a rendering of another name.
    """
    if rendering not in get_args(Rendering):
        raise Refusal(f"a rendering is one of {get_args(Rendering)}", rendering, "Name one.")
    linear = np.maximum(camera.render(cube), 0)
    if rendering == "clean":
        return linear
    random = np.random.default_rng(seed)
    return developed(*photograph(linear, camera, random))


def photograph(
    linear: Floats, camera: Camera, random: np.random.Generator, exposure: float | None = None
) -> tuple[Bytes, Floats]:
    """The 8-bit image (3, height, width) and its white (3, 1, 1): the value of reflectance 1.

    1. signal = linear RGB times the camera's ``response``, which for the Basler holds the
       challenge's analogue gains (2.2933984, 1, 1.62308182);
    2. shot noise: Poisson(750 signal) / 750, so as much as the unit of the camera's table makes it
       (see `ELECTRONS`);
    3. exposure: times ``exposure``, or what brings the mean over all pixels and channels to
       0.18 x 255;
    4. clipped to 0 ... 255 and truncated to whole numbers;
    5. JPEG of quality 65 and back.
    """
    response = np.array(camera.response)[:, None, None]
    signal = random.poisson(linear * response * ELECTRONS) / ELECTRONS
    gain = exposure_of(signal) if exposure is None else exposure
    whole = np.clip(signal * gain, 0, FULL).astype(np.uint8)
    return _through_jpeg(whole), (response * gain).astype(np.float32)


def exposure_of(signal: NDArray[np.floating]) -> float:
    """What brings the mean of a signal to 0.18 x 255; 1 for black."""
    mean = float(signal.mean(dtype=np.float64))
    return BRIGHTNESS * FULL / mean if mean > 0 else 1.0


def developed(image: Bytes, white: Floats) -> Floats:
    """Linear RGB, white = 1, of a photograph."""
    linear: Floats = image.astype(np.float32) / white
    return linear


def _through_jpeg(image: Bytes) -> Bytes:
    file = BytesIO()
    Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0))).save(
        file, "JPEG", quality=QUALITY
    )
    decoded: Bytes = np.asarray(Image.open(file)).transpose(2, 0, 1)
    return decoded
