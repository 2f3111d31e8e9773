"""The forms in which PyTorch, faiss and NumPy do each operation: what peers.py runs and times."""

import os


def try_import(name):
    try:
        return __import__(name)
    except ImportError:
        return None


np = try_import("numpy")
torch = try_import("torch")
faiss = try_import("faiss") if np else None
if torch:
    import torch.nn.functional as F

DECODE_BATCHES = [256, 1024, 4096]
ENCODE_BATCHES = [64, 16, 256, 1024]


class Form:
    """One way to do one operation: run(start, count) handles these labels, collect(start, count) what it gave."""

    def __init__(self, impl, run, collect, batches, work, like=None):
        self.impl, self.run, self.collect = impl, run, collect
        self.batches, self.work, self.like = batches, work, like
        self.next = 0


class Setting:
    """Arrays of one setting, and what is derived from them, made when first used."""

    def __init__(self, request):
        self.__dict__.update({k: v for k, v in request.items() if k != "command"})
        self.segments = self.dh // self.dc
        self.derived = {}

    def array(self, name, dtype, *shape):
        return np.fromfile(os.path.join(self.folder, name), dtype).reshape(shape)

    def once(self, name, make):
        if name not in self.derived:
            self.derived[name] = make()
        return self.derived[name]

    def floats(self, name):
        c, dh, dc, k, n = self.classes, self.dh, self.dc, self.k, self.pool
        shapes = {
            "projection": (c, dh), "low_projection": (c, dh), "decoder": (dh, c), "bias": (c,),
            "codebook": (k, dc), "low_codebook": (k, dc), "labels": (n, c), "low_labels": (n, c),
            "logits": (n, c), "latent": (n, dh),
        }  # fmt: skip
        return self.once(name, lambda: self.array(name, np.float32, *shapes[name]))

    def tensor(self, name):
        return self.once(f"tensor {name}", lambda: torch.from_numpy(self.floats(name)))

    def brain(self, name):
        return self.once(f"brain {name}", lambda: self.tensor(name).bfloat16())

    def indices(self):
        read = lambda: self.array("indices", np.int32, self.pool, self.segments)
        return self.once("indices", lambda: torch.from_numpy(read()).long())

    def bags(self):
        """Row numbers in the joined table of all segments."""
        offsets = torch.arange(self.segments) * self.k
        return self.once("bags", lambda: self.indices() + offsets)

    def order(self):
        read = lambda: self.array("order", np.int32, self.pool)
        return self.once("order", lambda: torch.from_numpy(read()).long())

    def table(self):
        """T[i * k + j] = mu_j D_i + bias / m: [m k, c]."""

        def make():
            rows = self.tensor("decoder").view(self.segments, self.dc, self.classes)
            table = torch.matmul(self.tensor("codebook"), rows)
            return table.add_(self.tensor("bias") / self.segments).view(-1, self.classes)

        return self.once("table", make)

    def brain_table(self):
        """The same without bias, in bfloat16."""
        share = self.tensor("bias") / self.segments
        return self.once("brain table", lambda: (self.table() - share).bfloat16())

    def out(self):
        return self.once("out", lambda: torch.full((self.pool, self.classes), float("nan")))

    def losses(self):
        return self.once("losses", lambda: torch.full((self.pool,), float("nan")))


def values_of(s):
    """The four forms of bias + h^ D: from row numbers to float32 values [count, c]. Their operands are arguments."""

    def f32_gemm(indices, codebook, decoder, bias):
        return torch.addmm(bias, F.embedding(indices, codebook).flatten(1), decoder)

    def bf16_gemm(indices, codebook, decoder, bias):
        return torch.add(bias, torch.mm(F.embedding(indices, codebook).flatten(1), decoder))

    def f32_bag(bags, table, bias):
        return F.embedding_bag(bags, table, mode="sum")

    def bf16_bag(bags, table, bias):
        return torch.add(bias, F.embedding_bag(bags, table, mode="sum"))

    bias = s.tensor("bias")
    f32 = (s.tensor("codebook"), s.tensor("decoder"), bias)
    bf16 = (s.brain("codebook"), s.brain("decoder"), bias)
    return {
        "float32 GEMM": (f32_gemm, s.indices(), f32, "latent"),
        "bfloat16 GEMM": (bf16_gemm, s.indices(), bf16, "bfloat"),
        "embedding_bag float32": (f32_bag, s.bags(), (s.table(), bias), "table"),
        "embedding_bag bfloat16": (bf16_bag, s.bags(), (s.brain_table(), bias), "fixed"),
    }


