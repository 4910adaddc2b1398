import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import model as r2h
from flows import baseline, settings
from flows.learn_settings import TrainSettings
from model import CheckpointError, RootPolynomial, checkpoint, shipped
from model.baseline import features, monomials
from pipeline.camera import load_camera
from pipeline.cave import cave
from pipeline.errors import Refusal
from tests.model_fixtures import BANDS, WAVELENGTHS, random, small_model, tile
from tests.owners import cube_of, write_harvard
from tests.toys import write_scene

NM = WAVELENGTHS.tolist()
NO_NOISE = torch.empty(2, 0, 8, 8)


def law(degree: int) -> RootPolynomial:
    matrix = torch.randn(BANDS, len(monomials(degree)), generator=random(degree))
    return RootPolynomial(matrix, NM, "made-up", degree)


def fitted(truth: RootPolynomial, ridge: float = 0.0) -> RootPolynomial:
    batches = [(rgb, truth(rgb, NO_NOISE)) for rgb in (tile(4, 16, seed=s) for s in range(3))]
    return RootPolynomial.fit(batches, NM, "made-up", truth.degree, ridge)


def pixel(*rgb: float) -> Tensor:
    return torch.tensor(rgb)[None, :, None, None]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    law(3).save(path := tmp_path / "law.safetensors", {"scenes": ["none"]})
    return path


def test_features_are_those_of_the_paper() -> None:
    r, g, b = 0.2, 0.5, 0.9
    squares = [r * g, r * b, g * b]
    cubes = [r * r * g, r * r * b, r * g * g, r * g * b, r * b * b, g * g * b, g * b * b]
    expected = [r, g, b, *(s ** (1 / 2) for s in squares), *(c ** (1 / 3) for c in cubes)]
    assert features(pixel(r, g, b), 2).flatten().tolist() == pytest.approx(expected[:6])
    assert features(pixel(r, g, b), 3).flatten().tolist() == pytest.approx(expected)


def test_negative_rgb_is_clipped() -> None:
    assert torch.equal(features(pixel(-0.1, 0.5, 0.9), 3), features(pixel(0.0, 0.5, 0.9), 3))


@pytest.mark.parametrize("degree", [2, 3])
def test_a_root_polynomial_law_is_recovered(degree: int) -> None:
    truth, fresh = law(degree), tile(seed=77)
    found = fitted(truth)(fresh, NO_NOISE)
    torch.testing.assert_close(found, truth(fresh, NO_NOISE), atol=1e-4, rtol=1e-4)


def test_a_law_of_degree_2_is_recovered_exactly() -> None:
    torch.testing.assert_close(fitted(law(2)).matrix, law(2).matrix, atol=1e-4, rtol=1e-4)


def test_batches_of_another_split_give_the_same_fit() -> None:
    rgb, cube = tile(4, 16), tile(4, 16, channels=BANDS, seed=1)
    whole = RootPolynomial.fit([(rgb, cube)], NM, "c")
    parts = RootPolynomial.fit(zip(rgb.split(1), cube.split(1), strict=True), NM, "c")
    torch.testing.assert_close(whole.matrix, parts.matrix)


@pytest.mark.parametrize("k", [0.01, 0.5, 20.0])
@pytest.mark.parametrize("degree", [2, 3])
def test_the_cube_follows_the_exposure(k: float, degree: int) -> None:
    reconstruct, rgb = law(degree), tile()
    torch.testing.assert_close(
        reconstruct(k * rgb, NO_NOISE), k * reconstruct(rgb, NO_NOISE), atol=1e-5 * k, rtol=1e-5
    )


def test_each_pixel_is_reconstructed_by_itself() -> None:
    reconstruct, rgb = law(3), tile()
    whole = reconstruct(rgb, NO_NOISE)
    torch.testing.assert_close(whole[..., 2:5, 1:], reconstruct(rgb[..., 2:5, 1:], NO_NOISE))


