"""The STAC item: valid, where it is, and of the files that are there."""

import hashlib
import json
from dataclasses import replace
from urllib.parse import unquote, urljoin, urlsplit

import numpy as np
import pystac
import pytest
import shapely
from pystac.extensions.file import FileExtension
from pystac.extensions.projection import ProjectionExtension
from rasterio.crs import CRS
from rasterio.transform import Affine
from rasterio.warp import transform as warp
from rasterio.warp import transform_bounds
from shapely.geometry import shape

from pipeline.footprint import bounds, footprint
from pipeline.labels import Labels
from pipeline.moment import given
from pipeline.sidecar import publish, write_sidecars
from pipeline.stac import EXTENSIONS, item
from tests.cubes import HEIGHT, PLACE, PLACES, UTM, WAVELENGTHS, WIDTH, make

WHEN = given("2026-07-01T10:30:00Z")


def of(tmp_path, name="a.zarr", **options):
    """The written item of a small cube."""
    cube = make(tmp_path / name, **options)
    write_sidecars(cube)
    return pystac.Item.from_file(publish(cube, WHEN))


def labels(tmp_path, **changes):
    cube = make(tmp_path / "a.zarr", seal=False)
    return replace(Labels.of(cube), **changes)


@pytest.mark.parametrize("where", PLACES)
def test_the_item_is_valid_stac(tmp_path, where):
    found = of(tmp_path, **PLACES[where])
    # The schemas of the extensions are not shipped with pystac, and nothing is fetched here.
    found.stac_extensions.clear()
    assert found.validate() == [
        "https://schemas.stacspec.org/v1.1.0/item-spec/json-schema/item.json"
    ]
    assert found.datetime == WHEN.utc
    assert (found.geometry is None) == (where in ("nowhere", "no CRS"))


def test_the_item_says_where(tmp_path):
    found = of(tmp_path)
    cube = ProjectionExtension.ext(found.assets["cube"])
    assert (cube.shape, cube.transform) == ([HEIGHT, WIDTH], list(PLACE)[:6])
    whole = ProjectionExtension.ext(found)
    assert whole.code == "EPSG:32632"
    assert CRS.from_wkt(whole.wkt2) == CRS.from_wkt(UTM)
    right, bottom = PLACE @ (WIDTH, HEIGHT)
    bounds = transform_bounds(UTM, "OGC:CRS84", PLACE.c, bottom, right, PLACE.f)
    np.testing.assert_allclose(found.bbox, bounds, rtol=0, atol=2e-7)
    ring = shape(found.geometry)
    assert ring.exterior.is_ccw
    np.testing.assert_allclose(ring.bounds, bounds, rtol=0, atol=2e-7)


def test_the_item_says_what_the_values_are(tmp_path):
    for dtype, nodata, scale in (("uint16", 65535, 1e-4), ("float32", "nan", 1)):
        bands = of(tmp_path, f"{dtype}.zarr", dtype=dtype).assets["cube"].extra_fields["bands"]
        assert [band["name"] for band in bands] == [f"{nm:g} nm" for nm in WAVELENGTHS]
        centres = [1000 * band["eo:center_wavelength"] for band in bands]
        np.testing.assert_allclose(centres, WAVELENGTHS)
        for band in bands:
            assert (band["nodata"], band["raster:scale"]) == (nodata, scale)
            assert band["data_type"] == dtype
            assert band["eo:full_width_half_max"] == pytest.approx(0.01)
            assert "not measured" in band["description"]


def test_every_file_is_there_and_has_its_checksum(tmp_path):
    found = of(tmp_path)
    (tmp_path / "a.run.json").write_text("{}")
    checked = set()
    for name, asset in found.assets.items():
        path = tmp_path / asset.href
        assert path.exists()
        file = FileExtension.ext(asset)
        if file.checksum:
            checked.add(name)
            assert file.checksum == "1220" + hashlib.sha256(path.read_bytes()).hexdigest()
            assert file.size == path.stat().st_size
    assert checked == {"cube-metadata", "vrt", "quicklook"}


