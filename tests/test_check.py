import json
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from flows import cli
from pipeline.check import check
from pipeline.errors import Refusal
from tests.owners import cube_of, write_arad, write_cave, write_harvard


@pytest.fixture
def arad(tmp_path: Path) -> Path:
    write_arad(tmp_path, {n: cube_of(n) for n in (1, 2, 901)})
    (tmp_path / "split_txt").mkdir()
    for name, numbers in (("train", (1, 2)), ("valid", (901,)), ("test", (951,))):
        lines = "\n".join(f"ARAD_1K_{number:04d}" for number in numbers)
        (tmp_path / "split_txt" / f"{name}_list.txt").write_text(lines)
    return tmp_path


@pytest.fixture
def cave(tmp_path: Path) -> Path:
    for name in ("one", "two", "three"):
        write_cave(tmp_path, name, (cube_of(len(name)) * 65535).astype(np.uint16))
    return tmp_path


@pytest.fixture
def harvard(tmp_path: Path) -> Path:
    for number in range(3):
        write_harvard(tmp_path, f"img{number}", cube_of(number))
    (tmp_path / "calib.txt").write_text(" ".join(["1"] * 31))
    return tmp_path


@pytest.mark.parametrize("name", ["arad", "cave", "harvard"])
def test_a_whole_data_set_has_no_problem(name: str, request: pytest.FixtureRequest) -> None:
    found = check(request.getfixturevalue(name))
    assert (found.dataset, found.scenes, found.problems) == (name, 3, [])
    # It is small, and that is said.
    assert any("owner's has" in note for note in found.notes)
    assert any("pixels" in note for note in found.notes)


def problems(root: Path) -> str:
    return "\n".join(check(root).problems)


def test_arads_missing_files_are_named(arad: Path) -> None:
    (arad / "Train_RGB" / "ARAD_1K_0002.jpg").unlink()
    (arad / "Train_Spec" / "ARAD_1K_0001.mat").unlink()
    said = problems(arad)
    assert "cubes without a photograph: ARAD_1K_0002" in said
    assert "photographs without a cube: ARAD_1K_0001" in said
    assert "listed for train and not there: ARAD_1K_0001" in said


def test_a_scene_in_two_lists_is_named(arad: Path) -> None:
    (arad / "split_txt" / "valid_list.txt").write_text("ARAD_1K_0901\nARAD_1K_0002\n")
    assert "in train and in validation: ARAD_1K_0002" in problems(arad)


def test_a_scene_that_cannot_be_read_is_named(arad: Path) -> None:
    path = arad / "Train_Spec" / "ARAD_1K_0002.mat"
    path.write_bytes(path.read_bytes()[:900])
    assert "ARAD_1K_0002: an ARAD_1K cube must be" in problems(arad)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda cube: cube * 0, "one value throughout"),
        (lambda cube: np.where(np.arange(20)[:, None] < 12, 0, cube), "over 50% zeros"),
        (lambda cube: cube[:, :14], r"pixels where others have (20, 24)"),
    ],
)
def test_what_looks_wrong_in_a_scene_is_said(cave: Path, change: object, said: str) -> None:
    assert callable(change)
    write_cave(cave, "four", (change(cube_of(9)) * 65535).astype(np.uint16))
    assert f"four: {said}" in problems(cave).replace("four: (14, 24) pixels", "four: pixels")


def test_negative_and_infinite_spectra_are_wrong(arad: Path) -> None:
    negative, infinite = cube_of(3), cube_of(4)
    negative[3, 4, 5], infinite[6, 7, 8] = -0.1, np.inf
    with pytest.MonkeyPatch.context() as patched:
        # Only the cubes are odd: a camera cannot take a photograph of them.
        patched.setattr("tests.owners.photograph", lambda *_: (np.zeros((3, 20, 24), np.uint8), 1))
        odd_root = arad / "odd"
        odd_root.mkdir()
        write_arad(odd_root, {2: negative, 3: infinite})
    said = problems(odd_root)
    assert "ARAD_1K_0002: negative values" in said
    assert "ARAD_1K_0003: an ARAD_1K cube has finite values" in said


def test_a_mask_the_other_way_round_is_suspected(harvard: Path) -> None:
    lbl = np.zeros((20, 24), np.uint8)
    lbl[0] = 1
    ref = cube_of(5).transpose(1, 2, 0).astype(float)
    savemat(harvard / "img9.mat", {"ref": ref, "lbl": lbl})
    assert "img9: over 50% masked" in problems(harvard)
    (harvard / "calib.txt").unlink()
    assert "no calib.txt in the root" in problems(harvard)


def test_the_command_ends_with_1_where_something_is_wrong(
    cave: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def r2h(*arguments: object) -> object:
        monkeypatch.setattr(sys, "argv", ["r2h", "data", "check", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            cli.main()
        return left.value.code or 0

    assert r2h(cave) == 0
    assert "cave: 3 scenes" in capsys.readouterr().out
    (cave / "one_ms" / "one_ms" / "one_ms_04.png").unlink()
    assert r2h(cave, "--json") == 1
    assert "one" in json.loads(capsys.readouterr().out)["problems"][0]
    assert r2h(cave / "none") == 2


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="layout of one"):
        check(tmp_path)
