"""The report of an evaluation."""

import json
import re
import sys

import numpy as np
import pytest

from flows import cli
from flows.report import error_map_name
from pipeline.charts import error_maps, off, png
from pipeline.evaluation_report import evaluation_report

METHODS = ("r2h-diff", "root-polynomial")


def evaluation():
    random = np.random.default_rng(0)
    by_wavelength = {key: random.random(31).tolist() for key in ("rmse", "mrae")}
    scenes = [
        {"scene": scene, "method": method, "mrae": 0.1, "psnr": float(psnr), "tiles": 4}
        | {"by_wavelength": by_wavelength}
        for scene, psnrs in (("<b>cloth", (28, 27)), ("sushi", (37, 36)), ("beads", (30, 31)))
        for method, psnr in zip(METHODS, psnrs, strict=True)
    ]
    interval = {"mrae": [0.09, 0.11], "psnr": [28.0, 37.0]}
    means = [
        {"method": method, "mrae": 0.1, "psnr": 31.67, "interval": interval}
        | {"by_wavelength": by_wavelength}
        for method in METHODS
    ]
    less = {"method": METHODS[1], "less": METHODS[0], "mrae": 0.01, "psnr": -1.0}
    less["interval"] = {"mrae": [0.0, 0.02], "psnr": [-2.0, 1.0]}
    known = {"dataset": "cave", "wavelengths_nm": list(range(400, 701, 10))}
    known |= {"differences": [less], "missing": [], "trained_on": [], "untold": []}
    return {
        **known,
        "settings": {"camera": "c<", "rgb": "published"},
        "scenes": scenes,
        "means": means,
    }


def rows_of(html):
    return [re.findall(r"<td>(.*?)</td>", row) for row in re.findall(r"<tr>.*?</tr>", html, re.S)]


def test_it_says_what_was_scored_and_what_others_published():
    html = evaluation_report("evaluation", evaluation(), {})
    assert "cave, 3 scenes" in html
    assert "&lt;b&gt;cloth" in html
    assert "<b>" not in html
    assert html.count("<img") == 3
    assert "Place 1" not in html
    rows = rows_of(html)
    assert ["r2h-diff", "0.1 (0.09 to 0.11)", "31.7 (28 to 37)"] in rows
    assert ["root-polynomial less r2h-diff", "0.01 (0 to 0.02)", "-1 (-2 to 1)"] in rows
    assert "<th>PSNR (dB)</th>" in html
    assert ["sushi", "r2h-diff", "0.1", "37", "4"] in rows
    assert ["MST++", "1.62", "23.05", "0.1645", "0.0248", "34.32"] in rows
    assert ["settings.camera", "c&lt;"] in rows


@pytest.mark.parametrize("mapped", [(), ("sushi", "<b>cloth")])
def test_the_command_finds_what_is_in_the_folder(tmp_path, monkeypatch, capsys, mapped):
    (tmp_path / "evaluation.json").write_text(json.dumps(evaluation()))
    truth = np.full((31, 8, 9), 0.4, np.float32)
    truth[:, 2, 3] = np.nan
    errors = {method: off(truth + 0.1 * k, truth) for k, method in enumerate(METHODS)}
    for scene in mapped:
        drawn = png(error_maps(np.zeros((8, 9, 4), np.uint8), errors))
        (tmp_path / error_map_name(scene)).write_bytes(drawn)
    monkeypatch.setattr(sys, "argv", ["r2h", "report", str(tmp_path)])
    with pytest.raises(SystemExit):
        cli.main()
    html = (tmp_path / "evaluation.report.html").read_text()
    assert html.count("<img") == 3 + len(mapped)
    places = [place in html for place in ("1 of 3: sushi", "3 of 3: &lt;b&gt;cloth", "2 of 3")]
    assert places == [bool(mapped), bool(mapped), False]


def test_a_page_of_somebody_elses_is_kept(tmp_path, command):
    (tmp_path / "evaluation.json").write_text(json.dumps(evaluation()))
    for _ in range(2):
        assert command("report", tmp_path)[0] == 0
    (tmp_path / "evaluation.report.html").write_text("<html>mine</html>")
    code, _, said = command("report", tmp_path)
    assert code == 2
    assert "only what R2H made is replaced" in said
    assert (tmp_path / "evaluation.report.html").read_text() == "<html>mine</html>"


def test_a_map_shows_each_method_on_one_scale():
    truth = np.full((31, 8, 9), 0.4, np.float32)
    truth[:, 2, 3] = np.nan
    errors = {method: off(truth + 0.1 * (k + 1), truth) for k, method in enumerate(METHODS)}
    assert np.isnan(errors["r2h-diff"][2, 3])
    figure = error_maps(np.zeros((8, 9, 4), np.uint8), errors)
    _, ours, other, bar = figure.axes
    assert [axes.get_title() for axes in (ours, other)] == [
        "r2h-diff: RMSE 0.1 of the whole frame",
        "root-polynomial: RMSE 0.2 of the whole frame",
    ]
    assert ours.images[0].get_clim() == other.images[0].get_clim() == (0, pytest.approx(0.2))
    assert "reflectance" in bar.get_ylabel()


@pytest.mark.parametrize("text", ["[]", "{", "{}", '{"scenes": []}'])
def test_what_is_no_evaluation_is_refused(tmp_path, monkeypatch, capsys, text):
    (tmp_path / "evaluation.json").write_text(text)
    monkeypatch.setattr(sys, "argv", ["r2h", "report", str(tmp_path)])
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert left.value.code == 2
