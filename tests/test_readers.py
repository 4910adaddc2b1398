"""The readers that users have, on real outputs: they see what was written."""

import json
import os
import subprocess
from importlib.util import find_spec
from shutil import which

import numpy as np
import pytest
import zarr
from rasterio.crs import CRS
from rasterio.transform import Affine

from pipeline.cube import CubeSpec, SpectralCube
from pipeline.doctor import examine
from pipeline.grid import Window
from pipeline.readers import READERS, Sample, Unfit
from pipeline.sidecar import write_sidecars
from tests.cubes import PLACE, PLACES, UTM, WAVELENGTHS, content, expected, make, overview, stored

pytestmark = [
    pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning"),
    pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning"),  # rioxarray's
]
CUBES = {
    **PLACES,
    "float32": {"dtype": "float32"},
    "format 3": {"zarr_format": 3},
    "CRS alone": {"transform": None},
    "a part of nowhere": {"transform": None, "crs_wkt": None, "row0": 30, "col0": 20},
}
UNFIT = {
    ("GDAL, the store", "format 3"),
    ("GDAL, the VRT", "format 3"),
    ("rio-tiler", "format 3"),
    ("rio-tiler", "nowhere"),
    ("rio-tiler", "no CRS"),
    ("rio-tiler", "CRS alone"),
    ("rio-tiler", "a part of nowhere"),
    *(
        ("odc-geo", where)
        for where in ("turned", "nowhere", "no CRS", "CRS alone", "a part of nowhere")
    ),
}


@pytest.fixture(scope="module", params=CUBES)
def sample(request, tmp_path_factory):
    uri = str(tmp_path_factory.mktemp("cubes") / "a.zarr")
    write_sidecars(make(uri, **CUBES[request.param]))
    return request.param, uri


def test_every_reader_sees_what_was_written(sample):
    kind, uri = sample
    facts = {"transform": PLACE, "crs_wkt": UTM, "dtype": "uint16"} | CUBES[kind]
    cube = _sample(uri)
    truth = {
        "values": expected(facts["dtype"])[:, *cube.window.slices],
        "spectrum": expected(facts["dtype"])[:, cube.middle.row, cube.middle.col],
        "wavelengths": WAVELENGTHS,
        "nodata": 65535 if facts["dtype"] == "uint16" else np.nan,
    }
    wanted, unfit = facts["crs_wkt"], set()
    for name, (package, read) in READERS.items():
        if package == "napari" and find_spec(package) is None:
            continue  # a window system comes with it, so the tests do not install it
        try:
            seen = read(cube)
        except Unfit:
            unfit.add((name, kind))
            continue
        unplaced = name == "GDAL, the store" and facts["transform"] and "crs" not in seen
        assert bool(seen.pop("lacks", None)) == bool(unplaced), name
        if "crs" in seen:
            crs = seen.pop("crs")
            assert (crs and CRS.from_user_input(crs)) == (wanted and CRS.from_wkt(wanted)), name
        if transform := seen.pop("transform", None):
            pixels = Affine.translation(*(facts.get(key, 0) for key in ("col0", "row0")))
            guesses = [facts["transform"]] if facts["transform"] else [pixels, Affine.identity()]
            assert any(transform.almost_equals(guess, 1e-9) for guess in guesses), name
        for key, value in seen.items():
            np.testing.assert_allclose(value, truth[key], rtol=0, atol=1e-6, err_msg=name)
    assert unfit == {pair for pair in UNFIT if pair[1] == kind}


def _sample(uri):
    from pipeline.cube import SpectralCube  # noqa: PLC0415
    from pipeline.grid import Window  # noqa: PLC0415
    from pipeline.labels import Labels  # noqa: PLC0415

    cube = SpectralCube.open(uri)
    return Sample(uri, Labels.of(cube), Window(5, 9, 30, 35), cube)


def failing(uri):
    return {finding.reader: finding.reason for finding in examine(uri) if finding.good is False}


def test_the_doctor_finds_nothing_wrong_with_a_whole_output(sample):
    assert failing(sample[1]) == {}


def test_a_place_of_its_own_is_no_fault_of_a_cube(tmp_path):
    uri = str(tmp_path / "a.zarr")
    write_sidecars(make(uri, crs_wkt='LOCAL_CS["site",UNIT["metre",1]]'))
    assert failing(uri) == {}


def test_the_doctor_says_where_gdal_sees_no_place(tmp_path):
    """Of one row it makes no geotransform; the VRT has it."""
    spec = CubeSpec(1, 30, (400.0, 500.0), 16, transform=PLACE, crs_wkt=UTM)
    cube = SpectralCube.create(str(tmp_path / "a.zarr"), spec)
    cube.write(Window(0, 0, 1, 30), np.full((2, 1, 30), 0.5, np.float32), np.ones((1, 30), bool))
    cube.seal()
    found = {finding.reader: finding for finding in examine(cube.uri)}
    assert found["GDAL, the store"].good
    assert "but for the place" in found["GDAL, the store"].reason


@pytest.fixture
def whole(tmp_path):
    write_sidecars(make(tmp_path / "a.zarr"))
    return tmp_path


