"""The experts of a GPT-OSS layer as one call of tilefit: the op, MXFP4, and a module that stands in for GptOssExperts.

Weights of Hugging Face's GptOssExperts are [experts, inputs, outputs] (x @ W), gate and up in turn along the outputs.
tilefit reads rows of outputs, [experts, outputs, inputs], in the same turn.
"""

import os
import pathlib

import torch
from torch.utils import cpp_extension

FOLDER = pathlib.Path(__file__).resolve().parent

# Magnitudes of the E2M1 codes 0..7, and the values halfway between them.
E2M1 = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
E2M1_LIMITS = tuple((a + b) / 2 for a, b in zip(E2M1, E2M1[1:]))


def load_op(verbose=False):
    """Compiles the op for this device (a minute or more; later calls find it in PyTorch's cache): torch.ops.tilefit."""
    major, minor = torch.cuda.get_device_capability()
    # Matrix instructions of Hopper and later belong to the architecture's own target ("a").
    os.environ["TORCH_CUDA_ARCH_LIST"] = f"{major}.{minor}" + ("a" if major >= 9 else "")
    cpp_extension.load(
        name="tilefit_experts_op",
        sources=[str(FOLDER / "binding.cpp"), str(FOLDER / "experts_call.cu")],
        extra_include_paths=[str(FOLDER.parents[1] / "include")],
        extra_cflags=["-O2", "-std=c++20"],
        extra_cuda_cflags=["-O3", "-std=c++20"],
        is_python_module=False,
        verbose=verbose,
    )


def quantize_mxfp4(rows):
    """[n, k] -> blocks [n, k / 32, 16] (low nibble = even k), scales [n, k / 32]: OCP MX, nearest value."""
    parts = rows.float().unflatten(-1, (-1, 32))
    largest = parts.abs().amax(-1)
    # The power of two in the largest element, over the one in 6.0 = 1.5 * 2^2. frexp's mantissa is below one.
    exponent = torch.where(largest > 0, torch.frexp(largest).exponent - 3, 0).clamp(-127, 127)
    scaled = torch.ldexp(parts, -exponent.unsqueeze(-1))
    limits = torch.tensor(E2M1_LIMITS, device=rows.device)
    codes = torch.bucketize(scaled.abs(), limits, out_int32=True).to(torch.uint8)
    codes += 8 * torch.signbit(scaled).to(torch.uint8)
    return codes[..., 0::2] | codes[..., 1::2] << 4, (exponent + 127).to(torch.uint8)


def dequantize_mxfp4(blocks, scales):
    """The inverse: FP32 [n, k]."""
    values = torch.tensor(E2M1 + tuple(-v for v in E2M1), device=blocks.device)
    codes = torch.stack((blocks & 15, blocks >> 4), dim=-1).flatten(-2)
    return torch.ldexp(values[codes.long()], (scales.int() - 127).unsqueeze(-1)).flatten(-2)


@torch.no_grad()
def round_to_mxfp4(weight):
    """Rounds a weight [experts, inputs, outputs] to MXFP4 in place, one expert at a time.

    Returns blocks [experts, outputs, inputs / 32, 16] and scales: of the same numbers, as rows of outputs.
    """
    blocks, scales = [], []
    for expert in weight:
        block, scale = quantize_mxfp4(expert.t().contiguous())
        expert.copy_(dequantize_mxfp4(block, scale).t())
        blocks.append(block)
        scales.append(scale)
    return torch.stack(blocks), torch.stack(scales)


class TilefitExperts(torch.nn.Module):
    """Stands in for a GptOssExperts: `gate_up` and `down` are its weights as (blocks, scales)."""

    workspaces = {}  # of a device: layers follow each other, so they share one

    def __init__(self, experts, gate_up, down):
        super().__init__()
        self.alpha, self.limit = float(experts.alpha), float(experts.limit)
        self.register_buffer("gate_up", torch.ops.tilefit.pack(*gate_up))
        self.register_buffer("down", torch.ops.tilefit.pack(*down))
        self.register_buffer("gate_up_bias", experts.gate_up_proj_bias.detach().float())
        self.register_buffer("down_bias", experts.down_proj_bias.detach().float())

    def forward(self, hidden_states, router_indices=None, routing_weights=None):
        """hidden_states [..., hidden], router_indices [tokens, topk], routing_weights [tokens, topk or experts]."""
        x = hidden_states.reshape(-1, hidden_states.shape[-1])
        if routing_weights.shape[-1] != router_indices.shape[-1]:
            routing_weights = routing_weights.gather(-1, router_indices)
        arguments = (
            x if x.dtype in (torch.bfloat16, torch.float16) else x.to(torch.bfloat16),
            router_indices.to(torch.int32).contiguous(),
            routing_weights.to(torch.float32).contiguous(),
            self.gate_up,
            self.gate_up_bias,
            self.down,
            self.down_bias,
            self.alpha,
            self.limit,
        )
        y = torch.ops.tilefit.experts(*arguments, self.workspace(arguments))
        return y.to(hidden_states.dtype).reshape(hidden_states.shape)

    def workspace(self, arguments):
        """Grows with the most tokens seen. Before a capture, run the layer once with as many tokens."""
        device, needed = arguments[0].device, torch.ops.tilefit.workspace_bytes(*arguments)
        if device not in self.workspaces or self.workspaces[device].numel() < needed:
            self.workspaces[device] = torch.zeros(needed, dtype=torch.uint8, device=device)
        return self.workspaces[device]


def replace_experts(model):
    """Puts TilefitExperts into every layer of a GptOssForCausalLM, whose weights are rounded to MXFP4 first.

    Returns the modules that were there: with the rounded weights they compute the same function.
    """
    replaced = []
    for layer in model.model.layers:
        experts = layer.mlp.experts
        gate_up, down = round_to_mxfp4(experts.gate_up_proj.data), round_to_mxfp4(experts.down_proj.data)
        layer.mlp.experts = TilefitExperts(experts, gate_up, down)
        replaced.append(experts)
    return replaced
