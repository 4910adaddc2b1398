"""The folded graph answers what the plain model answers."""

import gc
import importlib.util
import subprocess
import sys
import weakref
from pathlib import Path
from threading import Thread

import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import model
from model import Reconstructor, runtimes
from model.engine import GRAPHS, best_engine, bind
from model.folded import build, build_features
from model.lift import apply_matrix
from pipeline.camera import load_camera, resampled
from tests.model_fixtures import NEEDS_BF16, OPENVINO, awake, camera, small_model, start_noise, tile


@torch.no_grad()
def stirred(seed, **changes):
    """A model none of whose weights, scales or biases is at its start."""
    net = awake(small_model(seed, **changes), seed)
    random = torch.Generator().manual_seed(seed)
    for parameter in net.parameters():
        parameter.add_(0.1 * torch.randn(parameter.shape, generator=random))
    return net


@settings(max_examples=40)
@given(
    st.integers(0, 2**31),
    st.integers(1, 5),
    st.sampled_from([(1, 8), (2, 16)]),
    st.sampled_from(["residual", "cube"]),
    st.sampled_from(["linear", "cosine"]),
)
def test_the_graph_equals_the_plain_model(seed, steps, shape, target, schedule):
    net, s = stirred(seed, target=target, schedule=schedule), camera(seed)[0]
    rgb, noise = tile(*shape, seed=seed), start_noise(*shape, seed)
    with torch.inference_mode():
        expected = net(rgb, s[None], noise, steps)
        answer = bind(net, s, steps, "onnxruntime")(rgb)(noise)
    # Sums in another order, over five steps.
    torch.testing.assert_close(answer, expected, rtol=1e-4, atol=2e-5)


@settings(max_examples=40)
@given(
    st.integers(0, 2**31),
    st.integers(1, 5),
    st.sampled_from([(1, 8), (2, 16)]),
    st.sampled_from(["residual", "cube"]),
)
def test_the_graph_of_pixels_and_its_last_layer_equal_the_plain_model(seed, steps, shape, target):
    net, s = stirred(seed, target=target), camera(seed)[0]
    rgb, noise = tile(*shape, seed=seed), start_noise(*shape, seed)
    graph, last = build_features(net, s, steps, (*shape, shape[1]))
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    (features,) = session.run(None, {"rgb": rgb.numpy(), "noise": noise.numpy()})
    seen = torch.cat([rgb, torch.from_numpy(features)], dim=1).double()
    answer = torch.einsum("bc,nchw->nbhw", last.weight, seen) + last.bias[:, None, None]
    with torch.inference_mode():
        expected = net(rgb, s[None], noise, steps)
    torch.testing.assert_close(answer.float(), expected, rtol=1e-4, atol=2e-5)


def test_bounds_between_are_in_the_graph():
    s, rgb, noise = camera()[0], 100 * tile(1, 8), start_noise(1, 8)
    net, other = (stirred(0, bounded=on) for on in (True, False))
    with torch.inference_mode():
        expected, unbounded = (each(rgb, s[None], noise, 5) for each in (net, other))
        answer = bind(net, s, 5, "onnxruntime")(rgb)(noise)
    off = (answer - expected).abs().max()
    assert off < 1e-3 * expected.abs().max()
    assert (unbounded - expected).abs().max() > 10 * off


def test_the_shipped_weights_answer_the_same_in_both_engines():
    net, random = model.load(), torch.Generator().manual_seed(0)
    s = camera(bands=31)[0]
    rgb = torch.rand(1, 3, 64, 64, generator=random)
    noise = torch.randn(1, 31, 64, 64, generator=random)
    first, other = (
        Reconstructor(net, s, 0.7, engine=engine, noises=1)(rgb, noise)
        for engine in ("torch", "onnxruntime")
    )
    # A tenth of a stored count.
    assert (first - other).abs().max() < 1e-5


