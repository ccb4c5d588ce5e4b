/**
 * RepMLPNet, train form. "RepMLPNet: Hierarchical Vision MLP with Re-parameterized Locality", arXiv 2112.11081.
 * Module and argument names are the original's (DingXiaoH/RepMLP, `repmlpnet.py`), so that weight keys are those of its
 * state_dict.
 */
import { NetworkBuilder } from '../network/builder.ts';
import { InputError } from '../network/errors.ts';
import type { Network, Pair } from '../network/ops.ts';
import { DEFAULT_RESOLUTION, type Family, IMAGENET, type Miniature, type Variant } from './family.ts';
import { namingOfRepMlpNet, readRepMlpNet } from './repmlpnet-keys.ts';
import type { InputSize } from './size.ts';

/** The original's arguments of `RepMLPNet`. */
export interface RepMlpNetConfig {
  readonly family: 'repmlpnet';
  readonly in_channels: number;
  readonly num_class: number;
  /** Kernel and stride of the first convolution. */
  readonly patch_size: Pair;
  /** Units in each stage. */
  readonly num_blocks: readonly number[];
  /** Width of each stage. */
  readonly channels: readonly number[];
  /** Height of each stage's windows. */
  readonly hs: readonly number[];
  /** Width of each stage's windows. */
  readonly ws: readonly number[];
  readonly sharesets_nums: readonly number[];
  /** Odd kernel sizes of the local perceptron's branches; empty where there is none. */
  readonly reparam_conv_k: readonly number[];
  /** Channels over the inner width of the global perceptron. */
  readonly globalperceptron_reduce: number;
}

/** What a config may give: the original's None, too, for no local perceptron. */
type GivenConfig = Omit<Partial<RepMlpNetConfig>, 'reparam_conv_k'> & {
  readonly reparam_conv_k?: readonly number[] | null;
};

/** The original's defaults, for what a config leaves out. */
export function completeRepMlpNetConfig({ reparam_conv_k = [3], ...given }: GivenConfig): RepMlpNetConfig {
  return {
    family: 'repmlpnet',
    in_channels: 3,
    num_class: 1000,
    patch_size: [4, 4],
    num_blocks: [2, 2, 6, 2],
    channels: [192, 384, 768, 1536],
    hs: [64, 32, 16, 8],
    ws: [64, 32, 16, 8],
    sharesets_nums: [4, 8, 16, 32],
    reparam_conv_k: reparam_conv_k ?? [],
    globalperceptron_reduce: 4,
    ...given,
  };
}

/** PyTorch's BatchNorm default. */
const BN_EPS = 1e-5;

/** Hidden width of the FFN over its width; the original never sets another. */
const FFN_EXPAND = 4;

interface Conv {
  readonly outChannels: number;
  readonly kernel: Pair;
  readonly stride?: Pair;
  readonly padding?: Pair;
  readonly groups?: number;
  readonly bias?: boolean;
}

/** The layers of RepMLPNet on a builder; each returns the name of its output. */
class Layers {
  readonly builder: NetworkBuilder;
  readonly config: RepMlpNetConfig;

  constructor(builder: NetworkBuilder, config: RepMlpNetConfig) {
    this.builder = builder;
    this.config = config;
  }

  channels(x: string): number {
    return this.builder.shape(x)[1] ?? 0;
  }

  conv(
    name: string,
    x: string,
    { stride = [1, 1], padding = [0, 0], groups = 1, bias = false, ...rest }: Conv,
  ): string {
    return this.builder.add(name, { kind: 'conv2d', ...rest, stride, padding, dilation: [1, 1], groups, bias }, [x]);
  }

  batchNorm(name: string, x: string): string {
    return this.builder.add(name, { kind: 'batchNorm', eps: BN_EPS }, [x]);
  }

  /** Conv without bias, then BN. */
  convBn(name: string, x: string, conv: Conv): string {
    return this.batchNorm(`${name}.bn`, this.conv(`${name}.conv`, x, conv));
  }

  /** Patch embedding: a convolution as large as its stride, BN, ReLU. */
  convBnRelu(name: string, x: string, outChannels: number, patch: Pair): string {
    const normed = this.convBn(name, x, { outChannels, kernel: patch, stride: patch });
    return this.builder.add(`${name}.relu`, { kind: 'relu' }, [normed]);
  }