@pytest.mark.skipif(which("gdalinfo") is None, reason="needs GDAL's own programs")
def test_gdalinfo_says_what_was_written(whole):
    # What QGIS shows of a layer. The store itself needs GDAL 3.10.
    asked = ["gdalinfo", "-json", str(whole / "a.vrt")]
    found = json.loads(subprocess.run(asked, check=True, stdout=subprocess.PIPE).stdout)
    shape = expected("uint16").shape
    assert (len(found["bands"]), *found["size"][::-1]) == shape
    assert Affine.from_gdal(*found["geoTransform"]).almost_equals(PLACE, 1e-9)
    assert CRS.from_wkt(found["coordinateSystem"]["wkt"]) == CRS.from_wkt(UTM)
    assert {(band["noDataValue"], band["scale"]) for band in found["bands"]} == {(65535, 1e-4)}
    assert f"{WAVELENGTHS[7]:g}" in found["bands"][7]["description"]


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("528000.0", "528000.5", "transform is"),
        ("<SourceBand>7<", "<SourceBand>8<", "values differ"),
        ("<Scale>0.0001<", "<Scale>0.001<", "values differ"),
        (">65535<", ">0<", "nodata is"),
        (">0.41<", ">0.42<", "wavelengths is"),
        ("a.zarr", "b.zarr", "b.zarr"),
    ],
)
def test_the_doctor_finds_a_vrt_that_is_wrong(whole, old, new, reason):
    text = (whole / "a.vrt").read_text()
    assert old in text
    (whole / "a.vrt").write_text(text.replace(old, new))
    found = failing(str(whole / "a.zarr"))
    assert reason in found["GDAL, the VRT"]
    assert set(found) <= {"GDAL, the VRT", "rio-tiler"}


def test_the_doctor_finds_what_hides_the_bands_from_gdal(whole):
    store = zarr.open_group(whole / "a.zarr", mode="r+", use_consolidated=False)
    store.create_array(
        "mask", shape=(40, 50), dtype="u1", attributes={"_ARRAY_DIMENSIONS": ["y", "x"]}
    )
    zarr.consolidate_metadata(store.store)
    assert "GDAL, the store" in failing(str(whole / "a.zarr"))


def test_a_reader_that_is_not_there_is_not_asked(whole, monkeypatch):
    monkeypatch.setitem(READERS, "dask", ("no-such-package", READERS["dask"][1]))
    (whole / "a.vrt").unlink()
    found = {finding.reader: finding for finding in examine(str(whole / "a.zarr"))}
    assert found["dask"][1:] == (None, None, "not installed")
    assert found["GDAL, the VRT"][2:] == (None, "there is no a.vrt")


def test_a_tile_of_the_map_shows_the_pixels_that_are_there(whole):
    from rio_tiler.io import Reader  # noqa: PLC0415

    with Reader(str(whole / "a.vrt")) as reader:
        x, y = PLACE @ (35.5, 30.5)
        lon, lat = reader.tms.lnglat(*_mercator(x, y))
        tile = reader.tms.tile(lon, lat, 22)
        image = reader.tile(
            tile.x, tile.y, tile.z, indexes=(26, 16, 6), resampling_method="nearest"
        )
    seen = image.array.reshape(3, -1)
    colours = stored()[[25, 15, 5]][:, content()[1]]
    assert not image.array.mask.all()
    shown = {tuple(pixel) for pixel in seen.compressed().reshape(3, -1).T.tolist()}
    assert shown <= {tuple(pixel) for pixel in colours.T.tolist()}


def _mercator(x, y):
    from rasterio.warp import transform  # noqa: PLC0415

    (east,), (north,) = transform(UTM, "EPSG:3857", [x], [y])
    return east, north


SCRIPT = """
import json, sys, warnings

import rasterio

warnings.simplefilter("ignore")
seen = {"gdal": rasterio.__gdal_version__}
for name in sys.argv[1:]:
    with rasterio.open(name) as file:
        seen[name] = {
            "values": file.read().tolist(), "small": file.read(1, out_shape=(20, 25)).tolist(),
            "epsg": file.crs and file.crs.to_epsg(), "transform": list(file.transform)[:6],
            "nodata": file.nodata, "scale": file.scales[0], "overviews": file.overviews(1),
        }
print(json.dumps(seen))
"""


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_gdal_of_another_python_reads_both_formats(tmp_path, zarr_format):
    """GDAL 3.12 and later read Zarr 3; rasterio's wheels with it are for Python 3.12 and later."""
    python = os.environ.get("R2H_GDAL_PYTHON")
    if not python:
        pytest.skip("R2H_GDAL_PYTHON names no Python with rasterio 1.5 (GDAL 3.12)")
    write_sidecars(make(tmp_path / "a.zarr", zarr_format=zarr_format))
    names = [str(tmp_path / name) for name in ("a.zarr", "a.vrt")]
    out = subprocess.run(
        [python, "-c", SCRIPT, *names], capture_output=True, text=True, check=True, env={}
    )
    seen = json.loads(out.stdout)
    for name in names:
        np.testing.assert_array_equal(seen[name]["values"], stored())
        assert seen[name]["epsg"] == 32632
        np.testing.assert_allclose(seen[name]["transform"], PLACE[:6], rtol=0, atol=1e-6)
        assert (seen[name]["nodata"], seen[name]["scale"]) == (65535, 1e-4)
    assert seen[names[1]]["overviews"] == [2]
    np.testing.assert_array_equal(seen[names[1]]["small"], overview(tmp_path / "a.zarr")[0])
