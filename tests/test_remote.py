"""Rasters on a web server and in fsspec's file systems, read as from disk, and how many bytes."""

import pickle
import re
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from types import SimpleNamespace

import fsspec
import numpy as np
import pytest
import rasterio
from affine import Affine

from pipeline import blocks, reach, recent, scene
from pipeline.colours import declared_colours
from pipeline.errors import Refusal
from pipeline.grid import TileGrid, Window
from pipeline.lock import locked
from pipeline.pages import look_at_head
from pipeline.remote import Source
from pipeline.scene import RasterScene
from pipeline.uri import gdal_path
from tests.faults.proxy import faulty
from tests.servers import sent, serving
from tests.toys import CAMERA, WAVELENGTHS, Toy, objects, stream

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
SIZE = 512
TRANSFORM = Affine(0.5, 0, 350000, 0, -0.5, 4060000)
PLACE = {"crs": 32632, "transform": TRANSFORM}


def pixels(count=3, size=SIZE):
    return np.random.default_rng(0).integers(1, 200, (count, size, size), np.uint8)


def save(path, values, **profile):
    count, height, width = values.shape
    size = {"count": count, "height": height, "width": width, "dtype": values.dtype}
    with rasterio.open(path, "w", **size, **profile) as file:
        file.write(values)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    cog = {"driver": "COG", "compress": "deflate", "overviews": "none", **PLACE}
    for side in (128, 256):
        save(folder / f"cog{side}.tif", pixels(), blocksize=side, **cog)
    save(folder / "small.tif", pixels()[:, :45, :50], **cog)
    save(folder / "flaky.tif", pixels(), blocksize=128, **cog)
    save(folder / "plain.tif", pixels(), driver="GTiff", nodata=7)
    four = pixels(4)
    four[0, :90], four[3, :90] = 7, 9
    save(folder / "four.tif", four, driver="GTiff", nodata=7, photometric="rgb")
    save(folder / "a.png", pixels(size=64), driver="PNG")
    save(folder / "a.jp2", pixels(size=64), driver="JP2OpenJPEG")
    masked = save(folder / "masked.tif", pixels(), driver="GTiff")
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False), rasterio.open(masked, "r+") as file:
        file.write_mask(np.arange(SIZE * SIZE).reshape(SIZE, SIZE) % 3 > 0)
    assert (folder / "masked.tif.msk").exists()
    (folder / "bad.vrt").write_text("<VRTDataset rasterXSize='1' rasterYSize='1'></VRTDataset>")
    (folder / "bad.tif").write_text("<VRTDataset rasterXSize='1' rasterYSize='1'></VRTDataset>")
    return folder


@pytest.fixture(scope="module")
def server(folder):
    with serving("files", folder) as address:
        yield address


@pytest.fixture(scope="module")
def memory(folder):
    files = fsspec.filesystem("memory")
    for path in folder.iterdir():
        files.pipe_file(f"/served/{path.name}", path.read_bytes())
    yield "memory://served"
    files.rm("/served", recursive=True)


