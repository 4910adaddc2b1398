"""Files made to harm: nothing planted is opened, no port is reached, nothing huge is made."""

import ctypes
import http.server
import json
import os
import select
import struct
import threading
import zlib

import h5py
import numpy as np
import pytest
import rasterio
import tifffile
from affine import Affine
from rasterio.errors import RasterioIOError

from pipeline import remote
from pipeline.arad import arad
from pipeline.area import load_area
from pipeline.errors import Refusal
from pipeline.grid import Window
from pipeline.guard import (
    BLOCK,
    SIDE,
    beside,
    refuse_elsewhere,
    refuse_many_tiles,
    refuse_too_many,
)
from pipeline.remote import Source
from pipeline.scene import RasterScene
from tests.servers import serving

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
DRIVERS = {"tif": "GTiff", "png": "PNG", "jpg": "JPEG", "jp2": "JP2OpenJPEG"}
PLACE = Affine(0.001, 0, 8, 0, -0.001, 50)


class Watch:
    """Which planted files are opened, by inotify, and which paths a web server is asked for."""

    def __init__(self, folder):
        self.folder = folder
        libc = ctypes.CDLL(None)
        self.handle = libc.inotify_init1(os.O_NONBLOCK)
        opened_or_read = 0x20 | 0x01
        assert libc.inotify_add_watch(self.handle, str(folder).encode(), opened_or_read) >= 0
        self.asked = asked = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                asked.append(self.path)
                self.send_error(404)

            do_HEAD = do_GET

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def touched(self):
        names, data = set(), b""
        while select.select([self.handle], [], [], 0)[0]:
            data += os.read(self.handle, 65536)
        while data:
            length = struct.unpack_from("iIII", data)[3]
            names.add(data[16 : 16 + length].rstrip(b"\0").decode())
            data = data[16 + length :]
        return names - {""}, list(self.asked)

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        os.close(self.handle)


def save(path, values=None, **profile):
    values = np.full((3, 40, 50), 100, np.uint8) if values is None else values
    count, height, width = values.shape
    size = {"count": count, "height": height, "width": width, "dtype": values.dtype}
    with rasterio.open(path, "w", **{"driver": "GTiff", **size, **profile}) as file:
        file.write(values)
    return path


@pytest.fixture
def planted(tmp_path):
    folder = tmp_path / "planted"
    folder.mkdir()
    save(folder / "secret.tif", np.zeros((1, 40, 50), np.uint8))
    (folder / "grid.gsb").write_bytes((folder / "secret.tif").read_bytes())
    watch = Watch(folder)
    yield watch
    watch.close()


def vrt(source):
    flags = "".join(f'<MDI key="INTERNAL_MASK_FLAGS_{band}">2</MDI>' for band in (1, 2, 3))
    return (
        f'<VRTDataset rasterXSize="50" rasterYSize="40"><Metadata>{flags}</Metadata>'
        '<VRTRasterBand dataType="Byte" band="1"><SimpleSource><SourceFilename '
        f'relativeToVRT="0">{source}</SourceFilename><SourceBand>1</SourceBand></SimpleSource>'
        "</VRTRasterBand></VRTDataset>"
    )


def wms(port):
    return (
        f'<GDAL_WMS><Service name="TMS"><ServerUrl>http://127.0.0.1:{port}/${{z}}/${{x}}.png'
        "</ServerUrl></Service><DataWindow><UpperLeftX>0</UpperLeftX><UpperLeftY>40</UpperLeftY>"
        "<LowerRightX>50</LowerRightX><LowerRightY>0</LowerRightY><SizeX>50</SizeX><SizeY>40"
        "</SizeY><TileLevel>0</TileLevel></DataWindow><Projection>EPSG:3857</Projection>"
        "<BandsCount>1</BandsCount></GDAL_WMS>"
    )


def overview(source):
    return (
        '<PAMDataset><Metadata domain="OVERVIEWS"><MDI key="OVERVIEW_FILE">'
        f"{source}</MDI></Metadata></PAMDataset>"
    )


def crs(text):
    place = "<GeoTransform>8,.001,0,50,0,-.001</GeoTransform>"
    return f"<PAMDataset><SRS>{text}</SRS>{place}</PAMDataset>"


