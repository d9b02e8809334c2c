"""Features are what the spaces mean, and running statistics equal numpy's over everything seen."""

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.torch_layers import CombinedExtractor, FlattenExtractor, NatureCNN
from torch import nn

from rlrnn.errors import UserError
from rlrnn.experiment.agents import policy_name
from rlrnn.network.sensors import RunningNormalizer, Sensors, check_supported, is_convolvable, module_names


def sense(space: spaces.Space[Any], *observations: Any, **options: Any) -> list[list[float]]:
    extractor = CombinedExtractor if isinstance(space, spaces.Dict) else FlattenExtractor
    sensors = Sensors(space, extractor, {}, **options)
    if isinstance(space, spaces.Dict):
        batch: Any = {key: torch.as_tensor(np.stack([o[key] for o in observations])) for key in space}
    else:
        batch = torch.as_tensor(np.stack(observations))
    features = sensors(batch)
    assert features.shape == (len(observations), sensors.output_size)
    assert features.dtype == torch.float32
    return features.tolist()


def test_a_discrete_value_is_one_unit_among_n() -> None:
    assert sense(spaces.Discrete(3), np.int64(0), np.int64(2)) == [[1, 0, 0], [0, 0, 1]]


def test_a_discrete_value_counts_from_its_first() -> None:
    for start in (5, -2):
        space = spaces.Discrete(3, start=start)
        assert sense(space, np.int64(start), np.int64(start + 2)) == [[1, 0, 0], [0, 0, 1]]


def test_multidiscrete_values_are_one_unit_each() -> None:
    space = spaces.MultiDiscrete([2, 3])
    assert sense(space, np.array([1, 0]), np.array([0, 2])) == [[0, 1, 1, 0, 0], [1, 0, 0, 0, 1]]


def test_multidiscrete_values_count_from_their_first() -> None:
    space = spaces.MultiDiscrete([2, 3], start=[4, -1])
    assert sense(space, np.array([5, -1]), np.array([4, 1])) == [[0, 1, 1, 0, 0], [1, 0, 0, 0, 1]]


def test_multibinary_values_are_themselves() -> None:
    assert sense(spaces.MultiBinary(3), np.int8([1, 0, 1])) == [[1, 0, 1]]
    assert sense(spaces.MultiBinary((2, 2)), np.int8([[1, 0], [0, 1]])) == [[1, 0, 0, 1]]


def test_images_are_brought_to_one_and_other_boxes_left_alone() -> None:
    image = spaces.Box(0, 255, (1, 36, 36), np.uint8)
    seen = np.full((1, 36, 36), 51, np.uint8)
    assert set(sense(image, seen)[0]) == {np.float32(51 / 255)}
    assert set(sense(image, seen, normalize_images=False)[0]) == {51.0}
    assert sense(spaces.Box(0, 255, (2,), np.float32), np.float32([51, 255])) == [[51, 255]]
    assert sense(spaces.Box(0, 255, (2, 1), np.float64), np.float64([[51], [255]])) == [[51, 255]]


def test_a_dict_is_its_parts_side_by_side() -> None:
    space = spaces.Dict(
        {
            "a": spaces.Discrete(2, start=1),
            "b": spaces.Box(-1, 1, (2,)),
            "c": spaces.MultiBinary(2),
            "d": spaces.MultiDiscrete([2, 2]),
        }
    )
    seen = {"a": np.int64(2), "b": np.float32([0.5, -1]), "c": np.int8([1, 0]), "d": np.array([1, 0])}
    assert sense(space, seen) == [[0, 1, 0.5, -1, 1, 0, 0, 1, 1, 0]]


