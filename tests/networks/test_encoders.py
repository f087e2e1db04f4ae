"""Encoders: what each observation becomes, and what is refused."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from memorax.environments.spaces import Box, Dict, Discrete, MultiDiscrete, Space
from memorax.environments.wrappers import FlickerObservation, FrameStack, NormalizeObservation, PreviousActionAndReward
from memorax.networks.encoders import (
    CNN,
    MLP,
    DictEncoder,
    GridEmbedding,
    ImpalaCNN,
    OneHot,
    PatchEmbedding,
    SpaceEncoder,
    SpaceImage,
    ViT,
    observation_encoder,
)
from memorax.networks.encoders.convolution import Convolution, convolve_by_product
from memorax.testing import check_close
from tests.environments.wrappers.track import Track, play

BATCH, STEPS = 3, 4
KEY = jax.random.key(0)


def test_mlp_is_its_layers():
    x = jax.random.normal(KEY, (BATCH, STEPS, 5))
    y, params = MLP(features=(8, 6), activation=jnp.tanh).init_with_output(KEY, x)
    x, y, params = jax.tree.map(np.asarray, (x, y, params["params"]))
    first, second = params["Dense_0"], params["Dense_1"]
    hidden = np.tanh(x @ first["kernel"] + first["bias"])
    check_close(y, np.tanh(hidden @ second["kernel"] + second["bias"]))
    gram = first["kernel"] @ first["kernel"].T
    check_close(gram, 2.0 * np.eye(5))


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [((), jnp.float32), ((5,), jnp.float32), ((5, 2), jnp.float32), ((5, 2, 3), jnp.uint8), ((5,), bool)],
)
def test_mlp_flattens_what_trails(shape, dtype):
    x = jax.ShapeDtypeStruct((BATCH, STEPS, *shape), dtype)
    y, params = jax.eval_shape(MLP(features=7).init_with_output, KEY, x)
    assert (y.shape, y.dtype) == ((BATCH, STEPS, 7), jnp.float32)
    assert params["params"]["Dense_0"]["kernel"].shape == (int(np.prod(shape)), 7)


@pytest.mark.parametrize("dtype", [jnp.int32, bool])
def test_mlp_refuses_names(dtype):
    message = rf"MLP inputs \(3, 4\) are of type {np.dtype(dtype).name}.*use OneHot\(num_classes\)"
    with pytest.raises(ValueError, match=message):
        MLP(8).init(KEY, jnp.zeros((BATCH, STEPS), dtype))


def test_layers_compute_in_the_type_asked_for():
    image = jax.ShapeDtypeStruct((1, 1, 8, 8, 1), jnp.uint8)
    vector = jax.ShapeDtypeStruct((1, 1, 3), jnp.float32)
    cnn = CNN(features=(4,), kernel_sizes=(3,), strides=(2,), output_features=5, dtype=jnp.bfloat16)
    for encoder, inputs in ((MLP(4, dtype=jnp.bfloat16), vector), (cnn, image)):
        y, params = jax.eval_shape(encoder.init_with_output, KEY, inputs)
        assert y.dtype == jnp.bfloat16
        assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(params))


def test_cnn_sees_each_image_alone_and_bytes_as_fractions():
    images = jax.random.randint(KEY, (2, 3, 12, 10, 3), 0, 256).astype(jnp.uint8)
    cnn = CNN(features=(4, 4), kernel_sizes=(4, 2), strides=(2, 1), output_features=6)
    y, params = jax.jit(cnn.init_with_output)(KEY, images)
    assert y.shape == (2, 3, 6)
    apply = jax.jit(cnn.apply)
    check_close(apply(params, images[1:, 2:])[0, 0], y[1, 2], 1e-6)
    check_close(apply(params, images.astype(jnp.float32) / 255.0), y, 1e-6)


@pytest.mark.parametrize(
    ("sides", "kernel", "strides", "padding"),
    [
        ((12, 15), (8, 8), (4, 4), "VALID"),
        ((9, 8), (3, 2), (1, 1), "SAME"),
        ((10, 11), (5, 3), (2, 3), "SAME"),
        ((9, 9), (2, 3), (3, 2), ((1, 0), (2, 1))),
    ],
)
def test_a_convolution_is_a_product(sides, kernel, strides, padding):
    images = jax.random.normal(KEY, (2, *sides, 3))
    weights = jax.random.normal(jax.random.key(1), (*kernel, 3, 4))

    def values_and_gradients(convolution):
        y, pull = jax.vjp(lambda x, w: convolution(x, w, strides, padding), images, weights)
        return y, pull(jnp.cos(jnp.arange(y.size, dtype=jnp.float32)).reshape(y.shape))

    expected = jax.jit(
        lambda: values_and_gradients(
            lambda *arguments: jax.lax.conv_general_dilated(*arguments, dimension_numbers=("NHWC", "HWIO", "NHWC"))
        )
    )()
    found = jax.jit(lambda: values_and_gradients(convolve_by_product))()
    check_close(found, expected)


@pytest.mark.parametrize(
    "settings",
    [
        {"kernel_dilation": (2, 1)},
        {"input_dilation": (1, 2), "padding": ((1, 1), (0, 1))},
        {"feature_group_count": 2},
        {},
    ],
)
def test_a_convolution_is_that_of_flax_whatever_its_settings(settings):
    images = jax.random.normal(KEY, (1, 6, 7, 2))
    found, expected = (
        jax.jit(lambda convolution=convolution: convolution(4, (3, 2), **settings).init_with_output(KEY, images)[0])()
        for convolution in (Convolution, nn.Conv)
    )
    check_close(found, expected)


def test_the_default_cnn_is_that_of_dqn():
    shapes = jax.eval_shape(CNN().init, KEY, jax.ShapeDtypeStruct((2, 3, 84, 84, 4), jnp.uint8))["params"]
    kernels = {name: layer["kernel"].shape for name, layer in shapes.items()}
    assert kernels == {
        "Conv_0": (8, 8, 4, 32),
        "Conv_1": (4, 4, 32, 64),
        "Conv_2": (3, 3, 64, 64),
        "Dense_0": (7 * 7 * 64, 512),
    }


def test_cnn_names_the_least_image_it_can_see():
    assert CNN().minimum_side == 36
    jax.eval_shape(CNN().init, KEY, jax.ShapeDtypeStruct((1, 1, 36, 36, 1), jnp.uint8))
    for shape in ((1, 1, 35, 84, 1), (1, 84, 84, 1)):
        with pytest.raises(ValueError, match=r"must be \[B, T, H, W, C\] with H and W at least 36"):
            jax.eval_shape(CNN().init, KEY, jax.ShapeDtypeStruct(shape, jnp.uint8))


def test_one_hot():
    np.testing.assert_array_equal(OneHot(3).apply({}, jnp.array([[2, 0, 7]])), [[[0, 0, 1], [1, 0, 0], [0, 0, 0]]])
    with pytest.raises(ValueError, match=r"OneHot inputs \(1, 1\) are of type float32"):
        OneHot(3).apply({}, jnp.zeros((1, 1)))


SPACES = {
    "discrete": (Discrete(4), 4),
    "multi_discrete": (MultiDiscrete((2, 3)), 5),
    "scalar": (Box(-1.0, 1.0), 1),
    "matrix": (Box(-np.inf, np.inf, (2, 3)), 6),
    "bytes": (Box(0, 255, (2, 2, 1), jnp.uint8), 4),
    "dictionary": (Dict({"b": Discrete(3), "a": Dict({"c": Box(0.0, 1.0, (2,))})}), 5),
    "no elements": (Dict({"self": Box(0.0, 1.0, (2,)), "others": Box(0.0, 1.0, (0, 3))}), 2),
    "bools": (Box(False, True, (2, 5), jnp.bool_), 10),
}


def elements(space):
    element = jax.eval_shape(space.sample, KEY)
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct((BATCH, STEPS, *x.shape), x.dtype), element)


@pytest.mark.parametrize("name", SPACES)
def test_an_element_of_any_space_becomes_a_vector(name):
    space, size = SPACES[name]
    y = jax.eval_shape(SpaceEncoder(space).apply, {}, elements(space))
    assert (y.shape, y.dtype) == ((BATCH, STEPS, size), jnp.float32)


def test_space_encoder_values():
    encode = {name: SpaceEncoder(space).apply for name, (space, _) in SPACES.items()}
    np.testing.assert_array_equal(encode["multi_discrete"]({}, jnp.array([[[1, 2]]])), [[[0, 1, 0, 0, 1]]])
    np.testing.assert_allclose(
        encode["bytes"]({}, jnp.array([0, 51, 102, 255], jnp.uint8).reshape(1, 1, 2, 2, 1)), [[[0, 0.2, 0.4, 1]]]
    )
    element = {"b": jnp.array([[1]]), "a": {"c": jnp.array([[[0.5, 0.25]]])}}
    np.testing.assert_array_equal(encode["dictionary"]({}, element), [[[0.5, 0.25, 0, 1, 0]]])


@pytest.mark.parametrize("name", SPACES)
def test_the_default_encoder_fits_any_space(name):
    space, _ = SPACES[name]
    y, _ = jax.eval_shape(observation_encoder(space, features=(9, 6)).init_with_output, KEY, elements(space))
    assert y.shape == (BATCH, STEPS, 6)


SMALL, MEDIUM = CNN((16,), (3,), (1,), output_features=32), CNN((32, 64), (4, 3), (2, 1), output_features=32)
LARGE = CNN(output_features=32)


def byte(*shape):
    return Box(0, 255, shape, jnp.uint8)


@pytest.mark.parametrize(
    ("space", "encoder", "images"),
    [
        (byte(84, 84, 3), LARGE, (84, 84, 3)),
        (byte(4, 84, 84), LARGE, (84, 84, 4)),
        (byte(3, 210, 160), LARGE, (210, 160, 3)),
        (byte(84, 84), LARGE, (84, 84, 1)),
        (byte(4, 64, 64, 3), LARGE, (64, 64, 12)),
        (byte(4, 3, 64, 64), LARGE, (64, 64, 12)),
        (Box(0.0, 1.0, (20, 20, 3)), MEDIUM, (20, 20, 3)),
        (Box(0.0, 1.0, (20, 20)), MEDIUM, (20, 20, 1)),
        (Box(0.0, 1.0, (3, 16, 16)), MEDIUM, (16, 16, 3)),
        (Box(0.0, 1.0, (10, 10, 4)), SMALL, (10, 10, 4)),
        (Box(-np.inf, np.inf, (9, 11, 83)), SMALL, (9, 11, 83)),
        (Box(-1, 1, (5, 5, 1), jnp.int32), SMALL, (5, 5, 1)),
        (Box(0, 256, (5, 5, 1), jnp.int32), SMALL, (5, 5, 1)),
        (
            Box(0, np.array([10, 5, 2]), (7, 7, 3), jnp.uint8),
            GridEmbedding((11, 6, 3), output_features=32),
            (7, 7, 3),
        ),
        (Box(0, 11, (3, 5, 2), jnp.int32), GridEmbedding((12, 12), output_features=32), (3, 5, 2)),
        (Box(0, 11, (4, 6), jnp.int32), GridEmbedding((12,), output_features=32), (4, 6, 1)),
        (
            Box(0, np.array([3, 9])[:, None, None], (2, 5, 5), jnp.int32),
            GridEmbedding((4, 10), output_features=32),
            (5, 5, 2),
        ),
    ],
)
def test_the_default_encoder_of_images_and_grids(space, encoder, images):
    module = observation_encoder(space, (64, 32))
    layout, found = module.layers
    assert found == encoder
    assert jax.eval_shape(layout.apply, {}, elements(space)).shape == (BATCH, STEPS, *images)
    y, _ = jax.eval_shape(module.init_with_output, KEY, elements(space))
    assert y.shape == (BATCH, STEPS, 32)


@pytest.mark.parametrize(
    "space",
    [
        Box(0.0, 1.0, (2, 9, 3)),
        Box(0, 1, (2, 9, 3), jnp.int32),
        Box(0.0, 1.0, (11, 20)),
        Box(-np.inf, np.inf, (20, 20)),
        Box(np.zeros((20, 1)), np.arange(1.0, 21.0)[:, None], (20, 20)),
        Box(False, True, (5, 5), jnp.bool_),
        Box(0, 300, (5, 5), jnp.int32),
        Box(0.0, 1.0, (2, 3, 4, 5)),
        Box(0.0, 1.0, (84,)),
    ],
)
def test_what_is_no_image_is_a_vector(space):
    assert observation_encoder(space, 32).layers[0] == SpaceEncoder(space)


def test_no_pixel_is_lost_or_moved_on_the_way_to_the_layout_of_images():
    space = Box(0, 2000, (2, 3, 14, 14), jnp.int32)
    picture = np.arange(2 * 3 * 14 * 14, dtype=np.int32).reshape(space.shape)  # frames, channels, rows, columns
    images = SpaceImage(space, symbols=True).apply({}, jnp.asarray(picture)[None, None])[0, 0]
    for row, column, frame, channel in ((0, 0, 0, 0), (5, 13, 1, 2), (13, 2, 0, 1), (7, 8, 1, 0)):
        assert images[row, column, 3 * frame + channel] == picture[frame, channel, row, column]


@pytest.mark.parametrize(
    ("low", "high", "dtype"),
    [(0, 255, jnp.uint8), (0, 1, jnp.uint8), (0.0, 255.0, jnp.float32), (-1.0, 1.0, jnp.float32), (0, 300, jnp.int32)],
)
def test_pixels_are_scaled_by_their_bounds(low, high, dtype):
    space = Box(low, high, (84, 84, 1), dtype)
    layout, _ = observation_encoder(space, 8).layers
    image = jnp.full((1, 1, *space.shape), high, dtype).at[0, 0, :42].set(low)
    seen = layout.apply({}, image)
    np.testing.assert_array_equal(seen[0, 0, 40:44, 0, 0], [0, 0, 1, 1])
    assert seen.dtype == jnp.float32  # so that the CNN scales nothing a second time


@pytest.mark.parametrize(
    ("space", "high"),
    [
        (Box(0.0, 1e5, (40, 40, 1)), 1e5),
        (Box(0.0, 1e5, (12, 12)), 1e5),
        (Box(0.0, 1e37, (40, 40, 1)), 1e37),
        (Box(0, 100_000, (40, 40, 1), jnp.int32), 100_000),
        (Box(0, 100_000, (40, 40, 1), jnp.uint32), 100_000),
        (Box(-np.inf, np.inf, (84, 84, 3), jnp.uint8), 255),
        (Box(0, np.inf, (84, 84, 3), jnp.uint8), 255),
        (Box(-np.inf, np.inf, (3, 84, 84), jnp.uint8), 255),
        (Box(-np.inf, np.inf, (84, 84), jnp.uint8), 255),
        (Box(-np.inf, np.inf, (40, 40, 1), jnp.uint16), 65_535),
        (Box(-np.inf, np.inf, (40, 40, 1), bool), True),
    ],
)
def test_pixels_are_scaled_however_wide_their_bounds_and_whoever_knows_them(space, high):
    layout, _ = observation_encoder(space, 8).layers
    dark, light = (layout.apply({}, jnp.full((1, 1, *space.shape), x, space.dtype)) for x in (0, high))
    np.testing.assert_array_equal(dark, 0)
    np.testing.assert_array_equal(light, 1)


@pytest.mark.parametrize(
    ("low", "high"), [(0, 3.4028235e38), (-3.4028235e38, 3.4028235e38), (-1e38, 1e38), (0, np.inf), (-np.inf, np.inf)]
)
def test_floats_between_the_limits_of_their_type_keep_what_they_say(low, high):
    images = jnp.linspace(-3, 3, 1600).reshape(1, 1, 40, 40, 1)
    np.testing.assert_array_equal(SpaceImage(Box(low, high, (40, 40, 1))).apply({}, images), images)


def test_grids_and_vectors_of_a_narrow_type_have_its_bounds_where_they_have_none():
    grid, whole = Box(-np.inf, np.inf, (7, 7, 2), jnp.uint8), Box(0, 255, (7, 7, 2), jnp.uint8)
    assert observation_encoder(grid, 8).layers[1] == observation_encoder(whole, 8).layers[1]
    beyond = Box(0, 256, (7, 7), jnp.uint8)
    assert observation_encoder(beyond, 8).layers[1] == GridEmbedding((256,), output_features=8)
    for dtype, expected in ((jnp.uint8, [0, 1]), (jnp.int16, [32768 / 65535, 33023 / 65535]), (bool, [0, 1])):
        seen = SpaceEncoder(Box(-np.inf, np.inf, (2,), dtype)).apply({}, jnp.asarray([[[0, 255]]]).astype(dtype))
        np.testing.assert_allclose(seen[0, 0], expected, rtol=1e-6)


class Pictures(Track):
    """Observes noise of a number of rows and columns, and perhaps what is legal."""

    def __init__(self, *shape, masked=False):
        super().__init__()
        object.__setattr__(self, "space", byte(*shape))
        object.__setattr__(self, "masked", masked)

    def observe(self, state):
        key = jax.random.fold_in(jax.random.key(state.steps), (1000 * state.start).astype(jnp.int32))
        picture = self.space.sample(key)
        return {"observation": picture, "action_mask": jnp.ones(3, bool)} if self.masked else picture

    def observation_space(self, params):
        return Dict({"observation": self.space, "action_mask": Box(0, 1, (3,), bool)}) if self.masked else self.space


NORMALIZED_PICTURES = {
    "in colour": (NormalizeObservation(Pictures(12, 12, 3)), (12, 12, 3)),
    "channels first": (NormalizeObservation(Pictures(3, 12, 12)), (12, 12, 3)),
    "gray": (NormalizeObservation(Pictures(12, 12)), (12, 12, 1)),
    "stacked before": (NormalizeObservation(FrameStack(Pictures(12, 12), 2)), (12, 12, 2)),
    "stacked after": (FrameStack(NormalizeObservation(Pictures(12, 12)), 2), (12, 12, 2)),
    "in a dictionary": (PreviousActionAndReward(NormalizeObservation(Pictures(12, 12))), (12, 12, 1)),
    "with a mask": (FlickerObservation(NormalizeObservation(Pictures(3, 12, 12, masked=True)), 0.0), (12, 12, 3)),
}


@pytest.mark.parametrize("name", NORMALIZED_PICTURES)
def test_pixels_that_are_normalized_are_images_and_are_not_scaled_again(name):
    env, sides = NORMALIZED_PICTURES[name]
    steps = play(env, np.zeros((10, 8), np.int32))
    space, observation = env.observation_space(None), steps.observation
    encoder = observation_encoder(space, 8)
    if isinstance(space, Dict):
        encoder, observation = encoder.layers[0].encoders["observation"], observation["observation"]
    layout, cnn = encoder.layers
    assert cnn == CNN((32, 64), (4, 3), (2, 1), output_features=8)
    seen = np.asarray(layout.apply({}, observation))
    assert seen.shape[2:] == sides
    assert abs(seen.mean()) < 0.05 and abs(seen.std() - 1) < 0.1
    np.testing.assert_array_equal(np.sort(seen.ravel()), np.sort(observation.ravel()))


LIMITS = np.iinfo(np.int32)


@pytest.mark.parametrize(
    ("low", "high"), [(LIMITS.min, LIMITS.max), (-np.inf, np.inf), (0, LIMITS.max), (0, np.inf), (-(2**31), 0)]
)
@pytest.mark.parametrize("shape", [(1,), (40, 40, 1)])
def test_integers_without_real_bounds_keep_what_they_say(low, high, shape):
    space = Box(low, high, shape, jnp.int32)
    encoder = SpaceEncoder(space) if shape == (1,) else SpaceImage(space)
    numbers = jnp.asarray([0, 1, 2, 50, -7])
    elements = jnp.broadcast_to(numbers.reshape(5, 1, *(1 for _ in shape)), (5, 1, *shape))
    np.testing.assert_array_equal(encoder.apply({}, elements).reshape(5, -1)[:, 0], numbers)


@pytest.mark.parametrize(
    ("low", "dtype"),
    [
        (1_700_000_000, jnp.int32),
        (LIMITS.min, jnp.int32),
        (2**32 - 11, jnp.uint32),
        (2**31 - 5, jnp.uint32),
        (-128, jnp.int8),
    ],
)
def test_integers_far_from_zero_are_told_apart(low, dtype):
    """A float32 has 24 bits: near 1.7e9 it counts in steps of 128."""
    elements = jnp.asarray(np.asarray([low, low + 3, low + 10]).astype(dtype))[:, None, None]
    scaled = SpaceEncoder(Box(low, low + 10, (1,), dtype)).apply({}, elements)
    np.testing.assert_allclose(scaled[:, 0, 0], [0.0, 0.3, 1.0], rtol=1e-6)


def test_a_number_without_bounds_beside_one_that_has_some():
    space = Box(np.asarray([2**32 - 11, 0]), np.asarray([2**32 - 1, 2**32 - 1]), (2,), jnp.uint32)
    elements = jnp.asarray([[[2**32 - 6, 2**32 - 2**10]]], jnp.uint32)
    np.testing.assert_array_equal(SpaceEncoder(space).apply({}, elements), [[[0.5, 2.0**32 - 2**10]]])


def test_bounds_count_for_each_element():
    space = Box(np.asarray([0, -np.inf, 3]), np.asarray([10, np.inf, 3]), (3,), jnp.int32)
    np.testing.assert_allclose(SpaceEncoder(space).apply({}, jnp.asarray([[[5, 99, 3]]])), [[[0.5, 99, 0]]])


def test_a_dictionary_has_each_entry_encoded_by_what_fits_it():
    space = Dict(
        {
            "speed": Box(-np.inf, np.inf, (2,)),
            "camera": Dict({"left": byte(84, 84, 3), "on": Discrete(2)}),
            "map": Box(0, 4, (7, 7), jnp.int32),
            "action_mask": Box(False, True, (5,), jnp.bool_),
        }
    )
    module = observation_encoder(space, (64, 32))
    y, variables = jax.eval_shape(module.init_with_output, KEY, elements(space))
    assert y.shape == (BATCH, STEPS, 32)
    shapes = jax.tree.map(lambda x: x.shape, variables["params"])
    first_dense = shapes["layers_1"]["Dense_0"]["kernel"]
    assert first_dense == (5 + (32 + 2) + 32 + 2, 64)
    encoders = module.layers[0].encoders
    assert encoders["camera"].encoders["left"].layers[1] == LARGE
    assert encoders["map"].layers[1] == GridEmbedding((5,), output_features=32)


def test_the_entries_of_a_dictionary_are_concatenated_in_the_order_of_their_names():
    encoder = DictEncoder({"b": OneHot(2), "a": SpaceEncoder(Box(0.0, 1.0, (1,)))})
    element = {"a": jnp.asarray([[[0.5]]]), "b": jnp.asarray([[1]]), "unseen": jnp.full((1, 1), jnp.nan)}
    np.testing.assert_array_equal(encoder.apply({}, element), [[[0.5, 0, 1]]])


@pytest.mark.parametrize("image", [True, False])
def test_hidden_entries_are_not_seen(image):
    space = Dict(
        {
            "view": byte(40, 40, 1) if image else Box(0.0, 1.0, (3,)),
            "global_state": Box(-np.inf, np.inf, (2,)),
            "others": Dict({"global_state": Discrete(2), "near": Discrete(3)}),
        }
    )
    module = observation_encoder(space, 8, hidden=("global_state",))
    key = jax.random.key(1)
    element = jax.tree.map(lambda x: x[None, None], space.sample(key))
    apply = jax.jit(module.apply)
    params = jax.jit(module.init)(KEY, element)
    unknown = {**element, "global_state": element["global_state"] * jnp.nan}
    unknown["others"] = {**element["others"], "global_state": 1 - element["others"]["global_state"]}
    np.testing.assert_array_equal(apply(params, element), apply(params, unknown))
    changed = {**element, "others": {**element["others"], "near": (element["others"]["near"] + 1) % 3}}
    assert (apply(params, element) != apply(params, changed)).any()


class Words(Space):
    """A kind of space no encoder knows."""

    shape = ()

    def sample(self, key):
        raise NotImplementedError

    def contains(self, value):
        raise NotImplementedError


@pytest.mark.parametrize(
    ("space", "hidden", "message"),
    [
        (Box(0.0, 1.0, (0,)), (), "has no elements: there is nothing for a network to see"),
        (Dict({"global_state": Discrete(2)}), ("global_state",), "has no elements: there is nothing for a network"),
        (Dict({"a": Words()}), (), r"observation space \(Words\) must be Discrete, MultiDiscrete, Box or a Dict"),
    ],
)
def test_what_no_network_can_see_is_refused(space, hidden, message):
    with pytest.raises(ValueError, match=message):
        observation_encoder(space, 8, hidden)


def test_symbols_that_a_channel_does_not_know_are_nothing():
    encoder = GridEmbedding((3, 5), embedding_features=2, features=(4,), output_features=5)
    grid = jnp.ones((1, 1, 3, 3, 2), jnp.int32)
    params = encoder.init(KEY, grid)
    table = params["params"]["symbols"]["embedding"]
    blank = {"params": {**params["params"], "symbols": {"embedding": table.at[1 + 3].set(0.0)}}}  # the 1 of channel 1
    expected = encoder.apply(blank, grid)
    for symbol in (5, 255, -1):
        np.testing.assert_array_equal(encoder.apply(params, grid.at[..., 1].set(symbol)), expected)


def test_grid_embedding_looks_every_symbol_up_in_the_table_of_its_channel():
    grid = jnp.array([[[1, 0], [0, 2], [1, 1]]] * 3, jnp.uint8)[None, None]
    encoder = GridEmbedding((2, 3), embedding_features=2, features=(4,), output_features=5)
    y, params = encoder.init_with_output(KEY, grid)
    params = jax.tree.map(np.asarray, params["params"])
    kinds, colours = params["symbols"]["embedding"][:2], params["symbols"]["embedding"][2:]
    cells = np.concatenate([kinds[np.asarray(grid[0, 0, ..., 0])], colours[np.asarray(grid[0, 0, ..., 1])]], axis=-1)
    convolution, dense = params["CNN_0"]["Conv_0"], params["CNN_0"]["Dense_0"]
    hidden = np.maximum(np.einsum("hwc,hwcd->d", cells, convolution["kernel"]) + convolution["bias"], 0)
    check_close(y[0, 0], np.maximum(hidden @ dense["kernel"] + dense["bias"], 0))


def test_impala_has_the_published_layers():
    y, params = jax.eval_shape(ImpalaCNN().init_with_output, KEY, jax.ShapeDtypeStruct((2, 3, 84, 84, 4), jnp.uint8))
    kernels = [layer["kernel"].shape for name, layer in params["params"].items()]
    assert y.shape == (2, 3, 256)
    assert len(kernels) == 15 + 1, "fifteen convolutions and a dense layer"
    assert params["params"]["Dense_0"]["kernel"].shape == (11 * 11 * 32, 256)


def test_patches_are_squares_row_by_row_with_their_positions():
    images = jax.random.uniform(KEY, (1, 2, 4, 6, 3))
    y, params = PatchEmbedding(5, patch_size=2).init_with_output(KEY, images)
    layer, positions = params["params"]["patches"], params["params"]["positions"]
    assert y.shape == (1, 2, 6, 5)
    for index, (row, column) in enumerate((r, c) for r in (0, 2) for c in (0, 2, 4)):
        square = images[0, 1, row : row + 2, column : column + 2]
        expected = jnp.einsum("hwc,hwcd->d", square, layer["kernel"]) + layer["bias"] + positions[index]
        check_close(y[0, 1, index], expected)


def test_vit_sees_each_image_alone_and_every_patch():
    images = jax.random.uniform(KEY, (1, 2, 4, 4, 1))
    model = ViT(8, depth=2, num_heads=2, patch_size=2)
    apply, params = jax.jit(model.apply), jax.jit(model.init)(KEY, images)
    y, changed = apply(params, images), apply(params, images.at[0, 1, 3, 3].add(1.0))
    np.testing.assert_array_equal(changed[0, 0], y[0, 0])
    assert np.abs(changed[0, 1] - y[0, 1]).max() > 1e-3
    kernel = params["params"]["layers"]["ffn"]["W_1"]["kernel"]
    assert kernel.shape == (2, 8, 32)
    assert not np.allclose(kernel[0], kernel[1])


def test_encoders_of_images_and_grids_name_what_they_need():
    with pytest.raises(ValueError, match=r"ImpalaCNN images \(1, 9, 9, 3\) must be \[B, T, H, W, C\]"):
        ImpalaCNN().init(KEY, jnp.zeros((1, 9, 9, 3)))
    with pytest.raises(ValueError, match=r"H and W multiples of patch_size \(4\)"):
        PatchEmbedding(8, patch_size=4).init(KEY, jnp.zeros((1, 1, 8, 9, 3)))
    with pytest.raises(ValueError, match=r"ViT num_heads \(3\) must divide features \(8\)"):
        ViT(8, num_heads=3)
    with pytest.raises(ValueError, match=r"ViT depth \(0\) must be at least 1"):
        ViT(8, depth=0)
    with pytest.raises(ValueError, match=r"of float32 must be integers \[B, T, H, W, C\]"):
        GridEmbedding(3).init(KEY, jnp.zeros((1, 1, 3, 3, 1)))
    with pytest.raises(ValueError, match=r"num_classes \(3, 4\) must be one for each channel"):
        GridEmbedding((3, 4)).init(KEY, jnp.zeros((1, 1, 3, 3, 1), jnp.int32))