def test_it_says_its_wavelengths_and_that_it_takes_no_noise() -> None:
    assert law(2).wavelengths == tuple(NM)
    assert law(2).noises == 0


@pytest.mark.parametrize("batch", [[], [(torch.zeros(1, 3, 4, 4), torch.zeros(1, BANDS, 4, 4))]])
def test_a_fit_without_light_is_refused(batch: list[tuple[Tensor, Tensor]]) -> None:
    with pytest.raises(ValueError, match="light"):
        RootPolynomial.fit(batch, NM, "c")


def test_a_matrix_of_another_degree_and_other_degrees_are_refused() -> None:
    with pytest.raises(ValueError, match="matrix must be"):
        RootPolynomial(law(2).matrix, NM, "c", degree=3)
    with pytest.raises(ValueError, match="2 or 3"):
        RootPolynomial(law(2).matrix, NM, "c", degree=4)


def test_a_fit_comes_back_from_its_file_as_it_was(path: Path) -> None:
    before, after = law(3), RootPolynomial.load(path)
    assert torch.equal(after(tile(), NO_NOISE), before(tile(), NO_NOISE))
    assert after.wavelengths == before.wavelengths
    assert (after.camera, after.degree) == ("made-up", 3)
    about = r2h.describe(path)
    assert about["kind"] == "root-polynomial"
    assert about["config"] == {"camera": "made-up", "degree": 3}


def test_a_flipped_bit_in_its_file_is_noticed(path: Path) -> None:
    whole = bytearray(path.read_bytes())
    whole[-1] ^= 1
    path.write_bytes(whole)
    with pytest.raises(CheckpointError, match="digest"):
        RootPolynomial.load(path)


def test_the_two_kinds_are_not_taken_for_each_other(path: Path) -> None:
    with pytest.raises(CheckpointError, match="root-polynomial"):
        r2h.load(path)
    checkpoint.save(small_model(), path, {})
    with pytest.raises(CheckpointError, match="r2h-diff"):
        RootPolynomial.load(path)


def test_a_file_of_another_degree_is_refused(path: Path) -> None:
    about = r2h.describe(path)
    about["config"]["degree"] = 2
    keys = ("config", "wavelengths_nm", "training")
    metadata = {**about, **{key: json.dumps(about[key]) for key in keys}}
    save_file(load_file(path), path, metadata)
    with pytest.raises(CheckpointError, match="tensors"):
        RootPolynomial.load(path)


SHIPPED = shipped.SHIPPED.with_name("root-polynomial-basler.safetensors")


def test_the_shipped_fit_gives_a_nearly_flat_grey_for_a_grey() -> None:
    shipped = RootPolynomial.load(SHIPPED)
    assert shipped.camera == "basler-a2a5320-23uc"
    grey = shipped(torch.full((1, 3, 1, 1), 0.5), NO_NOISE)
    # At 400 nm the camera sees next to nothing.
    assert (grey[0, 1:] - 0.5).abs().max() < 0.1


def test_the_config_names_the_scenes_that_the_network_learnt_from() -> None:
    ours = settings.load(TrainSettings, "train-root-polynomial.toml")
    network = settings.load(TrainSettings, "train-cave.toml")
    assert ours.kind == "root-polynomial"
    assert set(ours.scenes) == set(network.scenes)
    assert r2h.describe(SHIPPED)["training"]["scenes"] == list(ours.scenes)


def made_up_database(root: Path) -> None:
    for number, name in enumerate(("one", "two")):
        planes = np.random.default_rng(number).integers(0, 65536, (31, 12, 10), dtype=np.uint16)
        write_scene(root / f"{name}_ms", name, planes)


