/** What the properties of whole fusions draw: regions of every rule, networks of both families, and their values. */
import fc from 'fast-check';
import { type DeployForm, deployForms, fuseTo } from '../src/fused/forms.ts';
import { NetworkBuilder } from '../src/network/builder.ts';
import type { Network, OpKind } from '../src/network/ops.ts';
import type { Tensor, Weights } from '../src/network/tensor.ts';
import { buildRepMlpNet, completeRepMlpNetConfig, type RepMlpNetConfig } from '../src/reference/repmlpnet.ts';
import { buildRepVit, completeRepVitConfig, type RepVitConfig, smallestSize } from '../src/reference/repvit.ts';
import type { InputSize } from '../src/reference/size.ts';
import { randomInput, randomWeights } from '../src/weights/random.ts';
import {
  averagedHeads,
  type ConvDraw,
  convNorm,
  convolutions,
  epsOf,
  heads,
  inputFor,
  type LocalityDraw,
  localities,
  localityNetwork,
  normConv,
  normLinear,
  normPool,
  normWindows,
  pools,
  repVggDwNetwork,
  repVggDws,
  setLinearNorm,
  unpaddedConvolutions,
  type Values,
  values,
  weightsFor,
  windowNetwork,
  windows,
} from './arbitraries.ts';
import type { Drawn } from './check.ts';

/**
 * - drawn: as the regime of the values says.
 * - generated: gain-tuned, by the generator that verification uses.
 * - pruned: as drawn, but a third of all weights and channels is dead: zero, or too small for a normal float32.
 */
export type Style = 'drawn' | 'generated' | 'pruned';

/** A network and its values; printed by what it was made from. */
export interface NetworkDraw {
  readonly network: Network;
  readonly style: Style;
  readonly values: Values;
  readonly [fc.toStringMethod]: () => string;
}

/** Which styles and regimes to draw; all by default. */
export interface Filling {
  readonly styles?: readonly Style[];
  readonly values?: fc.Arbitrary<Values>;
}

/** Networks on values of their own. */
function filled<Draw>(
  name: string,
  draws: fc.Arbitrary<Draw>,
  networkOf: (draw: Draw, eps: number) => Network,
  {
    styles = ['drawn', 'generated', 'pruned'],
    values: given = values('default', 'balanced', 'wild', 'dyadic'),
  }: Filling,
): fc.Arbitrary<NetworkDraw> {
  return fc.record({ draw: draws, style: fc.constantFrom(...styles), values: given }).map((made) => {
    const network = networkOf(made.draw, epsOf(made.values));
    return {
      network,
      style: made.style,
      values: withinFloat32(made.values, network),
      [fc.toStringMethod]: () => `${name} ${fc.stringify(made)}`,
    };
  });
}

/** Decimal exponent of the largest means and biases: float32 goes up to 38. */
const LARGEST_SCALE = 30;
const LAYERS: ReadonlySet<OpKind> = new Set(['conv2d', 'linear', 'setLinear']);

/** The weights' scale, multiplied from layer to layer, keeps every mean and bias a float32. */
function withinFloat32(drawn: Values, network: Network): Values {
  const depths = new Map<string, number>();
  for (const { name, op, inputs } of network.nodes) {
    const before = Math.max(0, ...inputs.map((input) => depths.get(input)!));
    depths.set(name, before + (LAYERS.has(op.kind) ? 1 : 0));
  }
  const most = Math.floor((LARGEST_SCALE - Math.abs(drawn.inputScale)) / depths.get(network.output)!);
  return { ...drawn, weightScale: Math.max(-most, Math.min(most, drawn.weightScale)) };
}

/** Smaller than float32's smallest normal number. */
const SUBNORMAL = 1e-42;

function pruned(role: string, value: number, index: number): number {
  if (index % 3 !== 0) return value;
  if (role === 'running_mean' || role === 'bias') return 0;
  return index % 2 === 0 ? 0 : SUBNORMAL;
}

export function weightsOf({ network, style, values: drawn }: NetworkDraw): Weights<Float32Array> {
  if (style === 'generated') return randomWeights(network, drawn.seed);
  const weights = weightsFor(network, drawn);
  if (style === 'drawn') return weights;
  return new Map(
    [...weights].map(([key, { shape, data }]) => {
      const role = key.slice(key.lastIndexOf('.') + 1);
      // A channel is dead in one of three batch norms' tensors or in several, as the seed has it.
      return [key, { shape, data: data.map((value, i) => pruned(role, value, i + (drawn.seed % 3))) }];
    }),
  );
}

export function inputOf({ network, style, values: drawn }: NetworkDraw): Tensor<Float32Array> {
  return style === 'generated' ? randomInput(network.nodes[0]!.shape, drawn.seed) : inputFor(network, drawn);
}

