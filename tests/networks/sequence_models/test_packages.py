"""Models against other people's implementations: weights copied over, outputs compared (`make test-parity`).

The packages are imported where they are used: a test environment need not have them. None of them resets within a
sequence, so each is run on the two episodes one after the other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from memorax.networks import MoE, SequenceModelWrapper, architectures
from memorax.networks.positional_embeddings import sinusoids
from memorax.networks.sequence_models import (
    RNN,
    DeltaNetCell,
    FFMCell,
    GatedDeltaNetCell,
    LRUCell,
    MambaCell,
    Memoroid,
    MinGRUCell,
    MinLSTMCell,
    RetNetCell,
    RWKV7Cell,
    S5Cell,
    SegmentRecurrence,
    SelfAttention,
    SequenceModel,
    mLSTMCell,
    sLSTMCell,
)

FEATURES, STEPS, EPISODE = 8, 40, 17
"""Size of the inputs and, wherever a package has both alike, of the outputs; length of the sequence and of its first
episode."""

Array = np.ndarray
Reference = Callable[[Any, Array], Any]
"""`(params, inputs [B, T, F]) -> outputs [B, T, D]` of one episode from its start."""


def load(module: Any, weights: dict[str, Array]) -> Any:
    """A PyTorch module with these weights, all it has, in evaluation mode."""
    import torch

    module.load_state_dict({name: torch.tensor(np.asarray(value)) for name, value in weights.items()})
    return module.eval()


def linear(name: str, layer: Any) -> dict[str, Array]:
    """The weights of `torch.nn.Linear` from those of `nn.Dense`."""
    weights = {f"{name}.weight": layer["kernel"].T}
    return {**weights, f"{name}.bias": layer["bias"]} if "bias" in layer else weights


def convolution(name: str, kernel: Array, bias: Array | None = None) -> dict[str, Array]:
    """The weights of a depthwise `torch.nn.Conv1d` from a kernel `[K, F]`."""
    weights = {f"{name}.weight": kernel.T[:, None]}
    return weights if bias is None else {**weights, f"{name}.bias": bias}


def gru(params: Any, inputs: Array) -> Any:
    """`torch.nn.GRU`."""
    import torch

    p = params["cell"]
    hidden = np.zeros_like(p["hn"]["bias"])
    weights = {
        "weight_ih_l0": np.concatenate([p[f"i{gate}"]["kernel"] for gate in "rzn"], axis=1).T,
        "weight_hh_l0": np.concatenate([p[f"h{gate}"]["kernel"] for gate in "rzn"], axis=1).T,
        "bias_ih_l0": np.concatenate([p[f"i{gate}"]["bias"] for gate in "rzn"]),
        "bias_hh_l0": np.concatenate([hidden, hidden, p["hn"]["bias"]]),
    }
    return load(torch.nn.GRU(FEATURES, FEATURES, batch_first=True), weights)(torch.tensor(inputs))[0]


def lstm(params: Any, inputs: Array) -> Any:
    """`torch.nn.LSTM`."""
    import torch

    p = params["cell"]
    bias = np.concatenate([p[f"h{gate}"]["bias"] for gate in "ifgo"])
    weights = {
        "weight_ih_l0": np.concatenate([p[f"i{gate}"]["kernel"] for gate in "ifgo"], axis=1).T,
        "weight_hh_l0": np.concatenate([p[f"h{gate}"]["kernel"] for gate in "ifgo"], axis=1).T,
        "bias_ih_l0": np.zeros_like(bias),
        "bias_hh_l0": bias,
    }
    return load(torch.nn.LSTM(FEATURES, FEATURES, batch_first=True), weights)(torch.tensor(inputs))[0]


def mamba(params: Any, inputs: Array) -> Any:
    """`transformers` Mamba2Mixer."""
    import torch
    from transformers.models.mamba2.modeling_mamba2 import Mamba2Config, Mamba2Mixer

    p = params["cell"]
    config = Mamba2Config(
        hidden_size=FEATURES,
        num_heads=4,
        head_dim=4,
        state_size=5,
        n_groups=1,
        chunk_size=16,
        layer_norm_epsilon=1e-6,
        num_hidden_layers=1,
    )
    weights = {
        **linear("in_proj", p["in_proj"]),
        **linear("out_proj", p["out_proj"]),
        **convolution("conv1d", p["conv_kernel"], p["conv_bias"]),
        "dt_bias": p["dt_bias"],
        "A_log": p["A_log"],
        "D": p["D"],
        "norm.weight": p["norm"]["scale"],
    }
    return load(Mamba2Mixer(config, 0), weights)(torch.tensor(inputs))


def gated_delta_net(params: Any, inputs: Array) -> Any:
    """`transformers` Qwen3NextGatedDeltaNet."""
    import torch
    from transformers.models.qwen3_next.modeling_qwen3_next import Qwen3NextConfig, Qwen3NextGatedDeltaNet

    p, heads, size = params["cell"], 2, FEATURES // 2
    config = Qwen3NextConfig(
        hidden_size=FEATURES,
        linear_num_value_heads=heads,
        linear_num_key_heads=heads,
        linear_key_head_dim=size,
        linear_value_head_dim=size,
        linear_conv_kernel_dim=4,
        # It reads with `q / sqrt(size)`, which the normalisation undoes up to its epsilon.
        rms_norm_eps=1e-5 / size,
        num_hidden_layers=1,
        layer_types=["linear_attention"],
    )
    gate = p.get("g", {"kernel": np.zeros((FEATURES, FEATURES), np.float32)})["kernel"]
    columns = np.concatenate([p["qkv"]["kernel"], gate], axis=1).reshape(FEATURES, 4, heads, size)
    decay = p.get("a", {"kernel": np.zeros((FEATURES, heads), np.float32)})["kernel"]
    nothing = np.zeros(heads, np.float32)
    module = load(
        Qwen3NextGatedDeltaNet(config, 0),
        {
            "in_proj_qkvz.weight": columns.swapaxes(1, 2).reshape(FEATURES, -1).T,
            "in_proj_ba.weight": np.stack([p["beta"]["kernel"], decay], axis=-1).reshape(FEATURES, -1).T,
            "dt_bias": p.get("dt_bias", nothing),
            "A_log": p.get("A_log", nothing - 100),
            "norm.weight": p["norm"]["scale"],
            **linear("out_proj", p["out"]),
            **convolution("conv1d", p["conv_kernel"]),
        },
    )
    if "g" not in p:
        ungated = torch.nn.RMSNorm(size, eps=config.rms_norm_eps)
        ungated.weight = module.norm.weight
        module.norm.forward = lambda outputs, gate: ungated(outputs)
    return module(torch.tensor(inputs))


def mlstm(params: Any, inputs: Array) -> Any:
    """`xlstm` mLSTMLayer."""
    import torch
    from xlstm.blocks.mlstm.layer import mLSTMLayer, mLSTMLayerConfig

    p, heads = params["cell"], 2
    config = mLSTMLayerConfig(
        embedding_dim=FEATURES, num_heads=heads, context_length=inputs.shape[1], round_proj_up_to_multiple_of=4
    )
    gates = np.split(p["gates_kernel"], 2, axis=1), np.split(p["gates_bias"], 2)
    weights = {
        **linear("proj_up", p["up_proj"]),
        **linear("proj_down", p["down_proj"]),
        **{f"{name}_proj.weight": p[f"{name}_proj"].swapaxes(1, 2) for name in "qkv"},
        **convolution("conv1d.conv", p["conv_kernel"], p["conv_bias"]),
        **linear("mlstm_cell.igate", {"kernel": gates[0][0], "bias": gates[1][0]}),
        **linear("mlstm_cell.fgate", {"kernel": gates[0][1], "bias": gates[1][1]}),
        "mlstm_cell.outnorm.weight": p["norm"]["scale"].reshape(-1) - 1,
        "learnable_skip": p["skip"],
    }
    return load(mLSTMLayer(config), weights)(torch.tensor(inputs))


def slstm(params: Any, inputs: Array) -> Any:
    """`xlstm` sLSTMLayer, whose input projections are block-diagonal."""
    import torch
    from xlstm.blocks.slstm.layer import sLSTMLayer, sLSTMLayerConfig

    p, heads = params["cell"], 2
    size = FEATURES // heads
    config = sLSTMLayerConfig(embedding_dim=FEATURES, num_heads=heads, backend="vanilla", dtype="float32")
    kernels = [half for name in ("convolved", "inputs") for half in np.split(p[name]["kernel"], 2, axis=1)]
    blocks = [np.stack([kernel[i : i + size, i : i + size].T for i in (0, size)]) for kernel in kernels]
    module = sLSTMLayer(config)
    # The layer calls the first two of its four gates by each other's names.
    weights = {
        f"{name}.weight": block for name, block in zip(("fgate", "igate", "zgate", "ogate"), blocks, strict=True)
    }
    weights |= {
        "slstm_cell._recurrent_kernel_": p["recurrent"].transpose(1, 0, 3, 2).reshape(heads, 4 * size, size),
        "slstm_cell._bias_": p["bias"].reshape(-1),
    }
    weights |= convolution("conv1d.conv", p["conv_kernel"], p["conv_bias"])
    return load(module, {**weights, "group_norm.weight": p["norm"]["scale"] - 1})(torch.tensor(inputs))


def griffin(params: Any, inputs: Array) -> Any:
    """`transformers` RecurrentGemmaDecoderLayer, between a layer and a norm."""
    import torch
    from transformers.models.recurrent_gemma.modeling_recurrent_gemma import (
        RecurrentGemmaConfig,
        RecurrentGemmaDecoderLayer,
    )

    first, block, last = (params[f"layers_{i}"] for i in range(3))
    mixing, feedforward = block["layers_0"], block["layers_1"]
    gated, out = mixing["model"]["model"]["layers_0"], mixing["model"]["model"]["layers_1"]["module"]["dense"]
    branch, conv, cell = (gated["model"][f"layers_{i}"] for i in range(3))
    cell = cell["cell"]
    wide, narrow = (feedforward["model"]["model"]["module"][f"layers_{i}"] for i in range(2))
    config = RecurrentGemmaConfig(
        hidden_size=FEATURES,
        lru_width=FEATURES,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=4,
        intermediate_size=6 * FEATURES,
        num_hidden_layers=1,
        block_types=["recurrent"],
        hidden_activation="gelu_pytorch_tanh",
    )
    kernels, biases = (np.split(wide["WV"][name], 2, axis=-1) for name in ("kernel", "bias"))
    gate, value = ({"kernel": kernel, "bias": bias} for kernel, bias in zip(kernels, biases, strict=True))
    weights = {
        "temporal_pre_norm.weight": mixing["model"]["norm"]["scale"] - 1,
        "channel_pre_norm.weight": feedforward["model"]["norm"]["scale"] - 1,
        **linear("temporal_block.linear_y", gated["gate"]),
        **linear("temporal_block.linear_x", branch["module"]["dense"]),
        **linear("temporal_block.linear_out", out),
        **convolution("temporal_block.conv_1d", conv["kernel"], conv["bias"]),
        "temporal_block.rg_lru.recurrent_param": -cell["Lambda"],
        "temporal_block.rg_lru.recurrent_gate_weight": cell["kernel"][0],
        "temporal_block.rg_lru.recurrent_gate_bias": cell["bias"][0].reshape(2, -1),
        "temporal_block.rg_lru.input_gate_weight": cell["kernel"][1],
        "temporal_block.rg_lru.input_gate_bias": cell["bias"][1].reshape(2, -1),
        **linear("mlp_block.gate_proj", gate),
        **linear("mlp_block.up_proj", value),
        **linear("mlp_block.down_proj", narrow["dense"]),
    }
    layer = load(RecurrentGemmaDecoderLayer(config, 0), weights)
    x = torch.tensor(inputs @ first["module"]["dense"]["kernel"] + first["module"]["dense"]["bias"])
    # It does not scale the input at position 0, where the paper's Eq. 4 does.
    positions = torch.arange(1, 1 + inputs.shape[1])[None].expand(inputs.shape[0], -1)
    y = layer(x, position_ids=positions, attention_mask=None, use_cache=False).detach().numpy()
    return y / np.sqrt((y**2).mean(-1, keepdims=True) + 1e-6) * last["module"]["scale"]


def gpt2(params: Any, inputs: Array) -> Any:
    """`transformers` GPT2Model, after a layer."""
    import torch
    from transformers import GPT2Config, GPT2Model

    first, table, blocks, last = (params[f"layers_{i}"] for i in range(4))
    first, last = first["module"]["dense"], last["module"]
    attention, feedforward = blocks["layers_0"], blocks["layers_1"]
    config = GPT2Config(n_embd=FEATURES, n_layer=2, n_head=2, n_positions=64, vocab_size=1)
    weights = {
        "wte.weight": np.zeros((1, FEATURES), np.float32),
        "wpe.weight": table["embedding"],
        "ln_f.weight": last["scale"],
        "ln_f.bias": last["bias"],
    }
    for i in range(2):
        layers = {
            "attn.c_attn": attention["model"]["model"]["qkv"],
            "attn.c_proj": attention["model"]["model"]["out"],
            "mlp.c_fc": feedforward["model"]["model"]["module"]["W_1"],
            "mlp.c_proj": feedforward["model"]["model"]["module"]["W_2"],
        }
        for name, layer in layers.items():
            weights |= {f"h.{i}.{name}.weight": layer["kernel"][i], f"h.{i}.{name}.bias": layer["bias"][i]}
        for name, layer in {"ln_1": attention["model"]["norm"], "ln_2": feedforward["model"]["norm"]}.items():
            weights |= {f"h.{i}.{name}.weight": layer["scale"][i], f"h.{i}.{name}.bias": layer["bias"][i]}
    x = torch.tensor(inputs @ first["kernel"] + first["bias"])
    return load(GPT2Model(config), weights)(inputs_embeds=x).last_hidden_state


def attention(params: Any, inputs: Array) -> Any:
    """`transformers` LlamaAttention: shared heads of keys and values, rotary positions."""
    import torch
    from transformers.models.llama.modeling_llama import LlamaAttention, LlamaConfig, LlamaRotaryEmbedding

    sizes = np.cumsum([FEATURES, FEATURES // 2])
    config = LlamaConfig(
        hidden_size=FEATURES, num_attention_heads=4, num_key_value_heads=2, attn_implementation="eager"
    )
    q, k, v = np.split(params["qkv"]["kernel"], sizes, axis=1)
    projections = {"q_proj": {"kernel": q}, "k_proj": {"kernel": k}, "v_proj": {"kernel": v}, "o_proj": params["out"]}
    weights = {key: value for name, layer in projections.items() for key, value in linear(name, layer).items()}
    x, steps = torch.tensor(inputs), inputs.shape[1]
    mask = torch.full((steps, steps), -1e30).triu(1)[None, None]
    angles = LlamaRotaryEmbedding(config)(x, torch.arange(steps)[None])
    return load(LlamaAttention(config, 0), weights)(x, position_embeddings=angles, attention_mask=mask)[0]


def segment_recurrence(params: Any, inputs: Array) -> Any:
    """`transformers` XLNetRelativeAttention: the attention of Transformer-XL."""
    import torch
    from transformers.models.xlnet.modeling_xlnet import XLNetConfig, XLNetRelativeAttention

    config = XLNetConfig(d_model=FEATURES, n_head=2, d_inner=FEATURES, n_layer=1)
    heads = (FEATURES, 2, FEATURES // 2)
    zeros = np.zeros(heads[1:], np.float32)
    weights = {
        "q": params["W_q"]["kernel"].reshape(heads),
        "k": params["W_k"],
        "v": params["W_v"],
        "r": params["W_r"],
        "o": params["W_o"]["kernel"].T.reshape(heads),
        "r_w_bias": params["u"],
        "r_r_bias": params["v"],
        "r_s_bias": zeros,
        "seg_embed": np.stack([zeros, zeros]),
        "layer_norm.weight": np.ones(FEATURES, np.float32),
        "layer_norm.bias": np.zeros(FEATURES, np.float32),
    }
    module, steps = load(XLNetRelativeAttention(config), weights), inputs.shape[1]
    module.post_attention = lambda h, attended: torch.einsum("ibnd,hnd->ibh", attended, module.o)
    # Distances from `steps` to `1 - steps`; those ahead are masked.
    distances = np.concatenate([sinusoids(steps + 1, FEATURES)[::-1], np.zeros((steps - 1, FEATURES), np.float32)])
    distances = torch.tensor(distances)[:, None].expand(-1, inputs.shape[0], -1)
    ahead = torch.ones(steps, steps).triu(1)[:, :, None, None]
    h = torch.tensor(inputs).transpose(0, 1)
    return module(h, None, ahead, None, distances, None)[0].transpose(0, 1)


def retnet(params: Any, inputs: Array) -> Any:
    """`torchscale` MultiScaleRetention, given the positions and the decays, with the paper's norm."""
    from types import SimpleNamespace

    import torch
    from torchscale.component.multiscale_retention import MultiScaleRetention

    p, heads, steps = params["cell"], 2, inputs.shape[1]
    size = FEATURES // heads
    module = MultiScaleRetention(SimpleNamespace(multiway=False, layernorm_eps=1e-5), FEATURES, 2 * FEATURES, heads)
    parts = np.split(p["qkvg"]["kernel"], np.cumsum([FEATURES, FEATURES, 2 * FEATURES]), axis=1)
    # It turns neighbours, `(2 i, 2 i + 1)`, where we turn `(i, i + size / 2)`.
    neighbours = np.arange(size).reshape(2, -1).T.reshape(-1)
    parts[:2] = (x.reshape(FEATURES, heads, size)[..., neighbours].reshape(FEATURES, FEATURES) for x in parts[:2])
    names = ("q_proj", "k_proj", "v_proj", "g_proj")
    weights = {f"{name}.weight": part.T for name, part in zip(names, parts, strict=True)}
    load(module, {**weights, **linear("out_proj", p["out"])})
    # Small decays keep the sums of its scores below 1, from where on it would scale them down.
    smallness = 1e-3
    module.group_norm = torch.nn.LayerNorm(2 * size, eps=1e-5 * smallness**2, elementwise_affine=False)
    angle = np.arange(steps)[:, None] * np.repeat(10_000.0 ** (-np.arange(0, size, 2) / size), 2)
    lag = np.arange(steps)[:, None] - np.arange(steps)
    decays = (1 - 2.0 ** (-5 - np.arange(heads)))[:, None, None] ** np.maximum(lag, 0) * (lag >= 0) * smallness
    sin, cos, mask = (torch.tensor(x, dtype=torch.float32) for x in (np.sin(angle), np.cos(angle), decays))
    return module(torch.tensor(inputs), ((sin, cos), mask))