def attacks(watch):
    """What may lie beside an image: the ending of its name, its text, whether it is refused."""
    file, grid = watch.folder / "secret.tif", watch.folder / "grid.gsb"
    url = f"/vsicurl/http://127.0.0.1:{watch.port}"
    hidden = "".join(f"&#{ord(letter)};" for letter in "nadgrids")
    bound = f"PARAMETERFILE[&quot;file&quot;,&quot;{grid}&quot;]"
    return {
        "mask that is a VRT of a file": (".msk", vrt(file), True),
        "mask that is a VRT of a host": (".msk", vrt(f"{url}/a.tif"), True),
        "mask that is a WMS": (".msk", wms(watch.port), True),
        "overview that is a VRT of a file": (".ovr", vrt(file), False),
        "overview that is a VRT of a host": (".ovr", vrt(f"{url}/b.tif"), False),
        "notes that name a file": (".aux.xml", overview(file), True),
        "notes that name a file near": (".aux.xml", overview(":::BASE:::planted/secret.tif"), True),
        "notes that name a host": (".aux.xml", overview(f"{url}/c.tif"), True),
        "CRS with a grid": (".aux.xml", crs(f"+proj=longlat +nadgrids={grid} +no_defs"), True),
        "CRS with a hidden grid": (".aux.xml", crs(f"+proj=longlat +{hidden}={grid}"), True),
        "CRS with a geoid": (".aux.xml", crs(f"+proj=longlat +geoidgrids={grid} +no_defs"), True),
        "CRS bound to a grid": (".aux.xml", crs(f"BOUNDCRS[{bound}]"), True),
        "CRS that is a pipeline": (
            ".aux.xml", crs(f"+proj=pipeline +step +proj=hgridshift +grids={grid}"), True,
        ),
        "notes without end": (".aux.xml", "<PAMDataset>" + " " * 10_000_001, True),
    }  # fmt: skip


@pytest.mark.parametrize("ending", DRIVERS)
def test_nothing_beside_an_image_makes_anything_else_be_read(tmp_path, planted, ending):
    for number, (name, (beside_it, text, refused)) in enumerate(attacks(planted).items()):
        path = save(tmp_path / f"{number}.{ending}", driver=DRIVERS[ending])
        (tmp_path / f"{path.name}{beside_it}").write_text(text)
        if refused:
            with pytest.raises(Refusal):
                RasterScene.open(str(path))
        else:
            scene = RasterScene.open(str(path))
            assert scene.read(Window(0, 0, 40, 50))[1].all()
            assert scene.header
        assert planted.touched() == (set(), []), name


def test_no_image_is_a_description_of_another(tmp_path, planted):
    texts = [vrt(planted.folder / "secret.tif"), wms(planted.port)]
    texts.append(f"http://127.0.0.1:{planted.port}/a.tif")
    for text in texts:
        for ending in ("tif", "png", "vrt"):
            path = tmp_path / f"a.{ending}"
            path.write_text(text)
            with pytest.raises(Refusal, match="readable"):
                RasterScene.open(str(path))
    assert planted.touched() == (set(), [])


def test_what_a_tiff_itself_names_is_not_read(tmp_path, planted):
    path = save(tmp_path / "a.tif")
    with rasterio.open(path, "r+") as file:
        named = f"/vsicurl/http://127.0.0.1:{planted.port}/a.tif"
        file.update_tags(ns="OVERVIEWS", OVERVIEW_FILE=named)
    scene = RasterScene.open(str(path))
    assert scene.read(Window(0, 0, 40, 50))[1].all()
    assert planted.touched() == (set(), [])
    grid = planted.folder / "grid.gsb"
    citation = (
        'ESRI PE String = PROJCS["x",GEOGCS["x",DATUM["x",SPHEROID["x",6378137,298.25]],PRIMEM['
        '"Greenwich",0],UNIT["degree",0.0174532925199433]],PROJECTION["Mercator_1SP"],UNIT["metre"'
        f',1],EXTENSION["PROJ4","+proj=merc +a=6378137 +nadgrids={grid} +wktext +no_defs"]]|'
    )
    keys = [1, 1, 0, 3, 1024, 0, 1, 1, 3072, 0, 1, 32767, 3073, 34737, len(citation), 0]
    tags = [
        (33550, 12, 3, (0.001, 0.001, 0.0), True),
        (33922, 12, 6, (0.0, 0.0, 0.0, 8.0, 50.0, 0.0), True),
        (34735, 3, len(keys), tuple(keys), True),
        (34737, 2, len(citation) + 1, citation, True),
    ]
    values = np.zeros((40, 50, 3), np.uint8)
    tifffile.imwrite(path, values, photometric="rgb", extratags=tags, metadata=None)
    with pytest.raises(Refusal, match="names no file"):
        RasterScene.open(str(path))
    assert planted.touched() == (set(), [])


