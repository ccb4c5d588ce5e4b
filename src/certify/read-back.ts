/** What was written, read again: so that a proof is of the file's own numbers, not of those that it was to hold. */
import type { Network, Node } from '../network/ops.ts';
import { elements, type FloatArray, toFloat32, type Weights } from '../network/tensor.ts';
import { parseCheckpoint } from '../weights/checkpoint.ts';
import { type Files, type Format, holdsGraph } from './artefact.ts';

/**
 * The deploy weights that an artefact's files hold. Of a graph, those that several weights went into together are left as
 * they were fused: the shift, row sums and bias of an affine windowLinear.
 * @param weights as they were fused: keys and shapes
 * @param keyOf the key that a weight has in a file of weights
 * @throws Error where the files do not hold the network: only a fault of fuseproof itself makes such ones
 */
export async function readBack(
  format: Format,
  files: Files,
  network: Network,
  weights: Weights<Float32Array>,
  keyOf: (key: string) => string,
): Promise<Weights<Float32Array>> {
  const found = await reader(format, files, network, keyOf);
  const merged = new Set(holdsGraph(format) ? network.nodes.flatMap(mergedKeys) : []);
  return new Map(
    [...weights].map(([key, fused]) => {
      if (merged.has(key)) return [key, fused];
      const data = found(key);
      if (data?.length !== elements(fused.shape)) {
        throw new Error(
          `${key}: ${data === undefined ? 'not' : `${data.length} of ${elements(fused.shape)} elements`} in the ${format} that was made`,
        );
      }
      return [key, toFloat32({ shape: fused.shape, data })];
    }),
  );
}

/** Weights of a node that a graph has as one constant. */
function mergedKeys({ op, weights }: Node): readonly string[] {
  if (op.kind !== 'windowLinear' || !op.affine) return [];
  return [weights.shift, weights.row_sum, weights.bias].filter((key) => key !== undefined);
}

/** Of each format: the numbers of a weight, in PyTorch's order. */
async function reader(
  format: Format,
  files: Files,
  network: Network,
  keyOf: (key: string) => string,
): Promise<(key: string) => FloatArray | undefined> {
  if (format === 'tfjs') {
    const { readTfjs } = await import('../artefacts/tfjs-weights.ts');
    return readTfjs(files, network);
  }
  const bytes = files.get('')!;
  if (format === 'onnx') {
    const { parseOnnxFile } = await import('../artefacts/onnx-file.ts');
    const { constants } = await parseOnnxFile(bytes, 'the ONNX file that was made');
    return (key) => {
      const data = constants.get(key)?.data;
      return data instanceof BigInt64Array ? undefined : data;
    };
  }
  const checkpoint = await parseCheckpoint(bytes, 'the checkpoint that was made');
  return (key) => checkpoint.weights.get(keyOf(key))?.data;
}
