/** The small networks that faults are planted in: every fault finds something to corrupt in one of them. */
import { type DeployForm, deployForms } from '../../fused/forms.ts';
import { NetworkBuilder } from '../../network/builder.ts';
import { weightShapesByKey } from '../../network/graph.ts';
import { isKind, type Network, type Op, type OpOf, type Role } from '../../network/ops.ts';
import { elements, type Shape, type Tensor, type Weights } from '../../network/tensor.ts';
import { buildRepMlpNet, completeRepMlpNetConfig } from '../../reference/repmlpnet.ts';
import { buildRepVit, completeRepVitConfig } from '../../reference/repvit.ts';
import { randomInput } from '../../weights/random.ts';
import type { Tier } from '../findings.ts';

export interface Subject {
  readonly name: string;
  readonly reference: Network;
  readonly form: DeployForm;
  /** A tier that the right fusion does not pass: what must not be merged is left as it is. */
  readonly without?: Tier;
}

const EPS = 1e-5;

const norm: Op = { kind: 'batchNorm', eps: EPS };

function conv(outChannels: number, given: Partial<OpOf<'conv2d'>> = {}): OpOf<'conv2d'> {
  return {
    kind: 'conv2d',
    outChannels,
    kernel: [1, 1],
    stride: [1, 1],
    padding: [0, 0],
    dilation: [1, 1],
    groups: 1,
    bias: false,
    ...given,
  };
}

/** A network on `input`, [N, C, H, W]; `layers` returns its output. */
function micro(name: string, shape: Shape, layers: (builder: NetworkBuilder, input: string) => string): Network {
  const builder = new NetworkBuilder(name);
  return builder.build(layers(builder, builder.input('input', shape)));
}

/** A grouped convolution with a bias, of another kernel, stride, padding and dilation along each axis. */
const convNorm = () =>
  micro('conv-norm', [2, 4, 7, 6], (builder, x) => {
    const op = conv(6, { kernel: [3, 2], stride: [2, 1], padding: [1, 0], dilation: [1, 2], groups: 2, bias: true });
    return builder.add('m.bn', norm, [builder.add('m.c', op, [x])]);
  });

const normConv = () =>
  micro('norm-conv', [2, 4, 4, 5], (builder, x) =>
    builder.add('m.c', conv(6, { kernel: [2, 3], groups: 2, bias: true }), [builder.add('m.bn', norm, [x])]),
  );

const normPool = () =>
  micro('norm-pool', [2, 6, 3, 4], (builder, x) => {
    const pool = { kind: 'globalAvgPool', keepDims: true } as const;
    return builder.add('m.l', conv(4, { groups: 2, bias: true }), [
      builder.add('m.pool', pool, [builder.add('m.bn', norm, [x])]),
    ]);
  });

/** The batch norm before the padding stays on purpose. */
const normPaddedConv = () =>
  micro('norm-padded-conv', [2, 3, 5, 4], (builder, x) => {
    const padded = builder.add('m.c', conv(4, { kernel: [3, 3], padding: [1, 1] }), [builder.add('bn', norm, [x])]);
    return builder.add('m.bn', norm, [padded]);
  });

/** A convolution that its batch norm and a sum read: the batch norm goes into the convolution behind it. */
const twoReaders = () =>
  micro('two-readers', [2, 4, 6, 5], (builder, x) => {
    const shared = builder.add('c', conv(4, { kernel: [3, 3], padding: [1, 1] }), [x]);
    const behind = builder.add('p', conv(4), [builder.add('bn', norm, [shared])]);
    return builder.add('add', { kind: 'add' }, [shared, builder.add('act', { kind: 'relu' }, [behind])]);
  });

/** A sum of depthwise convolutions that no one convolution can replace, then a ConvNorm. */
function branches(
  name: string,
  size: readonly [number, number],
  identity: boolean,
  ...ops: readonly Partial<OpOf<'conv2d'>>[]
): Network {
  return micro(name, [2, 3, ...size], (builder, x) => {
    const terms = ops.map((op, i) => builder.add(`m.${i}`, conv(3, { groups: 3, bias: true, ...op }), [x]));
    const sum = builder.add('m.add', { kind: 'add' }, identity ? [...terms, x] : terms);
    const active = builder.add('act', { kind: 'relu' }, [sum]);
    return builder.add('n.bn', norm, [builder.add('n.c', conv(4), [active])]);
  });
}

