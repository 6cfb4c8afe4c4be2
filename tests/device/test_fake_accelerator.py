"""The fake device itself: every guarantee that the tests of transfers rely on."""

import copy
import ctypes
import faulthandler
import gc
import os
import resource
import signal
import threading

import pytest
import torch

import fake_accelerator
from support.device_fixtures import wait_until

FAKE = fake_accelerator.load()
TORCH = tuple(int(part) for part in torch.__version__.split(".")[:2])
DEVICE = torch.device("fakeacc", 0)
SIZE = 1000  # elements; no other test allocates as many

forks = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


@pytest.fixture(autouse=True)
def fresh():
    """Every test begins, and leaves the device, with nothing pending, set or counted."""
    FAKE.reset()
    yield FAKE
    FAKE.reset()


@pytest.fixture(params=["EAGER", "LAZY", "THREAD"])
def mode(request):
    FAKE.set_mode(getattr(FAKE, request.param), delay_us=100 if request.param == "THREAD" else 0)
    return request.param


def pinned(values) -> torch.Tensor:
    return torch.as_tensor(values, dtype=torch.float32).pin_memory()


def poison(byte: int, count: int = 1) -> torch.Tensor:
    return torch.full((count * 4,), byte, dtype=torch.uint8).view(torch.float32)


def is_poison(tensor: torch.Tensor, byte: int) -> bool:
    return bool((tensor.cpu().contiguous().view(torch.uint8) == byte).all())


def in_fork(action) -> int:
    """The wait status of a forked child that runs `action`: 0 if that returns something true."""
    child = os.fork()
    if child == 0:
        code = 2
        try:
            faulthandler.disable()
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            code = 0 if action() else 1
        finally:
            os._exit(code)
    return os.waitpid(child, 0)[1]


def refuses(action) -> bool:
    try:
        action()
    except RuntimeError as error:
        return "forked child" in str(error)
    return False


# ---- torch knows the device ----


def test_torch_takes_it_for_an_accelerator():
    assert torch.accelerator.current_accelerator() == torch.device("fakeacc")
    assert torch.accelerator.is_available()
    assert torch.accelerator.device_count() == FAKE.device_count() == 2
    assert torch.get_device_module("fakeacc") is FAKE is fake_accelerator.load()
    torch.manual_seed(1)  # no warning
    with torch.random.fork_rng(devices=[0], device_type="fakeacc"):
        pass
    torch.accelerator.synchronize()


def test_values_come_back(mode):
    host = torch.arange(6.0).reshape(2, 3)
    device = host.to("fakeacc")
    assert torch.equal(device.cpu(), host)
    assert torch.equal(device.t().cpu(), host.t())
    assert torch.equal(device.t().contiguous().cpu(), host.t())
    assert torch.equal(device.view(torch.uint8).cpu(), host.view(torch.uint8))
    assert torch.equal(device.narrow(1, 1, 2).clone().cpu(), host[:, 1:])
    assert torch.equal(torch.stack([device] * 2).cpu(), torch.stack([host] * 2))
    assert torch.equal(device[device > 2].cpu(), host[host > 2])
    assert torch.equal(copy.deepcopy(device).cpu(), host)
    assert device[1, 2].item() == 5
    assert "device='fakeacc:0'" in repr(device)
    assert FAKE.stats()["cpu_fallback"] > 0


def test_gradients_flow():
    weight = torch.arange(3.0).to("fakeacc").requires_grad_()
    (weight * 2).sum().backward()
    assert weight.grad.tolist() == [2, 2, 2]


def test_resized_memory_keeps_what_it_held():
    device = torch.arange(4.0).to("fakeacc")
    device.resize_(SIZE)
    assert device[:4].tolist() == [0, 1, 2, 3]
    assert is_poison(device[4:], FAKE.DEVICE_POISON)


def test_devices_have_memory_and_streams_of_their_own(mode):
    first = torch.arange(3.0).to("fakeacc:0")
    with torch.Stream("fakeacc:1"):
        assert FAKE.current_device() == 1
        second = first.to("fakeacc:1", non_blocking=True)  # in order with both streams
        assert second.device.index == 1
        assert second.cpu().tolist() == [0, 1, 2]
    assert FAKE.current_device() == 0
    assert second.to("fakeacc:0").cpu().tolist() == [0, 1, 2]
    with pytest.raises(RuntimeError, match="invalid device ordinal"):
        FAKE.set_device(2)


