"""What decoders of the CUDA module share: torch's tensors, streams and gradients."""

import numpy as np
import torch
from torch.autograd.function import once_differentiable

from .errors import SoftpackError
from .module import DecodeKlArgs, open_module
from .native import DecodeArgs

DTYPES = {torch.float32: 0, torch.float16: 1, torch.bfloat16: 2}
LOSSES = ("kl", "cross-entropy")
REDUCTIONS = ("batchmean", "sum", "none")


def one_of(name, value, known):
    if value not in known:
        raise SoftpackError("INVALID_ARGUMENT", f"unknown {name}", name, ", ".join(map(str, known)), str(value))
    return value


def positive(name, value):
    if not 0 < value < float("inf"):
        raise SoftpackError("INVALID_ARGUMENT", "not a temperature", name, "a number > 0", value)
    return float(value)


def require_samples(samples, end):
    """The tensor, if it is a list of integers; those that the host knows are from 0 to `end` - 1."""
    if samples.dim() != 1 or samples.is_floating_point() or samples.is_complex() or samples.dtype == torch.bool:
        raise SoftpackError("INVALID_ARGUMENT", "not a list of samples", "samples", "integers [count]", str(samples.dtype))
    if samples.device.type == "cpu" and len(samples) > 0 and not 0 <= int(samples.min()) <= int(samples.max()) < end:
        raise SoftpackError("INVALID_ARGUMENT", "no such sample", "samples", f"0 to {end - 1}", samples.tolist()[:8])
    return samples


def _stream(device):
    """The current stream's handle, 0 being the default one; None for tensors of the CPU."""
    return torch.cuda.current_stream(device).cuda_stream if device.type == "cuda" else None


class LabelDecoder:
    """A decoder of the module. Its own kinds say what `labels` are, put them into a call's arguments by `_set_labels(args,
    labels)`, and carry the call out by `_call_decode(args, labels)` and `_call_kl(args, labels, dtype)`.
    """

    def __init__(self, classes, device="cuda", module=None):
        self.device = torch.device(device)
        if self.device.type == "cuda":
            if not torch.cuda.is_available():
                raise SoftpackError("BACKEND_UNAVAILABLE", "torch finds no GPU", "device", found=str(device))
            index = torch.cuda.current_device() if self.device.index is None else self.device.index
            self.device = torch.device("cuda", index)
        self.classes = classes
        self._module = module or open_module()
        self._module.start(self.device.index if self.device.type == "cuda" else None)
        self._use(None)

    def finish(self):
        """Waits for this thread's calls; raises if codes or samples were wrong, which no call on a GPU can tell at once."""
        self._module.finish()

    def _use(self, workspace):
        if workspace is not None:
            self._check("workspace", workspace, (workspace.numel(),), (torch.uint8,))
        self._module.use(_stream(self.device), workspace)

    def _decode(self, labels, count, dtype, out, workspace):
        if out is None:
            out = torch.empty((count, self.classes), dtype=dtype, device=self.device)
        self._check("out", out, (count, self.classes), DTYPES)
        if count == 0:
            return out
        args = DecodeArgs(out=out.data_ptr(), out_type=DTYPES[out.dtype], threads=1)
        self._set_labels(args, labels)
        self._use(workspace)
        self._call_decode(args, labels)
        return out

    def _kl(self, logits, labels, count, tau, loss, reduction, workspace):
        one_of("loss", loss, LOSSES)
        one_of("reduction", reduction, REDUCTIONS)
        tau = positive("tau", tau)
        logits = logits.contiguous()
        self._check("logits", logits, (count, self.classes), DTYPES)
        return KlFunction.apply(logits, self, labels, tau, loss, reduction, workspace)

    def _losses(self, logits, labels, tau, loss, workspace, wants_gradient):
        """(losses, gradient of each by its logits, times tau)."""
        losses = torch.empty(len(logits), dtype=torch.float32, device=self.device)
        gradient = torch.empty_like(logits) if wants_gradient else None
        if len(logits) > 0:
            args = DecodeKlArgs(logits=logits.data_ptr(), losses=losses.data_ptr(), tau=tau, scale=tau, threads=1)
            args.gradient = None if gradient is None else gradient.data_ptr()
            args.loss = LOSSES.index(loss)
            self._set_labels(args, labels)
            self._use(workspace)
            self._call_kl(args, labels, DTYPES[logits.dtype])
        return losses, gradient

    def _samples(self, samples):
        """int32 on the device."""
        if not isinstance(samples, torch.Tensor):
            samples = torch.from_numpy(np.array(samples, np.int64).reshape(-1))
        return require_samples(samples, 1 << 31).to(self.device, torch.int32).contiguous()

    def _check(self, name, tensor, shape, dtypes):
        if tuple(tensor.shape) != shape or tensor.dtype not in dtypes:
            known = f"{list(shape)} of {', '.join(map(str, dtypes))}"
            found = f"{list(tensor.shape)} of {tensor.dtype}"
            raise SoftpackError("INVALID_ARGUMENT", "tensor of another shape or type", name, known, found)
        if tensor.device != self.device or not tensor.is_contiguous():
            found = f"{tensor.device}{'' if tensor.is_contiguous() else ', not contiguous'}"
            raise SoftpackError("INVALID_ARGUMENT", "tensor in another place", name, f"contiguous on {self.device}", found)


class KlFunction(torch.autograd.Function):
    """Keeps the gradient times tau, which is within [-1, 1], so that float16 holds it before a loss scale is known."""

    @staticmethod
    def forward(ctx, logits, decoder, labels, tau, loss, reduction, workspace):
        wanted, count = ctx.needs_input_grad[0], max(len(logits), 1)
        losses, gradient = decoder._losses(logits, labels, tau, loss, workspace, wanted)
        ctx.factor = 1 / (tau * (count if reduction == "batchmean" else 1))
        if wanted:
            ctx.save_for_backward(gradient)
        if reduction == "none":
            return losses
        return losses.sum() / count if reduction == "batchmean" else losses.sum()

    @staticmethod
    @once_differentiable
    def backward(ctx, upper):
        (gradient,) = ctx.saved_tensors
        factor = upper.float() * ctx.factor
        scaled = gradient * (factor[:, None] if factor.dim() == 1 else factor)
        return scaled.to(gradient.dtype), None, None, None, None, None, None