def decode_forms(s, compiled, gather=False):
    eps, out = s.eps, s.out()

    def eager_head(values, out):
        values.clamp_(min=eps)
        torch.div(values, values.sum(1, keepdim=True), out=out)

    def fused_head(values, out):
        values = values.clamp(min=eps)
        out.copy_(values / values.sum(1, keepdim=True))

    def form(name, compile):
        values, rows, operands, work = values_of(s)[name]
        head = fused_head if compile else eager_head
        step = lambda rows, out, *operands: head(values(rows, *operands), out)
        step = torch.compile(step, dynamic=False) if compile else step

        def run(start, count):
            chosen = rows[start : start + count]
            if gather:
                chosen = rows.index_select(0, s.order()[start : start + count])
            with torch.no_grad():
                step(chosen, out[start : start + count], *operands)

        return name, run, work

    return torch_forms(s, form, compiled, lambda start, count: {"values": out[start : start + count]})


def kl_forms(s, compiled):
    eps, tau, out, losses = s.eps, s.tau, s.out(), s.losses()

    def labels_of(values):
        values = values.clamp_(min=eps)
        return values.div_(values.sum(1, keepdim=True))

    def fused_labels_of(values):
        values = values.clamp(min=eps)
        return values / values.sum(1, keepdim=True)

    def closed(labels, logits, gradient, losses):
        log_q = F.log_softmax(logits / tau, 1)
        losses.copy_((labels * (labels.log() - log_q)).sum(1))
        gradient.copy_((log_q.exp() - labels) / tau)

    def form(name, compile):
        values, rows, operands, work = values_of(s)[name]

        def fused(rows, logits, gradient, losses, *operands):
            closed(fused_labels_of(values(rows, *operands)), logits, gradient, losses)

        step = torch.compile(fused, dynamic=False) if compile else None

        def run_fused(start, count):
            at = slice(start, start + count)
            with torch.no_grad():
                step(rows[at], s.tensor("logits")[at], out[at], losses[at], *operands)

        def run_autograd(start, count):
            at = slice(start, start + count)
            with torch.no_grad():
                labels = labels_of(values(rows[at], *operands))
            logits = s.tensor("logits")[at].detach().requires_grad_()
            log_q = F.log_softmax(logits / tau, 1)
            row_losses = F.kl_div(log_q, labels, reduction="none").sum(1)
            row_losses.sum().backward()
            s.derived["last"] = (logits.grad, row_losses.detach())

        return name, run_fused if compile else run_autograd, work

    def collect(start, count):
        if "last" in s.derived:
            gradient, row_losses = s.derived.pop("last")
            return {"gradient": gradient[:count], "losses": row_losses[:count]}
        at = slice(start, start + count)
        return {"gradient": out[at], "losses": losses[at]}

    return torch_forms(s, form, compiled, collect)


def torch_forms(s, form, compiled, collect):
    """Eager and, if asked for, compiled forms of the four ways to decode."""
    forms = []
    for compile in [False, True] if compiled else [False]:
        for name in values_of(s):
            name, run, work = form(name, compile)
            impl = f"torch {name}, compiled" if compile else f"torch {name}"
            like = f"torch {name}" if compile else None
            forms.append(Form(impl, run, collect, DECODE_BATCHES, work, like))
    return forms


