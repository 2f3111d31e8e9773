"""PyTorch, faiss and NumPy as rivals of softpack's kernels, each operation in its best forms.

Reads one JSON request a line and answers with one line; argument: the number of threads. Times are its own clock's:
{"seconds": wall, "cpuSeconds": of all threads}. Arrays come as raw little-endian files in the folder that `load`
names, results go back there. Indices are handed over unpacked, as the index tensors that each form wants, and tables
are built beforehand: neither is timed.
"""

import json
import logging
import os
import sys
import time
import warnings

THREADS = int(sys.argv[1])
# Libraries print; replies go to the real standard output alone.
REPLIES = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
warnings.filterwarnings("ignore")
logging.disable(logging.WARNING)

from peers_forms import Setting, faiss, forms_of, np, torch  # noqa: E402  Importing may print.

if torch:
    torch.set_num_threads(THREADS)
if faiss:
    faiss.omp_set_num_threads(THREADS)

setting = None
forms = {}


def handle(request):
    global setting
    command = request["command"]
    if command == "hello":
        modules = {"torch": torch, "faiss": faiss, "numpy": np}
        versions = {name: m.__version__ for name, m in modules.items() if m}
        # Everything here needs NumPy.
        return {"versions": versions if np else {}, "missing": [n for n, m in modules.items() if not m]}
    if command == "load":
        forms.clear()
        setting = Setting(request)
        if "torch._dynamo" in sys.modules:
            torch._dynamo.reset()
        return {}
    op = request["op"]
    if command == "forms":
        made = forms_of(op, setting, request["compiled"])
        forms[op] = {form.impl: form for form in made}
        fields = ("impl", "batches", "work", "like")
        return {"forms": [{field: getattr(form, field) for field in fields} for form in made]}
    if command == "release":
        forms.pop(op, None)
        return {}
    form = forms[op][request["impl"]]
    if command == "time":
        return timed(form, request["batch"], request["calls"])
    if command == "output":
        return collected(form, request["batch"], request["checked"])
    raise ValueError(f"unknown command {command}")


def timed(form, batch, calls):
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(calls):
        if form.next + batch > setting.pool:
            form.next = 0
        form.run(form.next, batch)
        form.next += batch
    return {
        "seconds": time.perf_counter() - wall,
        "cpuSeconds": time.process_time() - cpu,
    }


def collected(form, batch, checked):
    """Results of whole batches, so that nothing is compiled for another size, cut to the labels asked for."""
    pieces = {}
    for start in range(0, checked, batch):
        form.run(start, batch)
        for name, part in form.collect(start, min(batch, checked - start)).items():
            pieces.setdefault(name, []).append(np.asarray(part))
    names = {}
    for name, parts in pieces.items():
        names[name] = f"result-{name}"
        np.concatenate(parts).tofile(os.path.join(setting.folder, names[name]))
    return {"parts": names}


for line in sys.stdin:
    try:
        reply = handle(json.loads(line))
    except Exception as error:  # The parent reports it and goes on.
        reply = {"error": f"{type(error).__name__}: {error}".split("\n")[0]}
    print(json.dumps(reply), file=REPLIES, flush=True)