/** A batch norm before an unpadded convolution and one behind it. */
function normConvNorm(draw: ConvDraw, eps: number): Network {
  const builder = new NetworkBuilder('norm-conv-norm');
  const x = builder.input('input', [draw.batch, draw.channels, draw.height, draw.width]);
  const normed = builder.add('m.bn1', { kind: 'batchNorm', eps }, [x]);
  return builder.build(builder.add('m.bn2', { kind: 'batchNorm', eps }, [builder.add('m.c', draw.op, [normed])]));
}

/** A locality on windows that are cut from a map [images, perSet * sets, ...] and put back. */
interface PerceptronDraw {
  readonly locality: LocalityDraw;
  readonly images: number;
  readonly perSet: number;
  /** Windows along each axis. */
  readonly parts: readonly [number, number];
}

const perceptrons: fc.Arbitrary<PerceptronDraw> = fc.record({
  locality: localities,
  images: fc.integer({ min: 1, max: 2 }),
  perSet: fc.integer({ min: 1, max: 3 }),
  parts: fc.tuple(fc.integer({ min: 1, max: 2 }), fc.integer({ min: 1, max: 2 })),
});

/** RepMLPNet's: bn -> partition -> fc3 and the local perceptron -> departition. */
function perceptronNetwork({ locality, images, perSet, parts }: PerceptronDraw, eps: number): Network {
  const { sets, window } = locality;
  const channels = perSet * sets;
  const builder = new NetworkBuilder('perceptron');
  const x = builder.input('input', [images, channels, parts[0] * window[0], parts[1] * window[1]]);
  const normed = builder.add('prebn', { kind: 'batchNorm', eps }, [x]);
  const cut = builder.add('partition', { kind: 'partition', window, sets }, [normed]);
  const inner = localityNetwork({ ...locality, batch: builder.shape(cut)[0]! }, eps);
  for (const { name, op, inputs } of inner.nodes) {
    if (op.kind !== 'input')
      builder.add(
        name,
        op,
        inputs.map((input) => (input === 'input' ? cut : input)),
      );
  }
  return builder.build(builder.add('departition', { kind: 'departition', channels, parts }, [inner.output]));
}

/** Regions: every pattern that the rules fold into one layer, alone and as the networks combine them. */
export function regions(filling: Filling = {}): fc.Arbitrary<NetworkDraw> {
  return fc.oneof(
    { withCrossShrink: true },
    filled('conv-norm', convolutions(), convNorm, filling),
    filled('repvggdw', repVggDws, repVggDwNetwork, filling),
    filled('norm-conv', unpaddedConvolutions, normConv, filling),
    filled('norm-conv-norm', unpaddedConvolutions, normConvNorm, filling),
    filled('norm-linear', heads(1, 1), normLinear, filling),
    filled('norm-pool', pools(1, 2, 3, 5), normPool, filling),
    filled('averaged-heads', heads(2, 4), averagedHeads, filling),
    filled('set-linear-norm', windows, setLinearNorm, filling),
    filled('locality', localities, localityNetwork, filling),
    filled('windows', windows, windowNetwork, filling),
    filled('norm-windows', windows, normWindows, filling),
    filled('perceptron', perceptrons, perceptronNetwork, filling),
  );
}

/** One of several values; shrinks step by step towards the first. */
function ordered<T>(...choices: readonly [T, ...T[]]): fc.Arbitrary<T> {
  return fc.nat(choices.length - 1).map((i) => choices[i] ?? choices[0]);
}

/** 1 to `most` stages. They shrink to any one of them, which a list of at least one would not: its last item stays. */
function stagesOf<T>(stage: fc.Arbitrary<T>, simplest: NoInfer<T>, most: number): fc.Arbitrary<readonly T[]> {
  return fc.array(stage, { maxLength: most }).map((stages) => (stages.length === 0 ? [simplest] : stages));
}

const atMost = (max: number) => fc.integer({ min: 1, max });

/** A small network of a family, and its input. */
interface FamilyDraw<Config> {
  readonly config: Config;
  readonly size: InputSize;
}

/**
 * 1 to 3 stages, which may be without a block; any width of at least 2; depthwise kernels of 1 to 7; both flavours, one
 * and two heads; inputs from the smallest that there is, not square.
 */
