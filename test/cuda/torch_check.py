"""Holds softpack_labels.cuda to torch in float64: torch_check.py <archive of vqae> <module> <archive of
transform with base vectors> <archive of predictive with a network>. Prints JSON.

With the emulated module "device memory" is ordinary memory of the module's: tensors laid over it are used in place, as those of
a GPU are, and all others are copied.
"""

import base64
import ctypes
import gc
import json
import sys
from types import SimpleNamespace

import numpy as np
import torch

# Tensors over memory of the module's: `nbytes` and `frombuffer`.
if int(torch.__version__.split(".")[0]) < 2:
    sys.exit(f"torch_check.py needs torch 2.0 or newer, and {sys.executable} has {torch.__version__}")

import softpack_labels
from softpack_labels import cuda, cuda_tensors, cuda_tokens, cuda_transform
from softpack_labels.module import open_module

archive = softpack_labels.open(sys.argv[1], kernels="numpy")
module = open_module(sys.argv[2])
samples = [3, 0, 39, 17, 17]
checks = {}


def refused(call):
    try:
        call()
    except softpack_labels.SoftpackError as error:
        return [error.code, error.field]
    return None


def there(tensor):
    """A copy in memory of the device."""
    memory = ctypes.c_void_p()
    assert module.memory_create(tensor.nbytes, ctypes.byref(memory)) == 0
    place = (ctypes.c_uint8 * max(tensor.nbytes, 1)).from_address(memory.value)
    copy = torch.frombuffer(place, dtype=tensor.dtype, count=tensor.numel()).reshape(tensor.shape)
    return copy.copy_(tensor)


class TorchThere:
    """torch, where new tensors lie in memory of the device."""

    def __getattr__(self, name):
        return getattr(torch, name)

    def empty(self, shape, dtype, device):
        return there(torch.full([shape] if isinstance(shape, int) else shape, -1, dtype=dtype))

    def empty_like(self, tensor):
        return there(torch.full_like(tensor.detach(), float("nan")))


def emulate_placement(on):
    """New tensors lie in memory of the device, and calls are on its stream 0; or no longer."""
    for module in (cuda, cuda_tensors, cuda_transform):
        module.torch = TorchThere() if on else torch
    cuda_tensors._stream = (lambda device: 0) if on else real_stream


real_stream = cuda_tensors._stream


def kl_error(labels, logits, tau, reduction, loss, upper, target):
    """Deviation of losses and gradients from torch's in float64."""
    found = labels(logits, loss=loss, reduction=reduction)
    (slope,) = torch.autograd.grad(found, logits, upper if reduction == "none" else upper[0])
    wide = logits.detach().double().requires_grad_()
    predicted = torch.log_softmax(wide / tau, 1)
    if loss == "kl":
        each = torch.nn.functional.kl_div(predicted, target, reduction="none").sum(1)
    else:
        each = -(target * predicted).sum(1)
    expected = {"none": each, "sum": each.sum(), "batchmean": each.mean()}[reduction]
    (wanted,) = torch.autograd.grad(expected, wide, (upper if reduction == "none" else upper[0]).double())
    assert slope.dtype == logits.dtype and found.dtype == torch.float32
    size = wanted.abs().max().item()
    return (found - expected).abs().max().item(), (slope.double() - wanted).abs().max().item() / size


resident = cuda.ResidentLabels(archive, "cpu", module=module)
decoded = [resident.decode(epoch, range(archive.samples)).numpy() for epoch in range(archive.epochs)]
checks["labels"] = [base64.b64encode(own.tobytes()).decode() for own in decoded]
chosen = torch.from_numpy(decoded[1][samples])
target = chosen.double()
for dtype in (torch.float16, torch.bfloat16):
    own = resident.decode(1, samples, dtype=dtype)
    checks[f"labels {dtype}"] = own.dtype == dtype and torch.equal(own, chosen.to(dtype))

generator = torch.Generator().manual_seed(1)
logits = torch.randn((5, archive.classes), generator=generator) * 3
upper = torch.rand(5, generator=generator) + 0.5
kl = {}
for dtype in (torch.float32, torch.float16, torch.bfloat16):
    for reduction in cuda.REDUCTIONS:
        for loss in cuda.LOSSES:
            own = logits.to(dtype, copy=True).requires_grad_()
            call = lambda x, **o: resident.decode_kl(x, 1, samples, **o)
            kl[f"{dtype} {reduction} {loss}"] = kl_error(call, own, archive.temperature_of(1), reduction, loss, upper, target)
