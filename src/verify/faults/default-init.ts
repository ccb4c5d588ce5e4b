/** The check that reference projects have: are the logits of both forms close, on a freshly initialised network? */
import type { Engine } from '../../engines/engine.ts';
import { fuseAndRound } from '../../fused/fuse.ts';
import { InputError } from '../../network/errors.ts';
import { withInputShapes } from '../../network/graph.ts';
import type { Network } from '../../network/ops.ts';
import type { Tensor, Weights } from '../../network/tensor.ts';
import { outputOf } from '../evaluated.ts';
import type { VerifyRequest } from '../verify.ts';

/** PyTorch's users' usual tolerances for float32. */
const RTOL = 1e-4;
const ATOL = 1e-5;

function allclose(actual: Tensor, expected: Tensor): boolean {
  return (
    actual.data.length === expected.data.length &&
    actual.data.every((value, i) => Math.abs(value - expected.data[i]!) <= ATOL + RTOL * Math.abs(expected.data[i]!))
  );
}

function inputsOf(network: Network, input: VerifyRequest['input']) {
  return new Map(network.inputs.map((name) => [name, input]));
}

/** Undefined where the network's layers do not fit each other: it would not even run. */
async function logitsOf(
  network: Network,
  weights: Weights,
  input: VerifyRequest['input'],
): Promise<Tensor | undefined> {
  try {
    return await outputOf(withInputShapes(network, new Map()), weights, inputsOf(network, input));
  } catch (error) {
    if (error instanceof InputError) return undefined;
    throw error;
  }
}

/** Whether the deploy form's logits are close to the train form's all the same, in float64. */
export async function passesAllclose({ fusion, weights, deployWeights, input }: VerifyRequest): Promise<boolean> {
  const expected = await outputOf(fusion.reference, weights, inputsOf(fusion.reference, input));
  const actual = await logitsOf(fusion.network, deployWeights ?? fuseAndRound(fusion, weights), input);
  return actual !== undefined && allclose(actual, expected);
}

/** Whether an engine's logits of both forms are close to the train form's in float64. */
export async function enginePassesAllclose(
  { fusion, weights, input }: VerifyRequest,
  engine: Engine,
): Promise<boolean> {
  const { reference, network } = fusion;
  const expected = await outputOf(reference, weights, inputsOf(reference, input));
  for (const [form, own] of [
    [reference, weights],
    [network, fuseAndRound(fusion, weights)],
  ] as const) {
    const loaded = await engine.load(form, own);
    try {
      if (!allclose(await loaded.run(inputsOf(form, input)), expected)) return false;
    } finally {
      await loaded.dispose();
    }
  }
  return true;
}
