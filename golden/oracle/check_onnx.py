"""Checks an ONNX model with the onnx package's own checker: python check_onnx.py FILE..."""

import sys
from collections import Counter

import onnx


def main(paths: list[str]) -> None:
    for path in paths:
        model = onnx.load(path)
        onnx.checker.check_model(model, full_check=True)
        inferred = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
        graph = inferred.graph
        print(path)
        print(f"  producer {model.producer_name}, IR {model.ir_version}, opset {model.opset_import[0].version}")
        for kind, values in (("input", graph.input), ("output", graph.output)):
            for value in values:
                dims = [d.dim_value or d.dim_param for d in value.type.tensor_type.shape.dim]
                print(f"  {kind} {value.name} {dims}")
        ops = ", ".join(f"{count} {op}" for op, count in Counter(node.op_type for node in graph.node).most_common())
        print(f"  {len(graph.node)} nodes: {ops}")
        elements = sum(onnx.numpy_helper.to_array(tensor).size for tensor in graph.initializer)
        print(f"  {len(graph.initializer)} initializers of {elements} elements")


if __name__ == "__main__":
    main(sys.argv[1:])
