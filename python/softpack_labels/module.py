"""The CUDA module through its C interface (native/core/device_module.h); needs no torch."""

import ctypes
import os
import threading

from .errors import SoftpackError
from .native import ABI, OK, Backend, DecodeArgs, P, decoder_spec, f32, u32, u64

MODULE_VERSION = 7
MODULE = "SOFTPACK_CUDA_MODULE"
PRECISIONS = ("exact", "fast", "fastest")
METHODS = ("auto", "latent", "table", "fixed", "bfloat", "split")

_REASONS = {
    1: ("INVALID_ARGUMENT", "the module refused an argument, or a label lies beyond the codes"),
    2: ("INVALID_ARGUMENT", "codes that no encoder writes"),
    3: ("NATIVE_FAILED", "out of memory"),
    5: ("UNSUPPORTED", "this method needs a unit that the GPU lacks, or values overflow"),
    6: ("BACKEND_UNAVAILABLE", "no GPU that kernels can run on"),
    7: ("DEVICE_LOST", "the GPU failed, and this process cannot use it again"),
    9: ("INVALID_ARGUMENT", "values that float32 cannot hold"),
    10: ("NATIVE_FAILED", "the GPU refused the call"),
}
# Statuses whose reason the module always tells.
_TOLD = (3, 6, 7, 10)


class DecodeKlArgs(ctypes.Structure):
    _fields_ = [
        *[("codes", P), ("codes_bytes", u64), ("list", P), ("first", u64), ("count", u64)],
        *[("base_pairs", P), ("base_weights", P), ("logits", P), ("losses", P), ("gradient", P)],
        *[("tau", f32), ("scale", f32), ("loss", u32), ("threads", u32)],
    ]


class TransformSpec(ctypes.Structure):
    _fields_ = [
        *[(name, P) for name in ("entries", "row_tables", "shifts", "basis", "bias", "bases")],
        *[(name, u64) for name in ("tables", "base_rows", "components", "classes", "labels_per_block")],
        *[("unit", ctypes.c_double), ("trellis", u32)],
    ]


class TransformRow(ctypes.Structure):
    _fields_ = [("row", P), ("row_bytes", u64), ("blocks", u64), ("unpacked", P)]


class TokenLabels(ctypes.Structure):
    _fields_ = [
        *[("ids", P), ("probabilities", P), ("corrected_ids", P), ("corrections", P), ("corrected", u64)],
        *[("tail", u32), ("prior", P), ("hidden", P), ("head", P), ("width", u64)],
        *[("counts", P), ("vocabulary", u64), ("columns", u64), ("divergence", u32), ("beta", f32)],
    ]


class Table(ctypes.Structure):
    _fields_ = [("module_version", u32), ("size", u32), ("backend", ctypes.POINTER(Backend))] + [
        (name, P)
        for name in (
            *("probe", "start", "last_error", "memory_create", "memory_write", "memory_read", "memory_destroy"),
            *("use_stream", "end_stream", "finish", "stream_create", "stream_destroy", "memory_copy", "stopwatch"),
            *("decode_workspace_bytes", "decode_kl_workspace_bytes", "use_workspace", "use_device", "decode_kl_as"),
            *("transform_create", "transform_destroy", "transform_record_bytes", "transform_unpack"),
            *("transform_decode", "transform_decode_kl", "transform_workspace_bytes"),
            *("token_kl", "token_kl_workspace_bytes"),
        )
    ]


def module_path():
    """SOFTPACK_CUDA_MODULE, or where `npm run build:cuda` puts the module of this checkout."""
    root = os.path.join(os.path.dirname(__file__), "..", "..")
    return os.environ.get(MODULE) or os.path.abspath(os.path.join(root, "build-cuda", "Release", "softpack_cuda.so"))


_opened = {}
_opening = threading.Lock()


def open_module(path=None):
    """The module at a path, opened once per process."""
    path = path or module_path()
    with _opening:
        if path not in _opened:
            _opened[path] = Module(path)
        return _opened[path]


