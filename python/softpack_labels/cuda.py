"""Labels and losses on a GPU, from codes that stay there; imports torch.

Nothing is copied to the host and nothing waits: kernels run on torch's current stream, in and out of torch's tensors. Tensors
of the CPU are copied to the GPU and back.
"""

from collections import OrderedDict

import numpy as np
import torch
from torch.autograd.function import once_differentiable

from .archive import Archive
from .errors import SoftpackError
from .module import METHODS, PRECISIONS, DecodeKlArgs, open_module
from .native import DecodeArgs

__all__ = ["Decoder", "ResidentLabels"]

DTYPES = {torch.float32: 0, torch.float16: 1, torch.bfloat16: 2}
LOSSES = ("kl", "cross-entropy")
REDUCTIONS = ("batchmean", "sum", "none")


def _one_of(name, value, known):
    if value not in known:
        raise SoftpackError("INVALID_ARGUMENT", f"unknown {name}", name, ", ".join(map(str, known)), str(value))
    return value


def _stream(device):
    """The current stream's handle, 0 being the default one; None for tensors of the CPU."""
    return torch.cuda.current_stream(device).cuda_stream if device.type == "cuda" else None


class Decoder:
    """Decoder of a codec `vqae` on a GPU. `config` and `tensors`: those of the codec.

    precision: "exact" for the labels of `Archive.labels`, "fast" or "fastest"; `method` chooses one of them by name.
    """

    def __init__(self, config, tensors, device="cuda", precision="exact", method="auto", module=None):
        _one_of("precision", precision, PRECISIONS)
        _one_of("method", method, METHODS)
        self.device = torch.device(device)
        if self.device.type == "cuda":
            if not torch.cuda.is_available():
                raise SoftpackError("BACKEND_UNAVAILABLE", "torch finds no GPU", "device", found=str(device))
            index = torch.cuda.current_device() if self.device.index is None else self.device.index
            self.device = torch.device("cuda", index)
        self.classes = config["classes"]
        self.label_bits = config["dh"] // config["dc"] * (config["k"].bit_length() - 1)
        self._handle = None
        self._module = module or open_module()
        self._module.start(self.device.index if self.device.type == "cuda" else None)
        self._module.use(_stream(self.device), None)
        self._handle = self._module.create(config, tensors, precision, method)

    def decode(self, codes, samples, dtype=torch.float32, out=None, workspace=None):
        """[samples, classes] probabilities of labels of `codes`, a uint8 tensor of packed codes.

        workspace: a uint8 tensor of `workspace_bytes`, aligned to 256 bytes, in which the call works instead of in memory of
        the module's: it then allocates nothing and can be captured into a CUDA graph.
        """
        samples = self._samples(samples)
        if out is None:
            out = torch.empty((len(samples), self.classes), dtype=dtype, device=self.device)
        self._check("out", out, (len(samples), self.classes), DTYPES)
        if len(samples) == 0:
            return out
        self._module.use(_stream(self.device), self._workspace(workspace))
        self._module.decode(self._handle, self._decode_args(codes, samples, out))
        return out

    def decode_kl(self, logits, codes, samples, tau, loss="kl", reduction="batchmean", workspace=None):
        """KL(label || softmax(logits / tau)), differentiable by `logits`: float32, float16 or bfloat16 [samples, classes]. The
        gradient has their type; losses are float32. Labels are never written. `loss="cross-entropy"` leaves out their entropy.
        """
        _one_of("loss", loss, LOSSES)
        _one_of("reduction", reduction, REDUCTIONS)
        if not 0 < tau < float("inf"):
            raise SoftpackError("INVALID_ARGUMENT", "not a temperature", "tau", "a number > 0", tau)
        samples = self._samples(samples)
        logits = logits.contiguous()
        self._check("logits", logits, (len(samples), self.classes), DTYPES)
        return _Kl.apply(logits, self, codes, samples, float(tau), loss, reduction, self._workspace(workspace))

    def workspace_bytes(self, count):
        """Bytes of a workspace for `count` labels, of either call."""
        self._module.use(_stream(self.device), None)
        labels = {"codes": 1, "codes_bytes": count * self.label_bits, "list": 1, "count": count}
        decode = DecodeArgs(out=1, threads=1, **labels)
        kl = DecodeKlArgs(logits=1, losses=1, gradient=1, tau=1, scale=1, threads=1, **labels)
        return max(self._module.workspace_bytes(self._handle, args) for args in (decode, kl))

    def finish(self):
        """Waits for this thread's calls; raises if codes or samples were wrong, which no call on a GPU can tell at once."""
        self._module.finish()

    def _losses(self, logits, codes, samples, tau, loss, workspace, wants_gradient):
        """(losses, gradient of each by its logits, times tau)."""
        losses = torch.empty(len(samples), dtype=torch.float32, device=self.device)
        gradient = torch.empty_like(logits) if wants_gradient else None
        if len(samples) > 0:
            args = DecodeKlArgs(logits=logits.data_ptr(), losses=losses.data_ptr(), tau=tau, scale=tau, threads=1)
            args.gradient = None if gradient is None else gradient.data_ptr()
            args.loss = LOSSES.index(loss)
            self._set_labels(args, codes, samples)
            self._module.use(_stream(self.device), workspace)
            self._module.decode_kl(self._handle, args, DTYPES[logits.dtype])
        return losses, gradient

    def _decode_args(self, codes, samples, out):
        args = DecodeArgs(out=out.data_ptr(), out_type=DTYPES[out.dtype], threads=1)
        self._set_labels(args, codes, samples)
        return args

    def _set_labels(self, args, codes, samples):
        self._check("codes", codes, (codes.numel(),), (torch.uint8,))
        args.codes, args.codes_bytes = codes.data_ptr(), codes.numel()
        args.list, args.count = samples.data_ptr(), len(samples)

    def _samples(self, samples):
        """int32 on the device; those known to the host must not be negative."""
        if not isinstance(samples, torch.Tensor):
            samples = torch.from_numpy(np.array(samples, np.int64).reshape(-1))
        if samples.dim() != 1 or samples.is_floating_point() or samples.is_complex() or samples.dtype == torch.bool:
            raise SoftpackError("INVALID_ARGUMENT", "not a list of samples", "samples", "integers [count]", str(samples.dtype))
        if samples.device.type == "cpu" and len(samples) > 0 and not 0 <= int(samples.min()) <= int(samples.max()) < 1 << 31:
            raise SoftpackError("INVALID_ARGUMENT", "no such sample", "samples", "0 to 2^31 - 1", samples.tolist()[:8])
        return samples.to(self.device, torch.int32).contiguous()

    def _workspace(self, workspace):
        if workspace is not None:
            self._check("workspace", workspace, (workspace.numel(),), (torch.uint8,))
        return workspace

    def _check(self, name, tensor, shape, dtypes):
        if tuple(tensor.shape) != shape or tensor.dtype not in dtypes:
            known = f"{list(shape)} of {', '.join(map(str, dtypes))}"
            found = f"{list(tensor.shape)} of {tensor.dtype}"
            raise SoftpackError("INVALID_ARGUMENT", "tensor of another shape or type", name, known, found)
        if tensor.device != self.device or not tensor.is_contiguous():
            found = f"{tensor.device}{'' if tensor.is_contiguous() else ', not contiguous'}"
            raise SoftpackError("INVALID_ARGUMENT", "tensor in another place", name, f"contiguous on {self.device}", found)

    def __del__(self):
        if getattr(self, "_handle", None):
            self._module.destroy(self._handle)
            self._handle = None


