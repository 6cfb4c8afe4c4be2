"""A batch that comes from a worker is a batch like torch's: saved, sent on, grown, compiled."""

import copy
import io
import pickle
import warnings
from multiprocessing.reduction import ForkingPickler

import numpy as np
import pytest
import torch
from torch import multiprocessing
from torch.utils.data import DataLoader, Dataset, default_collate

import tensorlift
from tensorlift import _C

pytestmark = [
    pytest.mark.skipif(not _C.has_segments(), reason="needs Linux"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # fork with threads
    pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning"),
]
COLLATES = {"torch": default_collate, "tensorlift": tensorlift.collate}


class Images(Dataset):
    """Image i is full of i."""

    def __init__(self, count=320):
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, i):
        return {
            "image": np.full((3, 32, 32), i, np.float32),
            "box": np.arange(4, dtype=np.int16),
            "label": i,
        }


def loader(collate, count=320, **options):
    options = {"batch_size": 8, "num_workers": 2, "multiprocessing_context": "fork"} | options
    return DataLoader(Images(count), collate_fn=collate, **options)


def first_batches(**options):
    return [next(iter(loader(collate, 8, **options))) for collate in COLLATES.values()]


def saved(value):
    file = io.BytesIO()
    torch.save(value, file)
    return len(file.getvalue())


def test_what_is_saved_pickled_and_copied_is_as_large():
    theirs, ours = first_batches()
    assert saved(ours) == saved(theirs)
    for name, tensor in theirs.items():
        assert saved(ours[name]) == saved(tensor)
        assert len(pickle.dumps(ours[name])) == len(pickle.dumps(tensor))
        size = copy.deepcopy(ours[name]).untyped_storage().nbytes()
        assert size == copy.deepcopy(tensor).untyped_storage().nbytes()


def test_saved_together_and_loaded():
    _, ours = first_batches()
    file = io.BytesIO()
    torch.save(ours, file)
    file.seek(0)
    assert all(torch.equal(tensor, ours[name]) for name, tensor in torch.load(file).items())


@pytest.mark.parametrize(
    "grow",
    [
        lambda tensor: tensor.resize_(9, 3, 32, 32),
        lambda tensor: torch.mul(torch.ones(9, 3, 32, 32), 3, out=tensor),
        lambda tensor: tensor.untyped_storage().resize_(1 << 20),
    ],
)
def test_growing_one_is_torchs_error_and_touches_no_other(grow):
    for batch in first_batches():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with pytest.raises(RuntimeError, match="resiz"):
                grow(batch["image"])
        assert batch["label"].tolist() == list(range(8))
        assert bool((batch["box"] == torch.arange(4)).all())


def labels_until_none(queue, answers):
    answers.put([label for labels in iter(queue.get, None) for label in labels.tolist()])


@pytest.mark.parametrize("collate", COLLATES)
def test_sending_one_column_on_leaves_the_others_where_they_are(collate):
    """While NumPy looks at them, and while they are changed in place."""
    context = multiprocessing.get_context("fork")
    queue, answers = context.Queue(), context.Queue()
    process = context.Process(target=labels_until_none, args=(queue, answers))
    process.start()
    views = []
    for number, batch in enumerate(loader(COLLATES[collate])):
        queue.put(batch["label"])
        first = 8 * number
        if number % 2:
            views.append((batch["image"].numpy(), first))
        else:
            expected = batch["image"] + 1
            batch["image"].add_(1)
            assert torch.equal(batch["image"], expected)
            assert batch["image"][:, 0, 0, 0].tolist() == list(range(first + 1, first + 9))
        del batch
    queue.put(None)
    assert answers.get(timeout=60) == list(range(320))
    process.join()
    for view, first in views:
        assert (view == np.arange(first, first + 8).reshape(8, 1, 1, 1)).all()


@pytest.mark.parametrize("collate", COLLATES)
def test_share_memory_moves_one_column_alone(collate):
    views = []
    for batch in loader(COLLATES[collate], num_workers=1):
        views.append((batch["image"].numpy(), int(batch["label"][0])))
        batch["label"].share_memory_()
        assert batch["label"].is_shared()
        del batch
    for view, first in views:
        assert (view == np.arange(first, first + 8).reshape(8, 1, 1, 1)).all()


def test_a_step_that_changes_its_input_is_compiled():
    def step(image, label):
        image.sub_(0.5).div_(0.25)
        return image.mean() + label.sum()

    compiled = torch.compile(step, backend="aot_eager")
    theirs, ours = first_batches()
    assert torch.equal(
        compiled(ours["image"], ours["label"]), compiled(theirs["image"], theirs["label"])
    )
    assert torch.equal(ours["image"], theirs["image"])


def test_shared_for_others_not_for_torch():
    theirs, ours = first_batches()
    assert all(tensor.is_shared() for tensor in theirs.values())
    assert not any(tensor.is_shared() for tensor in ours.values())
    again = pickle.loads(ForkingPickler.dumps(ours["image"]))
    assert torch.equal(again, ours["image"])
    assert again.data_ptr() != ours["image"].data_ptr()  # its worker has ended


class ChangedAndViewed:
    """Changes the batch after it was collated, and adds views of one of its tensors."""

    def __init__(self, collate):
        self.collate = collate

    def __call__(self, samples):
        batch = self.collate(samples)
        batch["image"].mul_(2)
        return batch | {"crop": batch["image"][:, :, 4:8, ::3], "again": batch["image"]}


def test_what_is_changed_arrives_changed_and_views_stay_views():
    for collate in COLLATES.values():
        batch = next(iter(loader(ChangedAndViewed(collate))))
        assert batch["image"][:, 0, 0, 0].tolist() == [2 * i for i in range(8)]
        assert torch.equal(batch["crop"], batch["image"][:, :, 4:8, ::3])
        batch["image"].zero_()
        assert not batch["crop"].any()
        assert not batch["again"].any()
        assert batch["label"].untyped_storage()._cdata != batch["image"].untyped_storage()._cdata
