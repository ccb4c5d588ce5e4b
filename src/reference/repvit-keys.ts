/**
 * RepViT's state dicts: timm's names, which are ours; those of the official code (THU-MIG/RepViT, `model/repvit.py`), with a
 * row of `features` for each block; and those of its CIFAR-100 reproduction. Train form, or fused by timm's `fuse()` or the
 * official `replace_batchnorm()`.
 */
import type { Form, Naming, Open, Shapes } from './family.ts';

/** @returns undefined where the keys are not RepViT's */
export function namingOfRepVit(state: Shapes): Naming | undefined {
  const formOf = (key: string): Form => (state.has(key) ? 'train' : 'deploy');
  if (state.has('stem.conv1.c.weight') || state.has('stem.conv1.weight')) {
    return { scheme: 'timm', form: formOf('stem.conv1.c.weight'), rename: same, restore: same };
  }
  if (state.has('features.0.0.c.weight') || state.has('features.0.0.weight')) {
    const modules = modulesOfRows([...state.keys()]);
    const restore = byModule(new Map([...modules].map(([theirs, ours]) => [ours, theirs])));
    return { scheme: 'official', form: formOf('features.0.0.c.weight'), rename: byModule(modules), restore };
  }
  if (state.has('features.0.0.conv.weight')) {
    const rename = byModule(modulesOfRows([...state.keys()].map(officialKey)));
    // It has no fused form of its own, so that its deploy files have timm's names.
    return {
      scheme: 'CIFAR-100 reproduction',
      form: 'train',
      rename: (key) => rename(officialKey(key)),
      restore: same,
    };
  }
  return undefined;
}

const same = (key: string) => key;

/** A key of the reproduction, as the official code has it: other names for the same modules. */
function officialKey(key: string): string {
  return key
    .replace(/^(features\.0\.[02])\.conv\./, '$1.c.')
    .replace(/\.token_mixer\.([02])\.conv\./, '.token_mixer.$1.c.')
    .replace(/\.token_mixer\.0\.conv2\./, '.token_mixer.0.conv1.')
    .replace(/\.token_mixer\.0\.conv1\.conv\./, '.token_mixer.0.conv.c.')
    .replace(/\.token_mixer\.0\.conv1\.bn\./, '.token_mixer.0.conv.bn.')
    .replace(/\.channel_mixer\.conv1\.(?:conv|(bn))\./, (_, bn) => `.channel_mixer.m.0.${bn ?? 'c'}.`)
    .replace(/\.channel_mixer\.conv2\.(?:conv|(bn))\./, (_, bn) => `.channel_mixer.m.2.${bn ?? 'c'}.`)
    .replace(/^classifier\.fc\.bn\./, 'classifier.classifier.bn.')
    .replace(/^classifier\.fc\.linear\./, 'classifier.classifier.l.');
}

/**
 * timm's module for each of the official code's, whose rows are the blocks of all stages: where one downsamples (it has a
 * second convolution in its token mixer), the row before it is what timm calls the downsample's `pre_block`.
 */
function modulesOfRows(keys: readonly string[]): ReadonlyMap<string, string> {
  const rows = new Set<number>();
  const strided = new Set<number>();
  for (const key of keys) {
    const [, row, second] = /^features\.(\d{1,4})\.(token_mixer\.2\.)?/.exec(key) ?? [];
    if (row === undefined || row === '0') continue;
    rows.add(Number(row));
    if (second !== undefined) strided.add(Number(row));
  }
  const modules = new Map([
    ['features.0.0', 'stem.conv1'],
    ['features.0.2', 'stem.conv2'],
    ['classifier.classifier', 'head.head'],
    ['classifier.classifier_dist', 'head.head_dist'],
    ['classifier', 'head'],
  ]);
  let stage = 0;
  let block = 0;
  for (const row of [...rows].sort((a, b) => a - b)) {
    const name = `features.${row}`;
    if (strided.has(row)) {
      stage += 1;
      block = 0;
      const downsample = `stages.${stage}.downsample`;
      modules.set(`${name}.token_mixer.0`, `${downsample}.spatial_downsample`);
      modules.set(`${name}.token_mixer.2`, `${downsample}.channel_downsample`);
      modules.set(`${name}.channel_mixer.m.0`, `${downsample}.ffn.conv1`);
      modules.set(`${name}.channel_mixer.m.2`, `${downsample}.ffn.conv2`);
      continue;
    }
    const ours = strided.has(row + 1)
      ? `stages.${stage + 1}.downsample.pre_block`
      : `stages.${stage}.blocks.${block++}`;
    modules.set(`${name}.token_mixer.0`, `${ours}.token_mixer`);
    modules.set(`${name}.token_mixer.1`, `${ours}.se`);
    modules.set(`${name}.channel_mixer.m.0`, `${ours}.channel_mixer.conv1`);
    modules.set(`${name}.channel_mixer.m.2`, `${ours}.channel_mixer.conv2`);
  }
  return modules;
}

/** Gives a key the name of the largest module that has one. Other keys stay as they are. */
function byModule(modules: ReadonlyMap<string, string>): (key: string) => string {
  return (key) => {
    for (let end = key.lastIndexOf('.'); end > 0; end = key.lastIndexOf('.', end - 1)) {
      const module = modules.get(key.slice(0, end));
      if (module !== undefined) return module + key.slice(end);
    }
    return key;
  };
}

/** The config's fields that keys and shapes say. Of a fused network they leave open what it was fused from. */
export function readRepVit(state: Shapes, form: Form) {
  const isTrain = form === 'train';
  const size = (key: string, axis: number) => state.get(key)?.shape[axis] ?? 0;
  /** The convolution of a ConvNorm, or what it was fused to. */
  const conv = (module: string) => `${module}${isTrain ? '.c' : ''}.weight`;
  const mixer = (block: string) => conv(`${block}.token_mixer${isTrain ? '.conv' : ''}`);

  const embed_dim = [size(conv('stem.conv2'), 0)];
  const depth: number[] = [];
  for (let stage = 0; stage < embed_dim.length; stage++) {
    let blocks = 0;
    while (state.has(mixer(`stages.${stage}.blocks.${blocks}`))) blocks++;
    depth.push(blocks);
    const next = conv(`stages.${stage + 1}.downsample.channel_downsample`);
    if (state.has(next)) embed_dim.push(size(next, 0));
  }
  const some = depth[0] === 0 ? 'stages.1.downsample.pre_block' : 'stages.0.blocks.0';
  const hidden = conv(`${some}.channel_mixer.conv1`);
  const head = isTrain ? 'head.head.l.weight' : 'head.weight';
  const fields = {
    in_chans: size(conv('stem.conv1'), 1),
    embed_dim,
    depth,
    mlp_ratio: size(hidden, 0) / size(hidden, 1),
    kernel_size: size(mixer(some), 2),
    num_classes: size(head, 0),
  };
  if (!isTrain) return { fields, open: FUSED_FROM };
  const legacy = state.has(`${some}.token_mixer.conv1.c.weight`);
  const distillation = state.has('head.head_dist.l.weight');
  return { fields: { ...fields, legacy, distillation }, open: [] };
}

/** Both flavours of RepVGGDW, and one head or two, are fused into the same. */
const FUSED_FROM: readonly Open<unknown>[] = ['legacy', 'distillation'].map((field) => ({
  fields: [field],
  fits: () => true,
  says: `${field} (true or false)`,
}));