NAMES = ["cog128.tif", "cog256.tif", "plain.tif", "four.tif", "a.png", "a.jp2"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("where", ["server", "memory"])
def test_a_remote_raster_reads_as_the_local_one(folder, request, where, name):
    near = RasterScene.open(str(folder / name))
    far = RasterScene.open(f"{request.getfixturevalue(where)}/{name}")
    windows = [Window(3, 5, 40, 50), Window(0, 0, 64, 64), Window(0, 0, near.height, near.width)]
    for window in windows:
        np.testing.assert_equal(far.read(window), near.read(window))
    again = pickle.loads(pickle.dumps(far))
    np.testing.assert_equal(again.read(windows[0]), near.read(windows[0]))
    assert (far.transform, far.crs_wkt) == (near.transform, near.crs_wkt)
    assert far.header["name"] == name
    far.close()


def test_a_mask_beside_a_remote_raster_is_read(folder, server):
    window = Window(5, 7, 90, 80)
    far = RasterScene.open(f"{server}/masked.tif").read(window)
    np.testing.assert_equal(far, RasterScene.open(str(folder / "masked.tif")).read(window))
    assert not far[1].all()


@pytest.mark.parametrize(
    ("beside", "kind"),
    [
        (".msk", "500"),
        (".aux.xml", "stall"),
        (".msk", "reset"),
        # By `make faults` alone.
        pytest.param(".aux.xml", "500", marks=pytest.mark.slow),
        pytest.param(".msk", "stall", marks=pytest.mark.slow),
        pytest.param(".aux.xml", "reset", marks=pytest.mark.slow),
    ],
)
def test_what_lies_beside_is_not_absent_for_being_out_of_reach(tmp_path, monkeypatch, kind, beside):
    monkeypatch.setattr(reach, "SILENCE", 2.0)
    monkeypatch.setattr(reach, "RETRIES", 0)
    values, whole = pixels(size=64), Window(0, 0, 64, 64)
    values[:, :9] = 9
    path = save(tmp_path / "a.tif", values, driver="GTiff")
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False), rasterio.open(path, "r+") as file:
        if beside == ".msk":
            file.write_mask(np.eye(64) > 0)
    if beside == ".aux.xml":
        bands = (f"<PAMRasterBand band='{i}'><NoDataValue>9</NoDataValue>" for i in (1, 2, 3))
        notes = "</PAMRasterBand>".join([*bands, "</PAMDataset>"])
        path.with_name("a.tif.aux.xml").write_text(f"<PAMDataset>{notes}")
    near = RasterScene.open(str(path)).read(whole)
    assert not near[1].all()
    with serving("files", tmp_path) as server, faulty(server) as proxy:
        proxy.fail([kind], rf"a\.tif\{beside}$", times=1)
        np.testing.assert_equal(RasterScene.open(f"{proxy.address}/a.tif").read(whole), near)
        assert proxy.seen()
        proxy.fail([kind], rf"a\.tif\{beside}$", times=10**6)
        with pytest.raises(ConnectionError, match=r"a\.tif is out of reach: .*beside"):
            RasterScene.open(f"{proxy.address}/./a.tif")


def test_behind_a_query_nothing_is_looked_for_beside_the_file(server):
    sent(server)
    RasterScene.open(f"{server}/plain.tif?signature=abc").read(Window(0, 0, 9, 9))
    assert all("abc " in asked for asked in sent(server)[1])


@pytest.mark.parametrize("name", ["bad.vrt", "bad.tif", "none.tif"])
@pytest.mark.parametrize("where", ["server", "memory"])
def test_what_is_no_image_is_refused_without_its_secrets(request, where, name):
    query = "?token=S3CRET" if where == "server" else ""
    with pytest.raises(Refusal, match=r"readable|reached") as refused:
        RasterScene.open(f"{request.getfixturevalue(where)}/{name}{query}")
    assert "S3CRET" not in str(refused.value)


