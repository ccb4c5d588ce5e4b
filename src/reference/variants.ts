import { completeRepVitConfig, type RepVitConfig } from './repvit.ts';

/** Any family's config. A new family is one more member. */
export type ModelConfig = RepVitConfig;

/** A published network. */
export interface Variant {
  /** timm's name where timm has it. */
  readonly name: string;
  readonly config: ModelConfig;
  /** Height and width that it was published at. */
  readonly resolution: number;
  readonly description: string;
}

const IMAGENET = 224;
const CIFAR = 32;

function repvit(
  name: string,
  embed_dim: readonly number[],
  depth: readonly number[],
  rest: Partial<RepVitConfig> = {},
  resolution = IMAGENET,
): Variant {
  const config = completeRepVitConfig({ embed_dim, depth, ...rest });
  const flavour = config.legacy ? 'legacy' : 'current';
  const classes = `${config.num_classes} classes, ${config.distillation ? 'two heads' : 'one head'}`;
  return { name, config, resolution, description: `RepViT, ${flavour} RepVGGDW, ${classes}` };
}

/** The CIFAR-100 reproduction has no teacher, so one head. */
const CIFAR100 = { num_classes: 100, distillation: false } as const;

/** Every published network, one line each: name, widths, depths. */
export const variants: readonly Variant[] = [
  repvit('repvit_m0_6', [40, 80, 160, 320], [1, 1, 8, 1]),
  repvit('repvit_m0_9', [48, 96, 192, 384], [2, 2, 14, 2]),
  repvit('repvit_m1_0', [56, 112, 224, 448], [2, 2, 14, 2]),
  repvit('repvit_m1_1', [64, 128, 256, 512], [2, 2, 12, 2]),
  repvit('repvit_m1_5', [64, 128, 256, 512], [4, 4, 24, 4]),
  repvit('repvit_m2_3', [80, 160, 320, 640], [6, 6, 34, 2]),
  repvit('repvit_m1', [48, 96, 192, 384], [2, 2, 14, 2], { legacy: true }),
  repvit('repvit_m2', [64, 128, 256, 512], [2, 2, 12, 2], { legacy: true }),
  repvit('repvit_m3', [64, 128, 256, 512], [4, 4, 18, 2], { legacy: true }),
  repvit('repvit_m0_9_cifar100', [48, 96, 192, 384], [2, 2, 14, 2], CIFAR100, CIFAR),
  repvit('repvit_m2_3_cifar100', [80, 160, 320, 640], [6, 6, 34, 2], CIFAR100, CIFAR),
];