class Module:
    def __init__(self, path):
        if not os.path.exists(path):
            message = f"no CUDA module at {path}; build it by npm run build:cuda, or name it by {MODULE}"
            raise SoftpackError("BACKEND_UNAVAILABLE", message, "module")
        try:
            library = ctypes.CDLL(path)
            library.SoftpackOpenModule.restype = ctypes.POINTER(Table)
            table = library.SoftpackOpenModule().contents
        except (OSError, AttributeError) as error:
            raise SoftpackError("BACKEND_UNAVAILABLE", str(error), "module") from None
        whole = table.module_version == MODULE_VERSION and table.size >= ctypes.sizeof(Table)
        if not whole or table.backend.contents.abi_version != ABI:
            message = f"{path} belongs to another version of softpack; build it again"
            raise SoftpackError("BACKEND_UNAVAILABLE", message, "module", MODULE_VERSION, table.module_version)
        backend, status = table.backend.contents, ctypes.c_int
        self._library = library
        self._last_error = ctypes.CFUNCTYPE(ctypes.c_char_p)(table.last_error)
        self._create = ctypes.CFUNCTYPE(status, P, P)(backend.decoder_create)
        self._destroy = ctypes.CFUNCTYPE(None, P)(backend.decoder_destroy)
        self._decode = ctypes.CFUNCTYPE(status, P, P)(backend.decode)
        self._decode_kl = ctypes.CFUNCTYPE(status, P, P, u32)(table.decode_kl_as)
        self._sizes = [
            ctypes.CFUNCTYPE(status, P, P, P)(size)
            for size in (table.decode_workspace_bytes, table.decode_kl_workspace_bytes)
        ]
        self._use_device = ctypes.CFUNCTYPE(status, ctypes.c_int)(table.use_device)
        self._start = ctypes.CFUNCTYPE(status)(table.start)
        self._use_stream = ctypes.CFUNCTYPE(status, P)(table.use_stream)
        self._finish = ctypes.CFUNCTYPE(status)(table.finish)
        self._use_workspace = ctypes.CFUNCTYPE(status, P, u64)(table.use_workspace)
        self.memory_create = ctypes.CFUNCTYPE(status, u64, P)(table.memory_create)
        self._token_kl = ctypes.CFUNCTYPE(status, P, P, u32)(table.token_kl)
        self._token_size = ctypes.CFUNCTYPE(status, P, P, P)(table.token_kl_workspace_bytes)
        self.transform = _TransformCalls(self, table)
        self._here = threading.local()

    def require(self, field, status, told=False):
        """Raises unless done. `told`: the module gave a reason, whatever the status."""
        if status == OK:
            return
        code, text = _REASONS.get(status, ("NATIVE_FAILED", f"status {status}"))
        if told or status in _TOLD:
            text = f"{text}: {self._last_error().decode(errors='replace')}"
        raise SoftpackError(code, text, field)

    def start(self, device=None):
        """Creates the context. `device`: number of the GPU that the process's kernels run on, or None for the current one."""
        if device is not None:
            self.require("device", self._use_device(device), told=True)
        self.require("device", self._start())

    def use(self, stream, workspace):
        """Puts this thread's calls on a stream (None: on streams of the module's, which a call waits for) and lets them work
        in `workspace`, anything with `data_ptr()` and `nbytes`, or None. Waits only if either is another than before, and then
        raises if codes or labels of calls before were wrong.
        """
        here = self._here
        if stream is not None and getattr(here, "stream", None) != stream:
            # The module forgets wrong codes of a stream that it leaves, and reads its workspace until then.
            earlier = OK if getattr(here, "stream", None) is None else self._finish()
            here.stream = None
            status = self._use_stream(stream)
            here.workspace = None
            self.require("stream", status)
            here.stream = stream
            self.require("codes", earlier)
        before = getattr(here, "workspace", None)
        at = None if workspace is None else (workspace.data_ptr(), workspace.nbytes)
        if at == (None if before is None else before[0]):
            return
        if getattr(here, "stream", None) is None:
            raise SoftpackError("INVALID_ARGUMENT", "a workspace is for tensors on a GPU", "workspace")
        self.finish()
        self.require("workspace", self._use_workspace(*(at or (None, 0))), told=True)
        # Held: the module reports wrong codes there until another one takes its place.
        here.workspace = None if at is None else (at, workspace)

    def finish(self):
        """Waits for this thread's stream; raises if codes or labels were wrong."""
        if getattr(self._here, "stream", None) is not None:
            self.require("codes", self._finish())

    def decode(self, decoder, args):
        self.require("decode", self._decode(decoder, ctypes.byref(args)))

    def decode_kl(self, decoder, args, dtype):
        self.require("decode_kl", self._decode_kl(decoder, ctypes.byref(args), dtype))

    def token_kl(self, labels, args, dtype):
        self.require("labels", self._token_kl(ctypes.byref(labels), ctypes.byref(args), dtype))

    def token_workspace_bytes(self, labels, args):
        size = u64()
        self.require("workspace", self._token_size(ctypes.byref(labels), ctypes.byref(args), ctypes.byref(size)))
        return size.value

    def workspace_bytes(self, decoder, args):
        size = u64()
        measure = self._sizes[isinstance(args, DecodeKlArgs)]
        self.require("workspace", measure(decoder, ctypes.byref(args), ctypes.byref(size)))
        return size.value

    def create(self, config, tensors, precision, method):
        spec, arrays = decoder_spec(config, tensors)
        spec.precision, spec.method = PRECISIONS.index(precision), METHODS.index(method)
        handle = P()
        self.require("decoder_create", self._create(ctypes.byref(spec), ctypes.byref(handle)))
        del arrays  # copied
        return handle

    def destroy(self, decoder):
        self._destroy(decoder)


class _TransformCalls:
    """Calls for labels of codec `transform`."""

    def __init__(self, module, table):
        status = ctypes.c_int
        self._require = module.require
        self._create = ctypes.CFUNCTYPE(status, P, P)(table.transform_create)
        self.destroy = ctypes.CFUNCTYPE(None, P)(table.transform_destroy)
        self.record_bytes = ctypes.CFUNCTYPE(u64, P)(table.transform_record_bytes)
        self._unpack = ctypes.CFUNCTYPE(status, P, P)(table.transform_unpack)
        self._decode = ctypes.CFUNCTYPE(status, P, f32, P)(table.transform_decode)
        self._decode_kl = ctypes.CFUNCTYPE(status, P, f32, P, u32)(table.transform_decode_kl)
        self._workspace_bytes = ctypes.CFUNCTYPE(status, P, u64, P)(table.transform_workspace_bytes)

    def create(self, spec):
        handle = P()
        self._require("transform_create", self._create(ctypes.byref(spec), ctypes.byref(handle)))
        return handle

    def unpack(self, transform, row):
        self._require("codes", self._unpack(transform, ctypes.byref(row)))

    def decode(self, transform, tau, args):
        self._require("decode", self._decode(transform, tau, ctypes.byref(args)))

    def decode_kl(self, transform, tau, args, dtype):
        self._require("decode_kl", self._decode_kl(transform, tau, ctypes.byref(args), dtype))

    def workspace_bytes(self, transform, count):
        size = u64()
        self._require("workspace", self._workspace_bytes(transform, count, ctypes.byref(size)))
        return size.value
