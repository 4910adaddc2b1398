"""Parts of a scene: boxes and polygons, against plain geometry."""

import json
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS
from rasterio.warp import transform

from pipeline.area import Area, box_window, load_area
from pipeline.errors import Refusal
from pipeline.grid import Window
from tests.toys import ArrayScene

WGS84 = CRS.from_epsg(4326).to_wkt()


def placed(transform, height=60, width=50, crs_wkt=WGS84):
    scene = ArrayScene(np.zeros((3, height, width), np.uint8), np.ones((height, width), bool))
    scene.transform, scene.crs_wkt = transform, crs_wkt
    return scene


def square(left, bottom, right, top):
    ring = [(left, bottom), (right, bottom), (right, top), (left, top), (left, bottom)]
    return {"type": "Polygon", "coordinates": [ring]}


@pytest.mark.parametrize("step", [-0.5, 0.5])
@pytest.mark.parametrize("across", [-0.5, 0.5])
def test_a_box_on_pixel_edges_is_those_pixels(step, across):
    scene = placed(Affine(across, 0, 100, 0, step, 40))
    rows = sorted((40 + step * 7, 40 + step * 17))
    cols = sorted((100 + across * 10, 100 + across * 20))
    assert box_window(scene, (cols[0], rows[0], cols[1], rows[1])) == Window(7, 10, 10, 10)


def test_a_box_takes_every_pixel_it_touches_and_stays_inside():
    scene = placed(Affine(1, 0, 0, 0, -1, 60))
    assert box_window(scene, (2.5, 50.5, 4.5, 57.5)) == Window(2, 2, 8, 3)
    for most in (999, 1e308):
        assert box_window(scene, (-most, -most, most, most)) == Window(0, 0, 60, 50)


@pytest.mark.parametrize(
    ("transform", "box", "words"),
    [
        (None, (0, 0, 1, 1), "georeferenced"),
        (Affine(1, 0.1, 0, 0.1, -1, 0), (0, 0, 1, 1), "rotated"),
        (Affine(1, 0, 0, 0, -1, 60), (5, 5, 1, 9), "left, bottom, right, top"),
        (Affine(1, 0, 0, 0, -1, 60), (0, 0, np.inf, np.inf), "left, bottom, right, top"),
        (Affine(1, 0, 0, 0, -1, 60), (70, 0, 80, 9), "touch the scene"),
    ],
)
def test_boxes_that_are_refused(transform, box, words):
    with pytest.raises(Refusal, match=words):
        box_window(placed(transform), box)


def test_an_area_is_the_pixels_whose_centres_are_in_it():
    transform = Affine(0.1, 0, 10, 0, -0.1, 50)
    box = (10.52, 45.03, 13.07, 48.88)
    area = Area((square(*box),), transform, Window(0, 0, 60, 50))
    x, y = 10.05 + 0.1 * np.arange(50), 49.95 - 0.1 * np.arange(60)[:, None]
    expected = (x > 10.52) & (x < 13.07) & (y > 45.03) & (y < 48.88)
    assert (area(Window(0, 0, 60, 50)) == expected).all()


@given(st.integers(0, 900), st.integers(0, 900), st.integers(1, 300), st.integers(1, 300))
def test_windows_of_an_area_agree_even_on_its_edges(row, col, height, width):
    # Edges through pixel centres, at a pixel size that is not exact in binary.
    transform = Affine(0.1, 0, -120.7, 0, -0.1, 50)
    left, top = transform @ (100.5, 30.5)
    right, bottom = transform @ (800.5, 930.5)
    box = (left, bottom, right, top)
    area = Area((square(*box),), transform, Window(0, 0, 1200, 1200))
    whole = area(Window(0, 0, 1200, 1200))
    assert (area(Window(row, col, height, width)) == whole[row:, col:][:height, :width]).all()


@pytest.mark.parametrize("coding", ["utf-8", "utf-8-sig"])
def test_a_geojson_file_in_the_scenes_crs(tmp_path, coding):
    path = tmp_path / "area.geojson"
    shape = square(10.5, 46, 12, 48)
    feature = {"type": "Feature", "properties": {"name": "Grün"}, "geometry": shape}
    text = json.dumps({"type": "FeatureCollection", "features": [feature]}, ensure_ascii=False)
    path.write_text(text, coding)
    area = load_area(placed(Affine(0.1, 0, 10, 0, -0.1, 50)), str(path))
    assert area.window == Window(20, 5, 20, 15)


