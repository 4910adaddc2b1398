"""The light a picture was taken in: its relative spectral power."""

import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import Refusal, parsed
from pipeline.table import averaged, is_csv, read_table

EQUAL_ENERGY = "E"
"""Name of the light that has the same power at every wavelength."""
FEWEST = 3.0
"""Wavelengths, by their share of a light's power, that three bands need to see colours."""


class Light(NamedTuple):
    """Relative spectral power."""

    name: str
    """The CIE's, or a CSV's with its ending: E.csv is not E."""
    wavelengths: NDArray[np.float64]
    """nm; none for equal energy."""
    power: NDArray[np.float64]
    """(wavelengths,), of any unit."""

    @property
    def equal_energy(self) -> bool:
        """Whether it has the same power at every wavelength: whatever its name, it has no table."""
        return not self.wavelengths.size

    def at(self, wavelengths: NDArray[np.float64]) -> NDArray[np.float64]:
        """Power around each of some wavelengths (nm), lines between them included; their mean is 1.

        Raises Refusal for wavelengths that the table does not span.
        """
        if self.equal_energy:
            return np.ones(len(wavelengths))
        low, high = self.wavelengths[0], self.wavelengths[-1]
        if wavelengths[0] < low or wavelengths[-1] > high:
            span = f"{self.name} at {low:g} to {high:g} nm"
            fix = f"Give a table from {wavelengths[0]:g} to {wavelengths[-1]:g} nm."
            raise Refusal("a light's table must span the wavelengths", span, fix)
        power = averaged(self.wavelengths, self.power, wavelengths)
        return power / float(power.mean())


def load_light(name: str | Path) -> Light:
    """The light of a CSV file (wavelength_nm, power), or by the CIE's name: E, D65, A, FL2, ...

    All names but E are looked up in colour-science. Raises Refusal for what is not known, and for
    powers that are negative or nowhere positive.
    """
    name = os.fspath(name)
    if name == EQUAL_ENERGY:
        return Light(name, np.empty(0), np.empty(0))
    if is_csv(name):
        table = read_table(Path(name), ("wavelength_nm", "power"))
        return _light(Path(name).name, table[:, 0], table[:, 1])
    known = _named()
    if name not in known:
        fix = f"Choose one of {', '.join([EQUAL_ENERGY, *sorted(known)])}, or give a CSV file."
        raise Refusal("the illuminant must be a CIE illuminant or a CSV file", name, fix)
    return _light(name, known[name].wavelengths, known[name].values)


def measured_lights(path: Path, collection: str) -> list[Light]:
    """The lights of a collection (n, wavelengths) of an .npz, which also has ``wavelength_nm``.

    Those with all their power at fewer than three wavelengths, as sodium lamps, are left out: three
    bands see no colours in them. Raises Refusal for a file that is none.
    """
    rule, fix = "lights must be an .npz of wavelength_nm and collections", "Choose another file."
    with parsed(rule, path, fix), path.open("rb") as file, np.load(file) as held:
        known, table = held["wavelength_nm"], held[collection].astype(np.float64)
    if table.shape[1:] != known.shape:
        raise Refusal(rule, f"{collection} {table.shape} at {known.size} wavelengths", fix)
    lights = [_light(f"{collection} {i}", known, power) for i, power in enumerate(table)]
    shows = table.sum(axis=1) ** 2 >= FEWEST * (table**2).sum(axis=1)
    return [light for light, colours in zip(lights, shows, strict=True) if colours]


def _light(name: str, wavelengths: NDArray[Any], power: NDArray[Any]) -> Light:
    if power.min() < 0 or power.max() <= 0:
        raise Refusal("a light's power must be 0 or more, and somewhere more", name, "Check it.")
    return Light(name, wavelengths, power)


def _named() -> Any:
    try:
        from colour import SDS_ILLUMINANTS  # noqa: PLC0415 (an extra, and seconds to import)
    except ImportError:
        fix = "pip install 'r2h[colour]', or give a CSV file."
        raise Refusal("illuminants by name come with colour-science", "no such", fix) from None
    return SDS_ILLUMINANTS