def test_a_baseline_is_fitted_on_whole_scenes_seen_by_one_camera(tmp_path: Path) -> None:
    made_up_database(tmp_path)
    asked = TrainSettings(
        kind="root-polynomial", scenes=("one", "two"), cameras={"srgb": 1}, iterations=1
    )
    path = baseline.fit_baseline(asked, tmp_path, tmp_path / "out")
    found = RootPolynomial.load(path)
    assert (found.camera, len(found.wavelengths)) == ("srgb", 31)
    assert r2h.describe(path)["training"]["scenes"] == ["one", "two"]
    rgb, cube = whole_scenes(tmp_path)
    error = (found(rgb, NO_NOISE) - cube).square().mean()
    assert error < (cube - cube.mean(dim=(0, 2, 3), keepdim=True)).square().mean()


def test_a_fit_replaces_a_fit_and_no_network(tmp_path: Path) -> None:
    made_up_database(tmp_path)
    asked = TrainSettings(
        kind="root-polynomial", scenes=("one", "two"), cameras={"srgb": 1}, iterations=1
    )
    out = tmp_path / "out"
    for _ in range(2):
        path = baseline.fit_baseline(asked, tmp_path, out)
    shutil.copy(shipped.SHIPPED, path)
    with pytest.raises(Refusal, match="a fit replaces a fit alone"):
        baseline.fit_baseline(asked, tmp_path, out)
    assert path.read_bytes() == shipped.SHIPPED.read_bytes()


def whole_scenes(root: Path) -> tuple[Tensor, Tensor]:
    opened = cave(root)
    cubes = [opened.read(name).cube for name in opened.paths]
    seen = [np.maximum(load_camera("srgb").render(cube), 0) for cube in cubes]
    return torch.from_numpy(np.stack(seen)), torch.from_numpy(np.stack(cubes))


@pytest.mark.parametrize("cameras", [{"library": 1}, {"srgb": 1, "nikon-d200": 1}])
def test_a_baseline_of_more_cameras_than_one_is_refused(
    tmp_path: Path, cameras: dict[str, float]
) -> None:
    made_up_database(tmp_path)
    asked = TrainSettings(scenes=("one",), cameras=cameras, iterations=1)
    with pytest.raises(Refusal, match="one camera"):
        baseline.fit_baseline(asked, tmp_path, tmp_path / "out")


@pytest.mark.parametrize(
    "other",
    [
        {"noise": 0.2},
        {"init": "r2h-cave"},
        {"mix": 0.5},
        {"crop": 64},
        {"iterations": 9},
        {"network": {"hata": False}},
    ],
)
def test_settings_of_networks_are_refused(tmp_path: Path, other: dict[str, object]) -> None:
    made_up_database(tmp_path)
    plain = {"kind": "root-polynomial", "scenes": ("one",), "cameras": {"srgb": 1}}
    asked = TrainSettings(**{**plain, "iterations": 1, **other})
    with pytest.raises(Refusal, match=next(iter(other))):
        baseline.fit_baseline(asked, tmp_path, tmp_path / "out")


def test_a_fit_keeps_what_decided_it_alone(tmp_path: Path) -> None:
    write_harvard(tmp_path, "img11", cube_of(0, 24, 28))  # it is for validation
    write_harvard(tmp_path, "b", cube_of(1, 24, 28))
    asked = TrainSettings(
        kind="root-polynomial", dataset="harvard", split="train", cameras={"srgb": 1}, iterations=1
    )
    path = baseline.fit_baseline(asked, tmp_path, tmp_path / "out")
    wanted = {"kind": "root-polynomial", "dataset": "harvard", "scenes": ["b"]}
    assert r2h.describe(path)["training"] == wanted | {"calibrate": False, "cameras": {"srgb": 1.0}}


def test_a_scene_that_is_not_there_is_refused(tmp_path: Path) -> None:
    made_up_database(tmp_path)
    asked = TrainSettings(scenes=("three",), cameras={"srgb": 1}, iterations=1)
    with pytest.raises(Refusal, match="three"):
        baseline.fit_baseline(asked, tmp_path, tmp_path / "out")