def rwkv7(params: Any, inputs: Array) -> Any:
    """`rwkv` RWKV_x070_TMix_seq: the time mixing of the first layer."""
    import os

    os.environ.update(RWKV_V7_ON="1", RWKV_JIT_ON="0", RWKV_CUDA_ON="0")
    import torch
    from rwkv.model import RWKV_x070_TMix_seq as time_mixing

    p = {name: torch.tensor(x) for name, x in jax.tree_util.tree_leaves_with_path(params["cell"])}
    p = {"/".join(key.key for key in path): x for path, x in p.items()}
    heads, size = 2, FEATURES // 2
    none = torch.zeros(0)
    # The epsilon of its norm, 64e-5, is for heads of 64: larger outputs of the state make it that of heads of 4.
    scale = (64 / size) ** 0.5
    arguments = (
        *(p[f"mu_{name}"] for name in "rwkvag"),
        *(p["b_w"], p["w_1/kernel"], p["w_2/kernel"]),
        *(p["b_a"], p["a_1/kernel"], p["a_2/kernel"]),
        *(none, none, none),
        *(p["g_1/kernel"], p["g_2/kernel"], p["xi"], p["alpha"], p["rho"] / scale),
        *(p["r/kernel"] * scale, p["k/kernel"], p["v/kernel"], p["out/kernel"]),
        *(p["norm/scale"].reshape(-1), p["norm/bias"].reshape(-1)),
    )
    state, previous = torch.zeros(heads, size, size), torch.zeros(FEATURES)
    return torch.stack(
        [time_mixing(0, heads, size, torch.tensor(x), previous, none, state, *arguments)[0] for x in inputs]
    )


