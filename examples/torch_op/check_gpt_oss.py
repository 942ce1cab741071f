"""Holds TilefitExperts against Hugging Face's own experts, in a GPT-OSS model with random weights.

The model has the sizes of gpt-oss-20b, but two layers. Its experts are rounded to MXFP4, so that both compute the same
function and differ by rounding alone. Checked are every layer's experts against FP32 arithmetic, and the logits and the
greedy tokens of the whole model, a prompt and a few steps, against the same model in FP32. Ends with 77 where PyTorch, transformers, nvcc or a GPU
since Ampere is missing.
"""

import sys

SKIPPED = 77
PROMPT, STEPS = 600, 16

try:
    import torch
    from torch.utils import cpp_extension
    from transformers import GptOssConfig, GptOssForCausalLM
except ImportError as missing:
    print(f"skipped: {missing}")
    sys.exit(SKIPPED)

import tilefit_experts


def why_not():
    if not torch.cuda.is_available():
        return "no CUDA device"
    if torch.cuda.get_device_capability() < (8, 0):
        return "the device is older than Ampere"
    if cpp_extension.CUDA_HOME is None:
        return "no nvcc (CUDA_HOME)"
    return None


@torch.no_grad()
def make_model():
    config = GptOssConfig(
        num_hidden_layers=2,
        num_local_experts=32,
        num_experts_per_tok=4,
        hidden_size=2880,
        intermediate_size=2880,
        num_attention_heads=64,
        num_key_value_heads=8,
        head_dim=64,
    )
    with torch.device("cuda"):
        model = GptOssForCausalLM(config)
    torch.manual_seed(1)
    for name, parameter in model.named_parameters():
        if "norm" in name:
            parameter.fill_(1.0)
        else:
            parameter.normal_(0.0, 0.1 if "bias" in name else 0.02)
    if hasattr(model, "set_experts_implementation"):
        model.set_experts_implementation("eager")
    return model.to(torch.bfloat16).eval()


@torch.no_grad()
def experts_in_fp32(experts, x, index, weights):
    """What GptOssExperts computes, in FP32 throughout."""
    y = torch.zeros_like(x, dtype=torch.float32)
    for expert in range(experts.gate_up_proj.shape[0]):
        token, rank = torch.where(index == expert)
        gate_up = x[token].float() @ experts.gate_up_proj[expert].float() + experts.gate_up_proj_bias[expert].float()
        gate, up = gate_up[:, ::2].clamp(max=experts.limit), gate_up[:, 1::2].clamp(-experts.limit, experts.limit)
        act = (up + 1) * gate * torch.sigmoid(experts.alpha * gate)
        out = act @ experts.down_proj[expert].float() + experts.down_proj_bias[expert].float()
        y.index_add_(0, token, out * weights[token, rank, None].float())
    return y


class Recorder(torch.nn.Module):
    """Keeps what an experts module is given and what it answers."""

    def __init__(self, experts):
        super().__init__()
        self.experts = experts

    def forward(self, hidden_states, router_indices=None, routing_weights=None):
        self.inputs = (hidden_states, router_indices, routing_weights)
        self.output = self.experts(*self.inputs)
        return self.output


def use_experts(model, modules):
    for layer, experts in zip(model.model.layers, modules):
        layer.mlp.experts = experts


@torch.no_grad()
def check_layers(model, originals, replacements, prompt):
    """Every layer's experts with the inputs that they get in the model."""
    recorders = [Recorder(experts) for experts in replacements]
    use_experts(model, recorders)
    model(prompt)
    good = True
    for layer, (original, recorder) in enumerate(zip(originals, recorders)):
        x, index, weights = recorder.inputs
        if weights.shape[-1] != index.shape[-1]:
            weights = weights.gather(-1, index)
        exact = experts_in_fp32(original, x.reshape(-1, x.shape[-1]), index, weights)

        def error(y):
            return ((y.reshape(exact.shape).float() - exact).norm() / exact.norm()).item()

        ours, theirs = error(recorder.output), error(original(*recorder.inputs))
        again = torch.equal(recorder.experts(*recorder.inputs), recorder.output)
        print(f"layer {layer}: relative error of tilefit {ours:.2e}, of the original {theirs:.2e}, same bits: {again}")
        good = good and ours <= 4e-3 and again
    return good


@torch.no_grad()
def logits_of(model, prompt, tokens=None):
    """Logits of the prompt's positions and STEPS more, greedily, or along given tokens. Returns them and the tokens."""
    out = model(prompt, use_cache=True)
    rows, chosen = [out.logits[0].float()], []
    for step in range(STEPS):
        token = rows[-1][-1].argmax() if tokens is None else tokens[step]
        chosen.append(token)
        out = model(token.reshape(1, 1), past_key_values=out.past_key_values, use_cache=True)
        rows.append(out.logits[0].float())
    return torch.cat(rows), chosen


@torch.no_grad()
def main():
    reason = why_not()
    if reason is not None:
        print(f"skipped: {reason}")
        return SKIPPED
    tilefit_experts.load_op()
    model = make_model()
    prompt = torch.randint(0, model.config.vocab_size, (1, PROMPT), device="cuda")

    originals = tilefit_experts.replace_experts(model)
    replacements = [layer.mlp.experts for layer in model.model.layers]
    good = check_layers(model, originals, replacements, prompt)

    use_experts(model, originals)
    original, tokens = logits_of(model, prompt)
    use_experts(model, replacements)
    ours, _ = logits_of(model, prompt, tokens)
    use_experts(model, originals)
    exact, _ = logits_of(model.float(), prompt, tokens)

    # Rounding alone keeps both from the same model in FP32, and where the router has a tie within it, a token takes
    # other experts. Ours must be no further away than the original, and choose another token than FP32 no more often
    # where its two best logits are further apart than six times the original's noise.
    best = exact.topk(2, dim=-1).values
    clear = best[:, 0] - best[:, 1] > 6 * (original - exact).square().mean().sqrt()

    def compare(name, logits):
        error = ((logits - exact).norm() / exact.norm()).item()
        other = logits.argmax(-1) != exact.argmax(-1)
        print(
            f"{name}: logits {error:.2e} from FP32, {int(other.sum())} of {other.numel()} greedy tokens are others, "
            f"{int((other & clear).sum())} of them no near ties"
        )
        return error, int(other.sum()), int((other & clear).sum())

    theirs, mine = compare("original", original), compare("tilefit", ours)
    print(f"greedy tokens: {int((ours.argmax(-1) == original.argmax(-1)).sum())} of {clear.numel()} are the original's")
    good = good and bool(torch.isfinite(ours).all())
    good = good and mine[0] <= 1.05 * theirs[0] and mine[1] <= theirs[1] + theirs[1] // 4 and mine[2] <= theirs[2]
    print("ok" if good else "FAILED")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
