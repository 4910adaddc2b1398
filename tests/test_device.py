from types import SimpleNamespace

import numpy as np
import pytest
import torch

import model
from flows.bound import _no_cuda, device_of, exact_products
from flows.settings import ReconstructSettings
from model.engine import best_engine
from pipeline.camera import load_camera, resampled
from pipeline.closure import Closure
from pipeline.cube import CubeSpec, SpectralCube
from pipeline.device import back, computed, held, lane, out_of_memory, settle, there
from pipeline.errors import Refusal
from pipeline.grid import TileGrid, Window
from pipeline.stream import Stream
from tests.model_fixtures import camera
from tests.toys import Toy, scene, stream

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@pytest.fixture(autouse=True)
def float32():
    """As a run has it."""
    exact_products()


def needs_gpu(test):
    absent = not torch.cuda.is_available()
    return pytest.mark.gpu(pytest.mark.skipif(absent, reason="needs a CUDA device")(test))


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate"),
        RuntimeError("bfc_arena.cc:376 Failed to allocate memory for requested buffer"),
        RuntimeError("std::bad_alloc"),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"),
    ],
)
def test_memory_that_ran_out_is_known_whoever_says_it(error):
    assert out_of_memory(error)
    assert not out_of_memory(RuntimeError("shapes do not fit"))


def test_on_the_cpu_nothing_is_copied():
    batch = torch.rand(2, 3)
    with lane("cpu"):
        assert there(batch, "cpu") is computed(batch) is held(batch) is batch
        assert np.shares_memory(back(batch), batch.numpy())
        assert computed(batch.double()).dtype == torch.float32


@pytest.mark.parametrize("kind", [np.uint16, np.float32])
@pytest.mark.parametrize("asked_for", ["moved", "likely", "left"])
def test_what_is_settled_on_a_device_is_what_the_cpu_settles(kind, asked_for):
    """On any device: the same code, here on the one there is."""
    random, sensitivities = np.random.default_rng(0), camera(bands=31)[0].numpy()
    truth = random.random((31, 40, 50)).astype(np.float32) ** 3 * 4
    truth[:, :5] *= 3  # beyond what is stored
    rgb = np.tensordot(sensitivities, truth, 1).astype(np.float32)
    values = (truth + random.normal(0, 0.05, truth.shape)).astype(np.float32)
    values[:, ::3], asked = truth[:, ::3], random.random(truth.shape[1:]) < 0.9
    values[3][~asked] = np.nan
    noise_filter = np.eye(3, dtype=np.float32) * 0.9 if asked_for == "likely" else None
    closure = Closure(sensitivities, noise_filter, moves=asked_for != "left")
    given = rgb, asked, np.dtype(kind)
    expected = closure.settle(values.copy(), *given)
    found = settle(closure, torch.from_numpy(values).to(DEVICE), *given)
    np.testing.assert_array_equal(found[0], expected[0], strict=True)
    np.testing.assert_array_equal(found[1][asked], expected[1][asked], strict=True)
    values[0][asked] = np.inf
    with pytest.raises(Refusal, match="finite"):
        settle(closure, torch.from_numpy(values).to(DEVICE), *given)


@needs_gpu
def test_a_scene_attends_on_a_device_as_on_the_cpu():
    net, seen = model.load(), camera(bands=31)[0]
    rgb = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    views = [model.View(one, None, 1.0) for one in rgb]
    here = model.Reconstructor(net, seen).attending(views)(rgb)
    there_ = model.Reconstructor(net.cuda(), seen).attending(views, 3)(rgb.cuda())
    torch.testing.assert_close(there_.cpu(), here, rtol=0, atol=1e-4)


class Moved(Toy):
    """Refuses tiles that are not on the device."""

    def __call__(self, rgb, noise):
        assert rgb.is_cuda
        assert torch.cuda.current_stream() != torch.cuda.default_stream()
        return super().__call__(rgb, noise)


