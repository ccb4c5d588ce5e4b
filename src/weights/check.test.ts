import { describe, expect, test } from 'vitest';
import { InputError } from '../network/errors.ts';
import { weightShapesByKey } from '../network/graph.ts';
import type { Tensor, Weights } from '../network/tensor.ts';
import { buildRepVit, completeRepVitConfig } from '../reference/repvit.ts';
import { checkWeights } from './check.ts';
import { randomWeights } from './random.ts';

const size = { batch: 1, height: 16, width: 16 };
const network = buildRepVit(completeRepVitConfig({ embed_dim: [8], depth: [1], num_classes: 5 }), size, 'tiny');
const weights = randomWeights(network, 1);

function changed(change: (map: Map<string, Tensor>) => void): Weights {
  const map = new Map<string, Tensor>(weights);
  change(map);
  return map;
}

function messageOf(given: Weights): string {
  try {
    checkWeights(network, given, 'm.safetensors');
  } catch (error) {
    expect(error).toBeInstanceOf(InputError);
    return error instanceof Error ? error.message : '';
  }
  throw new Error('the weights were accepted');
}

describe('checkWeights', () => {
  test("accepts the network's own, with num_batches_tracked", () => {
    const given = changed((map) =>
      map.set('stem.conv1.bn.num_batches_tracked', { shape: [], data: Float32Array.of(7) }),
    );
    expect(checkWeights(network, given, 'm')).toBeUndefined();
  });

  test('names all missing, extra and misshapen keys and negative variances at once', () => {
    const given = changed((map) => {
      map.delete('stem.conv1.c.weight');
      map.set('stem.conv3.c.weight', { shape: [1], data: Float32Array.of(1) });
      map.set('head.head.l.bias', { shape: [1, 5], data: new Float32Array(5) });
      map.set('stem.conv1.bn.running_var', { shape: [4], data: Float32Array.of(1, 0, -2, -3) });
    });
    expect(messageOf(given)).toBe(
      [
        'm.safetensors: these are not weights of tiny; give its own checkpoint, or the config it was trained with',
        '1 key missing:',
        '  stem.conv1.c.weight [4, 3, 3, 3]',
        '1 key that the network does not have:',
        '  stem.conv3.c.weight [1]',
        '1 key of another shape:',
        '  head.head.l.bias [1, 5], needed [5]',
        '1 key with a negative variance, which must be at least 0:',
        '  stem.conv1.bn.running_var -2 at index 2',
      ].join('\n'),
    );
  });

  test('names keys as the file has them', () => {
    const given = changed((map) => map.delete('stem.conv1.c.weight'));
    const keyOf = (key: string) => key.replace('stem.conv1.', 'features.0.0.');
    expect(() => checkWeights(network, given, 'm', keyOf)).toThrow(
      '\n1 key missing:\n  features.0.0.c.weight [4, 3, 3, 3]',
    );
  });

  test('lists every missing key, however many', () => {
    const count = weightShapesByKey(network).size;
    const lines = messageOf(new Map()).split('\n');
    expect(lines).toHaveLength(1 + 1 + count);
    expect(lines[1]).toBe(`${count} keys missing:`);
  });
});