def s5(params: Any, inputs: Array) -> Any:
    """`s5-pytorch` S5SSM, with every conjugate pair written out."""
    import torch
    from s5.s5_model import S5SSM

    p = params["cell"]
    eigenvalues = np.minimum(p["Lambda_re"], -1e-4) + 1j * p["Lambda_im"]
    b, c = p["B"][0] + 1j * p["B"][1], p["C"][0] + 1j * p["C"][1]
    pairs = lambda x, axis=0: torch.tensor(np.concatenate([x, x.conj()], axis).astype(np.complex64))  # noqa: E731
    module = S5SSM(
        pairs(eigenvalues), torch.eye(8).cfloat(), torch.eye(8).cfloat(), FEATURES, 8, 1e-3, 1e-1, bcInit="dense"
    )
    module.B.data = torch.view_as_real(pairs(b.T))
    module.C.data = pairs(c.T, 1)
    module.log_step.data = torch.tensor(np.tile(p["log_step"], 2))
    module.D.data = torch.zeros(FEATURES)
    x = torch.tensor(inputs)
    return torch.stack([module(sequence) for sequence in x]) + x @ torch.tensor(p["D"])


def min_gru(params: Any, inputs: Array) -> Any:
    """`minGRU-pytorch` minGRU, whose layers have no biases."""
    import torch
    from minGRU_pytorch import minGRU

    p = params["cell"]
    kernel = np.concatenate([p["h"]["kernel"], p["z"]["kernel"]], axis=1)
    bias = torch.tensor(np.concatenate([p["h"]["bias"], p["z"]["bias"]]))
    module = load(minGRU(FEATURES), linear("to_hidden_and_gate", {"kernel": kernel}))
    module.to_hidden_and_gate.bias = torch.nn.Parameter(bias)
    return module(torch.tensor(inputs))


