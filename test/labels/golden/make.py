"""
Makes the files next to it:
python3 -m venv v && v/bin/pip install numpy safetensors ml_dtypes && v/bin/python make.py
"""

import json
import os

import ml_dtypes
import numpy as np
from safetensors.numpy import save_file

os.chdir(os.path.dirname(os.path.abspath(__file__)))
values = ((np.arange(30).reshape(2, 3, 5) * 7 % 31) - 15) / 8
values[1, 2, 4] = 1e-7

np.save("f2.npy", values.astype("<f2"))
np.save("f4.npy", values.astype("<f4"))
np.save("f8.npy", values.astype("<f8"))
np.save("one-epoch.npy", values[1].astype("<f4"))
for version in (2, 3):
    with open(f"version{version}.npy", "wb") as file:
        np.lib.format.write_array(file, values.astype("<f4"), version=(version, 0))
np.save("fortran.npy", np.asfortranarray(values.astype("<f4")))
np.save("big-endian.npy", values.astype(">f4"))
np.save("big-endian-f2.npy", values.astype(">f2"))
np.save("fortran-big-endian-f8.npy", np.asfortranarray(values.astype(">f8")))
np.save("fortran-one-epoch.npy", np.asfortranarray(values[1].astype("<f2")))
bfloat = values.astype(ml_dtypes.bfloat16)
np.save("bf16.npy", bfloat)
save_file({"logits": bfloat}, "bf16.safetensors")
np.savez("stored.npz", logits=values.astype("<f4"))
np.savez_compressed("deflated.npz", np.asfortranarray(values.astype("<f8")))
np.savez("several.npz", ids=np.arange(3), a=values.astype("<f2"), b=values[0].astype(">f4"))
masked = values.astype("<f4")
masked[0, 1, 2] = -np.inf
masked[1, 0, :4] = np.finfo("f4").min
masked[1, 2, 1:] = -1e9
np.save("masked.npy", masked)
np.save("masked-f8.npy", np.where(masked < -10, np.finfo("f8").min, masked).astype("<f8"))
infinite = values.astype("<f4")
infinite[1, 1, 2] = np.inf
np.save("infinite.npy", infinite)
whole = values.astype("<f4")
whole[0, 2] = -np.inf
np.save("masked-whole.npy", whole)
np.save("object.npy", np.array([1, "a"], dtype=object))
np.save("int.npy", np.arange(30, dtype="<i4").reshape(2, 3, 5))
np.save("record.npy", np.zeros((2, 3, 5), dtype=[("a", "<f4"), ("b", "<i4")]))
np.save("vector.npy", values.reshape(-1).astype("<f4"))
nan = values.astype("<f2")
nan[1, 0, 3] = np.nan
np.save("nan.npy", nan)

save_file({"logits": values.astype("<f2")}, "f16.safetensors", metadata={"made by": "safetensors"})
save_file(
    {"a": values.astype("<f4"), "b": values[0].astype("<f8"), "ids": np.arange(3)},
    "many.safetensors",
)

# What a reader must give: the values as rounded by NumPy.
expected = {name: values.astype(name).astype("<f8").reshape(-1).tolist() for name in ("<f2", "<f4")}
expected["bf16"] = bfloat.astype("<f8").reshape(-1).tolist()
with open("expected.json", "w") as file:
    json.dump(expected, file)
