"""Parts of a scene: boxes and polygons, against plain geometry."""

import json

import numpy as np
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from rasterio.crs import CRS

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
def test_a_box_on_pixel_edges_is_those_pixels(step):
    scene = placed(Affine(0.5, 0, 100, 0, step, 40))
    rows = sorted((40 + step * 7, 40 + step * 17))
    assert box_window(scene, (105, rows[0], 110, rows[1])) == Window(7, 10, 10, 10)


def test_a_box_takes_every_pixel_it_touches_and_stays_inside():
    scene = placed(Affine(1, 0, 0, 0, -1, 60))
    assert box_window(scene, (2.5, 50.5, 4.5, 57.5)) == Window(2, 2, 8, 3)
    assert box_window(scene, (-9, -9, 999, 999)) == Window(0, 0, 60, 50)


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
    area = Area((square(10.52, 45.03, 13.07, 48.88),), transform, Window(0, 0, 60, 50))
    x, y = 10.05 + 0.1 * np.arange(50), 49.95 - 0.1 * np.arange(60)[:, None]
    expected = (x > 10.52) & (x < 13.07) & (y > 45.03) & (y < 48.88)
    assert (area(Window(0, 0, 60, 50)) == expected).all()


@given(st.integers(0, 900), st.integers(0, 900), st.integers(1, 300), st.integers(1, 300))
def test_windows_of_an_area_agree_even_on_its_edges(row, col, height, width):
    # Edges through pixel centres, at a pixel size that is not exact in binary.
    transform = Affine(0.1, 0, -120.7, 0, -0.1, 50)
    left, top = transform @ (100.5, 30.5)
    right, bottom = transform @ (800.5, 930.5)
    area = Area((square(left, bottom, right, top),), transform, Window(0, 0, 1200, 1200))
    whole = area(Window(0, 0, 1200, 1200))
    assert (area(Window(row, col, height, width)) == whole[row:, col:][:height, :width]).all()


def test_a_geojson_file_in_the_scenes_crs(tmp_path):
    path = tmp_path / "area.geojson"
    shape = square(10.5, 46, 12, 48)
    feature = {"type": "Feature", "properties": {}, "geometry": shape}
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    area = load_area(placed(Affine(0.1, 0, 10, 0, -0.1, 50)), str(path))
    assert area.window == Window(20, 5, 20, 15)


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
