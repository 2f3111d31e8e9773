"""Labels and losses on a GPU, from codes that stay there; imports torch.

Nothing is copied to the host and nothing waits: kernels run on torch's current stream, in and out of torch's tensors. Tensors
of the CPU are copied to the GPU and back. Tested with the kernels emulated; not run on a device yet.
"""

from collections import OrderedDict

import numpy as np
import torch

from .archive import Archive
from .cuda_tensors import LOSSES, REDUCTIONS, LabelDecoder, one_of, require_samples
from .cuda_transform import TransformDecoder
from .errors import SoftpackError
from .module import METHODS, PRECISIONS, DecodeKlArgs
from .native import DecodeArgs

__all__ = ["LOSSES", "REDUCTIONS", "Decoder", "ResidentLabels", "TransformDecoder"]


class Decoder(LabelDecoder):
    """Decoder of a codec `vqae` on a GPU. `config` and `tensors`: those of the codec.

    precision: "exact" for the labels of `Archive.labels`, "fast" or "fastest"; `method` chooses one of them by name.
    """

    def __init__(self, config, tensors, device="cuda", precision="exact", method="auto", module=None):
        self._handle = None
        one_of("precision", precision, PRECISIONS)
        one_of("method", method, METHODS)
        super().__init__(config["classes"], device, module)
        self.label_bits = config["dh"] // config["dc"] * (config["k"].bit_length() - 1)
        self._handle = self._module.create(config, tensors, precision, method)

    def decode(self, codes, samples, dtype=torch.float32, out=None, workspace=None):
        """[samples, classes] probabilities of labels of `codes`, a uint8 tensor of packed codes.

        workspace: a uint8 tensor of `workspace_bytes`, aligned to 256 bytes, in which the call works instead of in memory of
        the module's: it then allocates nothing and can be captured into a CUDA graph.
        """
        labels = codes, self._samples(samples)
        return self._decode(labels, len(labels[1]), dtype, out, workspace)

    def decode_kl(self, logits, codes, samples, tau, loss="kl", reduction="batchmean", workspace=None):
        """KL(label || softmax(logits / tau)), differentiable by `logits`: float32, float16 or bfloat16 [samples, classes]. The
        gradient has their type; losses are float32. Labels are never written. `loss="cross-entropy"` leaves out their entropy.
        """
        labels = codes, self._samples(samples)
        return self._kl(logits, labels, len(labels[1]), tau, loss, reduction, workspace)

    def workspace_bytes(self, count):
        """Bytes of a workspace for `count` labels, of either call."""
        self._use(None)
        labels = {"codes": 1, "codes_bytes": count * self.label_bits, "list": 1, "count": count}
        decode = DecodeArgs(out=1, threads=1, **labels)
        kl = DecodeKlArgs(logits=1, losses=1, gradient=1, tau=1, scale=1, threads=1, **labels)
        return max(self._module.workspace_bytes(self._handle, args) for args in (decode, kl))

    def _set_labels(self, args, labels):
        codes, samples = labels
        self._check("codes", codes, (codes.numel(),), (torch.uint8,))
        args.codes, args.codes_bytes = codes.data_ptr(), codes.numel()
        args.list, args.count = samples.data_ptr(), len(samples)

    def _call_decode(self, args, labels):
        self._module.decode(self._handle, args)

    def _call_kl(self, args, labels, dtype):
        self._module.decode_kl(self._handle, args, dtype)

    def __del__(self):
        if getattr(self, "_handle", None):
            self._module.destroy(self._handle)
            self._handle = None