@pytest.mark.parametrize("shape", [(), (3,), (2, 2)])
def test_running_statistics_equal_numpys_over_all_data_in_any_batches(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    data = rng.normal(3.0, 5.0, (1000, *shape)) * np.linspace(0.1, 20, 1000).reshape(-1, *(1 for _ in shape))
    wanted = ((data - data.mean(0)) / data.std(0)).clip(-10, 10)
    for cuts in ([], [1], [1, 2, 3, 500], sorted(rng.integers(1, 1000, 40)), range(1, 1000)):
        normalizer = RunningNormalizer(shape)
        for batch in np.split(data, sorted(set(cuts))):
            normalizer.update(torch.as_tensor(batch))
        np.testing.assert_allclose(normalizer.mean, data.mean(0), rtol=1e-4)
        np.testing.assert_allclose(normalizer.variance, data.var(0), rtol=1e-4)
        assert normalizer.count == 1000
        np.testing.assert_allclose(normalizer(torch.as_tensor(data, dtype=torch.float32)), wanted, atol=1e-3)


def test_a_normalizer_begins_as_identity_and_clips() -> None:
    normalizer = RunningNormalizer((2,))
    x = torch.tensor([[0.5, -3.0], [20.0, -20.0]])
    assert normalizer(x).tolist() == [[0.5, -3.0], [10.0, -10.0]]


def test_a_field_that_never_varies_becomes_zero() -> None:
    normalizer = RunningNormalizer((1,))
    normalizer.update(torch.full((8, 1), 0.7))
    assert normalizer(torch.tensor([[0.7]])).item() == pytest.approx(0.0, abs=1e-2)


def test_statistics_move_only_in_update_and_travel_with_the_weights() -> None:
    sensors = Sensors(spaces.Box(-9, 9, (2,)), FlattenExtractor, {}, normalize_observations=True)
    x = torch.tensor([[1.0, 2.0], [3.0, 6.0]])
    sensors(x)
    assert sensors(x).tolist() == x.tolist()
    sensors.update(x)
    assert torch.allclose(sensors(x), torch.tensor([[-1.0, -1.0], [1.0, 1.0]]))
    other = Sensors(spaces.Box(-9, 9, (2,)), FlattenExtractor, {}, normalize_observations=True)
    other.load_state_dict(sensors.state_dict())
    assert torch.equal(other(x), sensors(x))


def test_in_a_dict_only_vectors_are_normalized() -> None:
    space = spaces.Dict(
        {
            "count": spaces.Discrete(3),
            "image": spaces.Box(0, 255, (1, 36, 36), np.uint8),
            "switches": spaces.MultiBinary(2),
            "vector": spaces.Box(-9, 9, (2,)),
        }
    )
    sensors = Sensors(space, CombinedExtractor, {"cnn_output_dim": 4}, normalize_observations=True)
    seen = {
        "count": torch.tensor([0, 2]),
        "image": torch.randint(256, (2, 1, 36, 36), dtype=torch.uint8),
        "switches": torch.tensor([[0, 1], [1, 1]], dtype=torch.int8),
        "vector": torch.tensor([[1.0, 2.0], [3.0, 6.0]]),
    }
    before = sensors(seen)
    sensors.update(seen)
    after = sensors(seen)
    torch.testing.assert_close(after[:, :-2], before[:, :-2], rtol=0, atol=0)
    torch.testing.assert_close(after[:, -2:], torch.tensor([[-1.0, -1.0], [1.0, 1.0]]))


def test_observation_spaces_that_no_sensor_fits_are_refused_with_the_remedy() -> None:
    inner = spaces.Dict({"deep": spaces.Discrete(2)})
    with pytest.raises(UserError, match=r"Dict inside a Dict.*FlattenObservation"):
        Sensors(spaces.Dict({"a": inner}), CombinedExtractor, {})
    for space in (spaces.Tuple([spaces.Discrete(2)]), spaces.Text(3), spaces.MultiDiscrete([[2, 3], [2, 2]])):
        with pytest.raises(UserError, match="not supported"):
            Sensors(space, FlattenExtractor, {})
        with pytest.raises(UserError, match="not supported"):
            Sensors(spaces.Dict({"a": space}), CombinedExtractor, {})


# ---- what torch cannot name, or has no axis

ONE = spaces.Box(-1, 1, ())
ROW = spaces.Box(-1, 1, (2,))
PICTURE = spaces.Box(0, 255, (3, 36, 36), np.uint8)


def test_names_of_modules_are_the_keys_where_torch_takes_them() -> None:
    keys = ["a", "a.b", "a_b_", 1, "1", "", "keys", "training", "a%b", "field_a.b"]
    names = module_names({key: key for key in keys})
    assert len(set(names.values())) == len(keys) and list(names) == keys
    nn.ModuleDict({name: nn.Identity() for name in names.values()})
    kept = ["a", "a_b_", "1", "a%b"]  # agents saved before hold weights under these names
    assert [names[key] for key in kept] == kept


@pytest.mark.parametrize("normalize", [False, True])
def test_any_keys_and_numbers_without_an_axis_are_seen(normalize: bool) -> None:
    odd = {"a.b": ROW, 1: ONE, "keys": spaces.Discrete(3), "": ONE, "a_b_": PICTURE}
    plain = dict(zip(("v", "w", "x", "y", "z"), odd.values(), strict=True))
    values = dict(
        zip(
            odd,
            (
                torch.rand(4, 2),
                torch.rand(4),
                torch.tensor([0, 1, 2, 0]),
                torch.rand(4),
                torch.randint(256, (4, 3, 36, 36)),
            ),
            strict=True,
        )
    )
    seen = []
    for space in (odd, plain):
        torch.manual_seed(0)
        options = {"cnn_output_dim": 3}
        made = Sensors(
            spaces.Dict(list(space.items())), CombinedExtractor, options, normalize_observations=normalize
        )
        observation = dict(zip(space, values.values(), strict=True))
        made.update(observation)
        seen.append(made(observation))
        made.load_state_dict(made.state_dict())
    assert seen[0].shape == (4, 2 + 1 + 3 + 1 + 3) and torch.equal(*seen)


def test_a_number_without_an_axis_is_one_feature() -> None:
    assert Sensors(ONE, FlattenExtractor, {})(torch.tensor([0.5, -1.0])).tolist() == [[0.5], [-1.0]]


@pytest.mark.parametrize(
    "space",
    [spaces.Box(-1, 1, (0,)), spaces.Dict({}), spaces.Dict({"a": spaces.Box(-1, 1, (0, 3)), "b": ROW})],
)
def test_spaces_without_numbers_are_refused(space: spaces.Space[Any]) -> None:
    with pytest.raises(UserError, match="numbers, so that there is nothing to see"):
        check_supported(space)


@pytest.mark.parametrize("shape", [(3, 35, 60), (60, 35, 1), (35, 60, 3)])
def test_images_too_small_for_convolutions_are_refused_with_their_size(shape: tuple[int, ...]) -> None:
    image = spaces.Box(0, 255, shape, np.uint8)
    size = "60 x 35" if shape != (60, 35, 1) else "35 x 60"
    with pytest.raises(UserError, match=f"the images are {size} pixels.*at least 36 x 36.*Mlp policy"):
        Sensors(image, NatureCNN, {})
    with pytest.raises(UserError, match=f"the images 'eye' are {size} pixels.*wrapper flatten"):
        Sensors(spaces.Dict({"eye": image}), CombinedExtractor, {})
    assert not is_convolvable(image) and is_convolvable(PICTURE)
    assert Sensors(image, FlattenExtractor, {}).output_size == np.prod(shape)
    assert policy_name(image) == "MlpPolicy" and policy_name(PICTURE) == "CnnPolicy"


@pytest.mark.parametrize("channels", [1, 3])
def test_known_convolutions_see_images_with_the_channels_last_in_memory(channels: int) -> None:
    """And the same numbers: a single channel needs strides that say so."""
    space = spaces.Box(0, 255, (channels, 36, 40), np.uint8)
    seen = torch.randint(0, 256, (2, channels, 36, 40), dtype=torch.uint8)
    met: list[torch.Tensor] = []

    class Own(NatureCNN):
        """A user's own is not known."""

    for extractor in (NatureCNN, Own):
        sensors = Sensors(space, extractor, {})
        sensors.extractor.register_forward_pre_hook(lambda _, given: met.append(given[0]))
        sensors(seen)
    assert torch.equal(*met)
    assert [image.stride() for image in met] == [
        (1440 * channels, 1, 40 * channels, channels),
        (1440 * channels, 1440, 40, 1),
    ]
