"""Ray Data: a ``NumpyBatchCollateFn`` that makes a tensor of each column, as Ray's own does.

Some columns are read-only views of Ray's memory: ``readonly="copy"`` makes the tensors yours to
write to, "share" leaves them where they are. A column of arrays of one shape that Ray has kept
apart comes as an array of objects: it is stacked. Where no tensor can be made of a column, of text
or of different lengths, there is an error, as there is without a ``collate_fn``.
"""

from __future__ import annotations

import gc
import secrets
import tempfile

import numpy as np
import pytest
import torch

import tensorlift
from support.pages import GUIDES, blocks_of, is_for_ray

ray = pytest.importorskip("ray", minversion="2.47")
NumpyBatchCollateFn = pytest.importorskip("ray.data.collate_fn").NumpyBatchCollateFn

pytestmark = [
    pytest.mark.filterwarnings(r"ignore::DeprecationWarning:ray\."),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # files, sockets, processes
]


@pytest.fixture(scope="module", autouse=True)
def local_ray():
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory("", "ray") as folder:
        patch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(16))  # else Ray leaves one in the home
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        try:
            ray.init(
                address="local",
                num_cpus=2,
                object_store_memory=100 << 20,
                include_dashboard=False,
                log_to_driver=False,
                _temp_dir=folder,
            )
            context = ray.data.DataContext.get_current()
            context.enable_progress_bars = False
            context.execution_options.preserve_order = True  # two tasks at a time otherwise mix it
            yield
        finally:
            ray.shutdown()
            gc.collect()  # what Ray left open is closed under the filters above


def collate_fn_of_the_guide():
    """The class that python/docs/loaders.md shows."""
    (block,) = filter(is_for_ray, blocks_of(GUIDES / "loaders.md"))
    names = {"__name__": __name__, "np": np, "tensorlift": tensorlift}
    exec(block, names)
    return names["C"]


ToTensors = collate_fn_of_the_guide()


def test_columns_become_tensors_of_their_dtypes():
    items = [{"image": np.full((2, 3), i, np.float32), "label": i} for i in range(6)]
    dataset = ray.data.from_items(items)
    batches = list(dataset.iter_torch_batches(batch_size=4, collate_fn=ToTensors()))

    assert [batch["label"].tolist() for batch in batches] == [[0, 1, 2, 3], [4, 5]]
    assert batches[0]["image"].dtype == torch.float32
    assert batches[0]["image"].shape == (4, 2, 3)
    assert batches[1]["image"][:, 1, 2].tolist() == [4.0, 5.0]


def test_batches_made_by_rays_tasks_may_be_written_to():
    dataset = ray.data.range_tensor(8, shape=(2, 2)).map_batches(lambda b: {"x": b["data"] * 2})
    batches = list(dataset.iter_torch_batches(batch_size=4, collate_fn=ToTensors()))

    x = torch.cat([batch["x"] for batch in batches])
    assert torch.equal(x, 2 * torch.arange(8)[:, None, None].expand(8, 2, 2))
    batches[0]["x"] += 1


def test_read_only_columns_can_be_shared():
    array = np.arange(16).reshape(8, 2)
    (columns,) = ray.data.from_numpy(array).iter_batches(batch_size=8)
    assert not columns["data"].flags.writeable
    shared = tensorlift.convert(columns, readonly="share")["data"]
    assert np.shares_memory(shared.numpy(), columns["data"])
    assert shared.tolist() == array.tolist()


def outcome(dataset, **options):
    """The values of the first batch of two, or the error that is behind the one that Ray raises."""
    try:
        (batch,) = dataset.limit(2).iter_torch_batches(batch_size=2, **options)
    except Exception as error:
        while error.__cause__ is not None:
            error = error.__cause__
        return error
    return {name: (tensor.dtype, str(tensor.tolist())) for name, tensor in batch.items()}


@pytest.mark.parametrize(
    ("rows", "error"),
    [
        ([{"x": [i, i]} for i in range(3)], None),  # lists, all of one length
        ([{"x": np.full((2, 2), i)} for i in range(3)], None),
        ([{"x": bool(i % 2)} for i in range(3)], None),
        ([{"x": None if i == 1 else i} for i in range(3)], None),
        ([{"x": np.arange(2 if i < 2 else 3)} for i in range(4)], None),
        ([{"x": "a" * i, "y": i} for i in range(3)], TypeError),
        ([{"x": b"ab"} for _ in range(3)], TypeError),
        ([{"x": np.datetime64("2026-01-01")} for _ in range(3)], TypeError),
        ([{"x": list(range(i + 1))} for i in range(3)], ValueError),  # RuntimeError of Ray
        ([{"x": np.zeros((i + 1, 2))} for i in range(3)], ValueError),  # RuntimeError of Ray
        ([{"x": {"a": i}} for i in range(3)], TypeError),  # RuntimeError of Ray
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_column_becomes_what_it_becomes_without_a_collate_fn(rows, error):
    dataset = ray.data.from_items(rows)
    ours, theirs = (outcome(dataset, **options) for options in ({"collate_fn": ToTensors()}, {}))
    if error is None:
        assert ours == theirs
    else:
        assert isinstance(theirs, (TypeError, RuntimeError))
        assert isinstance(ours, error)


def test_a_column_of_different_lengths_is_padded():
    dataset = ray.data.from_items([{"x": np.arange(i + 1)} for i in range(3)])
    (columns,) = dataset.iter_batches(batch_size=3)
    batch, sizes = tensorlift.pad(list(columns["x"]), padding_value=-1)
    assert batch.tolist() == [[0, -1, -1], [0, 1, -1], [0, 1, 2]]
    assert sizes.tolist() == [[1], [2], [3]]