const repVits: fc.Arbitrary<FamilyDraw<RepVitConfig>> = fc
  .record({
    // What is wrong in a block is to be shown by one block, not by the one that a further stage begins with.
    stages: stagesOf(
      fc.record({ width: fc.integer({ min: 2, max: 5 }), depth: ordered(1, 0, 2) }),
      { width: 2, depth: 1 },
      3,
    ),
    mlp_ratio: ordered(1, 2, 3, 0.5, 1.5),
    kernel_size: ordered(1, 3, 5, 7),
    legacy: fc.boolean(),
    distillation: fc.boolean(),
    in_chans: atMost(3),
    num_classes: atMost(5),
    batch: atMost(2),
    extra: fc.tuple(fc.nat(6), fc.nat(6)),
  })
  .map(({ stages, batch, extra, mlp_ratio, ...rest }) => {
    const widths = stages.map(({ width }) => width);
    const config = completeRepVitConfig({
      ...rest,
      // A hidden width is whole.
      embed_dim: Number.isInteger(mlp_ratio) ? widths : widths.map((width) => 2 * Math.ceil(width / 2)),
      depth: stages.map(({ depth }) => depth),
      mlp_ratio,
    });
    const smallest = smallestSize(config);
    return { config, size: { batch, height: smallest + extra[0], width: smallest + extra[1] } };
  });

/** A small RepMLPNet and its input. */
export type RepMlpNetDraw = FamilyDraw<RepMlpNetConfig>;

/** A layer over windows has the fourth power of it in weights. */
const LONGEST_WINDOW = 6;

/**
 * 1 to 4 stages, which but for one may be without a unit; oblong patches, windows and inputs; maps of one window and of
 * several; share-sets of one channel and of several; any local perceptron of 1, 3 and 5, or none.
 */
export const repMlpNets: fc.Arbitrary<RepMlpNetDraw> = fc
  .record({
    stages: stagesOf(
      fc.record({
        blocks: ordered(1, 0, 2),
        sets: atMost(3),
        perSet: atMost(3),
        /** Windows along each axis, where the map can be cut so. */
        parts: fc.tuple(ordered(1, 2, 4), ordered(1, 2, 4)),
      }),
      { blocks: 1, sets: 1, perSet: 1, parts: [1, 1] },
      4,
    ),
    last: fc.tuple(atMost(3), atMost(3)),
    patch: fc.tuple(atMost(3), atMost(3)),
    batch: atMost(3),
    in_channels: atMost(3),
    num_class: atMost(5),
    reparam_conv_k: ordered<readonly number[]>([], [1], [3], [5], [1, 3], [1, 5], [3, 5], [1, 3, 5]),
    reduce: atMost(2),
  })
  .map(({ stages, last, patch, reduce, batch, ...rest }) => {
    const map = (stage: number, axis: 0 | 1) => last[axis] * 2 ** (stages.length - 1 - stage);
    const windowsAlong = (axis: 0 | 1) =>
      stages.map(({ parts }, stage) => {
        let window = map(stage, axis);
        if (window % parts[axis] === 0) window /= parts[axis];
        while (window > LONGEST_WINDOW && window % 2 === 0) window /= 2;
        return window;
      });
    const channels = stages.map(({ sets, perSet }) => sets * perSet);
    const config = completeRepMlpNetConfig({
      ...rest,
      patch_size: patch,
      // A network without a unit is no RepMLPNet.
      num_blocks: stages.every(({ blocks }) => blocks === 0) ? stages.map(() => 1) : stages.map(({ blocks }) => blocks),
      channels,
      hs: windowsAlong(0),
      ws: windowsAlong(1),
      sharesets_nums: stages.map(({ sets }) => sets),
      globalperceptron_reduce: Math.min(reduce, ...channels),
    });
    return { config, size: { batch, height: map(0, 0) * patch[0], width: map(0, 1) * patch[1] } };
  });

/** Networks of both families; their eps is the family's, so no regime is dyadic. */
export function networks(filling: Filling = {}): fc.Arbitrary<NetworkDraw> {
  const inexact = { values: values('default', 'balanced', 'wild'), ...filling };
  return fc.oneof(
    { withCrossShrink: true },
    filled('RepViT', repVits, ({ config, size }) => buildRepVit(config, size), inexact),
    filled('RepMLPNet', repMlpNets, ({ config, size }) => buildRepMlpNet(config, size), inexact),
  );
}

/** One of the draw's deploy forms, with its values. */
export function inForm(form: DeployForm, draw: NetworkDraw): Drawn {
  return {
    form,
    fusion: fuseTo(form, draw.network),
    weights: weightsOf(draw),
    input: inputOf(draw),
    seed: draw.values.seed,
  };
}

/** Everything that folds, folded. */
export function inCompleteForm(draw: NetworkDraw): Drawn {
  return inForm(deployForms(draw.network).at(-1)!, draw);
}

export function inEveryForm(draw: NetworkDraw): readonly Drawn[] {
  return deployForms(draw.network).map((form) => inForm(form, draw));
}
