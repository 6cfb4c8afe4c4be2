"""stable-baselines3: buffers whose samples become tensors through ``tensorlift.from_numpy``."""

from __future__ import annotations

import pytest

import tensorlift
from support.ways import PLAIN, check, in_ways

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]
sb3 = pytest.importorskip("stable_baselines3", minversion="2.4")
buffers = pytest.importorskip("stable_baselines3.common.buffers")
gym = pytest.importorskip("gymnasium", minversion="1.0")


def noting(buffer, way, seen):
    """The class of a buffer, which notes what its samples become."""

    class Buffer(buffer):
        def to_torch(self, array, copy=True):
            if way is PLAIN:
                tensor = super().to_torch(array, copy)
            else:
                (tensor,) = tensorlift.from_numpy([array], copy=True if copy else None)
            seen.append(tensor.clone())
            return tensor

    return Buffer


@in_ways("from_numpy")
@pytest.mark.parametrize("dict_observations", [False, True])
def test_on_policy(way, dict_observations):
    def run(way):
        seen = []
        buffer = buffers.DictRolloutBuffer if dict_observations else buffers.RolloutBuffer
        model = sb3.PPO(
            "MultiInputPolicy" if dict_observations else "MlpPolicy",
            make_environment(dict_observations),
            n_steps=16,
            batch_size=8,
            n_epochs=2,
            seed=2,
            device="cpu",
            rollout_buffer_class=noting(buffer, way, seen),
        )
        model.learn(48)
        return [seen, dict(model.policy.state_dict())]

    assert len(check(run, way)[0]) > 20


@in_ways("from_numpy")
def test_off_policy(way):
    def run(way):
        seen = []
        model = sb3.DQN(
            "MlpPolicy",
            "CartPole-v1",
            learning_starts=10,
            batch_size=8,
            buffer_size=50,
            seed=2,
            device="cpu",
            replay_buffer_class=noting(buffers.ReplayBuffer, way, seen),
        )
        model.learn(80)
        return [seen, dict(model.policy.state_dict())]

    assert len(check(run, way)[0]) > 20


def make_environment(dict_observations):
    environment = gym.make("CartPole-v1")
    if not dict_observations:
        return environment
    space = gym.spaces.Dict({"state": environment.observation_space})
    return gym.wrappers.TransformObservation(environment, lambda seen: {"state": seen}, space)
