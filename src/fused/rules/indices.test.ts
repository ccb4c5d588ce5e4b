import { describe, expect, test } from 'vitest';
import { NetworkBuilder } from '../../network/builder.ts';
import { weightShapesByKey } from '../../network/graph.ts';
import type { Network, OpOf } from '../../network/ops.ts';
import { elements } from '../../network/tensor.ts';
import { buildRepMlpNet, completeRepMlpNetConfig } from '../../reference/repmlpnet.ts';
import { buildRepVit, completeRepVitConfig } from '../../reference/repvit.ts';
import { randomWeights } from '../../weights/random.ts';
import { type Field, float64Field } from '../field.ts';
import { deployForms, fuseTo } from '../forms.ts';
import { fuseIn } from '../fuse.ts';

/** A typed array says nothing of an index beyond its end: it gives undefined, and loses what is written. This one throws. */
function strict(values: readonly number[]): number[] {
  const check = (target: readonly number[], key: string | symbol) => {
    if (!(key in target)) throw new RangeError(`index ${String(key)} of ${target.length} values`);
  };
  return new Proxy([...values], {
    get(target, key) {
      check(target, key);
      return Reflect.get(target, key);
    },
    set(target, key, value) {
      check(target, key);
      return Reflect.set(target, key, value);
    },
  });
}

const strictField: Field<number> = {
  ...float64Field,
  name: 'strict float64',
  array: (length) => strict(new Array<number>(length).fill(0)),
};

const conv: OpOf<'conv2d'> = {
  kind: 'conv2d',
  outChannels: 4,
  kernel: [3, 3],
  stride: [1, 1],
  padding: [1, 1],
  dilation: [1, 1],
  groups: 4,
  bias: false,
};

const networks: readonly (readonly [string, () => Network])[] = [
  ...[true, false].map(
    (legacy) =>
      [
        `RepViT, legacy ${legacy}`,
        () => {
          const config = completeRepVitConfig({ legacy, embed_dim: [4, 6], depth: [1, 1], num_classes: 3 });
          return buildRepVit(config, { batch: 1, height: 16, width: 16 });
        },
      ] as const,
  ),
  [
    'RepMLPNet',
    () => {
      const config = completeRepMlpNetConfig({
        channels: [4, 6],
        hs: [2, 1],
        ws: [3, 3],
        num_blocks: [1, 1],
        sharesets_nums: [2, 3],
        reparam_conv_k: [1, 3],
        num_class: 3,
      });
      return buildRepMlpNet(config, { batch: 1, height: 16, width: 24 });
    },
  ],
  [
    'a convolution behind a batch norm',
    () => {
      const builder = new NetworkBuilder('norm-conv');
      const normed = builder.add('bn', { kind: 'batchNorm', eps: 1e-5 }, [builder.input('input', [1, 4, 5, 5])]);
      return builder.build(builder.add('c', { ...conv, padding: [0, 0], bias: true }, [normed]));
    },
  ],
  [
    'a layer over windows without a bias and a convolution',
    () => {
      const builder = new NetworkBuilder('locality');
      const x = builder.input('input', [2, 4, 3, 5]);
      const terms = [builder.add('fc3', { kind: 'setLinear', bias: false }, [x]), builder.add('c', conv, [x])];
      return builder.build(builder.add('add', { kind: 'add' }, terms));
    },
  ],
];

describe.each(networks)('the rules that fuse %s', (_name, networkOf) => {
  test('read and write only what is there', () => {
    const network = networkOf();
    const weights = randomWeights(network, 1);
    const given = (key: string) => strict([...weights.get(key)!.data]);
    let emitted = 0;
    for (const form of deployForms(network)) {
      const fusion = fuseTo(form, network);
      const deployShapes = weightShapesByKey(fusion.network);
      fuseIn(fusion, strictField, given, (key, shape, values) => {
        expect(shape).toEqual(deployShapes.get(key));
        expect(values.length).toBe(elements(shape));
        emitted += values.length;
      });
    }
    expect(emitted).toBeGreaterThan(0);
  });
});