@pytest.mark.parametrize("region", [Window(0, 0, 192, 320), Window(192, 64, 64, 256)], ids=str)
@pytest.mark.parametrize("side", [128, 256])
def test_a_region_fetches_the_blocks_it_touches_and_little_more(
    folder, server, tmp_path, side, region
):
    far = RasterScene.open(f"{server}/cog{side}.tif?{region.row}")
    grid = TileGrid(SIZE, SIZE, 64, 16)
    touched = {
        (row // side, col // side)
        for tile in map(grid.window, grid.covering(region))
        for row in range(tile.row, min(tile.row_stop, SIZE))
        for col in range(tile.col, min(tile.col_stop, SIZE))
    }
    with rasterio.open(folder / f"cog{side}.tif") as file:
        sizes = [
            int(file.get_tag_item(f"BLOCK_SIZE_{col}_{row}", "TIFF", bidx=1))
            for row, col in touched
        ]
    run = stream(tmp_path / "a.zarr", far, Toy(), grid=(64, 16), chunk=64, readers=3)
    sent(server)
    run.run(region)
    fetched, _ = sent(server)
    # A little of the first block came with the header.
    assert 0.95 * sum(sizes) <= fetched <= 1.25 * sum(sizes)


def test_threads_share_blocks_and_forget_the_oldest(folder, server, monkeypatch):
    monkeypatch.setattr(recent, "KEPT", 5 * 128 * 128 * 4)
    near, far = (RasterScene.open(f"{at}/cog128.tif") for at in (folder, server))
    places = [Window(r, c, 100, 120) for r in range(0, 400, 60) for c in range(0, 390, 70)]
    with ThreadPoolExecutor(4) as pool:
        for place, got in zip(places, pool.map(far.read, places), strict=True):
            np.testing.assert_equal(got, near.read(place))
    # Blocks on their way are not dropped: they go with the first question after they came.
    far.read(places[0])
    assert len(recent.recent._kept) <= 5


def test_rasters_share_what_is_kept(folder, server, monkeypatch):
    size = 128 * 128 * 4
    monkeypatch.setattr(recent, "KEPT", 5 * size)
    scenes = [RasterScene.open(f"{server}/cog128.tif?{n}") for n in range(6)]
    for far in scenes:
        far.read(Window(0, 0, 250, 250))
        held = [future.result() for future, _ in recent.recent._kept.values()]
        assert sum(values.nbytes + mask.nbytes for values, mask in held) <= 5 * size
    scenes[-1].close()
    assert len(recent.recent._kept) <= 1
    # One that is larger than all that is kept is kept all the same.
    monkeypatch.setattr(recent, "KEPT", 1)
    scenes[0].read(Window(0, 0, 20, 20))
    sent(server)
    for row in (20, 40):
        scenes[0].read(Window(row, 0, 20, 20))
    assert len(recent.recent._kept) == 1
    assert sent(server)[0] < 128 * 128  # its header, perhaps
    for far in scenes:
        far.close()
    assert recent.recent._bytes == len(recent.recent._kept) == 0


def test_memory_that_is_lacking_leaves_nobody_waiting(folder, server, monkeypatch):
    far = RasterScene.open(f"{server}/cog128.tif?lacking")
    reading, full = Event(), Event()

    class Lacking(np.ndarray):
        def copy(self, *_):
            raise MemoryError

    def read(*args):
        reading.set()
        full.wait(10)
        values, mask = plain(*args)
        return values.view(Lacking), mask

    plain = blocks.read_pixels
    monkeypatch.setattr(blocks, "read_pixels", read)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(far.read, Window(0, 0, 100, 100))
        reading.wait(10)
        second = pool.submit(far.read, Window(10, 10, 100, 100))
        full.set()
        for each in (first, second):
            with pytest.raises(MemoryError):
                each.result(10)
    monkeypatch.setattr(blocks, "read_pixels", plain)
    near = RasterScene.open(str(folder / "cog128.tif"))
    np.testing.assert_equal(far.read(Window(0, 0, 9, 9)), near.read(Window(0, 0, 9, 9)))


def test_a_read_that_fails_is_tried_again_and_counted(folder, server, monkeypatch):
    monkeypatch.setattr(reach.time, "sleep", lambda seconds: None)
    far, window = RasterScene.open(f"{server}/flaky.tif?key=S3CRET"), Window(130, 130, 200, 100)
    near, failures = RasterScene.open(str(folder / "flaky.tif")), []
    for _ in range(8):
        try:
            got = far.read(window)
            break
        except OSError as error:
            failures.append(str(error))
    np.testing.assert_equal(got, near.read(window))
    assert failures
    for said in failures:
        assert "flaky.tif" in said
        assert "S3CRET" not in said
    assert far.retries >= 2 * len(failures)


def test_an_answer_that_is_cut_short_is_not_kept(folder, server):
    near, window = RasterScene.open(str(folder / "small.tif")), Window(0, 0, 45, 50)
    with faulty(server) as proxy:
        proxy.fail(["cut"], r"^GET /small\.tif", times=1)
        far = RasterScene.open(f"{proxy.address}/small.tif")
        np.testing.assert_equal(far.read(window), near.read(window))
        assert sum(proxy.seen().values()) == 1
    assert far.retries == 1


def test_a_server_that_was_busy_is_asked_again_by_gdal(folder, server):
    near, window = RasterScene.open(str(folder / "cog128.tif")), Window(130, 130, 200, 100)
    with faulty(server) as proxy:
        far = RasterScene.open(f"{proxy.address}/cog128.tif")
        proxy.fail(["503"], r"^GET /cog128\.tif", times=3)
        np.testing.assert_equal(far.read(window), near.read(window))
        assert sum(proxy.seen().values()) == 3
    # No try of the whole was lost by it, of which there are three.
    assert far.retries == 0


@pytest.mark.parametrize("mask", [False, True])
def test_a_raster_that_was_replaced_is_read_anew_by_the_next_job(tmp_path, mask):
    """GDAL keeps what it read of a remote file for as long as the process lives."""
    name, whole = tmp_path / "a.tif", Window(0, 0, 64, 64)
    east = {"crs": 32632, "transform": Affine(0.5, 0, 360000, 0, -0.5, 4060000)}
    first, then = pixels(size=64), pixels(size=64)[:, ::-1]
    with serving("files", tmp_path) as server:
        save(name, first, driver="GTiff", blockxsize=16, blockysize=16, tiled=True, **PLACE)
        before = RasterScene.open(f"{server}/a.tif")
        np.testing.assert_equal(before.read(whole)[0], first)
        save(name, then, driver="GTiff", blockxsize=16, blockysize=16, tiled=True, **east)
        if mask:
            with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False), rasterio.open(name, "r+") as file:
                file.write_mask(np.eye(64) > 0)
        after = RasterScene.open(f"{server}/a.tif")
        assert after.transform == east["transform"]
        np.testing.assert_equal(after.read(whole), RasterScene.open(str(name)).read(whole))


