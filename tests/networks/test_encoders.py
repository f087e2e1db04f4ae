"""Encoders: what each observation becomes, and what is refused."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from memorax.environments.spaces import Box, Dict, Discrete, MultiDiscrete
from memorax.networks.encoders import CNN, MLP, OneHot, SpaceEncoder, observation_encoder

BATCH, STEPS = 3, 4
KEY = jax.random.key(0)


def test_mlp_is_its_layers():
    x = jax.random.normal(KEY, (BATCH, STEPS, 5))
    y, params = MLP(features=(8, 6), activation=jnp.tanh).init_with_output(KEY, x)
    x, y, params = jax.tree.map(np.asarray, (x, y, params["params"]))
    first, second = params["Dense_0"], params["Dense_1"]
    hidden = np.tanh(x @ first["kernel"] + first["bias"])
    np.testing.assert_allclose(y, np.tanh(hidden @ second["kernel"] + second["bias"]), atol=1e-5)
    gram = first["kernel"] @ first["kernel"].T
    np.testing.assert_allclose(gram, 2.0 * np.eye(5), atol=1e-5)


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
    np.testing.assert_allclose(apply(params, images[1:, 2:])[0, 0], y[1, 2], atol=1e-6)
    np.testing.assert_allclose(apply(params, images.astype(jnp.float32) / 255.0), y, atol=1e-6)


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


def test_the_default_encoder_of_large_images_is_convolutional():
    assert observation_encoder(Box(0, 255, (84, 84, 3), jnp.uint8), (64, 32)) == CNN(output_features=32)
    assert isinstance(observation_encoder(Box(0, 1, (10, 10, 4)), 32), nn.Sequential)
