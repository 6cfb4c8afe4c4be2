"""Lifetime: a shared tensor keeps its array alive, nothing else does, whoever lets go and when."""

import gc
import subprocess
import sys
import textwrap
import threading
import weakref

import numpy as np
import pytest
import torch

import tensorlift
from support.inputs import read_only


class Tracked(np.ndarray):
    """An array that can be asked whether it still lives."""


def tracked(n: int = 4) -> np.ndarray:
    array = Tracked(n)  # owns its memory
    array[:] = np.arange(n)
    return array


def run(code: str) -> subprocess.CompletedProcess[str]:
    """A fresh interpreter, which must end by itself and say nothing on stderr."""
    result = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    return result


def test_the_tensor_keeps_the_array(tl):
    array = tracked()
    alive = weakref.ref(array)
    (tensor,) = tl.from_numpy([array])
    del array
    gc.collect()
    assert tensor.tolist() == [0, 1, 2, 3]
    view = tensor[1:]
    del tensor
    gc.collect()
    assert alive() is not None
    assert view.tolist() == [1, 2, 3]
    del view
    assert alive() is None


def test_nothing_else_keeps_it(tl):
    arrays = [tracked(i + 1) for i in range(100)]
    alive = [weakref.ref(a) for a in arrays]
    tensors = tl.from_numpy(arrays)
    del arrays
    assert all(ref() is not None for ref in alive)
    for i in range(99, -1, -1):
        del tensors[i]
        assert alive[i]() is None
        assert all(ref() is not None for ref in alive[:i])


def test_a_copy_does_not_keep_it(tl):
    array = tracked()
    alive = weakref.ref(array)
    tensors = tl.from_numpy([array[::-1], array], copy=True)
    del array
    assert alive() is None
    assert [t.tolist() for t in tensors] == [[3, 2, 1, 0], [0, 1, 2, 3]]


def test_n_conversions_n_frees(tl, steady_references):
    array = np.zeros(5)
    steady_references(array)
    before = sys.getrefcount(array)
    tensors = [tl.from_numpy([array, array]) for _ in range(50)]
    assert sys.getrefcount(array) >= before + 100
    del tensors
    assert sys.getrefcount(array) == before


def test_the_tensor_can_outlive_its_neighbours_and_their_list():
    tensors = tensorlift.from_numpy([np.full(3, i) for i in range(1000)])
    kept = tensors[517]
    del tensors
    gc.collect()
    junk = tensorlift.from_numpy([np.zeros(3, int) for _ in range(1000)])
    assert kept.tolist() == [517] * 3
    assert len(junk) == 1000


def test_storage_outlives_tensor_and_tensor_outlives_storage():
    array = tracked()
    alive = weakref.ref(array)
    (tensor,) = tensorlift.from_numpy([array])
    del array
    storage = tensor.untyped_storage()
    del tensor
    assert alive() is not None
    assert storage.nbytes() == 32
    again = torch.empty(0, dtype=torch.float64).set_(storage)
    del storage
    assert again.tolist() == [0, 1, 2, 3]
    again.set_(torch.zeros(1, dtype=torch.float64).untyped_storage())
    assert alive() is None


ERRORS = {
    "no array": lambda good: [*good, "x"],
    "dtype": lambda good: [*good, np.array([None])],
    "first": lambda good: [None, *good],
    "masked": lambda good: [*good, np.ma.masked_array([1], [True])],
}


@pytest.mark.parametrize("case", ERRORS)
def test_an_error_leaves_no_reference(tl, case, steady_references):
    good = [np.zeros(3), np.zeros(4)[::-1], read_only(np.zeros(2))]
    for array in good:
        steady_references(array)
    arrays = ERRORS[case](good)
    for array in arrays:
        steady_references(array)
    for _ in range(200):
        with pytest.raises(TypeError):
            tl.from_numpy(arrays, readonly="share")


def test_errors_in_a_loop_leave_memory_flat():
    import tracemalloc

    arrays = [*(np.zeros(50) for _ in range(20)), *(np.zeros(50)[::-1] for _ in range(20)), "x"]

    def fail(times):
        for _ in range(times):
            try:
                tensorlift.from_numpy(arrays)
            except TypeError:
                continue
            pytest.fail("no error")

    fail(50)
    tracemalloc.start()
    fail(10)
    before = tracemalloc.get_traced_memory()[0]
    fail(1000)
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert grown < 20_000


def test_a_generator_that_raises(tl, steady_references):
    array = np.zeros(3)
    steady_references(array)

    def hostile():
        yield array
        raise KeyError("mine")

    for _ in range(100):
        with pytest.raises(KeyError, match="mine"):
            tl.from_numpy(hostile())


def test_released_on_another_thread():
    array = tracked()
    alive = weakref.ref(array)
    held = tensorlift.from_numpy([array])
    del array

    def drop():
        held.clear()

    thread = threading.Thread(target=drop)
    thread.start()
    thread.join()
    assert alive() is None