class ResidentLabels:
    """Labels of an archive of codec `vqae`, `transform` or `predictive` without a network, on a GPU: tables stay there, and the
    codes of the last `keep` epochs. `precision` and `method` are for `vqae`; the others are decoded exactly.
    """

    def __init__(self, archive, device="cuda", precision="exact", method="auto", keep=2, module=None):
        self.archive = archive if isinstance(archive, Archive) else Archive(str(archive))
        self._options = (device, precision, method, module)
        self._decoders, self._codes = {}, OrderedDict()
        self._keep = max(int(keep), 1)
        self.decoder(0)

    def decoder(self, epoch):
        """The :class:`Decoder` or :class:`TransformDecoder` of an epoch: every part of an archive has its own codec."""
        part, _, number = self.archive.part_of(epoch)
        if number not in self._decoders:
            name, config, tensors = part._codec[:3]
            device, precision, method, module = self._options
            if name == "vqae":
                self._decoders[number] = Decoder(config, tensors, device, precision, method, module)
            elif name in ("transform", "predictive"):
                self._decoders[number] = TransformDecoder(config, tensors, part._codec[-1], device, module)
            else:
                message = "this codec has no kernels on a GPU"
                raise SoftpackError("UNSUPPORTED", message, "codec", "vqae, transform or predictive", name)
        return self._decoders[number]

    def codes(self, epoch):
        """uint8 tensor on the device: the packed codes of an epoch, or its records. Decoding blocks to records waits once."""
        decoder = self.decoder(epoch)
        if epoch not in self._codes:
            while len(self._codes) >= self._keep:
                self._codes.popitem(last=False)
            if isinstance(decoder, TransformDecoder):
                self._codes[epoch] = decoder.unpack(self._blocks(epoch))
            else:
                self._codes[epoch] = torch.from_numpy(self.archive.codes(epoch)).to(decoder.device)
        self._codes.move_to_end(epoch)
        return self._codes[epoch]

    def decode(self, epoch, samples, dtype=torch.float32, out=None, workspace=None, tau=None):
        """See :meth:`Decoder.decode`; in a pruned archive, of positions in a row. `tau` is by default the temperature of the
        labels; those of `vqae` have no other. Samples that views mix are found by the host: it waits for `samples` on a GPU.
        """
        decoder, samples = self._of(epoch, samples)
        own = self._tau(epoch)
        if isinstance(decoder, TransformDecoder):
            labels = self.codes(epoch), samples, own if tau is None else tau, self._mixes(epoch, samples)
            return decoder.decode(*labels, dtype, out, workspace)
        if tau not in (None, own):
            raise SoftpackError("UNSUPPORTED", "codec vqae stores labels of one temperature", "tau", own, tau)
        return decoder.decode(self.codes(epoch), samples, dtype, out, workspace)

    def decode_kl(self, logits, epoch, samples, tau=None, loss="kl", reduction="batchmean", workspace=None):
        """See :meth:`Decoder.decode_kl`; `tau` is by default the temperature of the labels, which those of `transform` follow."""
        decoder, samples = self._of(epoch, samples)
        tau = self._tau(epoch) if tau is None else tau
        options = loss, reduction, workspace
        if isinstance(decoder, TransformDecoder):
            return decoder.decode_kl(logits, self.codes(epoch), samples, tau, self._mixes(epoch, samples), *options)
        return decoder.decode_kl(logits, self.codes(epoch), samples, tau, *options)

    def _tau(self, epoch):
        return self.archive.tau if self.archive.pruned else self.archive.temperature_of(epoch)

    def _of(self, epoch, samples):
        decoder = self.decoder(epoch)
        samples = samples if isinstance(samples, torch.Tensor) else torch.as_tensor(np.asarray(samples, np.int64))
        return decoder, require_samples(samples, self.archive.samples)

    def _blocks(self, epoch):
        parts = self.archive.parts_of(epoch)
        if len(parts) > 1:
            raise SoftpackError("UNSUPPORTED", "labels of this epoch are in several parts", "codes", "one part")
        part, own, _, _ = parts[0]
        found = [(first, data) for _, _, first, _, data in part.blocks(own)]
        if any(first != number * part._per_block for number, (first, _) in enumerate(found)):
            raise SoftpackError("UNSUPPORTED", "shards of this archive do not end with whole blocks", "codes", "whole blocks")
        return [data for _, data in found]

    def _mixes(self, epoch, samples):
        """Of a codec with base vectors."""
        part, own, _ = self.archive.part_of(epoch)
        if self.decoder(epoch).bases == 0:
            return None
        return part._mixes(own % part.stored_epochs, require_samples(samples.cpu(), self.archive.samples).numpy())[:3]
