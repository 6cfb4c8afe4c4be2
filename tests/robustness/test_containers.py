"""Batches of workers are right where a container takes away what segments and torch rely on.

Each test runs the same program in an environment of its own. Most need the right to make
namespaces, which a user has as root, and are skipped without it.
"""

import os
import platform
import subprocess
import sys
import textwrap

import pytest

from tensorlift import _C

pytestmark = [
    pytest.mark.skipif(not _C.has_segments(), reason="needs Linux"),
]

# Every batch is compared, some are kept, one is sent on to another process.
PROGRAM = """
import ctypes, os, resource, sys, warnings
import numpy as np, torch, tensorlift
from torch import multiprocessing
from torch.utils.data import DataLoader, Dataset

warnings.simplefilter("ignore")
libc = ctypes.CDLL(None, use_errno=True)


class Numbered(Dataset):
    def __len__(self):
        return 60

    def __getitem__(self, i):
        return {"large": np.full(30_000, i, np.float32), "small": np.full(3, i), "n": i}


def check(condition, text):
    if not condition:
        raise SystemExit(text)


def become_nobody():
    # What is imported later may lie where only root may read.
    import numpy.random
    from multiprocessing import popen_fork, queues, resource_sharer, synchronize

    if os.getuid() == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)


def in_main():
    pass


def in_worker(number):
    pass


#MORE#


def looks(queue, answers):
    batch = queue.get()
    answers.put(all(bool((batch[name][:, 0] == batch["n"]).all()) for name in ("large", "small")))


def main():
    in_main()
    options = {"batch_size": 4, "collate_fn": tensorlift.collate, "worker_init_fn": in_worker}
    kept = []
    for method in METHODS:
        loader = DataLoader(Numbered(), num_workers=2, multiprocessing_context=method, **options)
        for number, batch in enumerate(loader):
            kept = [*kept[-5:], batch]
            for other in kept:
                rows = other["large"][:, 0], other["large"][:, -1], other["small"][:, 1]
                check(all(torch.equal(row.long(), other["n"]) for row in rows), "a wrong batch")
        check(number == 14, "not all batches")
    if SENDS:
        context = multiprocessing.get_context(METHODS[0])
        queue, answers = context.Queue(), context.Queue()
        process = context.Process(target=looks, args=(queue, answers))
        process.start()
        queue.put(batch)
        check(answers.get(timeout=60), "sent on, it is another batch")
        process.join()
    print("right")


if __name__ == "__main__":
    main()
"""


def run(tmp_path, wrapper=(), *, more="", methods=("fork",), sends=True):
    """Runs the program, as a file, since spawned workers read it again; skips what cannot be."""
    text = PROGRAM.replace("#MORE#", textwrap.dedent(more))
    text = text.replace("METHODS", repr(methods)).replace("SENDS", repr(sends))
    program = tmp_path / "program.py"
    program.write_text(text)
    done = subprocess.run(
        [*wrapper, sys.executable, str(program)],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=tmp_path,
        check=False,
    )
    if "cannot be tried here" in done.stderr:
        pytest.skip(done.stderr.strip().splitlines()[-1])
    assert done.stdout == "right\n", done.stderr


def unshared(setup, *options):
    """In a mount namespace of its own, after `setup`; skips where there is none to be had."""
    unshare = ["unshare", "--mount", *options]
    try:
        tried = subprocess.run([*unshare, "sh", "-c", setup], capture_output=True, check=False)
    except OSError:
        pytest.skip("unshare is not installed")
    if tried.returncode != 0:
        pytest.skip(f"needs the right to make namespaces: {tried.stderr.decode()!r}")
    return [*unshare, "sh", "-c", f'{setup} && exec "$@"', "sh"]


@pytest.mark.long
def test_nothing_taken_away(tmp_path):
    """The program itself is right, with spawned workers as well."""
    run(tmp_path, methods=("fork", "spawn"))


def test_the_program_notices_wrong_batches(tmp_path):
    with pytest.raises(AssertionError, match="a wrong batch"):
        run(
            tmp_path,
            more="Numbered.__getitem__ = lambda _, i: dict(large=ones, small=ones, n=i)\n"
            "ones = np.ones(2)",
        )


@pytest.mark.parametrize("methods", [("fork",), pytest.param(("spawn",), marks=pytest.mark.long)])
def test_without_proc(tmp_path, methods):
    run(tmp_path, unshared("mount -t tmpfs none /proc"), methods=methods)


@pytest.mark.long
def test_processes_of_others_are_hidden(tmp_path):
    more = """
    def in_main():
        become_nobody()
        check(not os.path.exists("/proc/1"), "it is seen")
    """
    run(tmp_path, unshared("mount -t proc -o hidepid=2 proc /proc"), more=more)


@pytest.mark.long
@pytest.mark.parametrize("mounts", [True, False])
def test_another_pid_namespace(tmp_path, mounts):
    """Also where /proc is still that of the namespace outside, with other processes' numbers."""
    setup = "mount -t proc proc /proc" if mounts else "true"
    run(tmp_path, unshared(setup, "--pid", "--fork"))


