"""Labels of codecs `transform` and `predictive` on a GPU; imports torch. Not run on a device yet: tested with the kernels emulated."""

from collections import namedtuple

import numpy as np
import torch

from .cuda_tensors import LabelDecoder, positive
from .errors import SoftpackError
from .module import TransformRow, TransformSpec
from .transform import read_model

# Labels of a call: records of a row, int32 positions in it, what they are predicted from, temperature.
_Labels = namedtuple("_Labels", "records positions pairs weights tau")


class TransformDecoder(LabelDecoder):
    """Decoder of a codec `transform`, or of one `predictive` without a network, on a GPU; `sample_block`: see
    :func:`softpack_labels.codecs.decoder`. A row of blocks is entropy-decoded once, by :meth:`unpack`; its records then give
    labels of any positions, at any temperature.
    """

    def __init__(self, config, tensors, sample_block=None, device="cuda", module=None):
        self._handle = None
        if "network" in config:
            raise SoftpackError("UNSUPPORTED", "labels predicted by a network have no kernels on a GPU", "codec", "no network")
        model = read_model(config, tensors, sample_block)
        super().__init__(model.classes, device, module)
        self.per_block, self.bases = model.per_block, model.bases
        tables = model.tables
        unit = model.step if model.states == 1 else model.step / 2
        arrays = {
            "entries": tables.entries(),
            "row_tables": tables.of_row.astype(np.uint16),
            "shifts": np.round(model.shifts * 128).astype(np.int8),
            "basis": np.ascontiguousarray(model.basis[1:], np.float32),
            "bias": np.ascontiguousarray(model.basis[0], np.float32),
        }
        if model.bases > 0:
            arrays["bases"] = np.ascontiguousarray(model.vectors_of(np.arange(model.bases)), np.float32)
        spec = TransformSpec(**{name: array.ctypes.data for name, array in arrays.items()})
        spec.tables, spec.base_rows, spec.components = len(arrays["entries"]), model.bases, model.components
        spec.classes, spec.labels_per_block, spec.unit, spec.trellis = model.classes, model.per_block, unit, model.states
        self._handle = self._module.transform.create(spec)
        del arrays  # copied
        self.record_bytes = self._module.transform.record_bytes(self._handle)

    def unpack(self, blocks):
        """uint8 tensor on the device: the records of a row. `blocks`: the bytes of each block of the row, in order."""
        blocks = [np.frombuffer(block, np.uint8) for block in blocks]
        ends = np.cumsum([0, *map(len, blocks)])
        head = np.array([len(blocks), *ends], "<u4").view(np.uint8)
        row = torch.from_numpy(np.concatenate([head, *blocks])).to(self.device)
        records = torch.empty((len(blocks) * self.record_bytes,), dtype=torch.uint8, device=self.device)
        if len(blocks) > 0:
            self._use(None)
            args = TransformRow(row.data_ptr(), len(row), len(blocks), records.data_ptr())
            self._module.transform.unpack(self._handle, args)
            self.finish()
        return records

    def decode(self, records, positions, tau, mixes=None, dtype=torch.float32, out=None, workspace=None):
        """[positions, classes] probabilities at `tau` of labels of `records`.

        mixes: (samples, samples mixed in, shares of the first ones) of the labels, of a codec with base vectors.
        workspace: as of :meth:`Decoder.decode`.
        """
        labels = self._labels(records, positions, tau, mixes)
        return self._decode(labels, len(labels.positions), dtype, out, workspace)

    def decode_kl(self, logits, records, positions, tau, mixes=None, loss="kl", reduction="batchmean", workspace=None):
        """See :meth:`Decoder.decode_kl`; labels and student have the temperature `tau`."""
        labels = self._labels(records, positions, tau, mixes)
        return self._kl(logits, labels, len(labels.positions), tau, loss, reduction, workspace)

    def workspace_bytes(self, count):
        """Bytes of a workspace for `count` labels, of either call."""
        self._use(None)
        return self._module.transform.workspace_bytes(self._handle, count)

    def _labels(self, records, positions, tau, mixes):
        self._check("records", records, (records.numel(),), (torch.uint8,))
        positions = self._samples(positions)
        pairs = weights = None
        if self.bases > 0:
            if mixes is None:
                raise SoftpackError("INVALID_ARGUMENT", "labels are predicted from their samples", "mixes", "three lists", "none")
            samples, partners, shares = mixes
            pairs = torch.stack([self._samples(samples), self._samples(partners)], 1).contiguous()
            weights = torch.as_tensor(shares, dtype=torch.float32).to(self.device).contiguous()
            self._check("mixes", pairs, (len(positions), 2), (torch.int32,))
            self._check("mixes", weights, (len(positions),), (torch.float32,))
        return _Labels(records, positions, pairs, weights, positive("tau", tau))

    def _set_labels(self, args, labels):
        args.codes, args.codes_bytes = labels.records.data_ptr(), labels.records.numel()
        args.list, args.count = labels.positions.data_ptr(), len(labels.positions)
        if labels.pairs is not None:
            args.base_pairs, args.base_weights = labels.pairs.data_ptr(), labels.weights.data_ptr()

    def _call_decode(self, args, labels):
        self._module.transform.decode(self._handle, labels.tau, args)

    def _call_kl(self, args, labels, dtype):
        self._module.transform.decode_kl(self._handle, labels.tau, args, dtype)

    def __del__(self):
        if getattr(self, "_handle", None):
            self._module.transform.destroy(self._handle)
            self._handle = None
