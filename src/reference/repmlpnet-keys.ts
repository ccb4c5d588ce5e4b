/** RepMLPNet's state dicts: the original's, train form and after `locality_injection()`, and our complete deploy form. */
import type { Form, Naming, Open, Shapes } from './family.ts';

interface Windows {
  readonly hs: readonly number[];
  readonly ws: readonly number[];
}

/** @returns undefined where the keys are not RepMLPNet's */
export function namingOfRepMlpNet(state: Shapes): Naming | undefined {
  if (!state.has('conv_embedding.conv.weight') || !state.has('stages.0.0.repmlp_block.fc3.weight')) return undefined;
  const deploy = state.has('conv_embedding.bn.weight') ? 'deploy-official' : 'deploy';
  const form = state.has('stages.0.0.repmlp_block.fc3_bn.weight') ? 'train' : deploy;
  const same = (key: string) => key;
  return { scheme: form === 'deploy' ? 'fuseproof' : 'official', form, rename: same, restore: same };
}

/** The original's default, which all published networks have. */
const USUAL_REDUCE = 4;

/**
 * The config's fields that keys and shapes say. They say how many pixels a window has, not its height and width: where the
 * number is a square, the window is taken for one. After locality injection the local perceptron's kernels are gone.
 */
export function readRepMlpNet(state: Shapes, form: Form) {
  const shape = (key: string) => state.get(key)?.shape ?? [];
  const size = (key: string, axis: number) => shape(key)[axis] ?? 0;
  const block = (stage: number) => `stages.${stage}.0.repmlp_block`;

  const channels = [size('conv_embedding.conv.weight', 0)];
  const num_blocks: number[] = [];
  for (let stage = 0; stage < channels.length; stage++) {
    let units = 0;
    while (state.has(`stages.${stage}.${units}.repmlp_block.fc3.weight`)) units++;
    num_blocks.push(units);
    const next = `embeds.${stage}.conv.weight`;
    if (state.has(next)) channels.push(size(next, 0));
  }
  const pixels = channels.map((_, stage) => size(`${block(stage)}.fc3.weight`, 1));
  const sides = pixels.map(windowsOf);
  const kernels = [...state.keys()].flatMap(
    (key) => /^stages\.0\.0\.repmlp_block\.repconv(\d{1,3})\.conv\.weight$/.exec(key)?.[1] ?? [],
  );
  const usual = sides.map((windows) => windows.find(([h, w]) => h === w) ?? windows.at(-1) ?? [0, 0]);
  const [, , patchHeight = 0, patchWidth = 0] = shape('conv_embedding.conv.weight');
  const inner = channels.map((_, stage) => size(`${block(stage)}.gp.fc1.weight`, 0));
  const reparam_conv_k = form === 'train' ? { reparam_conv_k: kernels.map(Number).sort((a, b) => a - b) } : {};
  const fields = {
    in_channels: size('conv_embedding.conv.weight', 1),
    num_class: size('head.weight', 0),
    patch_size: [patchHeight, patchWidth] as const,
    num_blocks,
    channels,
    hs: usual.map(([h]) => h),
    ws: usual.map(([, w]) => w),
    sharesets_nums: channels.map((_, stage) => size(`${block(stage)}.fc3.weight`, 0) / pixels[stage]!),
    ...reparam_conv_k,
    globalperceptron_reduce: reduceOf(channels, inner),
  };

  const open: Open<Windows>[] = [];
  const oblong = sides.flatMap((windows, stage) => {
    if (windows.some(([h, w]) => h === w)) return [];
    return [`stage ${stage}: ${windows.map(([h, w]) => `${h}x${w}`).join(', ')}`];
  });
  if (oblong.length > 0) {
    const fits = ({ hs, ws }: Windows) => pixels.every((count, stage) => hs[stage]! * ws[stage]! === count);
    open.push({ fields: ['hs', 'ws'], fits, says: `hs and ws (${oblong.join('; ')})` });
  }
  if (form !== 'train') {
    open.push({ fields: ['reparam_conv_k'], fits: () => true, says: 'reparam_conv_k (odd sizes)' });
  }
  return { fields, open };
}

/** Largest window that is looked at, in pixels: 128 x 128. The published ones have up to 64 x 64. */
const LARGEST_WINDOW = 2 ** 14;

/** Every height and width of a window of so many pixels, the lowest first. */
function windowsOf(pixels: number): (readonly [height: number, width: number])[] {
  if (!(pixels <= LARGEST_WINDOW)) return [];
  return Array.from({ length: pixels }, (_, i) => i + 1)
    .filter((height) => pixels % height === 0)
    .map((height) => [height, pixels / height] as const);
}

/** A divisor that gives every stage its inner width, rounded down: the usual one where it does. */
function reduceOf(channels: readonly number[], inner: readonly number[]): number {
  const least = Math.max(...channels.map((width, stage) => Math.floor(width / (inner[stage]! + 1)) + 1));
  const most = Math.min(...channels.map((width, stage) => Math.floor(width / inner[stage]!)));
  return least <= USUAL_REDUCE && USUAL_REDUCE <= most ? USUAL_REDUCE : most;
}