def min_lstm(params: Any, inputs: Array) -> Any:
    """`minGRU-pytorch` minLSTM, whose layers have no biases."""
    import torch
    from minGRU_pytorch.minLSTM import minLSTM

    p = params["cell"]
    kernel = np.concatenate([p[name]["kernel"] for name in "hfi"], axis=1)
    bias = torch.tensor(np.concatenate([p[name]["bias"] for name in "hfi"]))
    module = load(minLSTM(FEATURES), linear("to_hidden_and_f_i_gate", {"kernel": kernel}))
    module.to_hidden_and_f_i_gate.bias = torch.nn.Parameter(bias)
    return module(torch.tensor(inputs))


def mixture_of_experts(params: Any, inputs: Array) -> Any:
    """`transformers` SwitchTransformersSparseMLP, whose experts have no biases."""
    import torch
    from transformers import SwitchTransformersConfig
    from transformers.models.switch_transformers.modeling_switch_transformers import SwitchTransformersSparseMLP

    p = params["module"]
    config = SwitchTransformersConfig(
        d_model=FEATURES, d_ff=4 * FEATURES, num_experts=4, expert_capacity=STEPS, dense_act_fn="relu"
    )
    module = SwitchTransformersSparseMLP(config)
    weights = linear("router.classifier", p["router"])
    for i in range(4):
        weights[f"experts.expert_{i}.wi.weight"] = p["W_1"][i].T
        weights[f"experts.expert_{i}.wo.weight"] = p["W_2"][i].T
    load(module, weights)
    for i in range(4):
        expert = module.experts[f"expert_{i}"]
        expert.wi.bias, expert.wo.bias = (torch.nn.Parameter(torch.tensor(p[name][i])) for name in ("b_1", "b_2"))
    return module(torch.tensor(inputs))


