/**
 * RepViT, train form. "RepViT: Revisiting Mobile CNN From ViT Perspective", arXiv 2307.09283.
 * Module and argument names are timm's (`timm/models/repvit.py`), so that weight keys are those of its state_dict.
 */
import { NetworkBuilder } from '../network/builder.ts';
import { InputError } from '../network/errors.ts';
import type { Network } from '../network/ops.ts';
import { DEFAULT_RESOLUTION, type Family, IMAGENET, type Miniature, type TrainForm, type Variant } from './family.ts';
import { namingOfRepVit, readRepVit } from './repvit-keys.ts';
import type { InputSize } from './size.ts';

/** timm's arguments of `RepVit`. */
export interface RepVitConfig {
  readonly family: 'repvit';
  readonly in_chans: number;
  /** Width of each stage. */
  readonly embed_dim: readonly number[];
  /** Blocks in each stage. */
  readonly depth: readonly number[];
  /** Hidden width of the FFN over its width; the product must be whole. */
  readonly mlp_ratio: number;
  /** Odd: of the depthwise convs, not of the stem. */
  readonly kernel_size: number;
  readonly num_classes: number;
  /** Two heads, averaged. */
  readonly distillation: boolean;
  /** RepVGGDW with two ConvNorms and no outer BN (M1, M2, M3). */
  readonly legacy: boolean;
}

/** timm's defaults, for what a config leaves out. */
export function completeRepVitConfig(partial: Partial<RepVitConfig>): RepVitConfig {
  return {
    family: 'repvit',
    in_chans: 3,
    embed_dim: [48],
    depth: [2],
    mlp_ratio: 2,
    kernel_size: 3,
    num_classes: 1000,
    distillation: true,
    legacy: false,
    ...partial,
  };
}

/** PyTorch's BatchNorm default; no published RepViT uses another. */
const BN_EPS = 1e-5;

/** timm's SqueezeExcite width: a quarter of the channels, to the nearest multiple of 8, at least 8, no 10 % correction. */
function squeezeWidth(channels: number): number {
  return Math.max(8, Math.floor((channels * 0.25 + 4) / 8) * 8);
}

interface ConvOptions {
  readonly stride?: number;
  readonly groups?: number;
  readonly bias?: boolean;
}

/** The layers of RepViT on a builder; each returns the name of its output. */
class Layers {
  readonly builder: NetworkBuilder;
  readonly config: RepVitConfig;

  constructor(builder: NetworkBuilder, config: RepVitConfig) {
    this.builder = builder;
    this.config = config;
  }

  channels(x: string): number {
    return this.builder.shape(x)[1] ?? 0;
  }

  conv(name: string, x: string, outChannels: number, kernel: number, options: ConvOptions = {}): string {
    const { stride = 1, groups = 1, bias = false } = options;
    const pad = (kernel - 1) / 2;
    const square = (n: number) => [n, n] as const;
    return this.builder.add(
      name,
      {
        kind: 'conv2d',
        outChannels,
        kernel: square(kernel),
        stride: square(stride),
        padding: square(pad),
        dilation: square(1),
        groups,
        bias,
      },
      [x],
    );
  }

  batchNorm(name: string, x: string): string {
    return this.builder.add(name, { kind: 'batchNorm', eps: BN_EPS }, [x]);
  }

  /** Conv without bias, then BN. */
  convNorm(name: string, x: string, outChannels: number, kernel: number, options: ConvOptions = {}): string {
    return this.batchNorm(`${name}.bn`, this.conv(`${name}.c`, x, outChannels, kernel, options));
  }

  /** Depthwise k x k, depthwise 1 x 1 and identity in parallel; the current flavour has a BN behind their sum. */
  repVggDw(name: string, x: string): string {
    const groups = this.channels(x);
    const conv = this.convNorm(`${name}.conv`, x, groups, this.config.kernel_size, { groups });
    const conv1 = this.config.legacy
      ? this.convNorm(`${name}.conv1`, x, groups, 1, { groups })
      : this.conv(`${name}.conv1`, x, groups, 1, { groups, bias: true });
    const sum = this.builder.add(`${name}.add`, { kind: 'add' }, [conv, conv1, x]);
    return this.config.legacy ? sum : this.batchNorm(`${name}.bn`, sum);
  }

