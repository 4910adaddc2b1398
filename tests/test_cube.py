import random
import tempfile
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import rasterio
import rioxarray  # noqa: F401  (the .rio accessor)
import xarray as xr
import zarr
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.cube import CubeSpec, SpectralCube, quantise
from pipeline.errors import Refusal
from pipeline.grid import Window, regions
from pipeline.layout import axis_attributes

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
WAVELENGTHS = tuple(float(nm) for nm in range(400, 701, 10))
HEIGHT, WIDTH, CHUNK = 40, 50, 16
WHOLE = Window(0, 0, HEIGHT, WIDTH)
UTM = rasterio.crs.CRS.from_epsg(32612).to_wkt()
UPRIGHT = Affine(0.3, 0, 528000.1, 0, -0.3, 4978000.7)
ROTATED = Affine(0.3, 0.1, 528000.1, 0.1, -0.3, 4978000.7)


def spec(**changes: Any) -> CubeSpec:
    return CubeSpec(**{
        "height": HEIGHT, "width": WIDTH, "wavelengths": WAVELENGTHS, "chunk": CHUNK,
        "transform": UPRIGHT, "crs_wkt": UTM, "settings": {"model": "toy", "seed": 1}, **changes,
    })  # fmt: skip


def content() -> tuple[np.ndarray, np.ndarray]:
    values = np.random.default_rng(0).random((31, HEIGHT, WIDTH), np.float32)
    valid = np.ones((HEIGHT, WIDTH), bool)
    valid[:20, :20] = False  # a whole chunk and parts of three
    return values, valid


def made(uri: str, order: int | None = None, **changes: Any) -> SpectralCube:
    """A sealed cube of `content`, written in a shuffled order."""
    cube = SpectralCube.create(uri, spec(**changes))
    parts = regions(HEIGHT, WIDTH, CHUNK, CHUNK if order else 2 * CHUNK)
    random.Random(order).shuffle(parts)
    values, valid = content()
    for part in parts:
        cube.write(part, values[:, *part.slices], valid[part.slices])
    cube.seal()
    return cube