@pytest.mark.long
@pytest.mark.parametrize("proc", [True, False])
def test_each_worker_in_a_pid_namespace_of_its_own(tmp_path, proc):
    """The number that it knows itself by is another process's for the consumer."""
    more = """
    import multiprocessing.context, multiprocessing.popen_fork, multiprocessing.util

    CLONE_NEWPID = 0x20000000

    class Popen(multiprocessing.popen_fork.Popen):
        # Children of a process that called unshare() are in one new namespace, the first of
        # them as its process 1: so a middle one calls it, and each worker is a process 1.
        def _launch(self, process_obj):
            code = 1
            parent_r, child_w = os.pipe()
            child_r, parent_w = os.pipe()
            self.pid = os.fork()
            if self.pid == 0:
                try:
                    check(libc.unshare(CLONE_NEWPID) == 0, "cannot be tried here: no namespaces")
                    worker = os.fork()
                    if worker == 0:
                        os.close(parent_r)
                        os.close(parent_w)
                        check(os.getpid() == 1, "not a namespace of its own")
                        code = process_obj._bootstrap(parent_sentinel=child_r)
                    else:
                        code = os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1])
                finally:
                    os._exit(code)
            os.close(child_w)
            os.close(child_r)
            self.finalizer = multiprocessing.util.Finalize(
                self, multiprocessing.util.close_fds, (parent_r, parent_w)
            )
            self.sentinel = parent_r

    multiprocessing.context.ForkProcess._Popen = staticmethod(Popen)
    """
    wrapper = () if proc else unshared("mount -t tmpfs none /proc")
    run(tmp_path, wrapper, more=more)


@pytest.mark.parametrize("size", ["64k", pytest.param("64m", marks=pytest.mark.long)])
def test_little_shared_memory(tmp_path, size):
    """A container of Docker's has 64 MiB in /dev/shm."""
    run(tmp_path, unshared(f"mount -t tmpfs -o size={size} tmpfs /dev/shm"))


def test_few_open_files(tmp_path):
    run(tmp_path, more="resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))")


@pytest.mark.long
def test_nothing_may_be_written(tmp_path):
    private = "mount --make-rprivate / && mount --bind / / && mount -o remount,ro,bind /"
    checked = "! touch /tmp/file 2>/dev/null && ! touch /var/file 2>/dev/null"
    # What other packages want to have a temporary folder for (dill, which torch imports) is there.
    temporary = "export TMPDIR=/dev/shm"
    run(tmp_path, unshared(f"{private} && {checked} && {temporary}"), sends=False)


NUMBERS = {
    "x86_64": {"memfd_create": 319, "pidfd_open": 434, "pidfd_getfd": 438},
    "aarch64": {"memfd_create": 279, "pidfd_open": 434, "pidfd_getfd": 438},
}.get(platform.machine(), {})

FORBID = """
import errno, struct


def forbid(numbers, error):
    rules = [(0x20, 0, 0, 0)]  # load the number of the system call
    for number in numbers:
        rules += [(0x15, 0, 1, number), (0x06, 0, 0, 0x00050000 | error)]
    rules.append((0x06, 0, 0, 0x7FFF0000))
    filter = b"".join(struct.pack("=HBBI", *rule) for rule in rules)
    instructions = ctypes.create_string_buffer(filter, len(filter))

    class Program(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]

    program = Program(len(rules), ctypes.addressof(instructions))
    if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, ctypes.byref(program), 0, 0):
        raise SystemExit("cannot be tried here: no filters of system calls")


def in_main():
    forbid({numbers}, errno.{error})
"""


@pytest.mark.skipif(not NUMBERS, reason="the numbers of the system calls are not known here")
@pytest.mark.parametrize("error", ["EPERM", pytest.param("ENOSYS", marks=pytest.mark.long)])
@pytest.mark.parametrize(
    "calls", [["memfd_create"], pytest.param(["pidfd_open", "pidfd_getfd"], marks=pytest.mark.long)]
)
def test_system_calls_that_are_forbidden(tmp_path, calls, error):
    numbers = repr([NUMBERS[call] for call in calls])
    run(tmp_path, more=FORBID.replace("{numbers}", numbers).replace("{error}", error))


@pytest.mark.long
@pytest.mark.parametrize("who", ["in_main()", "in_worker(number)"])
def test_a_process_that_may_not_be_looked_at(tmp_path, who):
    """Its files in /proc are root's then, as those of a program with a key in its memory."""
    more = f"""
    def {who}:
        become_nobody()
        PR_SET_DUMPABLE = 4
        check(libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0, "cannot be tried here: prctl")
    """
    run(tmp_path, more=more)


@pytest.mark.long
@pytest.mark.skipif(os.getuid() != 0, reason="needs root")
def test_a_worker_of_another_user(tmp_path):
    run(tmp_path, more="def in_worker(number):\n    become_nobody()\n")