def lru(params: Any, inputs: Array) -> Any:
    """`memax` LRU, whose D is diagonal."""
    import equinox
    from memax.equinox.semigroups.lru import LRU

    p = params["cell"]
    module = LRU(FEATURES, FEATURES, jax.random.key(0))
    names = ("nu_log", "theta_log", "gamma_log", "B_re", "B_im", "C_re", "C_im", "D")
    values = [p[name].T for name in names[:-1]] + [np.zeros(FEATURES, np.float32)]
    module = equinox.tree_at(lambda m: [getattr(m, name) for name in names], module, [jnp.asarray(x) for x in values])
    return _memax(module, inputs)[1] + inputs @ p["D"]


def ffm(params: Any, inputs: Array) -> Any:
    """`memax` FFM: its gated inputs and its traces, read out by us."""
    import equinox
    from memax.equinox.semigroups.ffm import FFM

    p = params["cell"]
    module = FFM(FEATURES, 5, 3, jax.random.key(0))
    kernels, biases = (np.split(p["inputs"][name], [5, 10, 10 + FEATURES], axis=-1) for name in ("kernel", "bias"))
    weights = {"pre": (kernels[0], biases[0]), "gate_in.linear": (kernels[1], biases[1])}
    module = equinox.tree_at(
        lambda m: [m.pre.weight, m.pre.bias, m.gate_in.linear.weight, m.gate_in.linear.bias, m.algebra.algebra.params],
        module,
        # It turns the other way.
        [
            *(jnp.asarray(x) for k, b in weights.values() for x in (k.T, b)),
            (jnp.asarray(p["alpha"]), -jnp.asarray(p["omega"])),
        ],
    )
    ((trace, _), _), _ = _memax(module, inputs)
    trace = trace.swapaxes(-1, -2)
    z = np.concatenate([trace.real, trace.imag], -2).reshape(*inputs.shape[:2], -1)
    z = z @ p["outputs"]["kernel"] + p["outputs"]["bias"]
    z = (z - z.mean(-1, keepdims=True)) / np.sqrt(z.var(-1, keepdims=True) + 1e-6)
    gate = 1 / (1 + np.exp(-(inputs @ kernels[2] + biases[2])))
    return z * gate + (inputs @ kernels[3] + biases[3]) * (1 - gate)


