"""Batches of workers lie in segments of shared memory that are used again, and never too early."""

import collections
import copy
import gc
import multiprocessing
import os
import pickle
import platform
import re
import subprocess
import sys
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, default_collate
from torch.utils.data._utils import worker

import tensorlift
from tensorlift import _C
from tensorlift._data import shared as _shared

pytestmark = [
    pytest.mark.skipif(not _C.has_segments(), reason="needs Linux"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # fork with threads
    pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning"),
]

Pair = collections.namedtuple("Pair", ["x", "n"])
SIZE = 1000


class Numbered(Dataset):
    """Sample i is full of i."""

    def __len__(self):
        return 400

    def __getitem__(self, i):
        return {"x": np.full(SIZE, i, np.float32), "n": i}


def loader(collate_fn=tensorlift.collate, **options):
    options = {"batch_size": 4, "num_workers": 2, "multiprocessing_context": "fork"} | options
    return DataLoader(Numbered(), collate_fn=collate_fn, **options)


def is_right(batch):
    return all(bool((row == n).all()) for row, n in zip(batch["x"], batch["n"], strict=True))


def segments_mapped():
    return Path("/proc/self/maps").read_text().count("memfd:tensorlift")


def make(*values):
    return tensorlift.collate([{"x": np.full(SIZE, v, np.float32)} for v in values])


def sent(batch):
    return bytes(ForkingPickler.dumps(batch))


# ---- used again


def test_segments_are_used_again():
    addresses = set()
    for batch in loader():
        addresses.add(batch["x"].untyped_storage().data_ptr())
        assert is_right(batch)
    assert len(addresses) < 20  # of 100 batches


def test_a_batch_that_is_kept_is_never_written_again():
    kept = []
    for i, batch in enumerate(loader()):
        if i % 7 < 2:
            kept.append(batch)
        if i % 21 == 20:
            kept = kept[3:]
        assert all(map(is_right, kept))
    assert len(kept) > 10


def test_views_keep_the_batch():
    rows = [batch["x"][1, :5].view(5, 1) for batch in loader()]
    assert [row[0].item() for row in rows] == [4.0 * i + 1 for i in range(100)]


@pytest.mark.parametrize("options", [{"prefetch_factor": 8}, {"num_workers": 1}])
def test_everything_may_be_kept(options):
    assert all(map(is_right, list(loader(**options))))


def test_a_worker_does_not_keep_what_the_consumer_keeps():
    open_files = []

    class Watched(Numbered):
        def __getitem__(self, i):
            sample = super().__getitem__(i)
            return sample | {"files": len(os.listdir("/proc/self/fd"))}

    batches = list(
        DataLoader(Watched(), batch_size=4, num_workers=1, collate_fn=tensorlift.collate)
    )
    open_files = [int(batch["files"].max()) for batch in batches]
    assert len(batches) == 100
    assert max(open_files) - open_files[0] < 140  # of 100 batches, two segments each


def test_memory_is_written_for_another_process_only_after_the_last_tensor_died(in_worker):
    first = pickle.loads(sent(make(1, 2)))
    second = pickle.loads(sent(make(3, 4)))
    view = first["x"][1]
    del first
    third = make(5, 6)
    assert view[0] == 2
    assert second["x"][:, 0].tolist() == [3, 4]
    address = third["x"].data_ptr()
    del third
    assert make(7, 8)["x"].data_ptr() == address  # the one that nobody holds


def test_segments_of_fitting_size_are_used(in_worker):
    small, large = make(1), make(*range(100))
    addresses = small["x"].data_ptr(), large["x"].data_ptr()
    del small, large
    assert make(2)["x"].data_ptr() == addresses[0]
    assert make(*range(90))["x"].data_ptr() == addresses[1]
    assert make(*range(300))["x"].data_ptr() not in addresses


def test_what_is_idle_is_bounded_and_given_back(in_worker):
    batches = [make(*range(2000)) for _ in range(20)]  # 8 MB each
    del batches
    for _ in range(600):
        make(*range(2000))
    assert 0 < _C.idle_segment_bytes() < 10e6
    tensorlift.empty_cache()
    assert _C.idle_segment_bytes() == 0


def test_the_consumer_gives_back_what_dead_workers_owned():
    before = segments_mapped()
    batch = None
    for batch in loader():
        assert is_right(batch)
    del batch
    gc.collect()
    assert segments_mapped() == before
    assert _C.idle_received_bytes() == 0


# ---- what is sent


def collated_as(kind):
    def function(samples):
        batch = tensorlift.collate(samples)
        if kind == "tensor":
            return batch["x"]
        if kind == "tuple":
            return (batch["x"], {"again": batch["x"]}, batch["n"])
        return Pair(**batch)

    return function


@pytest.mark.parametrize("kind", ["tensor", "tuple", "namedtuple"])
def test_whatever_the_batch_is_its_tensors_come_in_the_segment(kind):
    for i, batch in enumerate(loader(collated_as(kind))):
        x = batch if kind == "tensor" else batch[0]
        assert x[:, -1].tolist() == [4.0 * i + k for k in range(4)]
        if kind == "tuple":
            assert batch[1]["again"].untyped_storage()._cdata == x.untyped_storage()._cdata
            assert batch[2].untyped_storage()._cdata != x.untyped_storage()._cdata
        assert segments_mapped() > 0


def test_strides_and_offsets_arrive(in_worker):
    batch = make(1, 2, 3)
    batch["x"] += torch.arange(SIZE)
    views = [batch["x"][1:, 3::7], batch["x"].t(), batch["x"][2, 5], batch["x"][:0]]
    for view, result in zip(views, pickle.loads(sent(views)), strict=True):
        assert torch.equal(view, result)
        assert (view.stride(), view.storage_offset()) == (result.stride(), result.storage_offset())


@pytest.mark.filterwarnings("ignore:Sparse invariant checks:UserWarning")
def test_other_tensors_are_sent_as_torch_sends_them(in_worker):
    batch = make(1)
    others = [torch.arange(3), torch.nn.Parameter(torch.ones(2)), batch["x"].to_sparse()]
    others.append(batch["x"].clone().requires_grad_())
    results = pickle.loads(sent(others))
    assert all(
        torch.equal(a.to_dense(), b.to_dense()) for a, b in zip(others, results, strict=True)
    )
    assert [r.requires_grad for r in results] == [False, True, False, True]


def test_a_batch_is_copied_and_saved_as_any_other(in_worker, tmp_path):
    batch = make(1, 2)
    torch.save(batch, tmp_path / "batch.pt")
    for other in (
        copy.deepcopy(batch),
        pickle.loads(pickle.dumps(batch)),
        torch.load(tmp_path / "batch.pt"),
    ):
        assert torch.equal(other["x"], batch["x"])
        assert other["x"].data_ptr() != batch["x"].data_ptr()


def test_many_offers_of_one_batch(in_worker):
    batch = make(1, 2)
    messages = [sent(batch) for _ in range(40)]  # 32 in the segment, then copies
    results = [pickle.loads(message) for message in messages]
    assert all(torch.equal(result["x"], batch["x"]) for result in results)
    assert len({result["x"].untyped_storage()._cdata for result in results}) == 1 + 40 - 32


def test_many_batches_may_be_on_their_way(in_worker):
    messages = [sent(make(i)) for i in range(300)]  # 256 in segments, then torch's way
    assert [pickle.loads(message)["x"][0, 0] for message in messages] == list(range(300))


@pytest.fixture(params=["looked up", "handed over"])
def way_of_descriptors(request, monkeypatch):
    """Through /proc, or through a socket where that is not allowed."""
    is_looked_up = request.param == "looked up"
    if is_looked_up and not _C.can_look_up_descriptors():
        pytest.skip("not allowed here")
    monkeypatch.setattr(_shared, "_is_looked_up", lambda: is_looked_up)


@pytest.mark.usefixtures("way_of_descriptors")
def test_a_message_is_received_once(in_worker):
    message = sent(make(1))
    assert pickle.loads(message)["x"][0, 0] == 1
    with pytest.raises(RuntimeError, match="received before"):
        pickle.loads(message)
    newer = sent(make(2))  # the same segment, used again
    with pytest.raises(RuntimeError, match="received before"):
        pickle.loads(message)
    assert pickle.loads(newer)["x"][0, 0] == 2


@pytest.mark.usefixtures("way_of_descriptors")
def test_a_message_is_received_once_also_when_the_batch_is_sent_again(in_worker):
    batch = make(1)
    first = sent(batch)
    pickle.loads(first)
    second = sent(batch)
    with pytest.raises(RuntimeError, match="received before"):
        pickle.loads(first)
    assert pickle.loads(second)["x"][0, 0] == 1


def test_what_was_received_is_sent_on_as_it_lies(in_worker):
    received = pickle.loads(sent(make(1, 2)))
    address = received["x"].data_ptr()
    again = pickle.loads(sent(received))
    assert received["x"].data_ptr() == address
    again["x"].fill_(9)
    assert bool((received["x"] == 9).all())
    del received
    make(3, 4)
    assert bool((again["x"] == 9).all())


def test_what_is_sent_on_outlives_the_worker():
    """Received by the third process after the worker that made it has ended."""
    gc.collect()
    tensorlift.empty_cache()
    before = segments_mapped()  # what other tests of this process have left
    messages = [sent(batch["n"]) for batch in loader(num_workers=1)]
    assert [pickle.loads(message).tolist() for message in messages] == [
        [4 * i + k for k in range(4)] for i in range(100)
    ]
    gc.collect()
    tensorlift.empty_cache()
    assert segments_mapped() <= before


def test_without_looking_up_descriptors(monkeypatch):
    monkeypatch.setattr(_shared, "_is_looked_up", lambda: False)  # inherited by the workers
    addresses = set()
    for batch in loader():
        assert is_right(batch)
        addresses.add(batch["x"].data_ptr())
    assert len(addresses) < 20


FEWER_RIGHTS = """
import ctypes, time
import numpy as np, tensorlift
from torch.utils.data import DataLoader
samples = [np.full(1000, i, np.float32) for i in range(8)]
options = {"batch_size": 4, "collate_fn": tensorlift.collate, "multiprocessing_context": "fork"}
loader = DataLoader(samples, num_workers=1, worker_init_fn=lambda _: time.sleep(1), **options)
batches = iter(loader)
version, none = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
assert ctypes.CDLL(None).capset(version, none) == 0
print([batch[:, 0].tolist() for batch in batches])
"""


def test_a_consumer_that_gives_up_its_capabilities():
    """Then it may not look at its workers' files."""
    run = subprocess.run(
        [sys.executable, "-c", FEWER_RIGHTS], capture_output=True, text=True, timeout=120
    )
    assert run.stdout == "[[0.0, 1.0, 2.0, 3.0], [4.0, 5.0, 6.0, 7.0]]\n", run.stderr


def test_with_torchs_file_system_strategy():
    strategy = torch.multiprocessing.get_sharing_strategy()
    torch.multiprocessing.set_sharing_strategy("file_system")
    try:
        batches = list(loader())
        assert all(map(is_right, batches))
        assert all(batch["x"].is_shared() for batch in batches)
    finally:
        torch.multiprocessing.set_sharing_strategy(strategy)


# ---- processes that come and go


def looks_at(batch, pipe):
    pipe.recv()  # the parent has let go of it, and gone on
    pipe.send(is_right(batch))


def test_a_forked_child_may_keep_a_batch():
    fork = multiprocessing.get_context("fork")
    ours, theirs = fork.Pipe()
    children = []
    for i, batch in enumerate(loader()):
        if i == 10:
            children.append(fork.Process(target=looks_at, args=(batch, theirs)))
            children[0].start()
    del batch
    ours.send("go on")
    assert ours.poll(60)
    assert ours.recv()
    children[0].join()


def test_a_forked_child_may_keep_what_is_made_here(in_worker):
    fork = multiprocessing.get_context("fork")
    ours, theirs = fork.Pipe()
    batch = make(1, 2) | {"n": [1, 2]}
    child = fork.Process(target=looks_at, args=(batch, theirs))
    child.start()
    del batch
    others = [make(3, 4) for _ in range(3)]
    ours.send("go on")
    assert ours.poll(60)
    assert ours.recv()
    child.join()
    assert len(others) == 3


def test_a_forked_child_makes_segments_of_its_own(in_worker):
    batch = make(1, 2)
    pid = os.fork()
    if pid == 0:
        try:
            del batch
            os._exit(0 if make(3)["x"][0, 0] == 3 else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert batch["x"][:, 0].tolist() == [1, 2]


DURING_A_FORK = """
import ctypes, os
from ctypes import CFUNCTYPE
to_do = []
run = CFUNCTYPE(None)(lambda: [function() for function in to_do])
# Registered before tensorlift's: runs after it, as another thread would that waits for no GIL.
assert ctypes.CDLL("libc.so.6").__register_atfork(run, None, None, None) == 0
import numpy as np, tensorlift
from torch.utils.data._utils import worker
worker._worker_info = "anything"
make = lambda value: tensorlift.collate([np.full(1000, value)])
made = []
to_do.append(lambda: made.append(make(1)))
theirs, ours = os.pipe()
child = os.fork()
if child == 0:
    os.read(theirs, 1)
    os._exit(made[0][0, 0].item())
to_do.clear()
made.clear()
others = [make(2) for _ in range(3)]
os.write(ours, b"go on")
print("the child saw", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_what_is_made_while_a_fork_is_under_way():
    run = subprocess.run(
        [sys.executable, "-c", DURING_A_FORK], capture_output=True, text=True, timeout=120
    )
    if "__register_atfork" in run.stderr or "libc.so.6" in run.stderr:
        pytest.skip("needs glibc")
    assert run.stdout == "the child saw 1\n", run.stderr


def sends_and_ends(pipe):
    worker._worker_info = "anything"
    pipe.send_bytes(sent(make(1)))


def test_a_sender_that_has_ended():
    ours, theirs = multiprocessing.get_context("fork").Pipe()
    child = multiprocessing.get_context("fork").Process(target=sends_and_ends, args=(theirs,))
    child.start()
    message = ours.recv_bytes()
    child.join()
    with pytest.raises(RuntimeError, match=f"process {child.pid}.*has ended"):
        pickle.loads(message)


def test_another_file_under_the_number_is_noticed(in_worker, tmp_path):
    offer, _ = _C.offer_segment(_C.place_in_segment(make(1)["x"])[0], True)
    tensorlift.empty_cache()
    for content in (b"", b"x" * 100_000):
        path = tmp_path / "file"
        path.write_bytes(content)
        with path.open("r+b") as file, pytest.raises(RuntimeError, match="something else"):
            _C.accept_offer((*offer[:2], 1, 2, *offer[4:]), file.fileno())


KILLED_WORKER = """
import os, signal
import numpy as np, tensorlift
from torch.utils.data import DataLoader
samples = [np.full(1000, i, np.float32) for i in range(400)]
options = {"batch_size": 4, "collate_fn": tensorlift.collate}
batches = iter(DataLoader(samples, num_workers=1, **options))
kept = [next(batches) for _ in range(3)]
os.kill(batches._workers[0].pid, signal.SIGKILL)
try:
    kept.extend(batches)
except RuntimeError as error:
    print(error)
assert [batch[0, 0].item() for batch in kept] == [4 * i for i in range(len(kept))]
assert len(kept) < 100
print("kept")
"""


def test_a_worker_is_killed():
    run = subprocess.run(
        [sys.executable, "-c", KILLED_WORKER], capture_output=True, text=True, timeout=120
    )
    assert re.search(r"exited unexpectedly|killed by signal|has ended", run.stdout), run.stderr
    assert run.stdout.endswith("kept\n")


TINY_SHARED_MEMORY = """
import numpy as np, torch, tensorlift
from torch.utils.data import DataLoader
from torch.multiprocessing import set_sharing_strategy
samples = [np.full(500_000, i, np.float32) for i in range(8)]
for strategy in ("file_descriptor", "file_system"):
    set_sharing_strategy(strategy)
    loader = DataLoader(samples, batch_size=4, num_workers=1, collate_fn=tensorlift.collate)
    try:
        for batch in loader:
            assert batch[:, 0].tolist() in ([0, 1, 2, 3], [4, 5, 6, 7])
        print("arrived")
    except RuntimeError as error:
        print(error)
"""


def test_shared_memory_is_full():
    """8 MB a batch, and 1 MiB of /dev/shm: segments do not need it; torch's way is its error."""
    mount = "mount -t tmpfs -o size=1m tmpfs /dev/shm"
    unshare = ["unshare", "--mount", "sh", "-c"]
    try:
        subprocess.run([*unshare, mount], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs the right to mount")
    run = subprocess.run(
        [*unshare, f'{mount} && exec "$0" -c "$1"', sys.executable, TINY_SHARED_MEMORY],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.stdout.startswith("arrived\n"), run.stderr
    # torch 2.11 and older do not pass on why: "unable to allocate shared memory(shm)".
    words = (
        "No space left on device",
        "shared memory: expected",
        "unable to allocate shared memory",
    )
    assert any(text in run.stdout for text in words), run.stdout


def test_no_memory_for_a_segment():
    """Torch's way, whose error it is."""
    code = (
        "import resource, numpy as np, tensorlift\n"
        "from torch.utils.data._utils import worker\n"
        "worker._worker_info = 'anything'\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))\n"
        "try: tensorlift.collate([np.zeros(1 << 20)])\n"
        "except RuntimeError as error: print(error)\n"
        "print(tensorlift.collate([np.ones(3)]).tolist())\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert "File too large" in run.stdout, run.stderr
    assert run.stdout.splitlines()[-1] == "[[1.0, 1.0, 1.0]]"


FORBIDDEN = """
import ctypes, errno, struct
import numpy as np, tensorlift
from torch.utils.data import DataLoader
number = {number}
filter = struct.pack(
    "=" + 4 * "HBBI",
    *(0x20, 0, 0, 0),  # load the number of the system call
    *(0x15, 0, 1, number),  # is it this one?
    *(0x06, 0, 0, 0x00050000 | errno.EPERM),  # then it fails
    *(0x06, 0, 0, 0x7FFF0000),  # else it is allowed
)
instructions = ctypes.create_string_buffer(filter, len(filter))


class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]


program = Program(4, ctypes.addressof(instructions))
prctl = ctypes.CDLL(None).prctl
if prctl(38, 1, 0, 0, 0) or prctl(22, 2, ctypes.byref(program), 0, 0):
    raise SystemExit("no filters of system calls")
samples = [np.full(1000, i, np.float32) for i in range(8)]
loader = DataLoader(samples, batch_size=4, num_workers=1, collate_fn=tensorlift.collate)
print([batch[:, 0].tolist() for batch in loader], [batch.is_shared() for batch in loader])
"""


def test_where_memory_without_a_name_is_forbidden():
    """As a container may: batches go torch's way."""
    number = {"x86_64": 319, "aarch64": 279}.get(platform.machine())  # memfd_create
    if number is None:
        pytest.skip("the number of the system call is not known here")
    code = FORBIDDEN.format(number=number)
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    if "no filters" in run.stderr:
        pytest.skip(run.stderr)
    assert run.stdout == "[[0.0, 1.0, 2.0, 3.0], [4.0, 5.0, 6.0, 7.0]] [True, True]\n", run.stderr


# ---- options, and torch's own collate


class Ragged(Dataset):
    def __len__(self):
        return 40

    def __getitem__(self, i):
        return {
            "image": np.full((4, 5, 3), i, np.uint8),
            "tokens": np.full(i % 3 + 1, i),
            "points": np.full((i % 4, 2), i, np.float32),
        }


def test_batches_with_options_come_in_segments():
    options = tensorlift.Collate(
        dtype={"image": torch.float32},
        pad={"tokens": tensorlift.Pad(-1, mask=True)},
        jagged=["points"],
        channel_dim={"image": -1},
        channels_last=["image"],
    )
    expected = list(DataLoader(Ragged(), batch_size=4, collate_fn=options))
    batches = DataLoader(Ragged(), batch_size=4, collate_fn=options, num_workers=2)
    addresses = set()
    for batch, other in zip(batches, expected, strict=True):
        tensors = [batch["image"], *batch["tokens"], *batch["points"]]
        others = [other["image"], *other["tokens"], *other["points"]]
        assert all(map(torch.equal, tensors, others))
        assert [t.stride() for t in tensors] == [t.stride() for t in others]
        assert in_segments(tensors)
        addresses.add(batch["image"].data_ptr())
    assert len(addresses) < 10  # of 10: used again


def in_segments(tensors):
    return all(_C.place_in_segment(tensor) is not None for tensor in tensors)


def test_options_and_torchs_collate_write_to_segments(in_worker):
    samples = [Ragged()[i] | {"n": i, "f": np.float32(i)} for i in range(4)]
    pad = {"tokens": tensorlift.Pad(mask=True)}
    options = tensorlift.Collate(pad=pad, jagged=["points"], dtype=torch.int32)
    batch = options(samples)
    assert in_segments([batch["image"], *batch["tokens"], *batch["points"], batch["n"], batch["f"]])
    with tensorlift.install():
        batch = default_collate([{"n": i, "f": np.float32(i), "x": np.ones(3)} for i in range(4)])
    assert in_segments(batch.values())