  squeezeExcite(name: string, x: string): string {
    const channels = this.channels(x);
    const pooled = this.builder.add(`${name}.pool`, { kind: 'globalAvgPool', keepDims: true }, [x]);
    const reduced = this.conv(`${name}.fc1`, pooled, squeezeWidth(channels), 1, { bias: true });
    const active = this.builder.add(`${name}.act`, { kind: 'relu' }, [reduced]);
    const expanded = this.conv(`${name}.fc2`, active, channels, 1, { bias: true });
    const gate = this.builder.add(`${name}.gate`, { kind: 'sigmoid' }, [expanded]);
    return this.builder.add(`${name}.mul`, { kind: 'mul' }, [x, gate]);
  }

  /** FFN of two 1 x 1 ConvNorms with its residual. `sum` names the addition. */
  ffn(name: string, sum: string, x: string): string {
    const channels = this.channels(x);
    const expanded = this.convNorm(`${name}.conv1`, x, channels * this.config.mlp_ratio, 1);
    const active = this.builder.add(`${name}.act`, { kind: 'gelu' }, [expanded]);
    const projected = this.convNorm(`${name}.conv2`, active, channels, 1);
    return this.builder.add(sum, { kind: 'add' }, [x, projected]);
  }

  block(name: string, x: string, useSe: boolean): string {
    const mixed = this.repVggDw(`${name}.token_mixer`, x);
    const gated = useSe ? this.squeezeExcite(`${name}.se`, mixed) : mixed;
    return this.ffn(`${name}.channel_mixer`, `${name}.add`, gated);
  }

  stem(name: string, x: string, outChannels: number): string {
    const half = this.convNorm(`${name}.conv1`, x, Math.floor(outChannels / 2), 3, { stride: 2 });
    const active = this.builder.add(`${name}.act1`, { kind: 'gelu' }, [half]);
    return this.convNorm(`${name}.conv2`, active, outChannels, 3, { stride: 2 });
  }

  downsample(name: string, x: string, outChannels: number): string {
    const mixed = this.block(`${name}.pre_block`, x, false);
    const spatial = this.convNorm(`${name}.spatial_downsample`, mixed, this.channels(mixed), this.config.kernel_size, {
      stride: 2,
      groups: this.channels(mixed),
    });
    const channel = this.convNorm(`${name}.channel_downsample`, spatial, outChannels, 1);
    return this.ffn(`${name}.ffn`, `${name}.add`, channel);
  }

  stage(name: string, x: string, outChannels: number, depth: number, downsample: boolean): string {
    let y = downsample ? this.downsample(`${name}.downsample`, x, outChannels) : x;
    for (let block = 0; block < depth; block++) y = this.block(`${name}.blocks.${block}`, y, block % 2 === 0);
    return y;
  }

  normLinear(name: string, x: string): string {
    return this.builder.add(`${name}.l`, { kind: 'linear', outFeatures: this.config.num_classes, bias: true }, [
      this.batchNorm(`${name}.bn`, x),
    ]);
  }

  head(name: string, x: string): string {
    const pooled = this.builder.add('global_pool', { kind: 'globalAvgPool', keepDims: false }, [x]);
    const first = this.normLinear(`${name}.head`, pooled);
    if (!this.config.distillation) return first;
    const second = this.normLinear(`${name}.head_dist`, pooled);
    const sum = this.builder.add(`${name}.add`, { kind: 'add' }, [first, second]);
    return this.builder.add(`${name}.mean`, { kind: 'scale', factor: 0.5 }, [sum]);
  }
}

/**
 * The smallest height or width that a network with this many stages takes: one pixel less and its last stride-2
 * convolution would find a map of one pixel and nothing left to downsample.
 */
export function smallestSize(config: RepVitConfig): number {
  return 2 ** config.embed_dim.length + 1;
}

