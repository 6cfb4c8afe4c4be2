"""transformers.Trainer: what reaches the model, and the weights that come of it."""

from __future__ import annotations

import os
import random

import numpy as np
import pytest
import torch

import tensorlift
from support.ways import check, in_each_way, in_ways
from tensorlift import Pad

os.environ.setdefault("HF_HUB_OFFLINE", "1")
transformers = pytest.importorskip("transformers", minversion="4.50")
pytest.importorskip("accelerate")
tokenizers = pytest.importorskip("tokenizers")

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # fork with threads, too
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*pin_memory:UserWarning"),
]

VOCABULARY = 50


class Trainer(transformers.Trainer):
    """Notes the batches of each step."""

    def __init__(self, *arguments, way, **options):
        super().__init__(*arguments, **options)
        self.way, self.seen = way, []

    def get_train_dataloader(self):
        """As the manual has it for loaders that accelerate has prepared."""
        loader = super().get_train_dataloader()
        loader.base_dataloader = self.way.wrap(loader.base_dataloader)
        return loader

    def compute_loss(self, model, inputs, *arguments, **options):
        self.seen.append({k: v.clone() if torch.is_tensor(v) else v for k, v in inputs.items()})
        return super().compute_loss(model, inputs, *arguments, **options)


def model():
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    config = transformers.LlamaConfig(
        vocab_size=VOCABULARY, num_attention_heads=2, num_key_value_heads=2, **sizes
    )
    return transformers.LlamaForCausalLM(config)


def rows(is_of_one_length):
    """Lists, as of a tokenizer; or arrays, of which default_collate makes one tensor."""
    rng = random.Random(0)
    rows = []
    for _ in range(10):
        length = 6 if is_of_one_length else rng.randint(2, 9)
        tokens = [rng.randrange(1, VOCABULARY) for _ in range(length)]
        row = {"input_ids": tokens, "labels": tokens, "attention_mask": [1] * length}
        rows.append({k: np.array(v) for k, v in row.items()} if is_of_one_length else row)
    return rows


def train(way, collate_fn, folder, *, is_of_one_length=False, resume=None, **options):
    settings = {"num_train_epochs": 2, "save_strategy": "no"} | options
    arguments = transformers.TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=3,
        use_cpu=True,
        report_to=[],
        disable_tqdm=True,
        logging_strategy="no",
        seed=3,
        **settings,
    )
    trainer = Trainer(
        model(),
        arguments,
        train_dataset=rows(is_of_one_length),
        eval_dataset=rows(is_of_one_length)[:4],
        data_collator=collate_fn,
        way=way,
    )
    trainer.train(resume_from_checkpoint=resume)
    trainer.evaluate()
    return [*trainer.seen, dict(trainer.model.state_dict())]


@in_each_way
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"dataloader_num_workers": 2, "dataloader_persistent_workers": True},
        {"dataloader_drop_last": True, "gradient_accumulation_steps": 2},
    ],
    ids=str,
)
def test_rows_of_one_length(way, options, tmp_path):
    def run(way):
        collate_fn = way.collate_fn()
        return train(way, collate_fn, tmp_path, is_of_one_length=True, **options)

    *seen, _ = check(run, way)
    assert seen[0]["input_ids"].shape == (3, 6)


def tokenizer():
    known = tokenizers.models.WordLevel({"[PAD]": 0, "a": 1}, unk_token="[PAD]")
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizers.Tokenizer(known), pad_token="[PAD]"
    )


PADDING = tensorlift.Collate(
    pad={
        "input_ids": Pad(0, sizes=False),
        "labels": Pad(-100, sizes=False),
        "attention_mask": Pad(0, sizes=False),
    }
)


def flattened(rows):
    """What DataCollatorWithFlattening makes."""
    tokens = tensorlift.jagged([row["input_ids"] for row in rows])
    labels = tensorlift.jagged([row["labels"] for row in rows]).values
    labels[tokens.offsets[:-1]] = -100
    return {
        "input_ids": tokens.values[None],
        "labels": labels[None],
        "position_ids": tokens.position_ids()[None],
    }


@in_ways("collate_fn", "DevicePrefetcher", "install")
@pytest.mark.parametrize("workers", [0, 2])
def test_padding(way, workers, tmp_path):
    theirs = transformers.DataCollatorForTokenClassification(tokenizer())

    def run(way):
        collate_fn = PADDING if way.name == "collate_fn" else theirs
        *seen, weights = train(way, collate_fn, tmp_path, dataloader_num_workers=workers)
        return [dict(sorted(batch.items())) for batch in seen] + [weights]

    check(run, way)


@in_ways("collate_fn", "DevicePrefetcher", "install")
@pytest.mark.parametrize("workers", [0, 2])
def test_flattening(way, workers, tmp_path):
    def run(way):
        theirs = transformers.DataCollatorWithFlattening()
        collate_fn = flattened if way.name == "collate_fn" else theirs
        *seen, weights = train(way, collate_fn, tmp_path, dataloader_num_workers=workers)
        return [dict(sorted(batch.items())) for batch in seen] + [weights]

    check(run, way)


@in_ways("collate_fn", "DevicePrefetcher")
def test_a_training_that_is_resumed_in_mid_epoch(way, tmp_path):
    """Trainer skips the batches that were had; nothing of them may be lost or come twice."""

    def run(way):
        folder = tmp_path / str(way)
        save = {"save_strategy": "steps", "save_steps": 3, "is_of_one_length": True}
        whole = train(way, way.collate_fn(), folder, **save)
        resumed = train(way, way.collate_fn(), folder, resume=folder / "checkpoint-3", **save)
        return [whole, resumed]

    whole, resumed = check(run, way)
    assert len(resumed) == len(whole) - 3
    for name, weights in whole[-1].items():
        assert torch.equal(weights, resumed[-1][name])