# ---- streams ----


def test_a_deferred_copy_reads_what_the_pinned_source_holds_later():
    source = pinned([1, 2, 3])
    device = source.to("fakeacc", non_blocking=True)
    assert FAKE.pending() == 1
    source.fill_(7)
    assert device.tolist() == [7, 7, 7]
    assert FAKE.pending() == 0


def test_eager_streams_have_read_the_source_already():
    FAKE.set_mode(FAKE.EAGER)
    source = pinned([1, 2, 3])
    device = source.to("fakeacc", non_blocking=True)
    assert FAKE.pending() == 0
    source.fill_(7)
    assert device.tolist() == [1, 2, 3]


def test_threaded_streams_run_without_anybody_waiting():
    FAKE.set_mode(FAKE.THREAD, delay_us=1000)
    FAKE.block_stream()
    source = pinned([1, 2, 3])
    device = source.to("fakeacc", non_blocking=True)
    done = torch.accelerator.current_stream().record_event()
    assert not done.query()
    FAKE.unblock()
    wait_until(done.query)
    source.fill_(7)
    assert device.tolist() == [1, 2, 3]


def test_a_pageable_source_is_read_before_the_copy_returns(mode):
    source = torch.tensor([1.0, 2, 3])
    device = source.to("fakeacc", non_blocking=True)
    source.fill_(7)
    assert device.tolist() == [1, 2, 3]
    assert FAKE.stats()["h2d_pageable"] == 1


def test_a_blocking_copy_has_run():
    source = pinned([1, 2, 3])
    device = torch.empty(3, device=DEVICE).copy_(source)
    assert FAKE.pending() == 0
    source.fill_(7)
    assert device.tolist() == [1, 2, 3]


def test_a_copy_to_pinned_memory_arrives_when_it_is_waited_for():
    target = torch.empty(3, pin_memory=True)
    device = torch.arange(3.0).to("fakeacc")
    target.copy_(device, non_blocking=True)
    assert is_poison(target, FAKE.PINNED_POISON)
    torch.accelerator.synchronize()
    assert target.tolist() == [0, 1, 2]


def test_an_unordered_read_sees_poison_and_an_ordered_one_the_values():
    copies = torch.Stream("fakeacc")
    source = pinned([1, 2, 3])
    with copies:
        assert torch.accelerator.current_stream() == copies
        device = torch.empty(3, device=DEVICE).copy_(source, non_blocking=True)
    assert is_poison(device, FAKE.DEVICE_POISON)
    torch.accelerator.current_stream().wait_event(copies.record_event())
    assert device.tolist() == [1, 2, 3]


def test_events_and_streams_are_awaited(mode):
    source = pinned([1, 2, 3])
    copies, consumer = torch.Stream("fakeacc"), torch.Stream("fakeacc")
    with copies:
        device = source.to("fakeacc", non_blocking=True)
    arrived = torch.Event("fakeacc")
    assert arrived.query()  # never recorded
    arrived.record(copies)
    arrived.wait(consumer)
    consumer.synchronize()
    assert arrived.query()
    assert copies.query()
    arrived.synchronize()
    with consumer:
        assert device.tolist() == [1, 2, 3]
    stats = FAKE.stats()
    assert [stats[name] for name in ("event_record", "event_block", "event_sync")] == [1, 1, 1]
    assert stats["stream_sync"] == 1


def test_polling_a_lazy_event_ends():
    pinned([1, 2, 3]).to("fakeacc", non_blocking=True)
    device = pinned([1, 2, 3]).to("fakeacc", non_blocking=True)
    event = torch.accelerator.current_stream().record_event()
    answers = [event.query() for _ in range(4)]
    assert not answers[0]
    assert answers.count(True) >= 1
    assert device.tolist() == [1, 2, 3]


def test_the_log_is_in_the_order_of_execution():
    first, second = torch.Stream("fakeacc"), torch.Stream("fakeacc")
    source = pinned(range(SIZE))
    with first:
        a = source.to("fakeacc", non_blocking=True)
    with second:
        b = torch.empty(SIZE, dtype=torch.float64, device=DEVICE)
        b.copy_(a, non_blocking=True)
        second.synchronize()
    first.synchronize()
    assert FAKE.log() == [
        f"d2d_cast stream {second.stream_id}",
        f"h2d {4 * SIZE} stream {first.stream_id}",
    ]
    FAKE.reset_stats()
    assert FAKE.log() == []