def nearest_forms(s, compiled, source, codebook, project):
    """Nearest codewords of latent vectors, or of labels projected first."""
    forms, found = [], {}
    prefix = "low_" if codebook.startswith("low") else ""
    projection = f"{prefix}projection"

    def collect(start, count):
        return {"values": found["indices"][: count * s.segments]}

    if torch:
        mu = s.tensor(codebook)
        minus, half = mu.t().contiguous().neg_(), mu.square().sum(1).div_(2)
        matrix = s.tensor(projection)

        def search(rows, matrix, minus, half):
            latent = torch.mm(rows, matrix) if project else rows
            return torch.addmm(half, latent.view(-1, s.dc), minus).argmin(1)

        for compile in [False, True] if compiled else [False]:
            step = torch.compile(search, dynamic=False) if compile else search

            def run(start, count, step=step):
                with torch.no_grad():
                    rows = s.tensor(source)[start : start + count]
                    found["indices"] = step(rows, matrix, minus, half).to(torch.int32)

            impl = "torch float32 GEMM + argmin"
            like = impl if compile else None
            impl = f"{impl}, compiled" if compile else impl
            forms.append(Form(impl, run, collect, ENCODE_BATCHES, "float32", like))
    if faiss:
        quantizer = faiss.ProductQuantizer(s.dh, s.segments, int(s.k).bit_length() - 1)
        centroids = np.tile(s.floats(codebook).ravel(), s.segments)
        faiss.copy_array_to_vector(centroids, quantizer.centroids)
        if s.dc < 16:
            # Codes one vector at a time there, quicker with centroids laid out for it.
            quantizer.sync_transposed_centroids()
        multiply = np.matmul

        def run(start, count):
            rows = s.floats(source)[start : start + count]
            if not project:
                latent = rows
            elif torch:
                latent = torch.mm(s.tensor(source)[start : start + count], s.tensor(projection)).numpy()
            else:
                latent = multiply(rows, s.floats(projection))
            found["codes"] = quantizer.compute_codes(latent)

        def collect_codes(start, count):
            bits = int(s.k).bit_length() - 1
            stream = np.unpackbits(found["codes"][:count], axis=1, bitorder="little")
            stream = stream[:, : s.segments * bits].reshape(count, s.segments, bits)
            return {"values": (stream @ (1 << np.arange(bits))).astype(np.int32)}

        product = "torch mm + " if torch else "NumPy matmul + "
        impl = f"{product if project else ''}faiss compute_codes"
        forms.append(Form(impl, run, collect_codes, ENCODE_BATCHES, "float32"))
    return forms


def project_forms(s):
    forms, out = [], np.full((s.pool, s.dh), np.nan, np.float32)
    collect = lambda start, count: {"values": out[start : start + count]}
    if torch:
        view = torch.from_numpy(out)

        def run(start, count):
            at = slice(start, start + count)
            torch.mm(s.tensor("labels")[at], s.tensor("projection"), out=view[at])

        forms.append(Form("torch float32 mm", run, collect, DECODE_BATCHES, "float32"))

    def multiply(start, count):
        at = slice(start, start + count)
        np.matmul(s.floats("labels")[at], s.floats("projection"), out=out[at])

    forms.append(Form("NumPy matmul", multiply, collect, DECODE_BATCHES, "float32"))
    return forms


def forms_of(op, s, compiled):
    if op == "encode":
        return nearest_forms(s, compiled, "labels", "codebook", True)
    if op == "encode-low-entropy":
        return nearest_forms(s, compiled, "low_labels", "low_codebook", True)
    if op == "nearest":
        return nearest_forms(s, compiled, "latent", "codebook", False)
    if op == "project":
        return project_forms(s)
    if not torch:
        return []
    if op == "decode":
        return decode_forms(s, compiled)
    if op == "decode-gather":
        return decode_forms(s, compiled, gather=True)
    if op == "decode-one":
        forms = decode_forms(s, False)
        for form in forms:
            form.batches = [1]
        return forms
    return kl_forms(s, compiled) if op == "decode_kl" else []
