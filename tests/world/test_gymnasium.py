"""Gymnasium: the observations of a vector environment as tensors over its buffer.

With ``copy=False`` the environment returns its own buffer, and writes the next observations to it:
tensors that are used before the next step share it; those that are kept, for instance in a replay
buffer, need ``tensorlift.convert(observations, copy=True)``.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils import _pytree as pytree
from torch.utils.data import default_convert

import tensorlift
from against_torch.outcome import described

gym = pytest.importorskip("gymnasium", minversion="1.0")


class Counter(gym.Env):
    """Shows how many steps it has made."""

    observation_space = gym.spaces.Dict(
        {
            "image": gym.spaces.Box(0, 255, (4, 4, 3), np.uint8),
            "count": gym.spaces.Discrete(100),
        }
    )
    action_space = gym.spaces.Discrete(2)
    steps = 0

    def observation(self):
        return {"image": np.full((4, 4, 3), self.steps, np.uint8), "count": self.steps}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return self.observation(), {}

    def step(self, action):
        self.steps += 1
        return self.observation(), float(self.steps), False, False, {}


@pytest.fixture(params=[gym.vector.SyncVectorEnv, gym.vector.AsyncVectorEnv])
def envs(request):
    envs = request.param([Counter, Counter], copy=False)
    yield envs
    envs.close()


def test_every_step_is_seen_without_a_copy(envs):
    observations, _ = envs.reset(seed=0)
    seen = tensorlift.convert(observations)
    assert seen["image"].shape == (2, 4, 4, 3)
    assert seen["image"].dtype == torch.uint8
    assert seen["count"].tolist() == [0, 0]
    assert np.shares_memory(seen["image"].numpy(), observations["image"])

    envs.step(np.zeros(2, int))
    assert seen["image"].unique().tolist() == [1]  # the same memory: overwritten


def test_a_copy_outlives_the_step(envs):
    observations, _ = envs.reset(seed=0)
    kept = [tensorlift.convert(observations, copy=True)]
    for _ in range(2):
        observations, *_ = envs.step(np.zeros(2, int))
        kept.append(tensorlift.convert(observations, copy=True))
    assert [o["image"].unique().item() for o in kept] == [0, 1, 2]


def test_all_that_a_step_returns_is_converted_at_once(envs):
    envs.reset(seed=0)
    step = tensorlift.convert(envs.step(np.zeros(2, int)))
    observations, reward, terminated, truncated, info = step
    assert observations["image"].unique().tolist() == [1]
    assert torch.equal(reward, torch.tensor([1.0, 1.0], dtype=torch.float64))
    assert not (terminated | truncated).any()
    assert info == {}


@pytest.mark.parametrize("copy", [None, True])
def test_what_a_step_returns_is_what_torchs_default_convert_makes_of_it(envs, copy):
    envs.reset(seed=0)
    for _ in range(3):
        step = envs.step(np.zeros(2, int))
        theirs = default_convert(step)
        if copy:  # the tensors have memory of their own
            theirs = pytree.tree_map(torch.clone, theirs)
        assert described(tensorlift.convert(step, copy=copy)) == described(theirs)