# ---- memory ----


def test_freed_device_memory_is_poison():
    device = torch.arange(float(SIZE)).to("fakeacc")
    target = torch.empty(SIZE, pin_memory=True)
    reader = torch.Stream("fakeacc")
    with reader:
        target.copy_(device, non_blocking=True)  # `reader` is never recorded as a user
    del device
    reader.synchronize()
    assert is_poison(target, FAKE.DEVICE_POISON)


def test_freed_device_memory_waits_for_recorded_streams():
    device = torch.arange(float(SIZE)).to("fakeacc")
    target = torch.empty(SIZE, pin_memory=True)
    reader = torch.Stream("fakeacc")
    with reader:
        target.copy_(device, non_blocking=True)
    device.record_stream(reader)
    del device
    reader.synchronize()
    assert torch.equal(target, torch.arange(float(SIZE)))


def test_freed_device_memory_is_used_again_by_its_stream_alone():
    device = torch.empty(SIZE, device=DEVICE)
    address = device.data_ptr()
    del device
    with torch.Stream("fakeacc"):
        assert torch.empty(SIZE, device=DEVICE).data_ptr() != address
    assert torch.empty(SIZE, device=DEVICE).data_ptr() == address
    assert FAKE.stats()["device_reuse"] >= 1


def test_freed_pinned_memory_is_poisoned_and_used_again_at_once():
    source = torch.ones(SIZE, pin_memory=True)
    address = source.data_ptr()
    # From a foreign storage: the allocator does not hear of this copy's source.
    foreign = torch.frombuffer(
        (ctypes.c_float * (SIZE - 1)).from_address(address + 4), dtype=torch.float32
    )
    device = foreign.to("fakeacc", non_blocking=True)
    assert FAKE.stats()["record_event_miss"] == 1
    del source
    assert torch.empty(SIZE, pin_memory=True).data_ptr() == address
    assert is_poison(device, FAKE.PINNED_POISON)


def test_pinned_memory_with_an_event_is_kept_until_its_stream_has_passed():
    source = torch.ones(SIZE, pin_memory=True)
    address = source.data_ptr()
    device = source.to("fakeacc", non_blocking=True)
    assert FAKE.stats()["record_event"] == 1
    del source
    other = torch.empty(SIZE, pin_memory=True)
    assert other.data_ptr() != address
    assert torch.equal(device.cpu(), torch.ones(SIZE))
    again = torch.empty(SIZE, pin_memory=True)
    assert again.data_ptr() == address
    assert is_poison(again, FAKE.PINNED_POISON)


def test_a_view_of_pinned_memory_is_recognised_by_its_context():
    source = torch.ones(SIZE, pin_memory=True)
    source[1:].to("fakeacc", non_blocking=True)
    assert source[1:].is_pinned()
    assert FAKE.stats()["record_event"] == 1
    assert FAKE.stats()["record_event_miss"] == 0


def test_a_foreign_storage_is_recognised_by_the_first_address_alone():
    source = torch.ones(SIZE, pin_memory=True)
    for offset, counter in ((0, "record_event"), (4, "record_event_miss")):
        raw = (ctypes.c_float * (SIZE - 1)).from_address(source.data_ptr() + offset)
        foreign = torch.frombuffer(raw, dtype=torch.float32)
        assert foreign.is_pinned()
        FAKE.reset_stats()
        foreign.to("fakeacc", non_blocking=True)
        assert FAKE.stats()[counter] == 1
    FAKE.reset()


@forks
def test_host_code_that_touches_device_memory_dies():
    address = torch.ones(SIZE, device=DEVICE).data_ptr()
    status = in_fork(lambda: ctypes.string_at(address, 1))
    assert os.WIFSIGNALED(status)
    assert os.WTERMSIG(status) == signal.SIGSEGV


def test_live_bytes_are_those_asked_for_and_not_freed():
    gc.collect()  # what other tests left
    before = FAKE.live_device_bytes(), FAKE.live_pinned_bytes()
    device = torch.empty(SIZE, device=DEVICE)
    host = torch.empty(3, pin_memory=True)
    view = device[1:]
    del device
    assert FAKE.live_device_bytes() == before[0] + 4 * SIZE
    assert FAKE.live_pinned_bytes() == before[1] + 12
    del view, host
    assert (FAKE.live_device_bytes(), FAKE.live_pinned_bytes()) == before


