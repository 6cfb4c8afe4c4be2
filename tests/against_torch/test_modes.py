"""Results made inside torch's modes and transformations are those of torch's own functions."""

import contextlib

import numpy as np
import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx
from torch.overrides import TorchFunctionMode
from torch.utils.data import default_collate, default_convert

import tensorlift
from against_torch.outcome import described, outcome

pytestmark = pytest.mark.filterwarnings("ignore")

SAMPLE = {"array": np.arange(3.0), "number": 1.5, "scalar": np.float32(2), "tensor": torch.ones(2)}


def padded(items):
    return torch.nn.utils.rnn.pad_sequence(items, batch_first=True)


def from_numpy(arrays):
    return [torch.from_numpy(array) for array in arrays]


def installed(samples):
    with tensorlift.install():
        return default_collate(samples)


# torch's function, ours, what it is called with.
CALLS = {
    "collate": (default_collate, tensorlift.collate, lambda: [SAMPLE, SAMPLE]),
    "install": (default_collate, installed, lambda: [SAMPLE, SAMPLE]),
    "convert": (default_convert, tensorlift.convert, lambda: [SAMPLE, (np.int64(1), np.ones(2))]),
    "collate of leaves": (
        default_collate,
        tensorlift.collate,
        lambda: [torch.ones(2, requires_grad=True)] * 2,
    ),
    "stack": (torch.stack, tensorlift.stack, lambda: [torch.ones(2)] * 2),
    "cat": (torch.cat, tensorlift.cat, lambda: [torch.ones(2)] * 2),
    "stack of arrays": (
        lambda arrays: torch.stack(from_numpy(arrays)),
        tensorlift.stack,
        lambda: [np.ones(2)] * 2,
    ),
    "pad": (
        lambda arrays: padded(from_numpy(arrays)),
        lambda arrays: tensorlift.pad(arrays).batch,
        lambda: [np.ones(2), np.ones(3)],
    ),
    "from_numpy": (from_numpy, tensorlift.from_numpy, lambda: [np.ones(2)]),
    "from_numpy, copied": (
        lambda arrays: [torch.from_numpy(array).clone() for array in arrays],
        lambda arrays: tensorlift.from_numpy(arrays, copy=True),
        lambda: [np.ones(2)],
    ),
}


@contextlib.contextmanager
def default_device():
    torch.set_default_device("meta")
    try:
        yield
    finally:
        torch.set_default_device(None)


@contextlib.contextmanager
def default_dtype():
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextlib.contextmanager
def deterministic():
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


class Counting(TorchFunctionMode):
    """Is asked of every call, and changes none."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        return function(*args, **(kwargs or {}))


MODES = {
    "inference_mode": torch.inference_mode,
    "no_grad": torch.no_grad,
    "default device": default_device,
    "torch.device as a context": lambda: torch.device("meta"),
    "default dtype": default_dtype,
    "deterministic": deterministic,
    "a mode of the user's": Counting,
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("call", CALLS)
def test_what_torch_gives_in_a_mode(call, mode):
    torchs, ours, items = CALLS[call]

    def within(function):
        def run():
            with MODES[mode]():
                return function(given)

        return run

    with MODES[mode]():
        given = items()
    assert outcome(within(ours)) == outcome(within(torchs))


JOINS = {
    "stack": (torch.stack, tensorlift.stack),
    "cat": (torch.cat, tensorlift.cat),
    "collate": (default_collate, tensorlift.collate),
}


def forward_mode(function):
    def run(x):
        with torch.autograd.forward_ad.dual_level():
            dual = torch.autograd.forward_ad.make_dual(x, x + 1)
            return tuple(torch.autograd.forward_ad.unpack_dual(function(dual)))

    return run


TRANSFORMATIONS = {
    "vmap": torch.vmap,
    "grad": lambda f: torch.func.grad(lambda x: f(x).sum()),
    "jvp": lambda f: lambda x: torch.func.jvp(f, (x,), (x,)),
    "vjp": lambda f: lambda x: torch.func.vjp(f, x)[0],
    "jacrev": torch.func.jacrev,
    "functionalize": torch.func.functionalize,
    "vmap of grad": lambda f: torch.vmap(torch.func.grad(lambda x: f(x).sum())),
    "forward mode": forward_mode,
    "make_fx": lambda f: lambda x: make_fx(f)(x).code,
}


def doubled(function):
    return lambda x: function([x, x]) * 2


@pytest.mark.parametrize("transformation", TRANSFORMATIONS)
@pytest.mark.parametrize("join", JOINS)
def test_what_torch_gives_in_a_transformation(join, transformation):
    x = torch.arange(6.0).reshape(3, 2)
    theirs, ours = (
        described(TRANSFORMATIONS[transformation](doubled(function))(x)) for function in JOINS[join]
    )
    assert ours == theirs


@pytest.mark.parametrize("join", JOINS)
def test_what_torch_gives_for_fake_tensors(join):
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        x = torch.ones(3, 2)
        theirs, ours = (function([x, x]) for function in JOINS[join])
    assert type(ours) is type(theirs)
    assert ours.shape == theirs.shape
    assert ours.stride() == theirs.stride()


def test_it_is_exported():
    class Join(torch.nn.Module):
        def __init__(self, function):
            super().__init__()
            self.function = function

        def forward(self, x):
            return self.function([x, x])

    theirs, ours = (
        torch.export.export(Join(function), (torch.ones(3),)).graph_module.code
        for function in JOINS["stack"]
    )
    assert ours == theirs


def test_a_compiled_graph_breaks_at_a_call():
    """As the limitations say."""

    def step(x):
        return tensorlift.stack([x, x]) + 1

    x = torch.arange(3.0)
    assert torch.equal(torch.compile(step, backend="eager")(x), torch.stack([x, x]) + 1)
    torch.compiler.reset()
    with pytest.raises(torch._dynamo.exc.Unsupported):
        torch.compile(step, backend="eager", fullgraph=True)(x)


def test_a_nested_tensor_knows_its_lengths():
    """As torch's own does, so that nothing is computed again for each use."""
    arrays = [np.ones((length, 2)) for length in (3, 1, 4)]
    theirs = torch.nested.nested_tensor(from_numpy(arrays), layout=torch.jagged)
    ours = tensorlift.jagged(arrays).to_nested()
    for name in ("_min_seqlen_tensor", "_max_seqlen_tensor"):
        assert getattr(ours, name).shape == getattr(theirs, name).shape
    assert ours._get_min_seqlen() == 1
    assert ours._get_max_seqlen() == 4