  /** A vector [N, C, 1, 1] in (0, 1) from the pooled map. */
  globalPerceptron(name: string, x: string): string {
    const channels = this.channels(x);
    const inner = Math.floor(channels / this.config.globalperceptron_reduce);
    const pooled = this.builder.add(`${name}.pool`, { kind: 'globalAvgPool', keepDims: true }, [x]);
    const reduced = this.conv(`${name}.fc1`, pooled, { outChannels: inner, kernel: [1, 1], bias: true });
    const active = this.builder.add(`${name}.relu`, { kind: 'relu' }, [reduced]);
    const expanded = this.conv(`${name}.fc2`, active, { outChannels: channels, kernel: [1, 1], bias: true });
    return this.builder.add(`${name}.sigmoid`, { kind: 'sigmoid' }, [expanded]);
  }

  /** Windows through fc3 and the local perceptron's convolutions, times the global perceptron's vector. */
  repMlpBlock(name: string, x: string, window: Pair, sets: number): string {
    const [, channels = 0, height = 0, width = 0] = this.builder.shape(x);
    const vector = this.globalPerceptron(`${name}.gp`, x);
    const windows = this.builder.add(`${name}.partition`, { kind: 'partition', window, sets }, [x]);
    const fc3 = this.builder.add(`${name}.fc3`, { kind: 'setLinear', bias: false }, [windows]);
    const perceptrons = [this.batchNorm(`${name}.fc3_bn`, fc3)];
    for (const k of this.config.reparam_conv_k) {
      const padding = [Math.floor(k / 2), Math.floor(k / 2)] as const;
      const branch = { outChannels: sets, kernel: [k, k], padding, groups: sets } as const;
      perceptrons.push(this.convBn(`${name}.repconv${k}`, windows, branch));
    }
    const sum =
      perceptrons.length === 1 ? perceptrons[0]! : this.builder.add(`${name}.add`, { kind: 'add' }, perceptrons);
    const parts = [height / window[0], width / window[1]] as const;
    const maps = this.builder.add(`${name}.departition`, { kind: 'departition', channels, parts }, [sum]);
    return this.builder.add(`${name}.mul`, { kind: 'mul' }, [maps, vector]);
  }

  ffnBlock(name: string, x: string): string {
    const channels = this.channels(x);
    const expanded = this.convBn(`${name}.ffn_fc1`, x, { outChannels: channels * FFN_EXPAND, kernel: [1, 1] });
    const active = this.builder.add(`${name}.act`, { kind: 'gelu' }, [expanded]);
    return this.convBn(`${name}.ffn_fc2`, active, { outChannels: channels, kernel: [1, 1] });
  }

  unit(name: string, x: string, window: Pair, sets: number): string {
    const mixed = this.repMlpBlock(`${name}.repmlp_block`, this.batchNorm(`${name}.prebn1`, x), window, sets);
    const y = this.builder.add(`${name}.add1`, { kind: 'add' }, [x, mixed]);
    const fed = this.ffnBlock(`${name}.ffn_block`, this.batchNorm(`${name}.prebn2`, y));
    return this.builder.add(`${name}.add2`, { kind: 'add' }, [y, fed]);
  }
}

/** Lengths of the map at each stage, for an input of this length along one axis. */
function stageLengths(config: RepMlpNetConfig, length: number, axis: 0 | 1): number[] {
  const first = Math.floor(length / config.patch_size[axis]);
  return config.channels.map((_, stage) => Math.floor(first / 2 ** stage));
}

/** The first stage whose map its windows do not divide, along one axis; -1 where all fit. */
function misfit(config: RepMlpNetConfig, length: number, axis: 0 | 1): number {
  const windows = axis === 0 ? config.hs : config.ws;
  return stageLengths(config, length, axis).findIndex((map, stage) => map < 1 || map % windows[stage]! !== 0);
}

/** How far sizes are searched for ones that fit, in pixels: beyond it no image goes. */
const SEARCHED = 16384;

/** The nearest lengths that fit, below and above, and of which no pixel is left over by the convolutions' strides. */
function nearestLengths(config: RepMlpNetConfig, length: number, axis: 0 | 1): number[] {
  const stride = config.patch_size[axis] * 2 ** (config.channels.length - 1);
  const fits = (candidate: number) => candidate % stride === 0 && misfit(config, candidate, axis) < 0;
  let below = Math.min(length, SEARCHED);
  while (below > 0 && !fits(below)) below--;
  let above = length;
  while (above <= SEARCHED && !fits(above)) above++;
  return [below, above].filter((candidate) => candidate > 0 && candidate <= SEARCHED);
}