def test_device_memory_runs_out_when_told_to():
    FAKE.fail_device_allocation(1)
    kept = torch.empty(SIZE, device=DEVICE)
    with pytest.raises(torch.OutOfMemoryError, match="fakeacc: out of memory"):
        torch.empty(SIZE, device=DEVICE)
    torch.empty(SIZE, device=DEVICE)  # once only
    FAKE.fail_device_allocation(0)
    FAKE.fail_device_allocation(-1)
    torch.empty(SIZE, device=DEVICE)
    del kept


def test_pinned_memory_runs_out_when_told_to():
    FAKE.fail_pinned_allocation(1)
    kept = torch.empty(SIZE, pin_memory=True)
    with pytest.raises(RuntimeError, match="fakeacc: out of pinned memory"):
        torch.empty(SIZE, pin_memory=True)
    torch.empty(SIZE, pin_memory=True)
    del kept


# ---- copies that are more than bytes ----

DTYPES = [torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64]
DTYPES += [torch.float16, torch.bfloat16, torch.float32, torch.float64]
DTYPES += [torch.complex64, torch.complex128]


@pytest.mark.filterwarnings("ignore:Casting complex values to real:UserWarning")
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_casts_run_on_the_device_in_order_of_its_stream(mode, dtype):
    host = torch.tensor([[0, 1, 2], [3, 4, 5]], dtype=torch.uint8)
    source = host.to("fakeacc")
    target = torch.zeros(3, 2, dtype=dtype).to("fakeacc").t()  # not contiguous
    FAKE.reset_stats()
    target.copy_(source, non_blocking=True)
    if mode == "LAZY":
        assert FAKE.pending() == 1
    back = torch.empty_like(source).copy_(target)
    assert torch.equal(target.cpu(), host.to(dtype))
    assert torch.equal(back.cpu(), host.to(dtype).to(torch.uint8))
    assert FAKE.stats()["cpu_fallback"] == 0
    # Of the copies one is of the same dtype for torch.uint8, and one makes the target contiguous.
    assert FAKE.stats()["d2d_cast"] == (0 if dtype == torch.uint8 else 2)


def test_a_non_blocking_cast_of_host_memory_is_the_devices():
    source = torch.arange(3, dtype=torch.uint8).pin_memory()
    device = source.to("fakeacc", torch.float32, non_blocking=True)
    assert FAKE.stats()["h2d_bytes"] == 3
    assert FAKE.stats()["d2d_cast"] == 1
    assert device.tolist() == [0, 1, 2]


def test_a_blocking_cast_of_host_memory_is_the_hosts():
    device = torch.arange(3, dtype=torch.uint8).to("fakeacc", torch.float32)
    assert FAKE.stats()["h2d_bytes"] == 12
    assert FAKE.stats()["d2d_cast"] == 0
    assert device.tolist() == [0, 1, 2]


@pytest.mark.parametrize("where", ["cpu", "fakeacc"])
def test_copies_broadcast(where):
    source = torch.tensor([1.0, 2]).to(where)
    target = torch.empty(3, 2, device=DEVICE).copy_(source)
    assert target.tolist() == [[1, 2]] * 3
    with pytest.raises(RuntimeError):
        torch.empty(3, 5, device=DEVICE).copy_(source)


def test_conjugated_and_negated_views_are_copied_as_what_they_mean(mode):
    host = torch.tensor([1 + 2j, 3 - 1j])
    device = host.to("fakeacc")
    for view in (torch.conj, torch._neg_view, lambda tensor: tensor.conj().imag):
        assert torch.equal(view(device).cpu(), view(host))
        assert torch.equal(view(host).to("fakeacc").cpu(), view(host))
        assert torch.equal(view(device).clone().cpu(), view(host))


def test_the_gil_is_counted_where_it_is_held():
    target = torch.zeros(3, device=DEVICE)
    FAKE.reset_stats()
    FAKE.copy_with_gil(target, pinned([1.0, 2.0, 3.0]))
    assert FAKE.stats()["h2d_with_gil"] == 1
    FAKE.reset_stats()
    target.copy_(pinned([1, 2, 3]))  # torch releases it
    assert FAKE.stats()["h2d_with_gil"] == 0


