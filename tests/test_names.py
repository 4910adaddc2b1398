"""Names from outside are text in pages and on screens; what is named after them stays in place."""

import os
import posixpath
from contextlib import suppress
from html.parser import HTMLParser

import fsspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from flows import artifacts
from flows.commands.common import say
from flows.naming import destination
from pipeline.charts import dots, png
from pipeline.companion import Companion
from pipeline.errors import Refusal
from pipeline.page import Picture, Section, page
from pipeline.place import remove
from pipeline.redact import printable
from tests.names import NAMES, anything


class Parts(HTMLParser):
    """Elements with their attributes' names, and all text and values."""

    def __init__(self, html):
        super().__init__()
        self.elements, self.texts = [], []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, *(name for name, _ in attrs)))
        self.texts += [value for _, value in attrs]

    def handle_data(self, data):
        self.texts.append(data)


def report_page(name):
    section = Section(name, name, [Picture(b"", name)], [(name, name)], (name, name))
    return Parts(page(name, name, [section]))


@given(anything)
@settings(max_examples=20)
def test_a_page_holds_a_name_as_text_alone(name):
    plain, shown = report_page("a"), report_page(f"a{name}")
    assert shown.elements == plain.elements
    assert shown.texts.count(f"a{name}") == plain.texts.count("a")


@given(anything, anything)
@settings(max_examples=20)
def test_a_flows_report_holds_a_name_as_text_alone(name, camera):
    def parts(cube, source, camera):
        taken = f"taken as srgb of camera {camera} in light D65, white = 255; {artifacts.NOTE}"
        record = {
            "cube": cube, "input": {"source": source}, "megapixels": 1.0, "seconds": 1.0,
            "tiles": 4, "peak_bytes": 5, "environment": {"device": "cpu"},
            "seam": {"disagreement_p99": 0.1},
            "provenance": {"checkpoint": "0", "engine": "eager"}, "assumptions": taken,
        }  # fmt: skip
        made = MarkdownIt("commonmark", {"html": True}).enable("table")
        return Parts(made.render(artifacts.report(record)))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(artifacts, "picture", lambda cube: "data:,")
        plain, shown = parts("a", "b", "c"), parts(f"a{name}", name, camera)
    assert shown.elements == plain.elements
    words = " ".join(" ".join(shown.texts).split())
    assert " ".join(printable(f"a{name}").split()) in words
    assert "in light D65, white = 255" in words


@given(anything)
def test_a_screen_is_not_steered(name):
    shown = printable(name)
    assert all(sign.isprintable() or sign in "\n\t" for sign in shown)
    assert shown == name or not all(sign.isprintable() or sign in "\n\t" for sign in name)


@given(anything)
def test_a_refusal_is_one_line(name):
    assert len(str(Refusal(name, name, name)).splitlines()) == 1


def test_what_is_said_steers_no_screen(capsys):
    say("FAULT  a\x1b[2Jb\u202e")
    assert capsys.readouterr().out == "FAULT  a\\x1b[2Jb\\u202e\n"


@pytest.mark.filterwarnings("ignore:Glyph", "ignore:constrained_layout", "ignore:The figure layout")
def test_a_figure_takes_every_name():
    assert png(dots({name: {name: 1.0} for name in NAMES}, "PSNR"))


def inside(output, name):
    fs, root = fsspec.core.url_to_fs(output)
    return fsspec.core.url_to_fs(name)[1].startswith(f"{root}/") and fs is not None


@given(
    st.sampled_from(("{id}.zarr", "{collection}/{id}.zarr", "{stem}", "{parent}/{stem}-{date}")),
    st.lists(anything, min_size=4, max_size=4),
    st.sampled_from(("/data/out", "memory://bucket/out", "file:///data/out")),
)
def test_a_cube_is_named_below_its_output_or_refused(template, names, output):
    fields = dict(zip(("id", "collection", "date"), names, strict=False))
    try:
        name = destination(output, template, f"/in/{names[3]}", fields)
    except Refusal:
        return
    path = name.removeprefix(f"{output}/")
    assert path != name
    assert posixpath.normpath(path) == path
    assert not path.startswith(("..", "/"))
    for one in (name, Companion.uri(name)):
        assert inside(output, one)
        assert os.fsencode(one)


@given(st.text(st.sampled_from("{}id:!.[]0r<>s/"), max_size=12))
def test_a_template_is_filled_or_refused(template):
    with suppress(Refusal):
        assert destination("out", template, "a.tif", {"id": "b", "index": 3}).startswith("out/")


def test_only_the_folder_of_that_name_is_deleted():
    fs = fsspec.filesystem("memory")
    for folder in ("a[1].zarr", "a1.zarr", "a*.zarr", "ab.zarr"):
        fs.pipe_file(f"/names/{folder}/0", b"")
    for folder in ("a[1].zarr", "a*.zarr"):
        remove(fs, f"/names/{folder}")
    assert sorted(fs.ls("/names", detail=False)) == ["/names/a1.zarr", "/names/ab.zarr"]
    fs.rm("/names", recursive=True)


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("zip://s.tif::z.zip", "out/s.zarr"),
        ("zip://sheets/s.tif::s3://bucket/z.zip", "out/s.zarr"),
        ("simplecache::https://host/a/s.tif?key=x::y", "out/s.zarr"),
        ("s3://bucket/s.tif", "out/s.zarr"),
        ("/vsizip/z.zip/s.tif", "out/s.zarr"),
        ("/in/a::b.tif", None),
    ],
)
def test_a_cube_is_named_after_the_file_that_is_read(source, name):
    if name:
        assert destination("out", "{stem}.zarr", source, {}) == name
    else:
        with pytest.raises(Refusal, match="below the output"):
            destination("out", "{stem}.zarr", source, {})


def test_a_cube_of_no_name_is_refused():
    with pytest.raises(Refusal, match="named after"):
        destination("out", "{stem}.zarr", "https://host/?id=3", {})
    assert destination("out", "{index}.zarr", "https://host/?id=3", {"index": 3}) == "out/3.zarr"
