from fake_gpu.pycuda_driver import *  # noqa: F403
from fake_gpu.pycuda_driver import Stream  # noqa: F401
