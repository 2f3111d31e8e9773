"""softpack's own kernels through their C interface (native/core/backend.h), where `softpack_labels.build` built them."""

import ctypes
import os

import numpy as np

from .errors import SoftpackError

ABI = 3
LIBRARY = "SOFTPACK_LABELS_LIBRARY"
OK, INVALID_CODES = 0, 2
CLAMP, AUTO, EXACT, FLOAT32 = 1, 0, 0, 0

u8, u32, u64, f32 = ctypes.c_uint8, ctypes.c_uint32, ctypes.c_uint64, ctypes.c_float
P = ctypes.c_void_p


class DecoderSpec(ctypes.Structure):
    _fields_ = (
        [(name, P) for name in ("codebooks", "basis", "bias", "bases")]
        + [(name, u64) for name in ("base_rows", "classes", "latent", "stages", "levels", "width")]
        + [(name, u64) for name in ("codebook_stride", "latent_step", "memory_cap")]
        + [("bits", u32), ("head", u32), ("head_parameter", f32), ("method", u32), ("precision", u32)]
    )


class DecodeArgs(ctypes.Structure):
    _fields_ = [
        *[("codes", P), ("codes_bytes", u64), ("list", P), ("first", u64), ("count", u64)],
        *[("base_pairs", P), ("base_weights", P), ("out", P), ("out_type", u32), ("threads", u32)],
    ]


class Image(ctypes.Structure):
    _fields_ = [("pixels", P), ("height", u32), ("width", u32)]


class AugmentArgs(ctypes.Structure):
    _fields_ = [
        *[("images", P), ("image_count", u64), ("views", P), ("weights", P), ("out", P), ("count", u64)],
        *[("height", u32), ("width", u32), ("scale", f32 * 3), ("shift", f32 * 3)],
        *[("threads", u32), ("resample", u32), ("round", u32)],
    ]


class Backend(ctypes.Structure):
    _fields_ = [("abi_version", u32), ("size", u32), ("name", ctypes.c_char_p)] + [
        (name, P)
        for name in (
            *("info", "project", "nearest", "pack", "unpack", "encoder_create", "encode", "encoder_destroy"),
            *("decoder_create", "decoder_info", "decode", "decode_kl", "decoder_destroy", "augment"),
        )
    ]


