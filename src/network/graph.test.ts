import { describe, expect, test } from 'vitest';
import { NetworkBuilder } from './builder.ts';
import { InputError } from './errors.ts';
import { nodesByName, subnetwork, weightShapesByKey, withInputShapes } from './graph.ts';
import type { Network } from './ops.ts';

/** x -> conv -> bn; sum of bn, x and bn again. */
function sample(): Network {
  const builder = new NetworkBuilder('sample');
  const x = builder.input('x', [1, 2, 5, 4]);
  const square = [1, 1] as const;
  const convolved = builder.add(
    'conv',
    {
      kind: 'conv2d',
      outChannels: 2,
      kernel: [3, 3],
      stride: square,
      padding: square,
      dilation: square,
      groups: 1,
      bias: false,
    },
    [x],
  );
  const normed = builder.add('bn', { kind: 'batchNorm', eps: 1e-5 }, [convolved]);
  return builder.build(builder.add('sum', { kind: 'add' }, [normed, x, normed]));
}

const names = (network: Network) => network.nodes.map(({ name }) => name);

test('nodesByName', () => {
  expect([...nodesByName(sample()).keys()]).toEqual(['x', 'conv', 'bn', 'sum']);
});

describe('subnetwork', () => {
  test('has the nodes outside as inputs, in their shapes', () => {
    const part = subnetwork(sample(), new Set(['bn', 'sum']), 'sum');
    expect(names(part).toSorted()).toEqual(['bn', 'conv', 'sum', 'x']);
    expect([...part.inputs].toSorted()).toEqual(['conv', 'x']);
    expect(part.nodes.filter(({ op }) => op.kind === 'input').map(({ shape }) => shape)).toEqual([
      [1, 2, 5, 4],
      [1, 2, 5, 4],
    ]);
    expect(part.output).toBe('sum');
    expect([...weightShapesByKey(part).keys()]).toEqual(['bn.weight', 'bn.bias', 'bn.running_mean', 'bn.running_var']);
  });

  test('of one node holds it and what it reads', () => {
    expect(names(subnetwork(sample(), new Set(['conv']), 'conv'))).toEqual(['x', 'conv']);
  });
});

describe('withInputShapes', () => {
  test('infers every shape anew and leaves the network as it is', () => {
    const network = sample();
    const before = structuredClone(network);
    const larger = withInputShapes(network, new Map([['x', [3, 2, 9, 7]]]));
    expect(larger.nodes.map(({ shape }) => shape)).toEqual(network.nodes.map(() => [3, 2, 9, 7]));
    expect(network).toEqual(before);
    expect(weightShapesByKey(larger)).toEqual(weightShapesByKey(network));
  });

  test('refuses a shape that a node does not fit', () => {
    expect(() => withInputShapes(sample(), new Map([['x', [1, 2, 0, 4]]]))).toThrow(InputError);
  });
});