# ---- what must not be waited for ----


def test_waiting_while_capturing_is_an_error():
    source = pinned([1, 2, 3])
    event = torch.accelerator.current_stream().record_event()
    FAKE.set_capturing(True)
    device = source.to("fakeacc", non_blocking=True)
    for wait in (
        torch.accelerator.synchronize,
        torch.accelerator.current_stream().synchronize,
        event.synchronize,
        device.cpu,
    ):
        with pytest.raises(RuntimeError, match="not permitted while a stream is capturing"):
            wait()
    assert FAKE.pending() == 1  # a copy that was refused is not enqueued: its memory is gone
    FAKE.set_capturing(False)
    assert device.tolist() == [1, 2, 3]


def test_other_streams_run_while_one_is_blocked(mode):
    FAKE.block_stream()
    copies = torch.Stream("fakeacc")
    with copies:
        device = pinned([1, 2, 3]).to("fakeacc", non_blocking=True)
        copies.synchronize()
        assert device.tolist() == [1, 2, 3]
    assert not torch.accelerator.current_stream().query()
    FAKE.unblock()
    torch.accelerator.synchronize()
    assert FAKE.pending() == 0


def test_waiting_for_a_blocked_stream_is_an_error(mode):
    copies = torch.Stream("fakeacc")
    FAKE.block_stream(copies.stream_id)
    torch.accelerator.current_stream().wait_stream(copies)  # the device's wait, not the host's
    event = torch.accelerator.current_stream().record_event()
    assert not any(event.query() for _ in range(10))
    for wait in (event.synchronize, copies.synchronize, torch.accelerator.synchronize):
        with pytest.raises(RuntimeError, match="fakeacc: waited for a stream that is blocked"):
            wait()
    FAKE.unblock()
    event.synchronize()
    assert event.query()


def test_a_blocking_copy_on_a_blocked_stream_is_an_error_and_not_enqueued(mode):
    device = pinned([1, 2, 3]).to("fakeacc")
    FAKE.block_stream()
    for blocking_copy in (device.cpu, lambda: device.copy_(torch.ones(3))):
        with pytest.raises(RuntimeError, match="fakeacc: waited for a stream that is blocked"):
            blocking_copy()
    assert FAKE.pending() == 1
    FAKE.unblock()
    assert device.tolist() == [1, 2, 3]


def test_freeing_what_a_blocked_stream_uses_is_counted(mode):
    device = pinned([1, 2, 3]).to("fakeacc")
    FAKE.block_stream()
    del device
    assert FAKE.stats()["forbidden_wait"] == 1
    torch.accelerator.synchronize()


def test_long_chains_between_streams_are_followed_quickly():
    first, second = torch.Stream("fakeacc"), torch.Stream("fakeacc")
    FAKE.block_stream(first.stream_id)
    for _ in range(200):
        second.wait_stream(first)
        first.wait_stream(second)
    with pytest.raises(RuntimeError, match="blocked"):
        second.synchronize()
    FAKE.unblock()
    first.synchronize()
    assert second.query()


def test_threads_may_share_the_device(mode):
    results = []

    def work(value):
        with torch.Stream("fakeacc"):
            source = torch.full((SIZE,), value, pin_memory=True)
            for _ in range(20):
                results.append(source.to("fakeacc", non_blocking=True).cpu().eq(value).all())

    threads = [threading.Thread(target=work, args=(float(n),)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(results) == 80
    assert all(results)


# ---- forks ----


@forks
def test_a_forked_child_is_refused_and_does_not_hang(mode):
    device = torch.ones(SIZE, device=DEVICE)
    host = torch.ones(SIZE, pin_memory=True)
    stream = torch.Stream("fakeacc")
    device.copy_(host, non_blocking=True)
    assert not FAKE._is_in_bad_fork()
    tensors = [device, host]
    checks = (
        FAKE._is_in_bad_fork,
        lambda: refuses(lambda: torch.empty(3, device=DEVICE)),
        lambda: refuses(lambda: torch.empty(3, pin_memory=True)),
        lambda: refuses(lambda: device.copy_(host, non_blocking=True)),
        lambda: refuses(stream.synchronize),
        lambda: tensors.clear() is None,  # its parent's memory is left alone
    )
    for check in checks:
        assert in_fork(check) == 0
    assert torch.equal(device.cpu(), torch.ones(SIZE))