def test_a_server_that_takes_no_files_is_no_place_for_a_cube(tmp_path):
    class Web(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Web, directory=str(tmp_path))) as web:
        Thread(target=web.serve_forever).start()
        try:
            uri = f"http://127.0.0.1:{web.server_port}/a.zarr"
            with pytest.raises(Refusal, match="Unsupported method"), locked(uri):
                pass
        finally:
            web.shutdown()


@pytest.mark.parametrize("driver", ["PNG", "JPEG"])
@pytest.mark.parametrize("far", [False, True])
def test_a_large_png_or_jpeg_is_copied_into_tiles_once(
    folder, tmp_path, server, monkeypatch, driver, far
):
    place = tmp_path / "scratch"
    place.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(place))
    path = folder / f"large{driver}"
    save(path, pixels(4 if driver == "PNG" else 3), driver=driver)
    expected = RasterScene.open(str(path))
    monkeypatch.setattr(scene, "LARGE", 1e5)
    opened = RasterScene.open(f"{server}/{path.name}" if far else str(path))
    assert not list(place.iterdir())
    for window in (Window(300, 10, 100, 90), Window(0, 0, SIZE, SIZE)):
        np.testing.assert_equal(opened.read(window), expected.read(window))
    assert len([path for path in place.rglob("*") if path.is_file()]) == 1
    assert far or opened.header == expected.header
    del opened
    assert not list(place.iterdir())


@pytest.mark.parametrize("driver", ["PNG", "JPEG"])
def test_a_copy_has_the_nodata_of_each_band(tmp_path, monkeypatch, driver):
    path, whole = tmp_path / "a", Window(0, 0, 64, 64)
    save(path, pixels(size=64), driver=driver)
    bands = "".join(
        f'<PAMRasterBand band="{band}"><NoDataValue>{value}</NoDataValue></PAMRasterBand>'
        for band, value in ((1, 7), (2, 9))
    )
    Path(f"{path}.aux.xml").write_text(f"<PAMDataset>{bands}</PAMDataset>")
    values, known = RasterScene.open(str(path)).read(whole)
    np.testing.assert_equal(known, (values[0] != 7) & (values[1] != 9))
    assert not known.all()
    monkeypatch.setattr(scene, "LARGE", 1e3)
    np.testing.assert_equal(RasterScene.open(str(path)).read(whole), (values, known))


def test_a_copy_knows_what_its_bands_are(tmp_path, monkeypatch):
    path, whole = tmp_path / "a.png", Window(0, 0, 64, 64)
    data = pixels(4, size=64)
    data[3, :8] = 0
    save(path, data, driver="PNG")
    infrared = '<PAMRasterBand band="4"><Description>NIR</Description></PAMRasterBand>'
    Path(f"{path}.aux.xml").write_text(f"<PAMDataset>{infrared}</PAMDataset>")
    assert RasterScene.open(str(path)).read(whole)[1].all()
    monkeypatch.setattr(scene, "LARGE", 1e3)
    np.testing.assert_equal(RasterScene.open(str(path)).read(whole), (data[:3], True))


