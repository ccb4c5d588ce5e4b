"""timm's own deploy graph: fuses a published RepViT and exports it with torch.onnx, on the portable weights.

    python golden/oracle/export_onnx.py repvit_m0_9 --out timm-m0_9.onnx

`npm run bench:onnx -- --model repvit_m0_9 --against timm-m0_9.onnx` times it against the graph that fuseproof writes, in one
interleaved run. Needs onnx and onnxscript beside requirements.txt.
"""

import argparse

import timm
import torch

from goldens import load_portable


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('model')
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('--size', type=int, default=224)
    parser.add_argument('--opset', type=int, default=20, help='20 is the first with Gelu as one op')
    parser.add_argument('--out', required=True)
    options = parser.parse_args()
    model = timm.create_model(options.model).eval()
    load_portable(model, options.seed)
    model.double()
    torch.set_default_dtype(torch.float64)  # fuse() makes new tensors in it
    model.fuse()
    torch.set_default_dtype(torch.float32)
    model.float()
    x = torch.zeros(1, 3, options.size, options.size)
    torch.onnx.export(
        model,
        (x,),
        options.out,
        opset_version=options.opset,
        input_names=['input'],
        output_names=['output'],
        dynamo=True,
        external_data=False,
    )


if __name__ == '__main__':
    main()