def _memax(module: Any, inputs: Array) -> Any:
    run = lambda x: module(module.initialize_carry(), (x, jnp.zeros(len(x), bool)))  # noqa: E731
    with jax.numpy_rank_promotion("allow"):
        return jax.tree.map(np.asarray, jax.jit(jax.vmap(run))(jnp.asarray(inputs)))


PACKAGES: dict[str, tuple[SequenceModel, Reference]] = {
    "gru": (RNN(nn.GRUCell(FEATURES)), gru),
    "lstm": (RNN(nn.OptimizedLSTMCell(FEATURES)), lstm),
    "slstm": (Memoroid(sLSTMCell(FEATURES, num_heads=2)), slstm),
    "lru": (Memoroid(LRUCell(FEATURES)), lru),
    "s5": (Memoroid(S5Cell(FEATURES, state_dim=8)), s5),
    "mingru": (Memoroid(MinGRUCell(FEATURES)), min_gru),
    "minlstm": (Memoroid(MinLSTMCell(FEATURES)), min_lstm),
    "ffm": (Memoroid(FFMCell(FEATURES, memory_size=5, context_size=3)), ffm),
    "mamba": (Memoroid(MambaCell(FEATURES, d_state=5, head_dim=4)), mamba),
    "mlstm": (Memoroid(mLSTMCell(FEATURES, num_heads=2)), mlstm),
    "retnet": (Memoroid(RetNetCell(FEATURES, num_heads=2)), retnet),
    "deltanet": (Memoroid(DeltaNetCell(FEATURES, num_heads=2)), gated_delta_net),
    "gated_deltanet": (Memoroid(GatedDeltaNetCell(FEATURES, num_heads=2)), gated_delta_net),
    "rwkv7": (Memoroid(RWKV7Cell(FEATURES, num_heads=2)), rwkv7),
    "attention": (SelfAttention(FEATURES, 4, context_length=64, num_kv_heads=2), attention),
    "segment_recurrence": (SegmentRecurrence(FEATURES, num_heads=2, memory_length=64), segment_recurrence),
    "mixture_of_experts": (SequenceModelWrapper(MoE(FEATURES, activation=nn.relu)), mixture_of_experts),
    "gpt2": (architectures.gpt2(FEATURES, 2, 2, 64, 64), gpt2),
    "griffin": (architectures.griffin(FEATURES, 1, 2), griffin),
}


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", PACKAGES)
def test_parity_with_a_package(name: str) -> None:
    check_parity_with_a_package(name)