def test_a_copy_of_16_bits_needs_room_for_them(tmp_path, monkeypatch):
    path = save(tmp_path / "a.png", pixels(size=64).astype(np.uint16), driver="PNG")
    monkeypatch.setattr(scene, "LARGE", 1e3)
    free = SimpleNamespace(free=64 * 64 * 3 * 1.5)
    monkeypatch.setattr("pipeline.tiled.shutil.disk_usage", lambda _: free)
    with pytest.raises(Refusal, match="of temporary disk"):
        RasterScene.open(str(path)).read(Window(0, 0, 8, 8))


@pytest.mark.parametrize("name", ["a.png", "a.jp2"])
@pytest.mark.parametrize("where", ["server", "memory"])
def test_what_lies_beside_comes_with_a_copy(tmp_path, monkeypatch, name, where):
    path, whole = tmp_path / name, Window(0, 0, 64, 64)
    save(path, pixels(size=64), driver="PNG" if name == "a.png" else "JP2OpenJPEG")
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False), rasterio.open(path, "r+") as file:
        file.write_mask(np.eye(64) > 0)
    near = RasterScene.open(str(path)).read(whole)
    assert near[1].sum() == 64
    monkeypatch.setattr(scene, "LARGE", 1e3)
    if where == "server":
        with serving("files", tmp_path) as address:
            np.testing.assert_equal(RasterScene.open(f"{address}/{name}").read(whole), near)
        return
    files = fsspec.filesystem("memory")
    for each in tmp_path.iterdir():
        files.pipe_file(f"/beside/{each.name}", each.read_bytes())
    np.testing.assert_equal(RasterScene.open(f"memory://beside/{name}").read(whole), near)
    files.rm("/beside", recursive=True)


@pytest.fixture
def kept(tmp_path):
    """What is in a folder, in a store that GDAL has no reader for."""
    files = fsspec.filesystem("memory")

    def keep():
        for each in tmp_path.iterdir():
            files.pipe_file(f"/kept/{each.name}", each.read_bytes())
        return "memory://kept"

    yield keep
    files.rm("/kept", recursive=True)


DRIVERS = {"png": "PNG", "jpg": "JPEG", "jp2": "JP2OpenJPEG", "tif": "GTiff"}
WORLD = "0.5\n0.1\n0.2\n-0.5\n500000.25\n4599999.75\n"


@pytest.mark.parametrize(
    ("name", "world"),
    [
        *(("a.png", f"a.{kind}") for kind in ("pgw", "pngw", "wld", "PGW", "WLD")),
        ("A.PNG", "A.pgw"),
        *(("a.jpg", f"a.{kind}") for kind in ("jgw", "jpgw", "jpw")),
        ("a.jp2", "a.j2w"),
        ("a.tif", "a.tfw"),
        ("a.png", "b.pgw"),
    ],
)
def test_a_world_file_in_any_store_places_an_image(tmp_path, kept, name, world):
    path = save(tmp_path / name, pixels(size=64), driver=DRIVERS[name[-3:].lower()])
    (tmp_path / world).write_text(WORLD)
    near, far = RasterScene.open(str(path)), RasterScene.open(f"{kept()}/{name}")
    assert far.transform == near.transform
    assert near.files == [str(path), *([str(tmp_path / world)] if near.transform else [])]
    assert (near.transform is None) == (world == "b.pgw")


def test_a_place_in_an_image_counts_before_one_beside_it(tmp_path, kept):
    save(tmp_path / "a.tif", pixels(size=64), driver="GTiff", **PLACE)
    (tmp_path / "a.tfw").write_text(WORLD)
    assert RasterScene.open(f"{kept()}/a.tif").transform == TRANSFORM