@pytest.mark.parametrize("way", ["link", "soft link", "storage", "virtual"])
def test_a_matlab_file_is_read_from_itself_alone(tmp_path, planted, way):
    secret = planted.folder / "secret.mat"
    with h5py.File(secret, "w") as file:
        file["cube"] = np.ones((31, 4, 5))
    folder = tmp_path / "Train_Spec"
    folder.mkdir()
    with h5py.File(folder / "ARAD_1K_0001.mat", "w") as file:
        if way == "storage":
            part = (str(secret), 0, 31 * 4 * 5)
            file.create_dataset("cube", (31, 4, 5), "u1", external=[part])
        elif way == "virtual":
            layout = h5py.VirtualLayout((31, 4, 5), "f8")
            layout[...] = h5py.VirtualSource(secret, "cube", (31, 4, 5))
            file.create_virtual_dataset("cube", layout)
        else:
            there = h5py.ExternalLink(str(secret), "/cube")
            file["beside" if way == "soft link" else "cube"] = there
            if way == "soft link":
                file["cube"] = h5py.SoftLink("/beside")
    planted.touched()
    with pytest.raises(Refusal, match="in another file"):
        arad(tmp_path).read("ARAD_1K_0001")
    assert planted.touched() == (set(), [])


def test_a_crs_out_of_reach_is_refused_in_one_line(tmp_path):
    area = tmp_path / "a.geojson"
    ring = [[8.001, 49.98], [8.02, 49.98], [8.02, 49.99], [8.001, 49.98]]
    area.write_text(json.dumps({"type": "Polygon", "coordinates": [ring]}))
    local = rasterio.crs.CRS.from_wkt('LOCAL_CS["mine",UNIT["metre",1]]')
    scene = RasterScene.open(str(save(tmp_path / "a.tif", transform=PLACE, crs=local)))
    with pytest.raises(Refusal, match="reached from longitude"):
        load_area(scene, str(area))


@pytest.mark.parametrize("code", [3857, 4326, 32632, 2056, 27700, 3413])
def test_common_crs_are_let_through(code):
    refuse_elsewhere(rasterio.crs.CRS.from_epsg(code).to_wkt(), "a.tif")
    refuse_elsewhere('PROJCS["x",EXTENSION["PROJ4","+proj=merc +nadgrids=@null +wktext"]]', "a.tif")


def png(width, height, interlaced):
    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, interlaced)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def test_blocks_that_would_fill_memory_are_refused(tmp_path):
    path = tmp_path / "a.tif"
    with rasterio.open(
        path, "w", driver="GTiff", count=3, height=20_000, width=20_000, dtype="uint8", tiled=True,
        compress="deflate", blockxsize=2**14, blockysize=2**14, sparse_ok=True, interleave="pixel",
    ):  # fmt: skip
        pass
    assert path.stat().st_size < 10_000
    assert BLOCK < 3 * 2**28
    with pytest.raises(Refusal, match="block"):
        RasterScene.open(str(path))
    for interlaced in (0, 1):
        path = tmp_path / f"{interlaced}.png"
        path.write_bytes(png(20_000, 20_000, interlaced))
        if interlaced:
            with pytest.raises(Refusal, match="block"):
                RasterScene.open(str(path))
        else:
            assert RasterScene.open(str(path)).height == 20_000