def cut_at_180(west, south, east, north):
    """A box in longitudes that may go beyond 180, as RFC 7946 wants it: two parts."""
    boxes = ((west, 180, 0), (180, east, -360)) if east > 180 else ((west, east, 0),)
    parts = [square(a + by, south, b + by, north)["coordinates"] for a, b, by in boxes]
    return {"type": "MultiPolygon", "coordinates": parts}


@pytest.mark.parametrize("by", [0, -360])
@pytest.mark.parametrize("across", [0.1, -0.1])
@pytest.mark.parametrize("box", [(179, 182), (177, 179.5), (180, 181), (179.03, 190)])
def test_an_area_cut_at_180_degrees_is_met_where_the_scene_goes_on(tmp_path, by, across, box):
    west, east = box
    place = Affine(across, 0, (178 if across > 0 else 183) + by, 0, -0.1, 3)
    scene, path = placed(place), tmp_path / "area.geojson"
    path.write_text(json.dumps(cut_at_180(west, 0, east, 1)))
    area = load_area(scene, str(path))
    lon = (place @ (np.arange(50) + 0.5, 0))[0] - by
    lat = 2.95 - 0.1 * np.arange(60)[:, None]
    expected = (lon > west) & (lon < east) & (lat > 0) & (lat < 1)
    assert (area(Window(0, 0, 60, 50)) == expected).all()
    cols = np.flatnonzero(expected.any(axis=0))
    assert area.window == Window(20, cols[0], 10, cols[-1] - cols[0] + 1)


def test_an_area_at_the_edge_of_the_world_does_not_reach_around_it(tmp_path):
    scene, path = placed(Affine(7.2000001, 0, -180, 0, -3, 90)), tmp_path / "area.geojson"
    path.write_text(json.dumps(square(-180, -30, -144, 30)))
    area = load_area(scene, str(path))
    assert area.window == Window(20, 0, 20, 5)
    assert area.polygons[0]["type"] == "Polygon"


def named(name):
    return {"type": "name", "properties": {"name": name}}


OTHERS = [named(name) for name in ("EPSG:3857", "urn:ogc:def:crs:EPSG::4267", "EPSG:14326", "4326")]
OTHERS += [named(None), {"type": "link", "properties": {"href": "crs.prj"}}, {}, "EPSG:25832", 1]


@pytest.mark.parametrize("crs", OTHERS, ids=str)
@pytest.mark.parametrize("at", ["file", "feature", "geometry"])
def test_an_area_in_another_crs_is_refused(tmp_path, crs, at):
    shape = square(10.5, 46, 12, 48) | ({"crs": crs} if at == "geometry" else {})
    feature = {"type": "Feature", "geometry": shape} | ({"crs": crs} if at == "feature" else {})
    top = {"type": "FeatureCollection", "features": [feature]} | (
        {"crs": crs} if at == "file" else {}
    )
    path = tmp_path / "area.geojson"
    path.write_text(json.dumps(top))
    with pytest.raises(Refusal, match=r"WGS 84 .*ogr2ogr -t_srs EPSG:4326"):
        load_area(placed(Affine(0.1, 0, 10, 0, -0.1, 50)), str(path))


@pytest.mark.parametrize(
    "name",
    [
        "urn:ogc:def:crs:OGC:1.3:CRS84",
        "urn:ogc:def:crs:OGC::CRS84",
        "OGC:CRS84",
        "CRS84",
        "http://www.opengis.net/def/crs/OGC/1.3/CRS84",
        "urn:ogc:def:crs:EPSG::4326",
        "EPSG:4326",
        "epsg:4326",
        "https://www.opengis.net/def/crs/EPSG/0/4326",
        None,
    ],
)
def test_an_area_may_say_that_it_is_in_wgs_84(tmp_path, name):
    path = tmp_path / "area.geojson"
    crs = named(name) if name else None
    path.write_text(json.dumps(square(10.5, 46, 12, 48) | {"crs": crs}))
    area = load_area(placed(Affine(0.1, 0, 10, 0, -0.1, 50)), str(path))
    assert area.window == Window(20, 5, 20, 15)


WIDE = {
    "UTM": (32632, Affine(0.5, 0, 380000, 0, -0.5, 5220000)),
    "polar": (3413, Affine(100, 0, -2.1e6, 0, -100, 2.9e6)),
    "feet": (2263, Affine(2, 0, 8e5, 0, -2, 3e5)),
    "degrees": (4326, Affine(1e-4, 0, 5, 0, -1e-4, 50)),
}
SIDE = 40_000
SHARES = st.tuples(st.floats(0.1, 0.4), st.floats(0.6, 0.9))


