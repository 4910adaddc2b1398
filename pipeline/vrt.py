"""A cube as GDAL's virtual raster: band names, wavelengths, colours, exact place, overviews.

https://gdal.org/drivers/raster/vrt.html; the IMAGERY domain is of GDAL 3.10, the band items
`wavelength` and `fwhm` are what EnMAP-Box reads.
"""

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any
from xml.etree.ElementTree import Element, SubElement, indent, tostring

import zarr

from pipeline.companion import Companion
from pipeline.labels import Labels

_TYPES = {"uint16": "UInt16", "float32": "Float32"}


def vrt(uri: str, labels: Labels, levels: Mapping[int, zarr.Array[Any]]) -> bytes:
    """The VRT of the cube at ``uri``, to lie beside it; ``levels`` are its overviews.

    It names what it reads relative to itself, so that all of them can be moved together.
    """
    root = Element("VRTDataset", rasterXSize=str(labels.width), rasterYSize=str(labels.height))
    if labels.crs_wkt:
        _text(root, "SRS", labels.crs_wkt)
    if labels.transform is not None:
        _text(root, "GeoTransform", ", ".join(map(repr, labels.transform.to_gdal())))
    _items(root, {"DESCRIPTION": labels.origin, "wavelength_units": "Nanometers"})
    cube, aux = (PurePosixPath(path.rstrip("/")).name for path in (uri, Companion.uri(uri)))
    sources = [f"{aux}/overview_{factor}" for factor in levels]
    for number in range(1, len(labels.wavelengths) + 1):
        band = _band(root, number, labels)
        _source(SubElement(band, "SimpleSource"), cube, number)
        for overview in sources:
            _source(SubElement(band, "Overview"), overview, number)
    indent(root)
    return bytes(tostring(root)) + b"\n"


def _band(root: Element, number: int, labels: Labels) -> Element:
    sides = {
        "blockXSize": min(labels.chunk, labels.width),
        "blockYSize": min(labels.chunk, labels.height),
    }
    about = {"dataType": _TYPES[labels.dtype], "band": number, **sides}
    band = SubElement(root, "VRTRasterBand", {key: str(value) for key, value in about.items()})
    _text(band, "Description", labels.names[number - 1])
    _items(band, band_items(labels, number))
    _items(band, imagery_items(labels, number), domain="IMAGERY")
    _text(band, "NoDataValue", f"{labels.nodata:g}")
    if colour := labels.coloured.get(number):
        _text(band, "ColorInterp", colour.capitalize())
    if labels.scale != 1:
        _text(band, "Scale", repr(labels.scale))
    return band


def band_items(labels: Labels, number: int) -> dict[str, str]:
    """What a band (from 1) says of itself in GDAL's default domain, nm."""
    nm, fwhm = labels.wavelengths[number - 1], labels.fwhm[number - 1]
    return {"wavelength": f"{nm:g}", "wavelength_units": "Nanometers", "fwhm": f"{fwhm:g}"}


def imagery_items(labels: Labels, number: int) -> dict[str, str]:
    """The same in GDAL's IMAGERY domain, micrometres."""
    nm, fwhm = labels.wavelengths[number - 1], labels.fwhm[number - 1]
    return {"CENTRAL_WAVELENGTH_UM": f"{nm / 1000:g}", "FWHM_UM": f"{fwhm / 1000:g}"}


def _source(parent: Element, name: str, band: int) -> None:
    _text(parent, "SourceFilename", name, relativeToVRT="1")
    _text(parent, "SourceBand", str(band))


def _items(parent: Element, items: Mapping[str, str], **attributes: str) -> None:
    metadata = SubElement(parent, "Metadata", attributes)
    for key, value in items.items():
        _text(metadata, "MDI", value, key=key)


def _text(parent: Element, name: str, text: str, **attributes: str) -> None:
    SubElement(parent, name, attributes).text = text
