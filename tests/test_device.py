import numpy as np
import pytest
import torch

import model
from flows.bound import exact_products
from model.engine import best_engine
from pipeline.closure import Closure
from pipeline.device import back, computed, held, lane, out_of_memory, settle, there
from pipeline.errors import Refusal
from pipeline.grid import Window
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


@needs_gpu
def test_a_gpu_computes_in_bfloat16_unless_told():
    assert best_engine(model.load().to("cuda")) == "torch-bfloat16"