@dataclass
class Sheet:
    """A scene of which nothing is read."""

    transform: Affine
    crs_wkt: str
    height: int = SIDE
    width: int = SIDE


@given(st.sampled_from(sorted(WIDE)), SHARES, SHARES)
@settings(max_examples=30)
def test_edges_that_bend_in_the_scene_are_bent(name, cols, rows):
    code, place = WIDE[name]
    crs = CRS.from_epsg(code)
    corners = [place @ (col * SIDE, row * SIDE) for col in cols for row in rows]
    lon, lat = transform(crs, "OGC:CRS84", *zip(*corners, strict=True))
    whole = shapely.geometry.shape(square(min(lon), min(lat), max(lon), max(lat)))
    # An edge of more than half the Earth may go either way.
    shape = shapely.geometry.mapping(whole.segmentize(170))
    with TemporaryDirectory() as folder:
        path = Path(folder, "area.geojson")
        path.write_text(json.dumps(shape))
        area = load_area(Sheet(place, crs.to_wkt()), str(path))
    edge = shapely.transform(
        shapely.geometry.shape(area.polygons[0]).exterior,
        lambda points: np.array([~place @ tuple(point) for point in points]),
    )
    along = shapely.geometry.shape(shape).exterior.segmentize(max(np.ptp(lon), np.ptp(lat)) / 300)
    xs, ys = transform("OGC:CRS84", crs, *along.xy)
    pixels = shapely.points([~place @ point for point in zip(xs, ys, strict=True)])
    assert shapely.distance(pixels, edge).max() < 0.02
    left, top, right, bottom = np.clip(shapely.total_bounds(pixels), 0, SIDE)
    window = area.window
    assert window.col <= left + 0.02 <= right - 0.02 <= window.col_stop
    assert window.row <= top + 0.02 <= bottom - 0.02 <= window.row_stop


def test_an_edge_that_jumps_is_refused(tmp_path):
    path = tmp_path / "area.geojson"
    path.write_text(json.dumps(square(-170, -80, 5, 80)))
    torn = Sheet(Affine(100, 0, -2e6, 0, -100, 2e6), CRS.from_string("+proj=igh").to_wkt())
    with pytest.raises(Refusal, match="jumps"):
        load_area(torn, str(path))


def test_an_area_without_a_pixels_centre_is_refused(tmp_path):
    path = tmp_path / "area.geojson"
    scene = placed(Affine(0.1, 0, 10, 0, -0.1, 50))
    path.write_text(json.dumps(square(10.51, 48.01, 10.54, 48.04)))
    with pytest.raises(Refusal, match="a pixel's centre"):
        load_area(scene, str(path))
    path.write_text(json.dumps(square(10.51, 48.01, 10.56, 48.06)))
    area = load_area(scene, str(path))
    assert area(area.window).sum() == 1


def test_an_edge_that_does_not_bend_gets_no_points(tmp_path):
    path = tmp_path / "area.geojson"
    path.write_text(json.dumps(square(10.5, 46, 12, 48)))
    area = load_area(placed(Affine(0.1, 0, 10, 0, -0.1, 50)), str(path))
    assert len(area.polygons[0]["coordinates"][0]) == 5


@pytest.mark.parametrize(
    "text",
    [
        "not json",
        '{"type": "Point", "coordinates": [10, 46]}',
        '{"type": "FeatureCollection", "features": []}',
        '{"type": "Polygon", "coordinates": []}',
        '{"type": "Polygon", "coordinates": [[]]}',
        '{"type": "Polygon", "coordinates": [[["a", "b"], ["c", "d"], ["a", "b"]]]}',
        json.dumps(square(350000, 4060000, 350100, 4060100)),
        '{"type": "Polygon", "coordinates": [[[10, 46], [11, 46], [11, 47], [10, 47]]]}',
    ],
)
def test_files_that_are_no_area_are_refused(tmp_path, text):
    path = tmp_path / "area.geojson"
    path.write_text(text)
    with pytest.raises(Refusal, match="GeoJSON"):
        load_area(placed(Affine(0.1, 0, 10, 0, -0.1, 50)), str(path))


def test_an_area_needs_a_crs(tmp_path):
    with pytest.raises(Refusal, match="CRS"):
        load_area(placed(Affine(0.1, 0, 10, 0, -0.1, 50), crs_wkt=None), "any.geojson")


ORTHO = Affine(0.1, 0, 10, 0, -0.1, 50)


def stored(tmp_path, shape):
    path = tmp_path / "area.geojson"
    path.write_text(json.dumps(shape))
    return str(path)