def stored(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


@pytest.fixture(params=[2, 3])
def zarr_format(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.mark.parametrize(("dtype", "error"), [("uint16", 5.1e-5), ("float32", 0)])
@pytest.mark.parametrize("place", ["{}/a.zarr", "file://{}/a.zarr", "memory:/{}/a.zarr"])
def test_what_is_written_is_read(
    tmp_path: Path, place: str, zarr_format: int, dtype: str, error: float
) -> None:
    uri = place.format(tmp_path)
    made(uri, dtype=dtype, zarr_format=zarr_format)
    cube = SpectralCube.open(uri)
    got, valid = cube.read(WHOLE)
    values, expected = content()
    np.testing.assert_array_equal(valid, expected)
    np.testing.assert_allclose(got[:, valid], values[:, valid], rtol=0, atol=error)
    assert np.isnan(got[:, ~valid]).all()
    assert got.dtype == np.float32
    part = Window(5, 10, 20, 30)
    np.testing.assert_array_equal(cube.read(part)[0], got[:, *part.slices])
    assert (cube.height, cube.width, cube.chunk, cube.wavelengths) == (
        HEIGHT, WIDTH, CHUNK, WAVELENGTHS,
    )  # fmt: skip
    assert cube.settings == {"model": "toy", "seed": 1}
    assert cube.sealed


@given(st.floats(-1, 10, width=32))
def test_uint16_rounds_to_the_nearest_count_and_clips(value: float) -> None:
    raw = quantise(np.full((1, 1, 1), value, np.float32), np.ones((1, 1), bool), np.dtype("u2"))
    assert abs(raw[0, 0, 0] * 1e-4 - min(max(value, 0), 6.5534)) < 5.1e-5


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_only_a_valid_pixel_must_be_finite(bad: float) -> None:
    values = np.full((2, 1, 1), bad, np.float32)
    dtype = np.dtype("uint16")
    assert (quantise(values, np.zeros((1, 1), bool), dtype) == 65535).all()
    with pytest.raises(Refusal, match="finite"):
        quantise(values, np.ones((1, 1), bool), dtype)


def test_equal_writes_in_any_order_make_equal_bytes(tmp_path: Path, zarr_format: int) -> None:
    for order in (1, 2, None):
        made(str(tmp_path / f"{order}.zarr"), order, zarr_format=zarr_format)
    first = stored(tmp_path / "1.zarr")
    assert first == stored(tmp_path / "2.zarr") == stored(tmp_path / "None.zarr")


def test_xarray_sees_labels(tmp_path: Path, zarr_format: int) -> None:
    made(str(tmp_path / "a.zarr"), zarr_format=zarr_format)
    with xr.open_zarr(tmp_path / "a.zarr", chunks=None) as dataset:
        cube = dataset["reflectance"]
        assert list(dataset.data_vars) == ["reflectance"]
        assert cube.dims == ("wavelength", "y", "x")
        assert cube.sel(wavelength=552, method="nearest").wavelength == 550
        np.testing.assert_array_equal(cube.wavelength, WAVELENGTHS)
        assert cube.wavelength.attrs == {"units": "nm", "standard_name": "radiation_wavelength"}
        np.testing.assert_array_equal(cube.fwhm, np.full(31, 10))
        np.testing.assert_array_equal(cube.good_wavelengths, np.ones(31))
        np.testing.assert_array_equal(cube.x, 528000.1 + 0.3 * (np.arange(WIDTH) + 0.5))
        assert cube.attrs["comment"] == "estimated from RGB, not measured"
        values, valid = content()
        np.testing.assert_array_equal(cube[0].notnull(), valid)
        np.testing.assert_allclose(cube.to_numpy()[:, valid], values[:, valid], atol=5.1e-5)


@pytest.mark.parametrize(
    ("crs", "units"),
    [
        (UTM, "metre"),
        ("EPSG:2263", "US_survey_foot"),
        ("EPSG:2223", "foot"),
        ("+proj=utm +zone=32 +units=km", "kilometre"),
        ("+proj=utm +zone=32 +units=link", "0.201168 metre"),
        ("EPSG:4326", "degrees_east"),
        ("EPSG:4807", "0.9 degree"),
        ('LOCAL_CS["site",UNIT["foot",0.3048]]', None),
    ],
)
def test_coordinates_are_in_the_units_of_the_crs(crs: str, units: str | None) -> None:
    wkt = rasterio.crs.CRS.from_user_input(crs).to_wkt()
    assert axis_attributes("x", spec(crs_wkt=wkt)).get("units") == units


@pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")  # rioxarray's
@pytest.mark.parametrize("transform", [UPRIGHT, ROTATED])
def test_rioxarray_has_the_exact_place(tmp_path: Path, zarr_format: int, transform: Affine) -> None:
    changes = {"transform": transform, "zarr_format": zarr_format, "row0": 3, "col0": 5}
    SpectralCube.create(str(tmp_path / "a.zarr"), spec(**changes))
    with xr.open_zarr(tmp_path / "a.zarr", chunks=None, consolidated=False) as dataset:
        place = dataset["reflectance"].rio
        a, b, c, d, e, f = transform[:6]
        assert place.crs.to_wkt() == UTM
        assert place.transform() == Affine(a, b, c + 5 * a + 3 * b, d, e, f + 5 * d + 3 * e)
        assert place.encoded_nodata == 65535


def test_gdal_sees_bands_place_and_nodata(tmp_path: Path) -> None:
    made(str(tmp_path / "a.zarr"))
    with rasterio.open(tmp_path / "a.zarr") as dataset:
        assert (dataset.count, dataset.height, dataset.width) == (31, HEIGHT, WIDTH)
        assert (dataset.nodata, set(dataset.scales)) == (65535, {1e-4})
        assert dataset.crs.to_wkt() == UTM
        nm = [float(dataset.tags(band)["DIM_wavelength_VALUE"]) for band in dataset.indexes]
        assert tuple(nm) == WAVELENGTHS
        # GDAL guesses from the first and last pixel centre: right to their last bit, no better.
        bound = 4 * np.spacing(UPRIGHT.f)
        np.testing.assert_allclose(dataset.transform[:6], UPRIGHT[:6], rtol=0, atol=bound)
        values, valid = content()
        np.testing.assert_array_equal(dataset.dataset_mask() != 0, valid)
        raw = quantise(values, valid, np.dtype("uint16"))
        np.testing.assert_array_equal(dataset.read(), raw)


def test_gdal_has_the_exact_place_where_binary_numbers_do(tmp_path: Path) -> None:
    transform = Affine(0.25, 0, 528000, 0, -0.25, 4978000.5)
    SpectralCube.create(str(tmp_path / "a.zarr"), spec(transform=transform))
    with rasterio.open(tmp_path / "a.zarr") as dataset:
        assert dataset.transform == transform


@pytest.mark.parametrize(
    "changes",
    [
        {"crs_wkt": None, "transform": None},
        {"transform": ROTATED},
        {"transform": None},
    ],
)
def test_gdal_sees_no_place_rather_than_a_wrong_one(tmp_path: Path, changes: Any) -> None:
    SpectralCube.create(str(tmp_path / "a.zarr"), spec(**changes))
    with rasterio.open(tmp_path / "a.zarr") as dataset:
        assert (dataset.crs, dataset.transform) == (None, Affine.identity())
    with xr.open_zarr(tmp_path / "a.zarr", chunks=None, consolidated=False) as dataset:
        np.testing.assert_array_equal(dataset.x, np.arange(WIDTH) + 0.5)
        assert "pixels from" in dataset.x.attrs["long_name"]
        assert ("spatial_ref" in dataset.coords) == bool(changes.get("crs_wkt", UTM))


def test_a_rotated_place_without_a_crs_is_kept(tmp_path: Path) -> None:
    SpectralCube.create(str(tmp_path / "a.zarr"), spec(transform=ROTATED, crs_wkt=None))
    with xr.open_zarr(tmp_path / "a.zarr", chunks=None, consolidated=False) as dataset:
        numbers = [float(word) for word in dataset.spatial_ref.attrs["GeoTransform"].split()]
        assert Affine.from_gdal(*numbers) == ROTATED
        assert "crs_wkt" not in dataset.spatial_ref.attrs


def test_only_cubes_are_removed(tmp_path: Path) -> None:
    foreign = zarr.create_group(tmp_path / "foreign.zarr", zarr_format=2)
    foreign.create_array("t2m", shape=(4, 4), dtype="f4")
    with pytest.raises(Refusal, match="only a cube"):
        SpectralCube.remove(str(tmp_path / "foreign.zarr"))
    assert (tmp_path / "foreign.zarr" / "t2m").exists()
    (tmp_path / "begun.zarr").mkdir()
    (tmp_path / "begun.zarr" / ".zattrs").write_text('{"r2h_begun": true}')
    SpectralCube.create(str(tmp_path / "cube.zarr"), spec())
    for name in ("begun", "cube"):
        SpectralCube.remove(str(tmp_path / f"{name}.zarr"))
        assert not (tmp_path / f"{name}.zarr").exists()


def test_a_coordinate_of_zero_stays_zero(tmp_path: Path, zarr_format: int) -> None:
    transform = Affine(2, 0, -1, 0, -2, 1)
    changes = {"transform": transform, "crs_wkt": None, "zarr_format": zarr_format}
    SpectralCube.create(str(tmp_path / "a.zarr"), spec(**changes))
    with xr.open_zarr(tmp_path / "a.zarr", chunks=None, consolidated=False) as dataset:
        assert (float(dataset.x[0]), float(dataset.y[0])) == (0, 0)


@pytest.mark.parametrize(
    "window",
    [
        Window(1, 0, 16, 16), Window(0, 3, 16, 16), Window(0, 0, 10, 16), Window(0, 0, 16, 20),
        Window(32, 32, 16, 18), Window(-16, 0, 16, 16), Window(0, 0, 40, 64),
    ],
)  # fmt: skip
def test_a_window_that_cuts_a_chunk_is_refused(tmp_path: Path, window: Window) -> None:
    cube = SpectralCube.create(str(tmp_path / "a.zarr"), spec())
    with pytest.raises(Refusal, match="whole chunks"):
        cube.write(window, np.zeros((31, 64, 64), np.float32), np.ones((64, 64), bool))
    assert cube.finished() == set()


@settings(max_examples=15)
@given(st.lists(st.sampled_from(regions(HEIGHT, WIDTH, CHUNK, CHUNK)), max_size=30))
def test_whatever_the_order_and_the_repeats_the_first_write_of_a_chunk_stays(
    windows: list[Window],
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        cube = SpectralCube.create(f"{folder}/a.zarr", spec())
        first: dict[Window, float] = {}
        for number, window in enumerate(windows):
            shape = (window.height, window.width)
            cube.write(
                window, np.full((31, *shape), number / 100, np.float32), np.ones(shape, bool)
            )
            first.setdefault(window, number / 100)
        assert len(cube.finished()) == len(first)
        for window, value in first.items():
            np.testing.assert_allclose(cube.read(window)[0], value, atol=1e-6)


def test_a_chunk_is_written_once_even_when_empty(tmp_path: Path, zarr_format: int) -> None:
    cube = SpectralCube.create(str(tmp_path / "a.zarr"), spec(zarr_format=zarr_format))
    corner, wider = Window(32, 32, 8, 18), Window(32, 0, 8, 50)
    cube.write(corner, np.zeros((31, 8, 18), np.float32), np.zeros((8, 18), bool))
    assert cube.finished() == {(2, 2), (2, 3)}
    cube.write(wider, np.ones((31, 8, 50), np.float32), np.ones((8, 50), bool))
    assert SpectralCube.open(str(tmp_path / "a.zarr")).finished() == {(2, j) for j in range(4)}
    assert not cube.read(corner)[1].any()
    assert cube.read(Window(32, 0, 8, 32))[1].all()


def test_sealing_needs_every_chunk_and_deletes_stray_files(
    tmp_path: Path, zarr_format: int
) -> None:
    root = tmp_path / "a.zarr"
    cube = SpectralCube.create(str(root), spec(zarr_format=zarr_format))
    stray = root / "reflectance" / "0.0.8d3f.partial"
    stray.write_bytes(b"half")
    with pytest.raises(FileNotFoundError, match="12 of 12 missing"):
        cube.seal()
    assert not cube.sealed
    values, valid = content()
    cube.write(WHOLE, values, valid)
    cube.seal()
    assert cube.sealed
    assert not stray.exists()


def test_creation_needs_an_empty_place_and_opening_a_cube(tmp_path: Path) -> None:
    uri = str(tmp_path / "a.zarr")
    with pytest.raises(Refusal, match="exists"):
        SpectralCube.open(uri)
    assert not (tmp_path / "a.zarr").exists()
    SpectralCube.create(uri, spec())
    with pytest.raises(Refusal, match="empty"):
        SpectralCube.create(uri, spec())
    fsspec.filesystem("file").rm_file(f"{uri}/.zattrs")
    with pytest.raises(Refusal, match="says so"):
        SpectralCube.open(uri)
    for left in ("r2h", "r2h_begun"):
        Path(f"{uri}/.zattrs").write_text(f'{{"{left}": {{}}}}')
        Path(f"{uri}/.zgroup").unlink(missing_ok=True)
        with pytest.raises(Refusal, match=r"wholly created.*--overwrite"):
            SpectralCube.open(uri)


@pytest.mark.parametrize(
    "changes",
    [{"height": 0}, {"wavelengths": ()}, {"wavelengths": (500.0, 400.0)}, {"chunk": 0},
     {"dtype": "int8"}, {"zarr_format": 1}],
)  # fmt: skip
def test_what_cannot_be_stored_is_refused(changes: Any) -> None:
    with pytest.raises(Refusal):
        spec(**changes)


def test_what_is_opened_to_read_is_not_written(tmp_path: Path, zarr_format: int) -> None:
    uri = str(tmp_path / "a.zarr")
    made(uri, zarr_format=zarr_format)
    before = stored(tmp_path)
    values, valid = content()
    cube, first = SpectralCube.open(uri), Window(0, 0, CHUNK, CHUNK)
    with pytest.raises(ValueError, match="read-only"):
        cube.companion.coarsen(first, cube.raw(first))
    cube.drop(0, 0)
    with pytest.raises(ValueError, match="read-only"):
        cube.write(WHOLE, values, valid)
    after = stored(tmp_path)
    assert len(before) == len(after) + 1
    assert after.items() <= before.items()
    SpectralCube.open(uri, "r+").write(WHOLE, values, valid)
    assert stored(tmp_path) == before


@pytest.mark.parametrize("place", ["{}/a.zarr", "{}/new\nline[1].zarr", "memory://{}/a.zarr"])
def test_rows_are_listed_by_themselves(tmp_path: Path, zarr_format: int, place: str) -> None:
    about = spec(height=12 * CHUNK, width=2 * CHUNK, zarr_format=zarr_format)
    cube = SpectralCube.create(place.format(tmp_path), about)
    chunks = [(0, 1), (1, 0), (1, 1), (10, 0), (11, 1)]
    for row, col in chunks:
        part = Window(row * CHUNK, col * CHUNK, CHUNK, CHUNK)
        cube.write(part, np.ones((31, CHUNK, CHUNK), np.float32), np.ones((CHUNK, CHUNK), bool))
    assert cube.finished() == set(chunks)
    for rows in ([], [1], [2], [0, 10, 11]):
        assert cube.finished(rows) == {(row, col) for row, col in chunks if row in rows}
