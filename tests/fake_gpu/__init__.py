"""A GPU made of numpy: CUDA's rules as far as they are broken easily, TensorRT in three versions on top of them.

`site/` has the packages `tensorrt` and `pycuda` to put on a path. What they compute ONNX Runtime computes; what they
refuse the real ones refuse: calls from a thread without a context, work that nobody waited for, engines of another
version.
"""