@pytest.mark.parametrize("engine", ["torch-bfloat16", OPENVINO])
def test_bfloat16_is_near_float32_and_renders_back(engine):
    net, random = model.load(), torch.Generator().manual_seed(0)
    s, rgb = camera(bands=31)[0], torch.rand(1, 3, 64, 64, generator=random)
    plain, rounded = (Reconstructor(net, s, engine=which)(rgb) for which in ("torch", engine))
    assert 0 < (plain - rounded).abs().mean() < 0.005
    # What the camera sees is float32's, and the model that was given computes as before.
    torch.testing.assert_close(apply_matrix(s, rounded), apply_matrix(s, plain), rtol=0, atol=1e-5)
    assert torch.equal(Reconstructor(net, s, engine="torch")(rgb), plain)


@pytest.mark.parametrize("engine", ["torch", "torch-bfloat16", "onnxruntime", OPENVINO])
def test_no_light_overflows_the_shipped_weights(engine):
    net, random = model.load(), torch.Generator().manual_seed(1)
    reconstruct = Reconstructor(net, camera(bands=31)[0], engine=engine)
    for scale in (30.0, 100.0, 1e4):
        colour = torch.rand(4, 3, 1, 1, generator=random)
        rgb = scale * colour * torch.rand(4, 1, 32, 32, generator=random) ** 3
        assert reconstruct(rgb).isfinite().all()


def lit(light, side=24):
    """Linear rgb (1, 3, 64, 64) of a scene of scale 1, with a square of so much light."""
    rgb = tile(1, 64, seed=3) / 2
    rgb[:, :, 8 : 8 + side, 8 : 8 + side] = light
    return rgb


def test_a_light_beyond_training_moves_no_pixel_with_the_last_bit():
    net = model.load()
    s = resampled(load_camera("srgb"), tuple(net.wavelengths.tolist())).sensitivities
    plain, folded = (Reconstructor(net, s, engine=engine) for engine in ("torch", "onnxruntime"))
    for light in (8, 30, 1000):
        rgb = lit(light)
        apart = (plain(rgb) - folded(rgb)).abs().amax(dim=1)
        assert apart[:, 40:].max() < 1e-4
        assert apart.max() < 1e-4 * light
        # However bright: what is around it sees as much of it.
        torch.testing.assert_close(folded(rgb)[..., 40:, :], folded(lit(4))[..., 40:, :])


def test_a_light_keeps_its_colour_and_renders_back():
    net, s = stirred(2), camera(2)[0]
    bound = Reconstructor(net, s, scale=0.5)
    rgb = lit(torch.tensor([20.0, 10.0, 5.0])[:, None, None])
    torch.testing.assert_close(apply_matrix(s, bound(rgb)), rgb, rtol=1e-4, atol=1e-4)
    dim = rgb.clone()
    dim[:, :, 8:32, 8:32] /= 10  # as bright as the network is shown it
    torch.testing.assert_close(bound(rgb)[..., 8:32, 8:32], 10 * bound(dim)[..., 8:32, 8:32])
    torch.testing.assert_close(bound(rgb)[..., 32:, :], bound(dim)[..., 32:, :])