def test_released_by_a_thread_that_does_not_hold_the_gil():
    """autograd's threads free saved tensors when backward() is done with them."""
    array = tracked(3)
    alive = weakref.ref(array)
    (tensor,) = tensorlift.from_numpy([array])
    weights = torch.ones(3, dtype=torch.float64, requires_grad=True)
    loss = (weights * tensor).sum()
    del array, tensor
    assert alive() is not None
    loss.backward()
    assert weights.grad.tolist() == [0, 1, 2]
    del loss
    gc.collect()
    assert alive() is None


def test_in_a_reference_cycle():
    array = tracked()
    array.tensors = tensorlift.from_numpy([array])
    array.itself = array
    alive = weakref.ref(array)
    del array.tensors
    del array
    gc.collect()
    assert alive() is None


@pytest.mark.parametrize(
    "keep",
    [
        "kept = tensors",
        "import builtins; builtins.kept = tensors",
        "cycle = [tensors]; cycle.append(cycle)",
        "import atexit; atexit.register(lambda: print(tensors[0][0].item()))",
        "import threading; threading.local().kept = tensors",
        "torch.kept = tensors",
        "np.kept = [t.numpy() for t in tensors]",
        """
        import threading, time
        threading.Thread(target=lambda t=tensors: time.sleep(60), daemon=True).start()
        """,
        """
        # (torch aborts the process where a daemon thread *frees* a tensor at exit, its own too)
        import threading, time
        kept = []
        def churn(xs, times):
            for _ in range(times):
                kept.append(tl.from_numpy(xs, copy=True))
            time.sleep(60)
        for n, times in ((4, 500_000), (50_000, 400)):  # 500 MB at most
            arguments = ([np.zeros(n)] * 3, times)
            threading.Thread(target=churn, args=arguments, daemon=True).start()
        time.sleep(0.1)
        """,
        """
        import threading, time
        class Slow(np.ndarray):
            def __del__(self):
                for _ in range(4000):
                    time.sleep(0.002)
        box = [t.untyped_storage() for t in tl.from_numpy([np.ones(3).view(Slow)])]
        threading.Thread(target=box.clear, daemon=True).start()
        time.sleep(0.2)
        """,
    ],
)
def test_interpreter_exit(keep):
    run(
        "import numpy as np, torch, tensorlift as tl\n"
        "tensors = tl.from_numpy([np.ones(3) for _ in range(100)] + [np.ones(9)[::-1]] * 9)\n"
        + textwrap.dedent(keep)
    )


def test_a_mask_may_switch_the_collector():
    class Masked(np.ma.MaskedArray):
        @property
        def _mask(self):
            gc.disable()
            return np.ma.nomask

        @_mask.setter
        def _mask(self, value):
            pass

    array = np.zeros(3).view(Masked)
    gc.enable()  # looking at the mask has disabled it already
    try:
        tensorlift.from_numpy([array])
        assert not gc.isenabled()
    finally:
        gc.enable()


class Lying(np.ndarray):
    """Changes its own shape when it is asked for its dtype or its name."""

    @property
    def dtype(self):
        np.ndarray.resize(self, (1,) * 32, refcheck=False)
        return super().dtype


@pytest.mark.parametrize("make", [lambda: Lying((3,), "V4"), lambda: Lying((3,), "M8[s]")])
def test_what_an_array_says_of_itself_is_not_asked(make):
    with pytest.raises(TypeError, match=r"of shape \(3,\)"):
        tensorlift.from_numpy([make()])
    (entry,) = tensorlift.explain([make()])
    assert entry.shape == (3,)
    assert "of shape (3,)" in entry.error


def test_a_finalizer_that_reshapes_while_explain_makes_objects():
    class Cycle:
        def __init__(self, array):
            self.array = array
            self.itself = self

        def __del__(self):
            np.ndarray.resize(self.array, (1,) * 20, refcheck=False)

    threshold = gc.get_threshold()
    try:
        gc.set_threshold(1, 1, 1)
        for _ in range(300):
            array = np.zeros(3)
            Cycle(array)
            (entry,) = tensorlift.explain([array])
            assert entry.shape in ((3,), (1,) * 20)
    finally:
        gc.set_threshold(*threshold)


@pytest.mark.parametrize("enabled", [True, False])
def test_the_collector_is_left_as_it_was(enabled):
    was_enabled = gc.isenabled()
    (gc.enable if enabled else gc.disable)()
    try:
        tensorlift.from_numpy([np.zeros(3), np.zeros(3)[::-1]])
        assert gc.isenabled() == enabled
        with pytest.raises(TypeError):
            tensorlift.from_numpy([np.zeros(3), "x"])
        assert gc.isenabled() == enabled
    finally:
        (gc.enable if was_enabled else gc.disable)()
    assert gc.is_tracked(tensorlift.from_numpy([np.zeros(3)]))
