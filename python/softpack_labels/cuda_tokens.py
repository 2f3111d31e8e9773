"""Losses of language models' tokens on a GPU; imports torch. Not run on a device yet: tested with the kernels emulated."""

from collections import namedtuple

import torch

from .cuda_tensors import DTYPES, LabelDecoder, KlFunction, one_of, positive
from .errors import SoftpackError
from .module import DecodeKlArgs, TokenLabels

# Their numbers in SoftpackTail.
TAILS = {"zero": 0, "sampled": 0, "ghost": 1, "uniform": 2, "prior": 3}
DIVERGENCES = ("forward", "reverse", "jsd")
REDUCTIONS = ("mean", "sum", "none")
# Entries of a label that a block of threads has room for.
MAX_ENTRIES = 4096

# Labels of some positions: either ids and probabilities, or hidden states and the teacher's output matrix, with corrected logits or
# without.
_FIELDS = "ids probabilities corrected_ids corrections tail prior hidden head counts vocabulary columns divergence beta"
_Labels = namedtuple("_Labels", _FIELDS)


class TokenLoss(LabelDecoder):
    """Divergence of softmax(logits / tau) from a teacher's distributions at positions of texts, differentiable by `logits`: float32,
    float16 or bfloat16 [positions, columns], or [batch, length, columns]. The gradient has their type. The teacher's
    [positions, vocabulary] is never in memory.

    Of both methods: `divergence` "forward", KL(teacher || student); "reverse", KL(student || teacher); or "jsd",
    beta KL(teacher || m) + (1 - beta) KL(student || m) with m = beta teacher + (1 - beta) student, where `beta` is above 0 and
    below 1: the last two for hidden states and the tails "uniform" and "prior", which say something of every token.
    Further `counts` [positions], 0 where a position does not count; `vocabulary`, by default all columns: those
    behind it are left out; `reduction` "mean" over positions that count, "sum", or "none"; `workspace` of
    :meth:`workspace_bytes`, as of :meth:`Decoder.decode`.
    """

    def __init__(self, device="cuda", module=None):
        super().__init__(None, device, module)

    def listed(
        self,
        logits,
        ids,
        probabilities,
        tail="sampled",
        tau=1.0,
        counts=None,
        vocabulary=None,
        reduction="mean",
        workspace=None,
        prior=None,
        divergence="forward",
        beta=0.5,
    ):
        """Labels that list a few tokens: int32 `ids` (each once a position) and float32 `probabilities` [positions, width], 0
        for entries without use. `tail`: "sampled" and "zero" take the entries for all there is, "ghost" takes what they
        leave for one outcome more; "uniform" spreads it over the tokens that are not listed, "prior" does so like `prior`,
        float32 [vocabulary], finite and above 0. Temperatures are for "zero".
        """
        one_of("tail", tail, tuple(TAILS))
        measure = _divergence(divergence, beta)
        if tau != 1 and tail != "zero":
            raise SoftpackError("INVALID_ARGUMENT", f"labels with tail {tail} have one temperature", "tau", 1, tau)
        width = ids.shape[-1] if ids.dim() > 0 else 0
        if not 1 <= width <= MAX_ENTRIES:
            raise SoftpackError("INVALID_ARGUMENT", "too many or no entries", "ids", f"1 to {MAX_ENTRIES}", width)
        rows = self._rows(logits)
        self._check("ids", ids, (rows, width), (torch.int32,))
        self._check("probabilities", probabilities, (rows, width), (torch.float32,))
        if divergence != "forward" and tail not in ("uniform", "prior"):
            known = "forward, or labels with tail uniform or prior"
            raise SoftpackError("UNSUPPORTED", "this divergence needs the probability of every token", "divergence", known, divergence)
        if (prior is not None) != (tail == "prior"):
            raise SoftpackError("INVALID_ARGUMENT", "a prior is for tail prior alone", "prior", tail == "prior", prior is not None)
        vocabulary = logits.shape[-1] if vocabulary is None else vocabulary
        if prior is not None:
            self._check("prior", prior, (vocabulary,), (torch.float32,))
        labels = {"ids": ids, "probabilities": probabilities, "tail": TAILS[tail], "prior": prior, **measure}
        return self._loss(logits, labels, tau, counts, vocabulary, reduction, workspace)

    def hidden(
        self,
        logits,
        hidden,
        head,
        tau=1.0,
        counts=None,
        reduction="mean",
        workspace=None,
        divergence="forward",
        beta=0.5,
        ids=None,
        corrections=None,
    ):
        """Hidden states float32 [positions, width] and the teacher's output matrix `head`, float32 [vocabulary, width]. Of labels with
        corrected logits int32 `ids`, below the vocabulary, and float32 `corrections` [positions, entries], 0 for entries without use.
        """
        if head.dim() != 2 or head.numel() == 0:
            raise SoftpackError("INVALID_ARGUMENT", "not a matrix", "head", "[vocabulary, width]", list(head.shape))
        vocabulary, width = head.shape
        self._check("hidden", hidden, (self._rows(logits), width), (torch.float32,))
        self._check("head", head, (vocabulary, width), (torch.float32,))
        labels = {"hidden": hidden, "head": head, **_divergence(divergence, beta)}
        if (ids is None) != (corrections is None):
            raise SoftpackError("INVALID_ARGUMENT", "ids and corrections are given together", "corrections", "both, or neither", "one")
        if ids is not None:
            entries = ids.shape[-1] if ids.dim() > 0 else 0
            if not 1 <= entries <= MAX_ENTRIES:
                raise SoftpackError("INVALID_ARGUMENT", "too many or no entries", "ids", f"1 to {MAX_ENTRIES}", entries)
            self._check("ids", ids, (self._rows(logits), entries), (torch.int32,))
            self._check("corrections", corrections, ids.shape, (torch.float32,))
            labels |= {"corrected_ids": ids, "corrections": corrections}
        return self._loss(logits, labels, tau, counts, vocabulary, reduction, workspace)

    def workspace_bytes(self, positions, columns, hidden_vocabulary=0):
        """Bytes of a workspace for `positions` rows of logits of `columns`; `hidden_vocabulary`: rows of `head`, for hidden states."""
        self._use(None)
        labels = TokenLabels(vocabulary=hidden_vocabulary or columns, columns=columns, width=1)
        if hidden_vocabulary:
            labels.hidden = labels.head = 1
        args = DecodeKlArgs(logits=1, losses=1, gradient=1, tau=1, scale=1, threads=1, count=positions)
        return self._module.token_workspace_bytes(labels, args)

    def _rows(self, logits):
        if logits.dim() < 2 or logits.shape[-1] == 0:
            raise SoftpackError("INVALID_ARGUMENT", "no row for each position", "logits", "[positions, columns]", list(logits.shape))
        return logits.numel() // logits.shape[-1]

    def _loss(self, logits, labels, tau, counts, vocabulary, reduction, workspace):
        one_of("reduction", reduction, REDUCTIONS)
        rows, columns = self._rows(logits), logits.shape[-1]
        vocabulary = columns if vocabulary is None else vocabulary
        if not 1 <= vocabulary <= columns:
            raise SoftpackError("INVALID_ARGUMENT", "logits have fewer columns", "vocabulary", f"1 to {columns}", vocabulary)
        if counts is not None:
            counts = (counts != 0).to(torch.uint8).contiguous()
            self._check("counts", counts, (rows,), (torch.uint8,))
        flat = logits.reshape(rows, columns).contiguous()
        self._check("logits", flat, (rows, columns), DTYPES)
        empty = dict.fromkeys(_Labels._fields)
        own = _Labels(**{**empty, **labels, "counts": counts, "vocabulary": vocabulary, "columns": columns})
        losses = KlFunction.apply(flat, self, own, positive("tau", tau), "kl", "none", workspace)
        if reduction == "none":
            return losses
        if reduction == "sum":
            return losses.sum()
        return losses.sum() / (max(rows, 1) if counts is None else counts.sum().clamp(min=1))

    def _set_labels(self, args, labels):
        args.count = len(labels.ids if labels.hidden is None else labels.hidden)

    def _call_kl(self, args, labels, dtype):
        own = TokenLabels(vocabulary=labels.vocabulary, columns=labels.columns, tail=labels.tail or 0)
        own.divergence, own.beta = labels.divergence, labels.beta
        own.corrected = 0 if labels.corrections is None else labels.corrections.shape[1]
        for name in ("ids", "probabilities", "corrected_ids", "corrections", "prior", "hidden", "head", "counts"):
            tensor = getattr(labels, name)
            setattr(own, name, None if tensor is None else tensor.data_ptr())
        own.width = (labels.ids if labels.hidden is None else labels.hidden).shape[1]
        self._module.token_kl(own, args, dtype)


def _divergence(divergence, beta):
    one_of("divergence", divergence, DIVERGENCES)
    if divergence == "jsd" and not (isinstance(beta, (int, float)) and 0 < beta < 1):
        raise SoftpackError("INVALID_ARGUMENT", "not a share", "beta", "above 0 and below 1", beta)
    return {"divergence": DIVERGENCES.index(divergence), "beta": beta}