@pytest.mark.parametrize("engine", ["onnxruntime", OPENVINO])
def test_threads_share_a_reconstructor(engine):
    s = camera()[0]
    reconstruct = Reconstructor(stirred(1), s, engine=engine, noises=1)
    answers = {}

    def one(seed):
        torch.set_num_threads(1)  # as the pipeline's do
        answers[seed] = reconstruct(tile(1, 16, seed=seed), start_noise(1, 16, seed))

    threads = [Thread(target=one, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed, answer in answers.items():
        assert torch.equal(answer, reconstruct(tile(1, 16, seed=seed), start_noise(1, 16, seed)))
    assert len(answers) == 8


def test_the_best_engine_is_the_graph_where_it_can_be():
    assert best_engine(small_model()) == "onnxruntime"


@pytest.mark.parametrize("change", [{"hata": False}, {"gsrm": False}, {"normalise": True}])
def test_an_ablated_model_runs_in_torch(change):
    net = small_model(**change)
    assert best_engine(net) == "torch"
    with pytest.raises(ValueError, match="Use torch"):
        Reconstructor(net, camera()[0], engine="onnxruntime")
    with pytest.raises(ValueError, match="Use torch"):
        build(net, camera()[0], 5, (1, 8))


SIGNALLED = """
import signal
from model import Reconstructor
from tests.model_fixtures import camera, small_model, tile
for _ in range(2):
    Reconstructor(small_model(), camera()[0], engine="openvino-bfloat16")(tile())
told = []
signal.signal(signal.SIGTERM, lambda *_: told.append(1))
signal.raise_signal(signal.SIGTERM)
assert told
"""


@NEEDS_BF16
def test_a_process_survives_signals_after_openvino():
    root = Path(__file__).parents[1]
    assert subprocess.run([sys.executable, "-c", SIGNALLED], cwd=root, check=False).returncode == 0


AT_ONCE = """
import sys
from threading import Barrier, Thread
import openvino._ov_api as api
from model import Reconstructor
from tests.model_fixtures import camera, small_model, tile
network = Reconstructor(small_model(), camera()[0], engine="openvino-bfloat16")
ready, infer = Barrier(8), api.InferRequest.infer
def at_once(self, *given):
    ready.wait()
    return infer(self, *given)
api.InferRequest.infer = at_once
sys.setswitchinterval(1e-6)
threads = [Thread(target=network, args=(tile(),), daemon=True) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


@NEEDS_BF16
def test_the_first_answers_of_a_process_may_come_at_once():
    root = Path(__file__).parents[1]
    subprocess.run([sys.executable, "-c", AT_ONCE], cwd=root, check=True, timeout=120)


@pytest.mark.parametrize("engine", GRAPHS)
@pytest.mark.parametrize("change", [{"hata": False}, {"gsrm": False}])
def test_a_graph_of_an_ablated_model_is_refused(engine, change):
    with pytest.raises(ValueError, match=f"{engine} cannot run this model"):
        Reconstructor(small_model(**change), camera()[0], engine=engine)


def test_a_processor_without_bfloat16_is_refused(monkeypatch):
    monkeypatch.setattr("openvino.Core.get_property", lambda *_: ["FP32", "INT8"])
    with pytest.raises(ValueError, match="needs a processor that has BF16"):
        Reconstructor(small_model(), camera()[0], engine="openvino-bfloat16")


def absent_for(monkeypatch, absent):
    found = importlib.util.find_spec
    monkeypatch.setattr("model.engine.find_spec", lambda n: None if n == absent else found(n))


def test_without_openvino_the_others_stay(monkeypatch):
    absent_for(monkeypatch, "openvino")
    assert best_engine(small_model()) == "onnxruntime"
    with pytest.raises(ValueError, match="openvino is not installed"):
        Reconstructor(small_model(), camera()[0], engine="openvino-bfloat16")


@pytest.mark.parametrize("absent", ["onnx", "onnxruntime"])
def test_without_the_library_torch_takes_its_place(monkeypatch, absent):
    absent_for(monkeypatch, absent)
    assert best_engine(small_model()) == "torch"
    with pytest.raises(ValueError, match=f"{absent} is not installed"):
        Reconstructor(small_model(), camera()[0], engine="onnxruntime")


def test_graphs_of_few_shapes_are_kept(monkeypatch):
    """Windows of the scenes of a batch have many; each graph holds the weights."""
    made = []

    class Session:
        def __init__(self, *_, **__):
            made.append(weakref.ref(self))

    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    session = runtimes._sessions(lambda _: b"")
    for n in range(10):
        assert session((1, n, n)) is session((1, n, n))
    assert len(made) == 10
    gc.collect()
    assert sum(ref() is not None for ref in made) == runtimes.SHAPES


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"engine": "onnx"}, "an engine is one of"),
        ({"scale": 0.0}, "finite and above 0"),
        ({"scale": float("nan")}, "finite and above 0"),
        ({"scale": -1.0}, "finite and above 0"),
        ({"sensitivities": 5 * camera(bands=31)[0]}, "summing to 1"),
        ({"sensitivities": camera(bands=31)[0].T}, r"must be \(3, 31\)"),
    ],
)
def test_what_a_reconstructor_cannot_be_made_of_is_said(changes, said):
    given = {"model": model.load(), "sensitivities": camera(bands=31)[0], **changes}
    with pytest.raises(ValueError, match=said):
        model.Reconstructor(**given)