/** @throws InputError naming the stage, the size and the nearest sizes that fit */
function checkSize(config: RepMlpNetConfig, name: string, { height, width }: InputSize): void {
  const axes = [
    ['height', height, config.hs],
    ['width', width, config.ws],
  ] as const;
  for (const [axis, [what, length, windows]] of axes.entries()) {
    const stage = misfit(config, length, axis as 0 | 1);
    if (stage < 0) continue;
    const map = stageLengths(config, length, axis as 0 | 1)[stage];
    const nearest = nearestLengths(config, length, axis as 0 | 1);
    const advice =
      nearest.length === 0
        ? `no ${what} up to ${SEARCHED} fits`
        : `the nearest that ${nearest.length === 1 ? 'fits is' : 'fit are'} ${nearest.join(' and ')}`;
    throw new InputError(
      `${name}: ${what} ${length} gives stage ${stage} a map of ${what} ${map}, which is no multiple of its windows' ${windows[stage]}; ${advice}`,
    );
  }
}

/**
 * The train-form network on an input [batch, in_channels, height, width]; its input node is `input`, its output logits
 * [batch, num_class].
 * @throws InputError where the batch is no whole number, or the windows do not divide the maps of a stage: the original
 * would mix rows across the batch
 */
export function buildRepMlpNet(config: RepMlpNetConfig, size: InputSize, name = 'repmlpnet'): Network {
  if (!Number.isSafeInteger(size.batch) || size.batch < 1) {
    throw new InputError(`${name}: batch ${size.batch}; it must be a whole number of at least 1`);
  }
  checkSize(config, name, size);
  const layers = new Layers(new NetworkBuilder(name), config);
  const { builder } = layers;
  let x = builder.input('input', [size.batch, config.in_channels, size.height, size.width]);
  x = layers.convBnRelu('conv_embedding', x, config.channels[0]!, config.patch_size);
  for (const [stage, blocks] of config.num_blocks.entries()) {
    if (stage > 0) x = layers.convBnRelu(`embeds.${stage - 1}`, x, config.channels[stage]!, [2, 2]);
    const window = [config.hs[stage]!, config.ws[stage]!] as const;
    for (let block = 0; block < blocks; block++) {
      x = layers.unit(`stages.${stage}.${block}`, x, window, config.sharesets_nums[stage]!);
    }
  }
  x = layers.batchNorm('head_norm', x);
  x = builder.add('global_pool', { kind: 'globalAvgPool', keepDims: false }, [x]);
  return builder.build(builder.add('head', { kind: 'linear', outFeatures: config.num_class, bias: true }, [x]));
}

/** Limits between fields. */
function checkConfig(config: RepMlpNetConfig, subject: string): void {
  const { channels, hs, ws, num_blocks, sharesets_nums, globalperceptron_reduce } = config;
  for (const [name, list] of Object.entries({ hs, ws, num_blocks, sharesets_nums })) {
    if (list.length === channels.length) continue;
    throw new InputError(
      `${subject}: channels has ${channels.length} stages, ${name} has ${list.length}; give both one number for each stage`,
    );
  }
  for (const [stage, width] of channels.entries()) {
    const sets = sharesets_nums[stage]!;
    if (width % sets !== 0) {
      throw new InputError(
        `${subject}: sharesets_nums[${stage}] is ${sets}, and channels[${stage}] = ${width} cannot be dealt to so many share-sets; give a divisor of ${width}`,
      );
    }
    if (globalperceptron_reduce > width) {
      throw new InputError(
        `${subject}: globalperceptron_reduce is ${globalperceptron_reduce}, and channels[${stage}] = ${width} over it leaves the global perceptron no inner channel; give at most ${Math.min(...channels)}`,
      );
    }
  }
}

/** The default resolution, or the next larger one whose maps the windows divide. */
function resolutionOf(config: RepMlpNetConfig): number {
  for (let side = DEFAULT_RESOLUTION; side <= SEARCHED; side++) {
    if (misfit(config, side, 0) < 0 && misfit(config, side, 1) < 0) return side;
  }
  return DEFAULT_RESOLUTION;
}

/** Height of the miniature's windows where the local perceptron's kernels would fill more. */
const MINIATURE_HEIGHT = 3;

/**
 * One unit a stage, in at most two stages. Windows are oblong, several to a map, and a share-set has two channels where the
 * network's has several.
 */