/** fc3 and a branch of the local perceptron, both with a bias, between batch norms; two share-sets and six windows. */
const windows = () =>
  micro('windows', [2, 4, 6, 6], (builder, input) => {
    const x = builder.add('m.prebn', norm, [input]);
    const cut = builder.add('m.partition', { kind: 'partition', window: [2, 3], sets: 2 }, [x]);
    const mixed = builder.add('m.fc3_bn', norm, [builder.add('m.fc3', { kind: 'setLinear', bias: true }, [cut])]);
    const branch = conv(2, { kernel: [3, 3], padding: [1, 1], groups: 2, bias: true });
    const local = builder.add('m.repconv3.bn', norm, [builder.add('m.repconv3.conv', branch, [cut])]);
    const sum = builder.add('m.add', { kind: 'add' }, [mixed, local]);
    return builder.add('m.departition', { kind: 'departition', channels: 4, parts: [3, 2] }, [sum]);
  });

/** One stage of two blocks, with and without squeeze-and-excite; two heads. */
const repVit = () =>
  buildRepVit(completeRepVitConfig({ embed_dim: [4], depth: [2], mlp_ratio: 1, num_classes: 3 }), {
    batch: 2,
    height: 8,
    width: 12,
  });

/** The other RepVGGDW with 5x5 kernels, in two stages with downsampling between; one head. */
const legacyRepVit = () =>
  buildRepVit(
    completeRepVitConfig({
      embed_dim: [2, 4],
      depth: [1, 1],
      mlp_ratio: 1,
      kernel_size: 5,
      num_classes: 3,
      legacy: true,
      distillation: false,
    }),
    { batch: 2, height: 8, width: 12 },
    'repvit-legacy',
  );

/** Oblong windows: two, of two share-sets of two channels; then one, of as many. */
const repMlpNet = () =>
  buildRepMlpNet(
    completeRepMlpNetConfig({
      patch_size: [2, 2],
      in_channels: 1,
      channels: [4, 4],
      hs: [2, 1],
      ws: [3, 3],
      num_blocks: [1, 1],
      sharesets_nums: [2, 2],
      reparam_conv_k: [1, 3],
      globalperceptron_reduce: 2,
      num_class: 3,
    }),
    { batch: 2, height: 4, width: 12 },
  );

/** Every subject, built anew. */
export function subjects(): readonly Subject[] {
  const unmergeable = [
    branches(
      'dilations',
      [6, 5],
      true,
      { kernel: [3, 3], padding: [1, 1] },
      { kernel: [3, 3], padding: [2, 2], dilation: [2, 2] },
    ),
    branches('strides', [5, 5], false, { kernel: [3, 3] }, { stride: [2, 2] }),
    branches('even-kernel', [6, 5], true, { kernel: [2, 2], padding: [1, 1], dilation: [2, 2] }, {}),
  ];
  const networks = [repVit(), legacyRepVit(), repMlpNet(), convNorm(), normConv(), normPool(), twoReaders(), windows()];
  const padded = normPaddedConv();
  return [
    ...networks.flatMap((reference) =>
      deployForms(reference).map((form) => ({ name: `${reference.name}, ${form.name}`, reference, form })),
    ),
    {
      name: padded.name,
      reference: padded,
      form: { ...deployForms(padded)[0], keeps: ({ name }) => name === 'bn' },
    },
    ...unmergeable.map(
      (reference): Subject => ({
        name: reference.name,
        reference,
        form: deployForms(reference)[0],
        without: 'structure',
      }),
    ),
  ];
}

/** timm starts the last batch norm of a residual branch at zero. */
const ZERO_GAMMA = /\.(channel_mixer|ffn)\.conv2\.bn\.weight$/;

/**
 * Weights of a freshly made network: batch norms of gamma 1, beta 0, mean 0 and variance 1, biases zero, the rest
 * uniform with PyTorch's half-width 1 / sqrt(fan_in).
 */
export function initialWeights(network: Network, seed: number): Weights<Float32Array> {
  const shapes = weightShapesByKey(network);
  const weights = new Map<string, Tensor<Float32Array>>();
  for (const node of network.nodes) {
    for (const [role, key] of Object.entries(node.weights) as [Role, string][]) {
      const shape = shapes.get(key)!;
      const data = new Float32Array(elements(shape));
      if (isKind(node, 'batchNorm')) {
        const isOne = role === 'running_var' || (role === 'weight' && !ZERO_GAMMA.test(key));
        data.fill(isOne ? 1 : 0);
      } else if (role === 'weight') {
        const halfWidth = 1 / Math.sqrt(elements(shape.slice(1)));
        data.set(randomInput(shape, seed, key).data.map((value) => (value / Math.sqrt(3)) * halfWidth));
      }
      weights.set(key, { shape, data });
    }
  }
  return weights;
}