class _Kl(torch.autograd.Function):
    """Keeps the gradient times tau, which is within [-1, 1], so that float16 holds it before a loss scale is known."""

    @staticmethod
    def forward(ctx, logits, decoder, codes, samples, tau, loss, reduction, workspace):
        wanted = ctx.needs_input_grad[0]
        losses, gradient = decoder._losses(logits, codes, samples, tau, loss, workspace, wanted)
        ctx.factor = 1 / (tau * (max(len(samples), 1) if reduction == "batchmean" else 1))
        if wanted:
            ctx.save_for_backward(gradient)
        if reduction == "none":
            return losses
        return losses.sum() / max(len(samples), 1) if reduction == "batchmean" else losses.sum()

    @staticmethod
    @once_differentiable
    def backward(ctx, upper):
        (gradient,) = ctx.saved_tensors
        factor = upper.float() * ctx.factor
        scaled = gradient * (factor[:, None] if factor.dim() == 1 else factor)
        return scaled.to(gradient.dtype), None, None, None, None, None, None, None


class ResidentLabels:
    """Labels of an archive of codec `vqae` on a GPU: tables stay there, and the codes of the last `keep` epochs."""

    def __init__(self, archive, device="cuda", precision="exact", method="auto", keep=2, module=None):
        self.archive = archive if isinstance(archive, Archive) else Archive(str(archive))
        self._options = (device, precision, method, module)
        self._decoders, self._codes = {}, OrderedDict()
        self._keep = max(int(keep), 1)
        self.decoder(0)

    def decoder(self, epoch):
        """The :class:`Decoder` of an epoch: every part of an archive has its own codec."""
        part, _, number = self.archive.part_of(epoch)
        if number not in self._decoders:
            name, config, tensors = part._codec[:3]
            if name != "vqae":
                raise SoftpackError("UNSUPPORTED", "this codec has no kernels on a GPU", "codec", "vqae", name)
            device, precision, method, module = self._options
            self._decoders[number] = Decoder(config, tensors, device, precision, method, module)
        return self._decoders[number]

    def codes(self, epoch):
        """uint8 tensor on the device: the packed codes of an epoch."""
        decoder = self.decoder(epoch)
        if epoch not in self._codes:
            while len(self._codes) >= self._keep:
                self._codes.popitem(last=False)
            self._codes[epoch] = torch.from_numpy(self.archive.codes(epoch)).to(decoder.device)
        self._codes.move_to_end(epoch)
        return self._codes[epoch]

    def decode(self, epoch, samples, dtype=torch.float32, out=None, workspace=None):
        """See :meth:`Decoder.decode`; in a pruned archive, of positions in a row."""
        decoder, samples = self._of(epoch, samples)
        return decoder.decode(self.codes(epoch), samples, dtype, out, workspace)

    def decode_kl(self, logits, epoch, samples, tau=None, loss="kl", reduction="batchmean", workspace=None):
        """See :meth:`Decoder.decode_kl`; `tau` is by default the temperature of the labels."""
        decoder, samples = self._of(epoch, samples)
        if tau is None:
            tau = self.archive.tau if self.archive.pruned else self.archive.temperature_of(epoch)
        return decoder.decode_kl(logits, self.codes(epoch), samples, tau, loss, reduction, workspace)

    def _of(self, epoch, samples):
        decoder = self.decoder(epoch)
        samples = samples if isinstance(samples, torch.Tensor) else torch.as_tensor(np.asarray(samples, np.int64))
        if samples.device.type == "cpu" and samples.numel() > 0 and int(samples.max()) >= self.archive.samples:
            expected = f"0 to {self.archive.samples - 1}"
            raise SoftpackError("INVALID_ARGUMENT", "no such sample", "samples", expected, int(samples.max()))
        return decoder, samples