checks["kl"] = kl
# A loss scale is applied before the gradient is rounded again: without one, it is below float16's least number.
tiny = (logits / 100).half().requires_grad_()
(resident.decode_kl(tiny, 1, samples, tau=500.0) * 2.0**16).backward()
wide = (logits / 100).half().double().requires_grad_()
torch.nn.functional.kl_div(torch.log_softmax(wide / 500, 1), target, reduction="batchmean").backward()
checks["scaled"] = ((tiny.grad.double() / 2**16 - wide.grad).abs().max() / wide.grad.abs().max()).item()
with torch.no_grad():
    checks["no gradient"] = resident.decode_kl(logits.clone().requires_grad_(), 1, samples).requires_grad is False
checks["nothing"] = [list(resident.decode(1, []).shape), resident.decode_kl(logits[:0], 1, []).item()]

# In place, on stream 0, in a workspace: host memory would be refused.
emulate_placement(True)
decoder, codes = resident.decoder(1), there(resident.codes(1))
ids = there(torch.tensor(samples, dtype=torch.int32))
need = decoder.workspace_bytes(5)
whole = there(torch.full((need + 256 + 64,), 0x55, dtype=torch.uint8))
start = -whole.data_ptr() % 256
workspace = whole[start : start + need]
out = there(torch.full(chosen.shape, float("nan")))
for _ in range(2):
    decoder.decode(codes, ids, out=out, workspace=workspace)
decoder.finish()
checks["in place"] = torch.equal(out, chosen) and bool((whole[start + need :] == 0x55).all())
own = there(logits).requires_grad_()
call = lambda x, **o: decoder.decode_kl(x, codes, ids, archive.temperature_of(1), workspace=workspace, **o)
checks["kl in place"] = kl_error(call, own, archive.temperature_of(1), "batchmean", "kl", upper, target)
checks["host memory"] = refused(lambda: decoder.decode(resident.codes(1), ids, out=out, workspace=workspace))
checks["small workspace"] = refused(lambda: decoder.decode(codes, ids, out=out, workspace=workspace[: need - 256]))
# Wrong labels of the device's are told by finish.
decoder.decode(codes, there(torch.tensor([1 << 20], dtype=torch.int32)))
checks["wrong label"] = refused(decoder.finish)
decoder.decode(codes, ids, out=out)
checks["after it"] = refused(decoder.finish) is None and torch.equal(out, chosen)
# So does a call that leaves its stream or workspace.
wrong = there(torch.tensor([1 << 20], dtype=torch.int32))
decoder.decode(codes, wrong)
checks["before another workspace"] = refused(lambda: decoder.decode(codes, ids, workspace=workspace))
decoder.decode(codes, wrong)
module._here.stream = -1
checks["before another stream"] = refused(lambda: decoder.decode(codes, ids))
decoder.decode(codes, ids, out=out)
checks["after them"] = refused(decoder.finish) is None
emulate_placement(False)

# Labels of `transform`: from records, at any temperature.
mixed = cuda.ResidentLabels(softpack_labels.open(sys.argv[3], kernels="numpy"), "cpu", module=module)
every = range(mixed.archive.samples)
checks["transform"] = {
    str(tau): [base64.b64encode(mixed.decode(epoch, every, tau=tau).numpy().tobytes()).decode() for epoch in (0, 1, 2)]
    for tau in (None, 1.5)
}
own_labels = mixed.decode(1, samples, tau=3.0)
checks["transform of a GPU's ids"] = torch.equal(mixed.decode(1, torch.tensor(samples), tau=3.0), own_labels)
target_of_transform = own_labels.double()
checks["transform kl"] = {
    f"{dtype} {loss}": kl_error(
        lambda x, **o: mixed.decode_kl(x, 1, samples, 3.0, **o),
        logits.to(dtype, copy=True).requires_grad_(),
        *(3.0, "sum", loss, upper, target_of_transform),
    )
    for dtype in (torch.float32, torch.bfloat16)
    for loss in cuda.LOSSES
}
transform = mixed.decoder(1)
blocks = mixed._blocks(1)
records, mixes = mixed.codes(1), mixed._mixes(1, torch.tensor(samples))
emulate_placement(True)
mixes = [there(torch.from_numpy(np.array(own))) for own in mixes]
arguments = there(records), there(torch.tensor(samples, dtype=torch.int32)), 3.0, mixes
need = transform.workspace_bytes(5)
whole = there(torch.full((need + 256,), 0x55, dtype=torch.uint8))
workspace = whole[-whole.data_ptr() % 256 :][:need]
cuda_transform.torch.stack = lambda tensors, dim: there(torch.stack(tensors, dim))
out = transform.decode(*arguments, workspace=workspace)
transform.finish()
checks["transform in place"] = torch.equal(out, own_labels)
transform.decode(arguments[0], there(torch.tensor([1 << 20], dtype=torch.int32)), 3.0, [own[:1] for own in mixes])
checks["transform of a wrong label"] = refused(transform.finish)
emulate_placement(False)
module.use(None, None)

