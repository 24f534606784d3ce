"""Weights in half precision in the file alone: each is a float16 with a Cast behind it, and whoever opens the model
computes in float32 as before, since ONNX Runtime, OpenVINO and TensorRT cast constants once, when they load it.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FEWEST = 1024
"""Values in a tensor that is packed; norms and biases are not worth a node."""
PACKED = "/half"
"""What the name of a packed weight has behind its own."""


def packed(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy whose float32 weights of `FEWEST` values or more are stored in float16. Values beyond its range stay."""
    model = onnx.ModelProto.FromString(model.SerializeToString())
    casts = []
    for weight in model.graph.initializer:
        values = numpy_helper.to_array(weight)
        if values.dtype != np.float32 or values.size < FEWEST or np.abs(values).max() > np.finfo(np.float16).max:
            continue
        name = weight.name
        weight.CopyFrom(numpy_helper.from_array(values.astype(np.float16), name + PACKED))
        casts.append(helper.make_node("Cast", [name + PACKED], [name], name=f"{name}/cast", to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model