@needs_gpu
@pytest.mark.parametrize("workers", [1, 2])
def test_a_gpu_gives_the_cube_of_the_cpu(tmp_path, workers):
    of, whole = scene(100, 90, share_valid=0.9), Window(0, 0, 100, 90)
    cubes = []
    for name, toy, device in (("a", Toy(), "cpu"), ("b", Moved(), "cuda")):
        run = stream(tmp_path / name, of, toy, batch=4, workers=workers, device=device)
        run.run(whole)
        cubes.append(np.asarray(run.cube._array[:]).astype(int))
    assert np.abs(cubes[0] - cubes[1]).max() <= 1


@needs_gpu
@pytest.mark.parametrize("engine", ["torch", "torch-bfloat16"])
def test_workers_on_a_gpu_change_no_byte(tmp_path, engine):
    """Each works in a stream of its own, and shares the weights with the other."""
    of, net = scene(100, 90), model.load().to("cuda")
    bands = tuple(net.wavelengths.tolist())
    seen = resampled(load_camera("srgb"), bands)
    bound = model.Reconstructor(net, seen.sensitivities, engine=engine)
    whole, stored = Window(0, 0, 100, 90), []
    for name, workers in (("a", 1), ("b", 2), ("c", 2)):
        cube = SpectralCube.create(str(tmp_path / name), CubeSpec(100, 90, bands, 16))
        grid = TileGrid(100, 90, 32, 8)
        Stream(of, seen, grid, bound, cube, whole, workers=workers, device="cuda").run(whole)
        stored.append(np.asarray(cube.raw(whole)))
    assert all(np.array_equal(stored[0], other) for other in stored[1:])


@needs_gpu
@pytest.mark.parametrize(("engine", "atol"), [("torch", 1e-4), ("torch-bfloat16", 0.015)])
def test_the_shipped_weights_on_a_gpu(engine, atol):
    random = torch.Generator().manual_seed(0)
    rgb = torch.rand(2, 3, 64, 64, generator=random)
    noise = torch.randn(2, 31, 64, 64, generator=random)
    s = camera(bands=31)[0]
    expected = model.Reconstructor(model.load(), s, engine=engine)(rgb, noise)
    on_gpu = model.Reconstructor(model.load().to("cuda"), s, engine=engine)
    with lane("cuda"):
        answer = torch.from_numpy(back(on_gpu(there(rgb, "cuda"), there(noise, "cuda")).float()))
    torch.testing.assert_close(answer, expected, atol=atol, rtol=0)


@pytest.mark.parametrize(("has", "best"), [(True, "torch-bfloat16"), (False, "torch")])
def test_a_gpu_computes_in_bfloat16_where_it_has_it(monkeypatch, has, best):
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda including_emulation: has)
    on_gpu = SimpleNamespace(prior=SimpleNamespace(device=torch.device("cuda")))
    assert best_engine(on_gpu) == best


@needs_gpu
def test_a_gpu_computes_in_bfloat16_unless_told():
    has = torch.cuda.is_bf16_supported(including_emulation=False)
    assert best_engine(model.load().to("cuda")) == ("torch-bfloat16" if has else "torch")


@pytest.fixture
def broken(monkeypatch):
    """A card that torch counts and has no kernels for."""

    def no_kernel(*_, **__):
        raise RuntimeError("CUDA error: no kernel image is available\nfor execution")

    _no_cuda.cache_clear()
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.ones", no_kernel)
    yield
    _no_cuda.cache_clear()


def test_a_gpu_of_no_use_is_left_and_said_so(broken, caplog):
    asked = {"source": "a", "destination": "b"}
    assert device_of(ReconstructSettings(**asked)) == "cpu"
    assert "no kernel image is available for execution" in caplog.text
    with pytest.raises(Refusal, match="no kernel image"):
        device_of(ReconstructSettings(**asked, device="cuda"))


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino-bfloat16"])
def test_an_engine_of_the_cpu_asks_for_no_gpu(broken, caplog, engine):
    asked = {"source": "a", "destination": "b", "engine": engine}
    assert device_of(ReconstructSettings(**asked)) == "cpu"
    assert not caplog.text