def check_parity_with_a_package(name: str) -> float:
    """Outputs agree with the package's. Returns the largest difference, relative to the largest output."""
    model, reference = PACKAGES[name]
    keys = jax.random.split(jax.random.key(0), 2)
    inputs = jax.random.normal(keys[0], (3, STEPS, FEATURES))
    done = jnp.zeros((3, STEPS), bool).at[:, EPISODE].set(True)
    carry = model.initialize_carry(keys[1], (3, FEATURES))
    params = jax.jit(model.init)(keys[1], inputs[:, :1], done[:, :1], carry)["params"]
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda x: np.asarray(x) + 0.1 * rng.normal(size=x.shape).astype(np.float32), params)
    if name == "slstm":  # the package's projections are block-diagonal
        blocks = np.kron(np.ones((1, 2)), np.kron(np.eye(2), np.ones((4, 4)))).astype(np.float32)
        params["cell"] |= {
            layer: {"kernel": params["cell"][layer]["kernel"] * blocks} for layer in ("convolved", "inputs")
        }
    _, outputs = jax.jit(model.apply)({"params": params}, inputs, done, carry)
    episodes = np.split(np.asarray(inputs), [EPISODE], axis=1)
    expected = [reference(params, episode) for episode in episodes]
    expected = np.concatenate([x.detach().numpy() if hasattr(x, "detach") else x for x in expected], axis=1)
    np.testing.assert_allclose(outputs, expected, rtol=1e-4, atol=1e-4 * float(np.abs(expected).max()))
    return float(np.abs(outputs - expected).max() / np.abs(expected).max())
