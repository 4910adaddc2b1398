import numpy as np
import pytest
import torch

import model
from model.engine import best_engine
from pipeline.device import back, lane, out_of_memory, there
from pipeline.grid import Window
from tests.model_fixtures import camera
from tests.toys import Toy, scene, stream


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
    ],
)
def test_memory_that_ran_out_is_known_whoever_says_it(error):
    assert out_of_memory(error)
    assert not out_of_memory(RuntimeError("shapes do not fit"))


def test_on_the_cpu_nothing_is_copied():
    batch = torch.rand(2, 3)
    with lane("cpu"):
        assert there(batch, "cpu") is batch
        assert back(batch) is batch
        assert back(batch.double()).dtype == torch.float32


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
        answer = back(on_gpu(there(rgb, "cuda"), there(noise, "cuda")))
    torch.testing.assert_close(answer, expected, atol=atol, rtol=0)


@needs_gpu
def test_a_gpu_computes_in_bfloat16_unless_told():
    assert best_engine(model.load().to("cuda")) == "torch-bfloat16"
