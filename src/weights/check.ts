import { InputError } from '../network/errors.ts';
import { weightShapesByKey } from '../network/graph.ts';
import type { Network } from '../network/ops.ts';
import { formatShape, sameShape, type Weights } from '../network/tensor.ts';
import { isStepCounter } from './floats.ts';

function list(what: string, keys: readonly string[]): readonly string[] {
  if (keys.length === 0) return [];
  return [`${keys.length} ${keys.length === 1 ? 'key' : 'keys'} ${what}:`, ...keys.map((key) => `  ${key}`)];
}

/**
 * Checks that the weights are the network's: every key, no other, of its shape, and no negative running_var.
 * @param subject names the weights in the message
 * @param keyOf the key that the file of the weights has for one of the network's
 * @throws InputError one for all that is wrong
 */
export function checkWeights(
  network: Network,
  weights: Weights,
  subject: string,
  keyOf: (key: string) => string = (key) => key,
): void {
  const shapes = weightShapesByKey(network);
  const missing = [...shapes]
    .filter(([key]) => !weights.has(key))
    .map(([key, shape]) => `${keyOf(key)} ${formatShape(shape)}`);
  const extra = [...weights]
    .filter(([key]) => !shapes.has(key) && !isStepCounter(key))
    .map(([key, { shape }]) => `${keyOf(key)} ${formatShape(shape)}`);
  const misshapen = [...shapes].flatMap(([key, shape]) => {
    const actual = weights.get(key)?.shape ?? shape;
    return sameShape(actual, shape) ? [] : [`${keyOf(key)} ${formatShape(actual)}, needed ${formatShape(shape)}`];
  });
  const negative = network.nodes.flatMap((node) => {
    const key = node.weights.running_var ?? '';
    const data = weights.get(key)?.data;
    const index = data?.findIndex((value) => value < 0) ?? -1;
    return index < 0 ? [] : [`${keyOf(key)} ${data?.[index]} at index ${index}`];
  });

  const problems = [
    ...list('missing', missing),
    ...list('that the network does not have', extra),
    ...list('of another shape', misshapen),
    ...list('with a negative variance, which must be at least 0', negative),
  ];
  if (problems.length > 0) {
    throw new InputError(
      `${subject}: these are not weights of ${network.name}; give its own checkpoint, or the config it was trained with\n${problems.join('\n')}`,
    );
  }
}
