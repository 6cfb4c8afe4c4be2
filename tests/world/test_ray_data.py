"""Ray Data: ``tensorlift.ray.CollateFn`` in the place of the function that Ray has itself."""

from __future__ import annotations

import doctest
import gc
import pickle
import secrets
import tempfile

import numpy as np
import pytest
import torch

import tensorlift
from against_torch.outcome import described
from support.pages import GUIDES, blocks_of, check
from tensorlift import Collate, Normalize, Pad

ray = pytest.importorskip("ray", minversion="2.47")
pa = pytest.importorskip("pyarrow")
CollateFn = pytest.importorskip("tensorlift.ray").CollateFn

pytestmark = [
    pytest.mark.filterwarnings(r"ignore::DeprecationWarning:ray\."),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # files, sockets, processes
    # Arrow's memory is read-only; torch says so before it raises an error.
    pytest.mark.filterwarnings("ignore:The given NumPy array is not writ:UserWarning"),
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


def test_python_of_the_page():
    names = {}
    for block in blocks_of(GUIDES / "ray.md"):
        check(block, names)


def test_docstring_examples():
    result = doctest.testmod(tensorlift.ray)
    assert (result.failed, result.attempted > 0) == (0, True)


def test_columns_become_tensors_of_their_dtypes():
    items = [{"image": np.full((2, 3), i, np.float32), "label": i} for i in range(6)]
    dataset = ray.data.from_items(items)
    batches = list(dataset.iter_torch_batches(batch_size=4, collate_fn=CollateFn()))

    assert [batch["label"].tolist() for batch in batches] == [[0, 1, 2, 3], [4, 5]]
    assert batches[0]["image"].dtype == torch.float32
    assert batches[0]["image"].shape == (4, 2, 3)
    assert batches[1]["image"][:, 1, 2].tolist() == [4.0, 5.0]


def test_batches_made_by_rays_tasks_may_be_written_to():
    dataset = ray.data.range_tensor(8, shape=(2, 2)).map_batches(lambda b: {"x": b["data"] * 2})
    batches = list(dataset.iter_torch_batches(batch_size=4, collate_fn=CollateFn()))

    x = torch.cat([batch["x"] for batch in batches])
    assert torch.equal(x, 2 * torch.arange(8)[:, None, None].expand(8, 2, 2))
    (own,) = dataset.limit(2).iter_torch_batches(
        batch_size=2, collate_fn=CollateFn(readonly="copy")
    )
    own["x"] += 1


@pytest.mark.parametrize("is_ours", [False, True])
def test_what_is_written_to_a_shared_batch_is_written_to_the_dataset(is_ours):
    """So it is with Ray's own function. Were it otherwise, the manual should say so."""
    dataset = ray.data.from_numpy(np.zeros((1000, 4))).materialize()
    for readonly, expected in (("copy", 0), ("share", 1)):
        options = {"collate_fn": CollateFn(readonly=readonly)} if is_ours else {}
        (batch,) = dataset.iter_torch_batches(batch_size=None, **options)
        batch["data"] += 1
        (again,) = dataset.iter_torch_batches(batch_size=None)
        if is_ours:
            assert again["data"].unique().tolist() == [expected]
    assert again["data"].min() > 0


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
        ([{"x": list(range(i + 1))} for i in range(3)], RuntimeError),
        ([{"x": np.zeros((i + 1, 2))} for i in range(3)], RuntimeError),
        ([{"x": {"a": i}} for i in range(3)], TypeError),  # RuntimeError of Ray
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_column_becomes_what_it_becomes_without_a_collate_fn(rows, error):
    dataset = ray.data.from_items(rows)
    ours, theirs = (outcome(dataset, **options) for options in ({"collate_fn": CollateFn()}, {}))
    if error is None:
        assert ours == theirs
    else:
        assert isinstance(theirs, (TypeError, RuntimeError))
        assert isinstance(ours, error)


def test_whole_datasets_as_by_ray():
    """Shuffled and not, in batches that are cut from several blocks."""
    rng = np.random.default_rng(0)
    rows = [
        {
            "image": rng.integers(0, 256, (4, 5, 3), np.uint8),
            "x": rng.random(3, np.float32),
            "label": i % 10,
            "weight": i / 7,
            "is": bool(i % 2),
            "tokens": [i, i + 1],
        }
        for i in range(50)
    ]
    dataset = ray.data.from_items(rows, override_num_blocks=4).materialize()
    for options in (
        {"batch_size": 8},
        {"batch_size": 20, "drop_last": True},
        {"batch_size": None},
        {"batch_size": 7, "local_shuffle_buffer_size": 20, "local_shuffle_seed": 3},
    ):
        theirs = list(dataset.iter_torch_batches(**options))
        ours = list(dataset.iter_torch_batches(collate_fn=CollateFn(), **options))
        assert values_of(ours) == values_of(theirs)
        cast = list(dataset.iter_torch_batches(dtypes=torch.float32, **options))
        ours = list(
            dataset.iter_torch_batches(collate_fn=CollateFn(dtype=torch.float32), **options)
        )
        assert values_of(ours) == values_of(cast)


def values_of(batches):
    return described(
        [{name: tensor.clone().contiguous() for name, tensor in batch.items()} for batch in batches]
    )


def test_a_column_of_different_lengths_is_padded_or_jagged():
    dataset = ray.data.from_items([{"x": np.arange(i + 1), "n": i} for i in range(3)])
    (batch,) = dataset.iter_torch_batches(batch_size=3, collate_fn=CollateFn(pad={"x": -1}))
    assert list(batch) == ["x", "x_sizes", "n"]
    assert batch["x"].tolist() == [[0, -1, -1], [0, 1, -1], [0, 1, 2]]
    assert batch["x_sizes"].tolist() == [[1], [2], [3]]
    collate_fn = CollateFn(jagged={"x": torch.int32})
    (batch,) = dataset.iter_torch_batches(batch_size=3, collate_fn=collate_fn)
    assert batch["x"].tolist() == [0, 0, 1, 0, 1, 2]
    assert batch["x_offsets"].tolist() == [0, 1, 3, 6]
    assert batch["x_offsets"].dtype == torch.int32


def test_ray_does_not_join_what_belongs_apart():
    """Of a batch of nothing but tuples of tensors, it would make a tensor of each tuple."""
    dataset = ray.data.from_items([{"x": np.arange(i + 1)} for i in range(3)])
    (batch,) = dataset.iter_torch_batches(batch_size=3, collate_fn=CollateFn(jagged=["x"]))
    assert list(batch) == ["x", "x_offsets"]


# ---- tables, as Ray passes them


def table(chunks=1):
    rng = np.random.default_rng(0)
    shape = (6, 4, 5, 3)
    images = pa.FixedShapeTensorArray.from_numpy_ndarray(rng.integers(0, 256, shape, np.uint8))
    whole = pa.table(
        {
            "image": images,
            "x": rng.random(6),
            "label": np.arange(6),
            "tokens": pa.array([list(range(i + 1)) for i in range(6)]),
            "pair": pa.array([[i, -i] for i in range(6)], pa.list_(pa.float32(), 2)),
            "maybe": pa.array([0, None, 2, None, 4, 5]),
            "span": pa.array([[1.0] * i if i % 2 else None for i in range(6)]),
        }
    )
    if chunks == 1:
        return whole
    return pa.concat_tables([whole.slice(0, 1), whole.slice(1, 3), whole.slice(4)])


def rows_of(table):
    """As a DataLoader would have them."""
    columns = {name: table[name].to_pylist() for name in table.column_names}
    for name in {"tokens", "pair", "span"} & set(columns):
        kind = np.float32 if name == "pair" else None
        columns[name] = [None if v is None else np.array(v, kind) for v in columns[name]]
    columns["image"] = list(table["image"].combine_chunks().to_numpy_ndarray())
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


NORMALIZE = Normalize((0.5, 0.4, 0.3), 0.25, channel_order="bgr")


@pytest.mark.parametrize("chunks", [1, 3])
@pytest.mark.parametrize(
    "options",
    [
        {"pad": {"tokens": -1}},
        {"pad": {"tokens": Pad(0, padding_side="left", mask="mask", sizes=False)}},
        {
            "pad": {"tokens": Pad(0, mask="mask", max_length=3, truncate="right", sizes=False)},
            "dtype": {"mask": torch.int64, "tokens": torch.float32},
        },
        {"jagged": ["tokens"]},
        {"jagged": {"tokens": torch.int32}, "dtype": {"tokens": torch.int16}},
        {"normalize": {"image": NORMALIZE}, "channel_dim": {"image": -1}},
        {"channel_dim": {"image": -1}, "channels_last": ["image"], "dtype": torch.float16},
        {"dtype": {"x": torch.float32, "image": torch.float32}, "threads": 2},
        {"dtype": torch.float64},
    ],
    ids=str,
)
def test_the_options_are_those_of_collate(options, chunks):
    """And so are their results, for a batch of the same rows."""
    some = table(chunks).drop_columns(["maybe", "span"])
    if not {"pad", "jagged"} & set(options):
        some = some.drop_columns(["tokens"])
    ours = CollateFn(readonly="copy", **options)(some)
    theirs = Collate(**options)(rows_of(some))
    if options.get("dtype") is not None and isinstance(options["dtype"], torch.dtype):
        theirs["label"] = theirs["label"].to(options["dtype"])  # a number of Python, there
    expected = {}
    for name, value in theirs.items():
        parts = value if isinstance(value, tuple) else (value,)
        suffixes = ("", "_offsets" if isinstance(value, tensorlift.Jagged) else "_sizes", "_mask")
        expected |= {name + suffix: part for suffix, part in zip(suffixes, parts, strict=False)}
    assert set(ours) == set(expected)
    for name, tensor in ours.items():
        assert described(tensor) == described(expected[name]), name


@pytest.mark.parametrize("chunks", [1, 3])
def test_what_is_missing(chunks):
    some = table(chunks).select(["maybe", "span", "label"])
    collate_fn = CollateFn(optional={"maybe": "drop"}, jagged=[], pad={})
    batch = collate_fn(some.drop_columns(["span"]))
    assert batch["maybe"].tolist() == [0, 2, 4, 5]
    assert batch["maybe"].dtype == torch.int64
    batch = CollateFn()(some.drop_columns(["span"]))
    assert batch["maybe"].isnan().tolist() == [False, True, False, True, False, False]
    batch = CollateFn(optional={"span": "drop"}, pad={"span": -1})(some)
    assert batch["span_sizes"].tolist() == [[1], [3], [5]]
    with pytest.raises(TypeError, match=r"column 'maybe': expected no nulls for torch\.int64"):
        CollateFn(dtype={"maybe": torch.int64})(some.drop_columns(["span"]))
    inner = pa.table({"x": pa.array([[1, None], [2]])})
    with pytest.raises(TypeError, match=r"column 'x': expected no nulls for torch\.int32"):
        CollateFn(jagged=["x"], dtype={"x": torch.int32})(inner)


def test_columns_lie_where_arrow_has_them():
    some = table().select(["image", "x", "label", "tokens", "pair"])
    batch = CollateFn(jagged=["tokens"])(some)
    arrays = {
        "image": some["image"].chunk(0).to_numpy_ndarray(),
        "x": some["x"].chunk(0).to_numpy(),
        "label": some["label"].chunk(0).to_numpy(),
        "tokens": some["tokens"].chunk(0).values.to_numpy(),
        "pair": some["pair"].chunk(0).values.to_numpy(),
    }
    own = CollateFn(jagged=["tokens"], readonly="copy")(some)
    for name, array in arrays.items():
        assert batch[name].data_ptr() == array.__array_interface__["data"][0], name
        assert own[name].data_ptr() != batch[name].data_ptr()
    middle = CollateFn(jagged=["tokens"])(some.slice(2, 3))
    assert middle["tokens"].tolist() == [0, 1, 2, 0, 1, 2, 3, 0, 1, 2, 3, 4]
    assert middle["tokens_offsets"].tolist() == [0, 3, 7, 12]
    assert middle["label"].tolist() == [2, 3, 4]
    del some, arrays
    gc.collect()
    assert batch["label"].tolist() == list(range(6))


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"pad": ["token"]}, ValueError, "pad: expected names of columns, got 'token'"),
        ({"dtype": {"y": torch.float32}}, ValueError, "dtype: expected names of columns, got 'y'"),
        ({}, RuntimeError, r'samples\[1\]\["tokens"\].*pad=\[.*tokens'),
        ({"readonly": "warn"}, ValueError, "readonly: expected"),
        ({"padding": 0}, TypeError, "padding"),
        ({"out": {"x": torch.empty(6)}}, ValueError, "out: expected None"),
        ({"jagged": ["x"]}, (TypeError, ValueError, RuntimeError), "x"),
    ],
    ids=str,
)
def test_errors_name_the_column(options, error, match):
    some = table().select(["tokens", "x"])
    with pytest.raises(error, match=match):
        CollateFn(**options)(some)


@pytest.mark.parametrize(
    ("values", "match"),
    [
        (["a", "b"], "column 'x': expected numbers.* got string.*drop_columns"),
        ([{"a": 1}, {"a": 2}], "column 'x': expected numbers.* got struct"),
        ([b"a", b"b"], "column 'x': expected numbers.* got binary"),
        ([True, None], "column 'x': "),
        ([["a"], ["b"]], "column 'x': "),
        ([np.datetime64("2026-01-01", "s")] * 2, "column 'x': .*dtype"),
    ],
    ids=str,
)
def test_what_no_tensor_can_be_made_of(values, match):
    with pytest.raises(TypeError, match=match):
        CollateFn()(pa.table({"x": values, "y": [1, 2]}))


def test_it_pickles():
    """Into the workers of Ray Train."""
    collate_fn = pickle.loads(pickle.dumps(CollateFn(pad={"tokens": 0}, readonly="copy")))
    assert collate_fn(table().select(["tokens"]))["tokens"].shape == (6, 6)