def test_hrefs_are_uris(tmp_path):
    cube = make(tmp_path / "b c#1%25.zarr")
    write_sidecars(cube)
    publish(cube, WHEN)
    (tmp_path / "b c#1%25.run.json").write_text("{}")
    for asset in json.loads((tmp_path / "b c#1%25.json").read_text())["assets"].values():
        link = urlsplit(urljoin("https://example.org/item.json", asset["href"]))
        assert link.query == link.fragment == ""
        assert (tmp_path / unquote(link.path).lstrip("/")).exists(), asset["href"]


def test_the_item_says_how_it_was_made(tmp_path):
    properties = of(tmp_path).properties
    assert "estimated from RGB, not measured" in properties["description"]
    assert "a <b> & 'c'.tif" in properties["processing:lineage"]
    assert properties["processing:expression"]["expression"]["model"] == "toy"


def test_the_fields_are_of_the_extensions_it_names(tmp_path):
    found = json.loads((tmp_path / of(tmp_path).get_self_href()).read_text())
    prefixes = {"proj": "projection"}
    for part in (found["properties"], *found["assets"].values()):
        for field in part:
            prefix, colon, _ = field.partition(":")
            assert not colon or prefixes.get(prefix, prefix) in EXTENSIONS


def test_the_quicklooks_place_is_of_its_own_pixels(tmp_path):
    facts = labels(tmp_path)
    for name in ("a.vrt", "a.quicklook.tif", "a.zarr/.zmetadata"):
        (tmp_path / name).write_text("")
    found = item(str(tmp_path / "a.zarr"), facts, WHEN, 4)["assets"]["quicklook"]
    wanted = facts.transform @ Affine.scale(4)
    assert found["proj:transform"] == list(wanted)[:6]
    assert found["proj:shape"] == [-(-facts.height // 4), -(-facts.width // 4)]


def test_a_footprint_over_the_antimeridian_is_cut_there(tmp_path):
    facts = labels(
        tmp_path,
        transform=Affine(500, 0, 830000, 0, -500, 500000),
        crs_wkt=CRS.from_epsg(32660).to_wkt(),
    )
    assert footprint(facts)["type"] == "MultiPolygon"
    assert all(part.exterior.is_ccw for part in shape(footprint(facts)).geoms)
    (tmp_path / "a.vrt").write_text("")
    (tmp_path / "a.quicklook.tif").write_text("")
    (tmp_path / "a.zarr" / ".zmetadata").write_text("")
    west, south, east, north = item(str(tmp_path / "a.zarr"), facts, WHEN, 1)["bbox"]
    assert 179 < west < 180 > -179 > east > -180
    assert 4 < south < north < 5


@pytest.mark.parametrize(
    ("west", "across", "boxes"),
    [
        (179.5, 1, [(179.5, 180), (-180, -179.5)]),
        (-180.5, 1, [(179.5, 180), (-180, -179.5)]),
        (190, 1, [(-170, -169)]),
        (-190, 10, [(170, 180)]),
        (180, 1, [(-180, -179)]),
        (0, 300, [(0, 180), (-180, -60)]),
    ],
)
@pytest.mark.parametrize("turn", [0, 20])
def test_longitudes_that_count_on_beyond_180_degrees_are_cut_there(
    tmp_path, west, across, boxes, turn
):
    step = across / 50
    place = Affine(step, 0, west, 0, -step / 10, 10) @ Affine.rotation(turn)
    crs_wkt = CRS.from_epsg(4326).to_wkt()
    found = shape(footprint(labels(tmp_path, transform=place, crs_wkt=crs_wkt)))
    assert found.is_valid
    assert found.area == pytest.approx(across * 40 * step / 10, rel=1e-4)
    parts = list(getattr(found, "geoms", [found]))
    assert all(part.exterior.is_ccw for part in parts)
    if not turn:
        assert [part.bounds[::2] for part in parts] == [pytest.approx(box) for box in boxes]


@pytest.mark.parametrize(
    "changes",
    [
        {"crs_wkt": 'LOCAL_CS["site",UNIT["metre",1]]'},
        {"crs_wkt": CRS.from_epsg(4978).to_wkt()},
        {"transform": Affine(1e6, 0, 0, 0, -1e6, 0), "crs_wkt": CRS.from_epsg(4326).to_wkt()},
    ],
)
def test_what_is_not_on_earth_has_no_footprint(tmp_path, changes):
    assert footprint(labels(tmp_path, **changes)) is None


def test_a_footprint_of_grads_from_paris_is_in_degrees_from_greenwich(tmp_path):
    # 52 grads north, 2 east of Paris, whose meridian is 2.5969213 grads.
    facts = labels(tmp_path, transform=Affine(1e-4, 0, 2, 0, -1e-4, 52),
                   crs_wkt=CRS.from_epsg(4807).to_wkt())  # fmt: skip
    west, _, _, north = shape(footprint(facts)).bounds
    # NTF is some hundred metres from WGS 84.
    assert (west, north) == pytest.approx((0.9 * 4.5969213, 0.9 * 52), abs=2e-3)


def test_a_mirrored_footprint_still_goes_counterclockwise(tmp_path):
    south_up = labels(tmp_path, transform=Affine(0.5, 0, 528000, 0, 0.5, 4978000))
    assert shape(footprint(south_up)).exterior.is_ccw


@pytest.mark.parametrize("code", [3857, 3395])
def test_a_footprint_on_a_cylinder_is_cut_at_180_degrees(tmp_path, code):
    place = Affine(10, 0, 20037508.34 - 200, 0, -10, 1000)
    found = footprint(labels(tmp_path, transform=place, crs_wkt=CRS.from_epsg(code).to_wkt()))
    parts = shape(found).geoms
    assert [round(part.bounds[0]) for part in parts] == [180, -180]
    assert sum(part.bounds[2] - part.bounds[0] for part in parts) < 0.01


@pytest.mark.parametrize(
    ("nm", "bands"),
    [
        (tuple(range(400, 701, 10)), (26, 16, 6)),
        ((442.7, 492.4, 559.8, 664.6), (4, 3, 2)),  # Sentinel-2: B1 is for haze
        ((412.0, 443, 466, 488, 547, 645, 678), (6, 5, 3)),
        ((600.0,), (1, 1, 1)),
    ],
)
def test_red_green_and_blue_are_bands_of_these_colours(tmp_path, nm, bands):
    assert labels(tmp_path, wavelengths=nm).rgb == bands


@pytest.mark.parametrize("code", [3413, 6931, 6932, 3571, 5041, 32761, 3032, 5936, 32633, 3031])
@pytest.mark.parametrize("off", [0, 0.3])
def test_a_footprint_around_a_pole_holds_what_the_scene_does(tmp_path, code, off):
    crs = CRS.from_epsg(code)
    south = CRS.from_epsg(code).to_dict().get("lat_0", 90) < 0 or code in (6932, 32761, 3031, 3032)
    x, y = (v[0] for v in warp("OGC:CRS84", crs, [0], [-90 if south else 90]))
    size = 1e6
    place = Affine(size / 50, 0, x - size * (0.5 + off), 0, -size / 40, y + size * (0.5 + off))
    facts = labels(tmp_path, transform=place, crs_wkt=crs.to_wkt())
    found = footprint(facts)
    random = np.random.default_rng(0)
    points = np.stack(place @ (50 * random.random(2000), 40 * random.random(2000)), axis=1)
    seen = shapely.points(*warp(crs, "OGC:CRS84", *points.T))
    assert shape(found).is_valid
    assert shapely.contains(shape(found), seen).mean() > 0.97
    assert bounds(found)[:3:2] == [-180, 180]
    assert bounds(found)[1 if south else 3] == (-90 if south else 90)
    # And not more: as large on the pole's plane as the scene.
    assert shape(found).area < 360 * 10


@pytest.mark.parametrize(
    ("west", "step", "height", "north"),
    [
        (0, 7.2, 4.5, 90),
        (-190, 7.2, 4.5, 90),
        (20, 7.2, 4.5, 90),
        (-180.0000001, 7.2, 4.5, 90),
        (-182.5, 7.3, 4.5, 90),
        (-180, 7.2, 4.6, 92),
    ],
)
def test_a_footprint_of_the_whole_earth_is_all_of_it(tmp_path, west, step, height, north):
    place = Affine(step, 0, west, 0, -height, north)
    found = footprint(labels(tmp_path, transform=place, crs_wkt=CRS.from_epsg(4326).to_wkt()))
    assert bounds(found) == pytest.approx([-180, -90, 180, 90], abs=3)
    assert bounds(found)[:3:2] == [-180, 180]
    assert shape(found).area == pytest.approx(360 * 180, rel=0.02)