/**
 * The train-form network on an input [batch, in_chans, height, width]; its input node is `input`, its output logits
 * [batch, num_classes].
 * @throws InputError where the batch or the size does not fit the network
 */
export function buildRepVit(config: RepVitConfig, size: InputSize, name = 'repvit'): Network {
  const { batch, height, width } = size;
  if (!Number.isSafeInteger(batch) || batch < 1) {
    throw new InputError(`${name}: batch ${batch}; it must be a whole number of at least 1`);
  }
  const smallest = smallestSize(config);
  if (!(Math.min(height, width) >= smallest)) {
    throw new InputError(
      `${name}: size ${height}x${width} is too small; its ${config.embed_dim.length} stages need at least ${smallest}x${smallest}, so give a larger size`,
    );
  }
  const layers = new Layers(new NetworkBuilder(name), config);
  let x = layers.builder.input('input', [batch, config.in_chans, height, width]);
  x = layers.stem('stem', x, config.embed_dim[0] ?? 0);
  config.embed_dim.forEach((channels, stage) => {
    x = layers.stage(`stages.${stage}`, x, channels, config.depth[stage] ?? 0, stage > 0);
  });
  return layers.builder.build(layers.head('head', x));
}

/** The miniature's limits; height and width are of its first stage's map, on which every kernel up to 9x9 uses each tap. */
const MINIATURE = { widths: [4, 5], mlp_ratio: 4, height: 5, width: 6 } as const;

/**
 * A stem, one stage, and where there are several a downsampling and a second one; each with blocks with and without SE
 * where the network has them.
 */
function miniature(config: RepVitConfig): Miniature<RepVitConfig> {
  const { embed_dim, depth, kernel_size } = config;
  const mlp_ratio = Math.min(MINIATURE.mlp_ratio, config.mlp_ratio);
  const widths = embed_dim.slice(0, 2).map((width, stage) => {
    let small = Math.min(width, MINIATURE.widths[stage]!);
    while (small < width && !Number.isInteger(small * mlp_ratio)) small++;
    return small;
  });
  const deepest = (depths: readonly number[]) => Math.min(2, Math.max(...depths));
  const small: RepVitConfig = {
    ...config,
    in_chans: Math.min(2, config.in_chans),
    embed_dim: widths,
    depth: embed_dim.length === 1 ? [deepest(depth)] : [deepest(depth.slice(0, 1)), deepest(depth.slice(1))],
    mlp_ratio,
    num_classes: Math.min(3, config.num_classes),
  };
  // The stem makes one pixel of four.
  const side = (map: number) => Math.max(smallestSize(small), 4 * map - 3);
  const enough = (kernel_size + 3) / 2;
  const height = side(Math.min(MINIATURE.height, enough));
  return { config: small, size: { batch: 1, height, width: side(Math.min(MINIATURE.width, enough + 1)) } };
}

/** Limits between fields. */
function checkConfig({ embed_dim, depth, mlp_ratio }: RepVitConfig, subject: string): void {
  if (embed_dim.length !== depth.length) {
    throw new InputError(
      `${subject}: embed_dim has ${embed_dim.length} stages, depth has ${depth.length}; give both one number for each stage`,
    );
  }
  if (embed_dim[0] === 1) {
    throw new InputError(`${subject}: embed_dim[0] is 1; the stem halves it, so it must be at least 2`);
  }
  const stage = embed_dim.findIndex((width) => !Number.isInteger(width * mlp_ratio));
  const width = embed_dim[stage];
  if (width !== undefined) {
    throw new InputError(
      `${subject}: mlp_ratio is ${mlp_ratio}, and times embed_dim[${stage}] = ${width} it gives a hidden width of ${width * mlp_ratio}; the product must be a whole number`,
    );
  }
}

/** RepVGGDW with an outer BN (current), or with two ConvNorms (legacy). */
function flavourOf({ legacy }: RepVitConfig): string {
  return legacy ? 'legacy' : 'current';
}