function miniature(config: RepMlpNetConfig): Miniature<RepMlpNetConfig> {
  const { channels, num_blocks, sharesets_nums, reparam_conv_k, patch_size } = config;
  const perSet = Math.min(2, Math.max(...channels.map((width, stage) => width / sharesets_nums[stage]!)));
  const sets = [Math.min(...sharesets_nums), Math.max(...sharesets_nums)]
    .map((number) => Math.min(2, number))
    .slice(-channels.length);
  const widths = sets.map((number) => number * perSet);
  const height = Math.min(MINIATURE_HEIGHT, (Math.max(3, ...reparam_conv_k) + 1) / 2);
  const width = height + 1;
  const patch: Pair = [Math.min(2, patch_size[0]), Math.min(2, patch_size[1])];
  const small: RepMlpNetConfig = {
    ...config,
    in_channels: Math.min(2, config.in_channels),
    num_class: Math.min(3, config.num_class),
    patch_size: patch,
    num_blocks: sets.map(() => Math.min(1, Math.max(...num_blocks))),
    channels: widths,
    hs: sets.map(() => height),
    ws: sets.map(() => width),
    sharesets_nums: sets,
    globalperceptron_reduce: Math.min(config.globalperceptron_reduce, ...widths),
  };
  // The last stage's map is two windows high and one wide.
  const first = 2 ** (sets.length - 1);
  return { config: small, size: { batch: 1, height: 2 * height * first * patch[0], width: width * first * patch[1] } };
}

/** Name, channels, side of the windows, blocks and share-sets of each stage. */
function variant(
  name: string,
  channels: readonly number[],
  windows: readonly number[],
  num_blocks: readonly number[],
  sharesets_nums: readonly number[],
): Variant<RepMlpNetConfig> {
  const given = { channels, hs: windows, ws: windows, num_blocks, sharesets_nums, reparam_conv_k: [1, 3] };
  const config = completeRepMlpNetConfig(given);
  // The first stage is one window: its side times the patch's.
  const resolution = windows[0]! * config.patch_size[0];
  return { name, config, resolution, description: `RepMLPNet, ${config.num_class} classes` };
}

export const repMlpNet: Family<RepMlpNetConfig> = {
  schema: async () => (await import('./repmlpnet.schema.json', { with: { type: 'json' } })).default,
  synonyms: {
    embed_dim: 'channels',
    embed_dims: 'channels',
    depth: 'num_blocks',
    depths: 'num_blocks',
    kernel_size: 'reparam_conv_k',
    num_sharesets: 'sharesets_nums',
  },
  complete: completeRepMlpNetConfig,
  check: checkConfig,
  resolution: resolutionOf,
  build: buildRepMlpNet,
  miniature,
  naming: namingOfRepMlpNet,
  read: (state, form) => {
    const { fields, open } = readRepMlpNet(state, form);
    return { config: completeRepMlpNetConfig(fields), open };
  },
  traits: ({ channels, hs, ws, num_blocks, sharesets_nums }) => ({
    widths: channels.join(','),
    windows: hs.map((h, stage) => (h === ws[stage] ? h : `${h}x${ws[stage]}`)).join(','),
    depths: num_blocks.join(','),
    'share-sets': sharesets_nums.join(','),
  }),
  ownForms: (config) => [{ config, heads: 1, flavour: null, title: 'train' }],
  otherForms: () => [],
  // The global perceptron calls functions; the embeddings and FFNs have modules.
  callOf: ({ name, op }) => (op.kind === 'globalAvgPool' || name.endsWith('.gp.relu') ? 'function' : 'module'),
  // The original's test.py: transforms.Resize(resolution), bilinear by default.
  preprocessing: { cropPct: 1, interpolation: 'bilinear', ...IMAGENET },
  variants: [
    variant('repmlpnet_t224', [64, 128, 256, 512], [56, 28, 14, 7], [2, 2, 6, 2], [1, 4, 16, 128]),
    variant('repmlpnet_t256', [64, 128, 256, 512], [64, 32, 16, 8], [2, 2, 6, 2], [1, 4, 16, 128]),
    variant('repmlpnet_b224', [96, 192, 384, 768], [56, 28, 14, 7], [2, 2, 12, 2], [1, 4, 32, 128]),
    variant('repmlpnet_b256', [96, 192, 384, 768], [64, 32, 16, 8], [2, 2, 12, 2], [1, 4, 32, 128]),
    variant('repmlpnet_d256', [80, 160, 320, 640], [64, 32, 16, 8], [2, 2, 18, 2], [1, 4, 16, 128]),
    variant('repmlpnet_l256', [96, 192, 384, 768], [64, 32, 16, 8], [2, 2, 18, 2], [1, 4, 32, 256]),
  ],
};