@pytest.mark.parametrize("text", ["", "1 2 3", "a b c d e f", "0 " * 6, "nan 0 0 nan 0 0", "\xff"])
def test_a_world_file_that_is_none_is_refused(tmp_path, kept, text):
    path = save(tmp_path / "a.png", pixels(size=64), driver="PNG")
    (tmp_path / "a.pgw").write_bytes(text.encode("latin-1"))
    for uri in (str(path), f"{kept()}/a.png"):
        with pytest.raises(Refusal, match=r"world file .*a\.pgw"):
            RasterScene.open(uri)


def test_a_decimal_comma_in_a_world_file_is_one(tmp_path, kept):
    path = save(tmp_path / "a.png", pixels(size=64), driver="PNG")
    (tmp_path / "a.pgw").write_text(WORLD.replace(".", ","))
    near, far = RasterScene.open(str(path)), RasterScene.open(f"{kept()}/a.png")
    assert near.transform == far.transform == Affine(0.5, 0.2, 5e5 - 0.1, 0.1, -0.5, 4.6e6 - 0.05)


def test_notes_that_come_with_a_copy_name_no_other_file(tmp_path):
    path = save(tmp_path / "a.jp2", pixels(size=64), driver="JP2OpenJPEG")
    files = fsspec.filesystem("memory")
    files.pipe_file("/harm/a.jp2", path.read_bytes())
    notes = "<PAMDataset><Metadata domain='OVERVIEWS'><MDI key='OVERVIEW_FILE'>/etc/passwd</MDI>"
    files.pipe_file("/harm/a.jp2.aux.xml", f"{notes}</Metadata></PAMDataset>".encode())
    with pytest.raises(Refusal, match="name no other file"):
        RasterScene.open("memory://harm/a.jp2")
    files.rm("/harm", recursive=True)


@pytest.mark.parametrize("name", ["a.png", "a.jp2"])
def test_colours_are_not_unsaid_for_being_out_of_reach(folder, server, monkeypatch, name):
    monkeypatch.setattr(reach.time, "sleep", lambda _: None)
    with faulty(server) as proxy:
        uri = f"{proxy.address}/{name}"
        source = Source(uri)
        with source.open() as dataset:
            proxy.fail(["500"], re.escape(name), times=2)
            assert declared_colours(dataset, look_at_head(dataset, source)) is None
            assert proxy.seen()
            proxy.fail(["500"], re.escape(name), times=10**6)
            with pytest.raises(ConnectionError, match="out of reach"):
                declared_colours(dataset, look_at_head(dataset, source))


def test_a_jp2_that_only_gdal_can_read_says_nothing_that_is_known(folder, server, monkeypatch):
    source = Source(f"{server}/a.jp2")
    with source.open() as dataset:
        monkeypatch.setattr("pipeline.stored.Stored.look", lambda *_: None)
        assert declared_colours(dataset, look_at_head(dataset, source)) == "other"


def test_a_jp2_without_a_gdal_reader_is_copied_and_the_copy_goes(memory, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    opened = RasterScene.open(f"{memory}/a.jp2")
    assert len(list(tmp_path.iterdir())) == 1
    opened.read(Window(0, 0, 9, 9))
    del opened
    assert not list(tmp_path.iterdir())


def test_a_remote_scene_gives_the_bytes_of_the_local_one(folder, server, memory, tmp_path):
    for name, at in {"a": folder, "b": server, "c": memory}.items():
        near = RasterScene.open(f"{at}/cog128.tif")
        stream(tmp_path / name, near, Toy(), grid=(64, 16), chunk=64).run(Window(0, 0, 128, 192))
    assert objects(tmp_path / "a") == objects(tmp_path / "b") == objects(tmp_path / "c")
    assert CAMERA.wavelengths == WAVELENGTHS


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("s3://bucket/a b.tif", "/vsis3/bucket/a b.tif"),
        ("gs://bucket/a.tif", "/vsigs/bucket/a.tif"),
        ("az://container/a.tif", "/vsiaz/container/a.tif"),
        ("https://host/a.tif?x=1", "/vsicurl/https://host/a.tif?x=1"),
        ("/data/a.tif", "/data/a.tif"),
        ("memory://a.tif", None),
    ],
)
def test_uris_are_gdals_where_it_has_a_reader(uri, path):
    assert gdal_path(uri) == path
    assert not gdal_path(uri) or Source(uri).streams is False