/** With two heads, where the network has them, and with one. */
function trainForms(
  config: RepVitConfig,
  suffix: string,
): readonly [TrainForm<RepVitConfig>, ...TrainForm<RepVitConfig>[]] {
  const flavour = flavourOf(config);
  const one = {
    config: { ...config, distillation: false },
    heads: 1,
    flavour,
    title: `train with one head${suffix}`,
  } as const;
  return config.distillation ? [{ config, heads: 2, flavour, title: `train with two heads${suffix}` }, one] : [one];
}

/** Some official training logs count the other RepVGGDW. */
function otherForms(config: RepVitConfig): readonly TrainForm<RepVitConfig>[] {
  const other = { ...config, legacy: !config.legacy };
  return trainForms(other, `, ${flavourOf(other)} RepVGGDW`);
}

function variant(
  name: string,
  embed_dim: readonly number[],
  depth: readonly number[],
  rest: Partial<RepVitConfig> = {},
  resolution = DEFAULT_RESOLUTION,
): Variant<RepVitConfig> {
  const config = completeRepVitConfig({ embed_dim, depth, ...rest });
  const classes = `${config.num_classes} classes, ${config.distillation ? 'two heads' : 'one head'}`;
  return { name, config, resolution, description: `RepViT, ${flavourOf(config)} RepVGGDW, ${classes}` };
}

/** The CIFAR-100 reproduction has no teacher, so one head. */
const CIFAR100 = { num_classes: 100, distillation: false } as const;
const CIFAR_RESOLUTION = 32;

export const repVit: Family<RepVitConfig> = {
  schema: async () => (await import('./repvit.schema.json', { with: { type: 'json' } })).default,
  synonyms: { channels: 'embed_dim', num_blocks: 'depth' },
  complete: completeRepVitConfig,
  check: checkConfig,
  resolution: () => DEFAULT_RESOLUTION,
  build: buildRepVit,
  miniature,
  naming: namingOfRepVit,
  read: (state, form) => {
    const { fields, open } = readRepVit(state, form);
    return { config: completeRepVitConfig(fields), open };
  },
  traits: (config) => ({
    widths: config.embed_dim.join(','),
    depths: config.depth.join(','),
    RepVGGDW: flavourOf(config),
    heads: `${config.distillation ? 2 : 1}x${config.num_classes}`,
  }),
  ownForms: (config) => trainForms(config, ''),
  otherForms,
  callOf: ({ op }) => (op.kind === 'globalAvgPool' ? 'method' : 'module'),
  // timm 1.0, the pretrained_cfg of repvit.py; the official code resizes to 256/224 instead (cropPct 0.875).
  preprocessing: { cropPct: 0.95, interpolation: 'bicubic', ...IMAGENET },
  // Name, widths, depths.
  variants: [
    variant('repvit_m0_6', [40, 80, 160, 320], [1, 1, 8, 1]),
    variant('repvit_m0_9', [48, 96, 192, 384], [2, 2, 14, 2]),
    variant('repvit_m1_0', [56, 112, 224, 448], [2, 2, 14, 2]),
    variant('repvit_m1_1', [64, 128, 256, 512], [2, 2, 12, 2]),
    variant('repvit_m1_5', [64, 128, 256, 512], [4, 4, 24, 4]),
    variant('repvit_m2_3', [80, 160, 320, 640], [6, 6, 34, 2]),
    variant('repvit_m1', [48, 96, 192, 384], [2, 2, 14, 2], { legacy: true }),
    variant('repvit_m2', [64, 128, 256, 512], [2, 2, 12, 2], { legacy: true }),
    variant('repvit_m3', [64, 128, 256, 512], [4, 4, 18, 2], { legacy: true }),
    variant('repvit_m0_9_cifar100', [48, 96, 192, 384], [2, 2, 14, 2], CIFAR100, CIFAR_RESOLUTION),
    variant('repvit_m2_3_cifar100', [80, 160, 320, 640], [6, 6, 34, 2], CIFAR100, CIFAR_RESOLUTION),
  ],
};