# Losses of tokens: 2 texts of 3 positions, 48 tokens and 2 columns of padding.
token_loss = cuda_tokens.TokenLoss("cpu", module)
token_ids = torch.stack([torch.randperm(48, generator=generator)[:4] for _ in range(6)]).int()
p = torch.rand((6, 4), generator=generator).softmax(1)
counts = torch.tensor([1, 0, 1, 1, 1, 0])
states, head = (torch.randn((n, 5), generator=generator) for n in (6, 48))


def forward(student, teacher):
    return torch.nn.functional.kl_div(student, teacher, reduction="none").sum(1)


def reverse(student, teacher):
    return (student.exp() * (student - teacher.log())).sum(1)


def jsd(student, teacher):
    """At beta 0.3."""
    own = student.exp()
    mixed = (0.3 * teacher + 0.7 * own).log()
    return (0.3 * teacher * (teacher.log() - mixed) + 0.7 * own * (student - mixed)).sum(1)


def token_error(call, teacher, tau, divergence=forward):
    """Deviation of the mean loss and of its gradient from torch's in float64."""
    own = (torch.randn((2, 3, 50), generator=generator) * 3).requires_grad_()
    found = call(own)
    (slope,) = torch.autograd.grad(found, own)
    wide = own.detach().double().requires_grad_()
    predicted = torch.log_softmax(wide.reshape(6, 50)[:, :48] / tau, 1)
    each = divergence(predicted, teacher)
    expected = (each * counts).sum() / counts.sum()
    (wanted,) = torch.autograd.grad(expected, wide)
    return (found - expected).abs().item(), (slope - wanted).abs().max().item()


spread = torch.zeros((6, 48), dtype=torch.double).scatter(1, token_ids.long(), p.double())
powers = spread ** (1 / 2.5)
checks["tokens"] = [
    token_error(lambda z: token_loss.listed(z, token_ids, p, counts=counts, vocabulary=48), spread, 1.0),
    token_error(
        lambda z: token_loss.listed(z, token_ids, p, "zero", 2.5, counts, 48), powers / powers.sum(1, keepdim=True), 2.5
    ),
]
from_states = torch.softmax(states.double() @ head.double().T / 1.5, 1)
corrected = (states.double() @ head.double().T).scatter_add(1, token_ids.long(), 2 * p.double())
from_corrected = torch.softmax(corrected / 1.5, 1)
some_prior = torch.rand(48, generator=generator) + 0.1
half = p / 2
listed = spread > 0


def with_rest(prior):
    """Half of the mass where tokens are listed, the other half spread over the others."""
    others = torch.where(listed, 0.0, prior.double())
    return spread / 2 + others / others.sum(1, keepdim=True) / 2


for name, divergence in (("forward", forward), ("reverse", reverse), ("jsd", jsd)):
    of = {"divergence": name, "beta": 0.3}
    checks["tokens"] += [
        token_error(lambda z: token_loss.hidden(z, states, head, 1.5, counts, **of), from_states, 1.5, divergence),
        token_error(
            lambda z: token_loss.hidden(z, states, head, 1.5, counts, ids=token_ids, corrections=2 * p, **of),
            *(from_corrected, 1.5, divergence),
        ),
        token_error(
            lambda z: token_loss.listed(z, token_ids, half, "uniform", 1.0, counts, 48, **of),
            *(with_rest(torch.ones(48)), 1.0, divergence),
        ),
        token_error(
            lambda z: token_loss.listed(z, token_ids, half, "prior", 1.0, counts, 48, prior=some_prior, **of),
            *(with_rest(some_prior), 1.0, divergence),
        ),
    ]
any_logits = torch.zeros((6, 50))

# In workspaces of just the bytes that are asked for.
emulate_placement(True)


def in_workspace(call, need, *tensors):
    """Losses on the device in a workspace of `need` bytes, and what a smaller one gives."""
    placed = [there(tensor) for tensor in tensors]
    memory = there(torch.full((need + 256,), 0x55, dtype=torch.uint8))
    workspace = memory[-memory.data_ptr() % 256 :][:need]
    losses = call(*placed, reduction="none", workspace=workspace)
    token_loss.finish()
    small = refused(lambda: call(*placed, reduction="none", workspace=workspace[: need - 256]))
    return losses, small


