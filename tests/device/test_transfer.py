"""Arrays to a device: right values, in order with every stream, whatever happens meanwhile."""

from __future__ import annotations

import os
import signal
import threading

import numpy as np
import pytest
import torch

import tensorlift
from support.device_fixtures import (
    NAME,
    mixed,
    needs_capture_check,
    needs_fake,
    needs_gate,
    same,
    wait_until,
)
from tensorlift import _C


def send(arrays, **options):
    return tensorlift.from_numpy(arrays, device=NAME, **options)


def send_within(seconds: float, arrays: list[np.ndarray]) -> list[torch.Tensor]:
    """Fails instead of waiting for ever for a buffer that nobody will give back."""
    result: list[object] = []

    def work():
        try:
            result.append(send(arrays))
        except Exception as error:
            result.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    assert result, "waits for a buffer that nobody will give back"
    if isinstance(result[0], Exception):
        raise result[0]
    return result[0]


def test_mixed_dtypes_and_shapes_arrive():
    arrays = mixed()
    tensors = send(arrays)
    assert all(t.device == torch.device(NAME, 0) for t in tensors)
    assert [t.dtype for t in tensors] == [torch.from_numpy(a).dtype for a in arrays]
    assert all(t.is_contiguous() for t in tensors)
    assert same(tensors, arrays)


def test_nothing_is_sent_for_an_empty_list():
    assert send([]) == []


def test_sources_may_be_changed_after_the_call():
    arrays = mixed()
    before = [a.copy() for a in arrays]
    tensors = send(arrays)
    for a in arrays:
        a[...] = 0
    assert same(tensors, before)


@pytest.mark.usefixtures("small_ring")
def test_buffers_are_not_filled_before_they_were_sent():
    first, second = mixed(200), mixed(200, seed=1)
    tensors = send(first), send(second)
    assert same(tensors[0], first)
    assert same(tensors[1], second)


@pytest.mark.usefixtures("small_ring")
def test_a_copy_is_enqueued_when_its_buffer_is_full(fake):
    fake.set_mode(fake.EAGER)
    arrays = mixed(100)
    assert same(send(arrays), arrays)


@pytest.mark.usefixtures("small_ring")
def test_a_device_with_a_thread_of_its_own(fake):
    fake.set_mode(fake.THREAD, 200)
    arrays = mixed(150)
    assert same(send(arrays), arrays)


def test_the_host_does_not_wait(fake):
    arrays = mixed()
    tensorlift.set_staging(buffers=8)
    send(arrays)
    fake.reset_stats()
    send(arrays)
    stats = fake.stats()
    assert stats.get("stream_sync", 0) == 0
    assert stats.get("device_sync", 0) == 0
    assert stats.get("h2d_pageable", 0) == 0


def test_the_host_waits_where_it_is_told_to(fake):
    send(mixed(), non_blocking=False)
    assert fake.pending() <= 1  # the consumer's own wait for what has happened already


