"""The fake TensorRT of the version in FAKE_TENSORRT (default 10.3.0)."""

import os

from fake_gpu.tensorrt import make

_made = make(os.environ.get("FAKE_TENSORRT", "10.3.0"))
globals().update({name: value for name, value in vars(_made).items() if name[0] != "_" or name == "__version__"})
if os.environ.get("FAKE_TENSORRT_IMPORT") == "segfault":
    import ctypes

    ctypes.string_at(0)
elif os.environ.get("FAKE_TENSORRT_IMPORT") == "library":
    raise ImportError("libnvinfer.so.10: cannot open shared object file: No such file or directory")
elif os.environ.get("FAKE_TENSORRT_IMPORT") == "hang":
    import time

    time.sleep(60)