def test_an_edge_that_may_go_either_way_around_the_earth_is_refused(tmp_path):
    """Most tools write so what crosses 180 degrees; taken as it stands it is all the rest."""
    scene = placed(Affine(0.01, 0, 179.9, 0, -0.01, 10))
    with pytest.raises(Refusal, match="crosses 180 degrees is cut there"):
        load_area(scene, stored(tmp_path, square(179.95, 9.8, -179.95, 9.9)))
    whole = load_area(placed(ORTHO), stored(tmp_path, square(-180, -90, 180, 90)))
    assert whole.window == Window(0, 0, 60, 50)


def test_what_has_no_polygon_is_passed_over(tmp_path):
    shapes = [
        square(10.5, 46, 12, 48),
        {"type": "Polygon", "coordinates": []},
        {"type": "MultiPolygon", "coordinates": [[], square(13, 46, 14, 48)["coordinates"]]},
        None,
    ]
    features = [{"type": "Feature", "geometry": shape} for shape in shapes]
    collection = {"type": "FeatureCollection", "features": features}
    area = load_area(placed(ORTHO), stored(tmp_path, collection))
    assert area.window == Window(20, 5, 20, 35)
    for empty in (features[1], {"type": "FeatureCollection", "features": features[3:]}):
        with pytest.raises(Refusal, match="polygons in longitude and latitude"):
            load_area(placed(ORTHO), stored(tmp_path, empty))


@given(st.floats(-180, 180))
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_an_area_in_a_rotated_scene(tmp_path, turn):
    place = Affine.translation(12, 47) @ Affine.rotation(turn) @ Affine.scale(0.1, -0.1)
    place = place @ Affine.translation(-25, -30)
    box = (11.03, 46.02, 12.97, 48.04)
    area = load_area(placed(place), stored(tmp_path, square(*box)))
    cols, rows = np.meshgrid(np.arange(50) + 0.5, np.arange(60) + 0.5)
    x, y = place @ (cols, rows)
    inside = (x > box[0]) & (x < box[2]) & (y > box[1]) & (y < box[3])
    near = np.abs([x - box[0], x - box[2], y - box[1], y - box[3]]).min(axis=0) < 1e-9
    assert ((area(Window(0, 0, 60, 50)) == inside) | near).all()
    assert not area.cut


def test_what_lies_beyond_the_end_of_a_projection_is_not_lost(tmp_path):
    """Web Mercator ends at x = 20,037,508 m; what is east of it has no longitude of its own."""
    crs = CRS.from_epsg(3857).to_wkt()
    sheet = Sheet(Affine(10, 0, 20037400, 0, -10, 0), crs, 40, 40)
    for east in (180.001, 180.1):
        with pytest.raises(Refusal, match="within the scene's projection"):
            load_area(sheet, stored(tmp_path, cut_at_180(179.998, -1, east, 1)))
    # On this side nothing is lost, nor by a thousandth of a pixel that the sheet goes on.
    assert load_area(sheet, stored(tmp_path, square(179.998, -1, 180, 1))).window.width == 11
    edge = Sheet(Affine(10, 0, 20037508.34 - 399.99, 0, -10, 0), crs, 40, 40)
    assert load_area(edge, stored(tmp_path, square(179.99, -1, 180, 1))).window.width == 40


@pytest.mark.parametrize(
    ("crs", "half"),
    [("+proj=geos +h=35785831 +lon_0=0", 5.5e6), ("ESRI:54009", 1.8e7), ("ESRI:54030", 1.7e7)],
)
def test_a_scene_whose_corners_are_not_on_earth_has_areas(tmp_path, crs, half):
    place = Affine(half / 100, 0, -half, 0, -half / 100, half)
    sheet = Sheet(place, CRS.from_string(crs).to_wkt(), 200, 200)
    area = load_area(sheet, stored(tmp_path, square(5, 5, 20, 20)))
    assert area(area.window).any()


def test_how_well_a_datum_is_known_is_told(tmp_path):
    shape = stored(tmp_path, square(10.5, 46, 12, 48))
    assert load_area(placed(ORTHO), shape).blur == 0
    national = CRS.from_epsg(27700)
    x, y = transform("OGC:CRS84", national, [-1.5], [52.5])
    sheet = Sheet(Affine(0.25, 0, x[0], 0, -0.25, y[0]), national.to_wkt())
    area = load_area(sheet, stored(tmp_path, square(-1.6, 52.4, -1.4, 52.6)))
    assert area.blur >= 4