def test_one_copy_for_each_chunk_and_no_gil(fake):
    chunk = 64 << 10
    tensorlift.set_staging(chunk_bytes=chunk, buffers=3)
    fake.reset_stats()
    send(mixed())
    stats = fake.stats()
    assert stats["h2d"] == -(-stats["h2d_bytes"] // chunk) > 1
    assert stats.get("h2d_with_gil", 0) == 0


@needs_gate
def test_two_callers_do_not_get_the_same_buffer():
    nbytes = 32 << 10
    tensorlift.set_staging(chunk_bytes=64 << 10, buffers=1)
    send([np.ones(8, np.uint8)])
    a, b = [np.full(nbytes, 1, np.uint8)], [np.full(nbytes, 2, np.uint8)]
    results = {}

    def work(key, arrays):
        results[key] = send(arrays, threads=1)

    _C.close_gate()
    first = threading.Thread(target=work, args=("a", a))
    second = threading.Thread(target=work, args=("b", b))
    first.start()
    wait_until(_C.somebody_waits_at_gate)
    second.start()
    second.join(0.2)  # cannot end: the only buffer is the first one's
    _C.open_gate()
    first.join()
    second.join()
    assert same(results["a"], a)
    assert same(results["b"], b)


def test_one_tensor_keeps_the_slab():
    arrays = mixed()
    keep = send(arrays)[7]
    for _ in range(8):
        torch.empty(1 << 18, dtype=torch.uint8, device=NAME).fill_(1)
    assert same([keep], [arrays[7]])


@pytest.mark.parametrize("pack", [False, True])
def test_memory_is_not_reused_while_the_consumer_has_work_for_it(fake, pack):
    (tensor,) = send([np.full(50_000, 7, np.uint8)], pack=pack)
    out = torch.empty(50_000, dtype=torch.uint8, device=NAME)
    out.copy_(tensor, non_blocking=True)  # waits on the consumer's stream
    del tensor
    again = send([np.full(50_000, 9, np.uint8)], pack=pack)
    assert int(again[0].cpu()[0]) == 9
    assert bool((out.cpu() == 7).all())


def test_memory_is_not_taken_from_the_consumers_pool(fake):
    send([np.zeros(50_000, np.uint8)])
    nbytes = 50_048
    a = torch.empty(nbytes, dtype=torch.uint8, device=NAME).fill_(5)
    out = torch.empty(nbytes, dtype=torch.uint8, device=NAME)
    out.copy_(a)
    address = a.data_ptr()
    fake.set_mode(fake.LAZY)
    out.copy_(a, non_blocking=True)
    del a  # back to the pool of a stream that has not read it yet
    (tensor,) = send([np.full(nbytes, 9, np.uint8)])
    assert tensor.data_ptr() != address


def test_device_index_is_respected(fake):
    arrays = mixed()
    fake.set_device(0)
    tensors = tensorlift.from_numpy(arrays, device=torch.device(NAME, 1))
    assert all(t.device.index == 1 for t in tensors)
    assert fake.current_device() == 0
    assert same(tensors, arrays)


def test_no_index_means_the_current_device(fake):
    fake.set_device(1)
    (tensor,) = send([np.ones(3)])
    assert tensor.device.index == 1


def test_ready_on_the_given_stream_and_nobody_else_waits(fake):
    stream = torch.Stream(NAME)
    arrays = mixed()
    fake.reset_stats()
    fake.block_stream(None)  # the current one has work that does not end
    tensors = send(arrays, stream=stream)
    assert fake.stats()["event_block"] == 1
    with stream:
        assert same(tensors, arrays)


def test_a_busy_stream_holds_up_nobody_else(fake):
    """Neither its own caller's host, nor transfers to other streams, however few the buffers."""
    tensorlift.set_staging(chunk_bytes=16 << 10, buffers=2)
    busy = torch.Stream(NAME)
    fake.block_stream(busy.stream_id)
    arrays = mixed(200)
    late = send(arrays, stream=busy)
    assert same(send(arrays), arrays)
    assert fake.stats()["forbidden_wait"] == 0
    fake.unblock()
    with busy:
        assert same(late, arrays)


def test_many_streams_of_the_users_own_are_none_of_ours(fake):
    streams = [torch.Stream(NAME) for _ in range(40)]
    for stream in streams:
        fake.block_stream(stream.stream_id)
    arrays = mixed()
    assert same(send(arrays, non_blocking=False), arrays)


def test_copies_overlap_a_busy_consumer(fake):
    arrays = mixed()
    expected = [a.copy() for a in arrays]
    fake.block_stream(None)  # the current one: has work that does not end
    tensors = send(arrays)
    assert fake.stats().get("forbidden_wait", 0) == 0
    other = torch.Stream(NAME)
    more = send(arrays, stream=other, non_blocking=False)
    with other:
        assert same(more, expected)
    fake.unblock()
    assert same(tensors, expected)


@pytest.mark.usefixtures("small_ring")
def test_many_threads_at_once():
    wrong = []

    def work(i):
        rng = np.random.default_rng(i)
        arrays = [np.full(int(rng.integers(1, 4000)), i, np.uint8) for _ in range(60)]
        for _ in range(6):
            if not same(send(arrays, threads=1), arrays):
                wrong.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(1, 7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@needs_fake
@pytest.mark.usefixtures("small_ring")
def test_a_list_that_another_thread_empties(fake):
    fake.set_mode(fake.THREAD, 300)
    send([np.zeros(9, np.uint8)])
    count = 400
    arrays = [np.full(4096, i % 250 + 1, np.uint8) for i in range(count)]
    junk = []

    def thief():
        wait_until(lambda: fake.stats().get("h2d", 0) >= 5)
        arrays.clear()
        junk.extend(np.full(4096, 251, np.uint8) for _ in range(count))

    fake.reset_stats()
    thread = threading.Thread(target=thief)
    thread.start()
    tensors = send(arrays)
    thread.join()
    assert [int(t.cpu()[0]) for t in tensors] == [i % 250 + 1 for i in range(count)]
    assert all(bool((t.cpu() == t.cpu()[0]).all()) for t in tensors)


@needs_capture_check
def test_refused_during_a_graph_capture(fake):
    send(mixed())
    torch.accelerator.synchronize()
    fake.set_capturing(True)
    with pytest.raises(RuntimeError, match="graph capture"):
        send(mixed())
    with pytest.raises(RuntimeError, match="graph capture"):
        tensorlift.stack([np.ones(3)], device=NAME)


@pytest.mark.skipif(NAME != "cuda", reason="needs CUDA graphs")
def test_refused_during_the_capture_of_a_cuda_graph():
    send(mixed())
    torch.cuda.synchronize()
    with torch.cuda.graph(torch.cuda.CUDAGraph()), pytest.raises(RuntimeError, match="capture"):
        send(mixed())
    assert same(send(mixed()), mixed())


def in_forked_child(function) -> str:
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)  # may have been ignored by a parent
        signal.alarm(5)
        try:
            function()
            os.write(write, b"no error")
        except BaseException as error:
            os.write(write, f"{type(error).__name__}: {error}".encode()[:500])
        os._exit(0)
    os.close(write)
    text = os.read(read, 512).decode()
    os.waitpid(pid, 0)
    os.close(read)
    return text


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # fork with threads: what is tested
def test_refused_in_a_forked_child():
    send(mixed())
    torch.accelerator.synchronize()
    error = in_forked_child(lambda: send([np.ones(1 << 20, np.uint8)]))
    assert error.startswith("RuntimeError: device: expected a process that may use")
    assert "spawn" in error
    # The settings and the host's side work there.
    assert in_forked_child(lambda: tensorlift.set_staging(buffers=2)) == "no error"
    assert in_forked_child(lambda: tensorlift.empty_cache()) == "no error"
    assert in_forked_child(lambda: tensorlift.stack([np.ones(1 << 20)] * 3)) == "no error"
    for function in (
        lambda: tensorlift.empty_pinned(3, np.int8),
        lambda: tensorlift.from_numpy([np.ones(3)], pin_memory=True),
    ):
        error = in_forked_child(function)
        assert error.startswith(
            "RuntimeError: device: expected a process that may use pinned memory"
        )


@pytest.mark.usefixtures("small_ring")
def test_no_device_memory_leaks_nothing(fake):
    arrays = mixed(200)
    tensorlift.set_staging(buffers=1)
    torch.accelerator.synchronize()
    before = fake.live_device_bytes()
    fake.fail_device_allocation(0)
    with pytest.raises(torch.OutOfMemoryError):
        send(arrays)
    assert fake.live_device_bytes() == before
    fake.fail_device_allocation(1)  # the slab is there, its second part is not
    with pytest.raises(torch.OutOfMemoryError):
        send([a.astype(np.uint8) for a in arrays], dtype=torch.float64)
    fake.fail_device_allocation(-1)
    assert fake.live_device_bytes() == before
    assert same(send(arrays), arrays)


@pytest.mark.usefixtures("small_ring")
def test_no_pinned_memory_leaves_the_ring_usable(fake):
    arrays = mixed(200)
    tensorlift.set_staging(buffers=1)
    for _ in range(3):
        fake.fail_pinned_allocation(0)
        with pytest.raises(RuntimeError, match="out of pinned memory"):
            send_within(5, arrays)
    fake.fail_pinned_allocation(-1)
    assert same(send_within(5, arrays), arrays)


@pytest.mark.usefixtures("small_ring")
def test_a_failed_copy_gives_its_buffer_back(fake):
    arrays = mixed(200)
    tensorlift.set_staging(buffers=1)
    send(arrays)
    torch.accelerator.synchronize()
    for _ in range(3):
        fake.fail_copy(2)  # the third copy from now on
        with pytest.raises(RuntimeError, match="injected"):
            send_within(5, arrays)
    fake.fail_copy(-1)
    assert same(send_within(5, arrays), arrays)


def test_pinned_memory_is_bounded_and_given_back(fake):
    tensorlift.empty_cache()
    before = fake.live_pinned_bytes()
    tensorlift.set_staging(chunk_bytes=8 << 10, buffers=3)
    arrays = mixed(200)
    send(arrays)
    assert _C.staging_bytes() == 3 * (8 << 10) == fake.live_pinned_bytes() - before
    tensorlift.set_staging(chunk_bytes=16 << 10, buffers=2)
    assert same(send(arrays), arrays)
    assert _C.staging_bytes() == 2 * (16 << 10) == fake.live_pinned_bytes() - before
    tensorlift.empty_cache()
    assert _C.staging_bytes() == 0
    assert fake.live_pinned_bytes() == before


def test_a_failed_wait_loses_no_buffer(fake):
    tensorlift.set_staging(buffers=1)
    send([np.ones(100)])
    fake.set_capturing(True)
    with pytest.raises(RuntimeError):
        tensorlift.empty_cache()
    fake.set_capturing(False)
    assert same(send_within(5, [np.ones(100)]), [np.ones(100)])
    tensorlift.empty_cache()
    assert _C.staging_bytes() == 0


def test_what_cannot_be_cut_takes_one_of_the_buffers(fake):
    tensorlift.set_staging(chunk_bytes=64 << 10, buffers=2)
    before = fake.live_pinned_bytes()
    rows = [np.full((8, 200_000), i, np.uint8) for i in range(4)]
    joined = tensorlift.cat(rows, dim=1, device=NAME)
    assert torch.equal(joined.cpu(), tensorlift.cat(rows, dim=1))
    assert fake.live_pinned_bytes() - before == _C.staging_bytes() <= 2 * 800_000
    arrays = mixed(200)
    assert same(send(arrays), arrays)
    send(arrays)
    assert _C.staging_bytes() == 2 * (64 << 10)


def test_pad_and_jagged_are_one_transfer(fake):
    arrays = [np.arange(n) for n in range(1, 20)]
    fake.reset_stats()
    tensorlift.pad(arrays, device=NAME)
    assert fake.stats()["h2d"] == 2  # out of one buffer
    assert fake.stats()["pinned_alloc"] + fake.stats()["pinned_reuse"] == 1
    assert fake.stats()["event_record"] == 2


# ---- casts


@pytest.mark.parametrize(
    ("source", "target"),
    [
        (np.uint8, torch.float32),
        (np.int32, torch.int64),
        (np.float16, torch.float32),
        (np.bool_, torch.int64),
        (np.int16, torch.float64),
    ],
)
def test_widening_casts_are_made_on_the_device_one_launch_a_pair(fake, source, target):
    arrays = [np.arange(i, i + 1000).astype(source) for i in range(100)]
    send(arrays[:1])
    fake.reset_stats()
    tensors = send(arrays, dtype=target)
    stats = fake.stats()
    assert stats["d2d_cast"] == 1
    assert stats["h2d_bytes"] < sum(a.nbytes for a in arrays) * 1.1
    expected = tensorlift.from_numpy(arrays, dtype=target)
    assert all(torch.equal(t.cpu(), e) for t, e in zip(tensors, expected, strict=True))


def test_each_pair_of_dtypes_is_cast_by_one_launch(fake):
    sources = [np.uint8, np.int16, np.float16, np.float32, np.int64, np.float64]
    arrays = [np.arange(1000).astype(sources[i % 6]) for i in range(300)]
    fake.reset_stats()
    tensors = send(arrays, dtype=torch.float32)
    assert fake.stats()["d2d_cast"] == 3  # of uint8, int16 and float16
    expected = tensorlift.from_numpy(arrays, dtype=torch.float32)
    assert all(torch.equal(t.cpu(), e) for t, e in zip(tensors, expected, strict=True))


@pytest.mark.parametrize(
    ("source", "target"), [(np.float64, torch.float16), (np.float32, torch.int64)]
)
def test_other_casts_are_made_while_packing(fake, source, target):
    arrays = [np.linspace(-9, 9, 1000).astype(source) for _ in range(100)]
    fake.reset_stats()
    tensors = send(arrays, dtype=target)
    assert fake.stats().get("d2d_cast", 0) == 0
    expected = tensorlift.from_numpy(arrays, dtype=target)
    assert all(torch.equal(t.cpu(), e) for t, e in zip(tensors, expected, strict=True))


@pytest.mark.usefixtures("small_ring")
def test_a_cast_waits_for_its_elements_and_the_consumer_for_the_cast(fake):
    arrays = [np.full(3000, i, np.uint8) for i in range(1, 100)]
    tensors = send(arrays, dtype=torch.float32)
    expected = tensorlift.from_numpy(arrays, dtype=torch.float32)
    assert all(torch.equal(t.cpu(), e) for t, e in zip(tensors, expected, strict=True))


# ---- storages


@pytest.mark.usefixtures("small_ring")
def test_large_arrays_have_storage_of_their_own():
    arrays = [np.arange(i << 17, (i + 1) << 17) for i in range(4)]
    arrays += [np.arange(10), np.arange(20)]
    tensors = send(arrays)
    assert len({t.untyped_storage().data_ptr() for t in tensors[:4]}) == 4
    assert tensors[4].untyped_storage().data_ptr() == tensors[5].untyped_storage().data_ptr()
    assert same(tensors, arrays)


def test_small_arrays_lie_aligned_in_one_slab():
    tensors = send([np.ones(3, np.uint8), np.ones(5), np.ones((2, 2), np.float32)])
    assert len({t.untyped_storage().data_ptr() for t in tensors}) == 1
    assert all(t.storage_offset() * t.itemsize % 64 == 0 for t in tensors)


@pytest.mark.parametrize("options", [{"device": NAME}, {"pin_memory": True}], ids=str)
def test_empty_tensors_lie_alone(options):
    """torch resizes an empty `out` without a word."""
    empty, first, second = tensorlift.from_numpy(
        [np.zeros(0), np.arange(16.0), np.zeros(0)], **options
    )
    x = torch.ones(16, dtype=torch.float64, device=first.device)
    torch.add(x, x, out=empty)
    torch.add(x, x, out=second)
    assert first.cpu().tolist() == list(range(16))
    assert empty.cpu().tolist() == second.cpu().tolist() == [2] * 16


def test_nothing_old_lies_between_small_arrays():
    tensorlift.set_staging(buffers=1)
    send([np.full(4096, 0xAB, np.uint8)])
    tensors = send([np.full(n, 1, np.uint8) for n in (1, 63, 64, 65, 100)])
    nbytes = tensors[0].untyped_storage().nbytes()
    slab = tensors[0].as_strided((nbytes,), (1,), 0)
    assert set(slab.cpu().tolist()) == {0, 1}
    assert int((slab.cpu() == 1).sum()) == 1 + 63 + 64 + 65 + 100


# ---- pinned results


def test_pin_memory_copies_into_pinned_memory():
    arrays = [*mixed(), np.zeros((600, 600))]
    tensors = tensorlift.from_numpy(arrays, pin_memory=True)
    assert all(t.is_pinned() for t in tensors if t.numel())
    assert all(t.device.type == "cpu" for t in tensors)
    assert same(tensors, arrays)
    before = arrays[0].copy()
    arrays[0][...] = 0
    assert same(tensors[:1], [before])


@pytest.mark.parametrize("operation", ["stack", "cat", "pad", "jagged"])
def test_pin_memory_of_batches(operation):
    arrays = [np.ones((2, 3)), np.zeros((2, 3))]
    result = getattr(tensorlift, operation)(arrays, pin_memory=True)
    values = result if isinstance(result, torch.Tensor) else result[0]
    assert values.is_pinned()


# ---- options


def error_of(function, *arguments, **options):
    with pytest.raises((TypeError, ValueError)) as caught:
        function(*arguments, **options)
    return f"{caught.type.__name__}: {caught.value}"


@pytest.mark.parametrize(
    ("options", "start"),
    [
        ({"device": "nonsense"}, "ValueError: device: expected a torch.device, its name"),
        ({"device": 1.5}, "TypeError: device: expected a torch.device, its name"),
        (
            {"device": f"{NAME}:77"},
            f"ValueError: device: expected a device that torch can use here, got {NAME}:77",
        ),
        ({"device": "meta"}, "ValueError: device: expected a device with memory, got meta"),
        (
            {"device": NAME, "stream": 3},
            "TypeError: stream: expected a torch.Stream or None, got 3",
        ),
        ({"device": "cpu", "stream": 3}, "ValueError: stream: expected None for a CPU, got 3"),
        ({"stream": 3}, "ValueError: stream: expected None for device=None, got 3"),
        (
            {"device": NAME, "non_blocking": 1},
            "TypeError: non_blocking: expected True or False, got 1",
        ),
        (
            {"device": NAME, "pin_memory": True},
            "ValueError: pin_memory: expected False with device=",
        ),
        ({"pin_memory": 1}, "TypeError: pin_memory: expected True or False, got 1"),
    ],
)
@pytest.mark.parametrize("name", ["from_numpy", "stack"])
def test_bad_options_are_named(name, options, start):
    arrays = [np.ones(3)]
    assert error_of(getattr(tensorlift, name), arrays, **options).startswith(start)
    error = error_of(getattr(tensorlift.reference, name), arrays, **options)
    assert error.split(":")[0] == start.split(":")[0]


def test_an_unavailable_device_is_one_sentence():
    if NAME == "cuda":
        pytest.skip("is available")
    error = error_of(tensorlift.from_numpy, [np.ones(3)], device="cuda")
    assert error.startswith(
        "ValueError: device: expected a device that torch can use here, got cuda"
    )
    assert "\n" not in error


def test_no_copy_to_a_device_without_a_copy():
    assert error_of(send, [np.ones(3)], copy=False).startswith(
        "ValueError: copy: expected None or True with device="
    )
    assert error_of(tensorlift.from_numpy, [np.ones(3)], copy=False, pin_memory=True).startswith(
        "ValueError: copy: expected None or True with pin_memory=True"
    )


@needs_fake
def test_a_stream_of_another_device_is_refused():
    error = error_of(send, [np.ones(3)], stream=torch.Stream(f"{NAME}:1"))
    assert error == f"ValueError: stream: expected a stream of {NAME}:0, got one of {NAME}:1."


def test_errors_name_the_array():
    error = error_of(send, [np.ones(3), np.array(["text"])])
    assert error.startswith("TypeError: arrays[1]: expected a dtype with a torch counterpart")
    assert error_of(send, [torch.ones(3)]).startswith(
        "TypeError: arrays[0]: expected numpy.ndarray"
    )


def test_read_only_arrays_are_copied_without_a_warning():
    array = np.ones(3)
    array.flags.writeable = False
    assert same(send([array], readonly="error"), [array])


def test_cpu_is_the_hosts_memory():
    array = np.ones(3)
    (tensor,) = tensorlift.from_numpy([array], device="cpu")
    assert tensor.data_ptr() == array.ctypes.data


def test_inside_modes_the_tensors_are_plain():
    from torch._subclasses.fake_tensor import FakeTensorMode

    arrays = mixed()
    with FakeTensorMode():
        tensors = send(arrays)
    assert all(type(t) is torch.Tensor for t in tensors)
    assert same(tensors, arrays)
    with torch.inference_mode():
        (tensor,) = send([np.ones(3)])
        assert tensor.is_inference()
    (tensor,) = send([np.ones(3)])
    assert not tensor.is_inference()


class PinHook:
    """What a DataLoader's pin-memory thread calls pin_memory() of."""

    def __init__(self, arrays):
        self.arrays = arrays

    def pin_memory(self):
        self.thread = threading.current_thread().name
        self.tensors = send(self.arrays)
        return self


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # fork with threads
def test_in_a_data_loaders_pin_memory_thread():
    arrays = [np.full(3000, i, np.uint8) for i in range(8)]
    loader = torch.utils.data.DataLoader(
        arrays,
        batch_size=4,
        collate_fn=PinHook,
        num_workers=1,
        pin_memory=True,
        multiprocessing_context="fork",
    )
    batches = list(loader)
    torch.accelerator.synchronize()
    assert all("MainThread" not in batch.thread for batch in batches)
    assert same([t for batch in batches for t in batch.tensors], arrays)


def test_tensors_work_like_any_others():
    first, second = send([np.arange(6.0).reshape(2, 3), np.ones(3)])
    assert (first + second).cpu().tolist() == [[1, 2, 3], [4, 5, 6]]
    version = second._version
    first.add_(1)
    assert second._version == version, "in-place changes of neighbours are none of its business"
    assert first.requires_grad is False
    first.requires_grad_()
    (first * 2).sum().backward()
    assert first.grad.cpu().tolist() == [[2, 2, 2], [2, 2, 2]]


# ---- settings


def test_settings_are_checked_and_kept():
    before = tensorlift.staging()
    assert tensorlift.set_staging(chunk_bytes=5000).chunk_bytes == 8192
    assert tensorlift.set_staging(threads=3).threads == 3
    assert tensorlift.set_staging(threads=0).threads == 0
    for options in ({"chunk_bytes": 0}, {"buffers": 0}, {"threads": -1}):
        with pytest.raises(ValueError, match="expected an int from"):
            tensorlift.set_staging(**options)
    with pytest.raises(TypeError, match="buffers: expected an int"):
        tensorlift.set_staging(chunk_bytes=4096, buffers="many")
    assert tensorlift.staging() == before._replace(chunk_bytes=8192)