some = torch.randn((6, 50), generator=generator)
listed_need, hidden_need = token_loss.workspace_bytes(6, 50), token_loss.workspace_bytes(6, 50, hidden_vocabulary=48)
listed_there, _ = in_workspace(token_loss.listed, listed_need, some, token_ids, p)
hidden_there, hidden_small = in_workspace(token_loss.hidden, hidden_need, some, states, head)
module.use(None, None)
emulate_placement(False)
checks["tokens in workspaces"] = [
    torch.equal(listed_there, token_loss.listed(some, token_ids, p, reduction="none")),
    torch.equal(hidden_there, token_loss.hidden(some, states, head, reduction="none")),
]
checks["small workspace of hidden states"] = hidden_small
damaged = bytearray(blocks[0])
damaged[7] ^= 0x40
cases = {
    "damaged block": lambda: transform.unpack([bytes(damaged), *blocks[1:]]),
    "no block": lambda: transform.unpack([b"", *blocks[1:]]),
    "no mixes": lambda: transform.decode(records, samples, 1.0),
    "short mixes": lambda: transform.decode(records, samples, 1.0, ([0], [0], [1.0])),
    "label tau": lambda: mixed.decode(1, samples, tau=-1.0),
    "tau of vqae": lambda: resident.decode(1, samples, tau=123.0),
    "token id": lambda: token_loss.listed(any_logits, token_ids + 40, p, vocabulary=48),
    "token tau": lambda: token_loss.listed(any_logits, token_ids, p, tau=2.0),
    "token divergence": lambda: token_loss.listed(any_logits, token_ids, p, divergence="reverse"),
    "token no divergence": lambda: token_loss.hidden(any_logits, states, head, divergence="backward"),
    "token beta": lambda: token_loss.hidden(any_logits, states, head, divergence="jsd", beta=1),
    "token no prior": lambda: token_loss.listed(any_logits, token_ids, p, "prior"),
    "token short prior": lambda: token_loss.listed(any_logits, token_ids, p, "prior", prior=some_prior),
    "token wrong prior": lambda: token_loss.listed(any_logits, token_ids, p, "prior", prior=torch.zeros(50)),
    "token prior of none": lambda: token_loss.listed(any_logits, token_ids, p, "uniform", prior=torch.ones(50)),
    "token logits": lambda: token_loss.listed(any_logits[0], token_ids, p),
    "token head": lambda: token_loss.hidden(any_logits, states, head[0]),
    "token half a correction": lambda: token_loss.hidden(any_logits, states, head, ids=token_ids),
    "token corrections": lambda: token_loss.hidden(any_logits, states, head, ids=token_ids, corrections=p[:5]),
    "transform negative": lambda: mixed.decode(1, [-1]),
    "transform beyond": lambda: mixed.decode(1, [mixed.archive.samples]),
    "transform float": lambda: mixed.decode(1, torch.zeros(2)),
    "token labels": lambda: token_loss.listed(any_logits, token_ids[:5], p),
    "hidden width": lambda: token_loss.hidden(any_logits, states, head[:, :4].contiguous()),
    "network": lambda: cuda.ResidentLabels(softpack_labels.open(sys.argv[4], kernels="numpy"), "cpu", module=module),
    "label": lambda: resident.decode(1, [archive.samples]),
    "negative": lambda: resident.decode(1, [-1]),
    "float": lambda: resident.decode(1, torch.zeros(2)),
    "epoch": lambda: resident.decode(99, [0]),
    "shape": lambda: resident.decode_kl(logits[:4], 1, samples),
    "type": lambda: resident.decode_kl(logits.double(), 1, samples),
    "out": lambda: resident.decode(1, samples, out=torch.empty(3, 3)),
    "strided": lambda: resident.decode(1, samples, out=torch.empty(archive.classes, 5).t()),
    "tau": lambda: resident.decode_kl(logits, 1, samples, tau=0.0),
    "loss": lambda: resident.decode_kl(logits, 1, samples, loss="mse"),
    "codes": lambda: decoder.decode(torch.zeros(4), ids),
    "place": lambda: decoder.decode(torch.zeros(4, dtype=torch.uint8, device="meta"), ids),
    "precision": lambda: cuda.ResidentLabels(archive, "cpu", precision="quick", module=module),
    "module": lambda: open_module("/nowhere/softpack_cuda.so"),
    "other file": lambda: open_module(sys.executable),
    "codec": lambda: cuda.ResidentLabels(SimpleArchive(), "cpu", module=module),
}


class SimpleArchive(softpack_labels.Archive):
    def __init__(self):
        pass

    def part_of(self, epoch):
        return SimpleNamespace(_codec=("topk", {}, {})), epoch, 0


checks["refused"] = {name: refused(case) for name, case in cases.items()}
if not torch.cuda.is_available():
    checks["no GPU"] = refused(lambda: cuda.ResidentLabels(archive, "cuda", module=module))
del resident, decoder, mixed, transform
gc.collect()
print(json.dumps(checks))