def library_path():
    """Where the library is built to and looked for; SOFTPACK_LABELS_LIBRARY names another file."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.environ.get(LIBRARY) or os.path.join(cache, "softpack", f"labels-abi{ABI}.so")


_loaded = {}


def backend():
    """(functions, None) or (None, why there are none)."""
    path = library_path()
    if path not in _loaded:
        _loaded[path] = _load(path)
    return _loaded[path]


def _load(path):
    if not os.path.exists(path):
        return None, f"no library at {path}; build it by python -m softpack_labels.build"
    try:
        library = ctypes.CDLL(path)
        library.SoftpackCpuBackend.restype = ctypes.POINTER(Backend)
        table = library.SoftpackCpuBackend().contents
    except (OSError, AttributeError) as error:
        return None, str(error)
    if table.abi_version != ABI or table.size < ctypes.sizeof(Backend):
        return None, f"{path} has ABI {table.abi_version}, not {ABI}; build it again"
    return _Functions(library, table), None


class _Functions:
    def __init__(self, library, table):
        status = ctypes.c_int
        self.library = library
        library.SoftpackStatusText.restype = ctypes.c_char_p
        self.create = ctypes.CFUNCTYPE(status, P, P)(table.decoder_create)
        self.decode = ctypes.CFUNCTYPE(status, P, P)(table.decode)
        self.destroy = ctypes.CFUNCTYPE(None, P)(table.decoder_destroy)
        self.augment = ctypes.CFUNCTYPE(status, P)(table.augment)

    def require(self, operation, status):
        if status == OK:
            return
        text = self.library.SoftpackStatusText(status).decode()
        code = "INVALID_ARGUMENT" if status == INVALID_CODES else "NATIVE_FAILED"
        raise SoftpackError(code, text, "codes" if status == INVALID_CODES else operation)


def _functions(required):
    found, reason = backend()
    if found is None and required:
        raise SoftpackError("BACKEND_UNAVAILABLE", reason, "kernels")
    return found


def _address(array):
    return array.ctypes.data


def decoder_spec(config, tensors):
    """(the exact decoder of codec `vqae`, the arrays that it points to)."""
    classes, dh, dc, k = (config[name] for name in ("classes", "dh", "dc", "k"))
    arrays = [np.ascontiguousarray(tensors[name], np.float32) for name in ("codebook", "decoder", "bias")]
    spec = DecoderSpec(codebooks=_address(arrays[0]), basis=_address(arrays[1]), bias=_address(arrays[2]))
    spec.classes, spec.latent, spec.stages, spec.levels, spec.width = classes, dh, dh // dc, k, dc
    spec.latent_step, spec.bits, spec.head, spec.head_parameter = dc, k.bit_length() - 1, CLAMP, config["eps"]
    return spec, arrays


class _VqaeDecoder:
    def __init__(self, functions, config, tensors):
        self._functions, self._classes = functions, config["classes"]
        spec, arrays = decoder_spec(config, tensors)
        self._handle = P()
        functions.require("decoder_create", functions.create(ctypes.byref(spec), ctypes.byref(self._handle)))
        del arrays  # copied

    def __call__(self, row, labels):
        out = np.empty((len(labels), self._classes), np.float32)
        ids = np.ascontiguousarray(labels, np.uint32)
        row = np.ascontiguousarray(row)
        args = DecodeArgs(codes=_address(row), codes_bytes=len(row), list=_address(ids), count=len(ids))
        args.out, args.out_type, args.threads = _address(out), FLOAT32, 1
        self._functions.require("decode", self._functions.decode(self._handle, ctypes.byref(args)))
        return out

    def __del__(self):
        if getattr(self, "_handle", None):
            self._functions.destroy(self._handle)
            self._handle = None


def native_decoder(name, config, tensors, required):
    """A function (row of codes, positions) -> labels; None if the library is not there. Only `vqae` has kernels."""
    functions = _functions(required)
    if functions is None or name != "vqae":
        return None
    return _VqaeDecoder(functions, config, tensors)


def native_render(plan, required):
    """float32 [n, height, width, 3] of a :class:`render.Plan`; None if the library is not there."""
    functions = _functions(required)
    if functions is None:
        return None
    height, width = plan.size
    ids = list(plan.pixels)
    positions = {sample: i for i, sample in enumerate(ids)}
    images = (Image * len(ids))()
    for i, sample in enumerate(ids):
        pixels = plan.pixels[sample]
        images[i] = Image(_address(pixels), pixels.shape[0], pixels.shape[1])
    count = len(plan.others)
    views = np.zeros((count, 16), np.int32)
    views[:, 6] = -1
    for i, other in enumerate(plan.others.tolist()):
        views[i, :6] = _part(plan, i, positions)
        if other >= 0:
            views[i, 6:12] = _part(plan, other, positions)
            views[i, 12:] = plan.box[i]
    weights = np.ascontiguousarray(plan.weight, np.float32)
    out = np.empty((count, height, width, 3), np.float32)
    args = AugmentArgs(images=ctypes.addressof(images), image_count=len(ids), views=_address(views), count=count)
    args.weights, args.out, args.height, args.width, args.threads = _address(weights), _address(out), height, width, 1
    args.scale, args.shift = (f32 * 3)(*plan.scale.tolist()), (f32 * 3)(*plan.shift.tolist())
    args.resample, args.round = int(plan.antialias), int(plan.round)
    functions.require("augment", functions.augment(ctypes.byref(args)))
    return out


def _part(plan, part, positions):
    return [positions[int(plan.shown[part])], *plan.crops[part].tolist(), int(plan.flips[part])]