def image_and_where_it_lays_out_tiles(path):
    profile = {"driver": "JP2OpenJPEG", "height": 200, "width": 200, "count": 3, "dtype": "uint8"}
    with rasterio.open(path, "w", **profile) as file:
        file.write(np.zeros((3, 200, 200), np.uint8))
    data = bytearray(path.read_bytes())
    return data, data.index(b"\xff\x4f\xff\x51") + 24


def ask_for_tiles(path):
    with path.open("rb") as file:
        refuse_many_tiles(file, str(path))


def test_a_jpeg_2000_of_too_many_tiles_is_refused_before_it_is_opened(tmp_path):
    path = tmp_path / "many.jp2"
    data, tile = image_and_where_it_lays_out_tiles(path)
    data[tile : tile + 8] = struct.pack(">2I", 2, 2)
    path.write_bytes(data)
    ask_for_tiles(path)
    data[tile : tile + 8] = struct.pack(">2I", 1, 1)
    path.write_bytes(data)
    decoy = b"\xff\x4f\xff\x51" + data[tile - 20 : tile] + struct.pack(">2I", 200, 200) + bytes(8)
    box = struct.pack(">I", 8 + len(decoy)) + b"free" + decoy
    for hidden in (b"", box):
        # The signature and the file type are 12 and 20 bytes.
        path.write_bytes(data[:32] + hidden + data[32:])
        with pytest.raises(Refusal, match=r"at most 16384 tiles; got .*, 40000"):
            Source(str(path)).open()
    path.write_bytes(data[:32] + 1000 * struct.pack(">I4s", 8, b"free") + data[32:])
    with pytest.raises(Refusal, match="within 1000 boxes"):
        ask_for_tiles(path)
    path.write_bytes(data[:32] + struct.pack(">I4sQ", 1, b"free", 2**63) + data[32:])
    ask_for_tiles(path)
    path.write_bytes(data[tile - 24 :])
    with pytest.raises(Refusal, match="at most 16384 tiles"):
        ask_for_tiles(path)


def test_a_remote_one_too_by_its_head(tmp_path, monkeypatch):
    pytest.importorskip("aiohttp", reason="fsspec reads http:// by the extra 'cloud'")
    data, tile = image_and_where_it_lays_out_tiles(tmp_path / "a.jp2")
    with serving("files", tmp_path) as address:
        Source(f"{address}/a.jp2").open().close()
        data[tile : tile + 8] = struct.pack(">2I", 1, 1)
        (tmp_path / "many.jp2").write_bytes(data)
        opened = []

        def opens(_, driver, **__):
            opened.extend(driver)
            raise RasterioIOError("none of these")

        monkeypatch.setattr(remote, "DatasetReader", opens)
        far = Source(f"{address}/many.jp2")
        for _ in range(2):
            with pytest.raises(Refusal, match=r"at most 16384 tiles; got http.*, 40000"):
                far.open()
        assert "JP2OpenJPEG" not in opened


def test_absurd_sizes_are_refused_before_anything_is_made(tmp_path):
    path = tmp_path / "a.tif"
    with rasterio.open(
        path, "w", driver="GTiff", count=3, height=2**20, width=2**20, dtype="uint8",
        tiled=True, blockxsize=2**14, blockysize=2**12, sparse_ok=True, bigtiff=True,
        interleave="band",
    ):  # fmt: skip
        pass
    scene = RasterScene.open(str(path))
    with pytest.raises(Refusal, match="--max-pixels"):
        refuse_too_many(scene.height, scene.width, 1e11)
    refuse_too_many(scene.height, scene.width, 2.0**40)
    with pytest.raises(Refusal, match="a side"):
        refuse_too_many(1, SIDE + 1, 1e11)


def test_what_belongs_to_an_image_is_found(tmp_path):
    path = save(tmp_path / "a.tif")
    for name in (
        "a.tif.msk",
        "a.tif.aux.xml",
        "a.tfw",
        "a.wld",
        "a.tab",
        "b.tfw",
        "a.tif.ovr",
        "a.run.json",
    ):
        (tmp_path / name).touch()
    names = [name.rsplit("/", 1)[-1] for name in beside(path)]
    assert names == ["a.tif", "a.tab", "a.tfw", "a.tif.aux.xml", "a.tif.msk", "a.wld"]
