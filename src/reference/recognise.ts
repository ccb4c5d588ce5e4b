/** Which network a state dict belongs to, by its keys and shapes. */
import { InputError } from '../network/errors.ts';
import type { Tensor, Weights } from '../network/tensor.ts';
import { type Model, parseConfig } from './config.ts';
import { families, familyNamed, type ModelConfig } from './families.ts';
import type { Family, Form, Reading } from './family.ts';
import { variants } from './variants.ts';

/** Weights under the network's keys. */
export interface Named {
  /** Whose names the keys of the file are: `timm`, `official`, ... */
  readonly scheme: string;
  readonly form: Form;
  /** Keys that the network does not have are as they were. */
  readonly weights: Weights;
  /** From a key of the network, or of its deploy forms, to that of the same project's state dict. */
  readonly restore: (key: string) => string;
}

/** The same, and which network's they are. */
export interface Recognised extends Named {
  /** Undefined where several fit. */
  readonly model: Model | undefined;
  /** What is left open, with the values that fit; empty where nothing is. */
  readonly open: readonly string[];
  /** Published networks that fit. */
  readonly published: readonly string[];
}

/** Keys that a message shows of a file that nobody knows. */
const SHOWN_KEYS = 3;

/**
 * Weights under the keys of a family of networks.
 * @param subject names the file in messages
 * @returns undefined where the keys are not the family's
 * @throws InputError where two keys stand for the same
 */
export function nameWeights(family: Family<ModelConfig>, weights: Weights, subject: string): Named | undefined {
  const naming = family.naming(weights);
  if (naming === undefined) return undefined;
  const { scheme, form, rename, restore } = naming;
  const renamed = new Map<string, Tensor>();
  for (const [key, tensor] of weights) {
    const ours = rename(key);
    if (renamed.has(ours))
      throw new InputError(`${subject}: ${key} and another key are both ${ours}; keep one of them`);
    renamed.set(ours, tensor);
  }
  return { scheme, form, weights: renamed, restore };
}

/**
 * Recognises the network of a state dict.
 * @param name what to call a network that is not a published one
 * @param subject names the file in messages
 * @throws InputError where the keys are of no network that is known, or their shapes are of none that is possible
 */
export async function recognise(weights: Weights, name: string, subject: string): Promise<Recognised> {
  for (const family of Object.keys(families).flatMap((known) => familyNamed(known) ?? [])) {
    const named = nameWeights(family, weights, subject);
    if (named === undefined) continue;
    const reading = family.read(named.weights, named.form);
    const model = await modelOf(reading, family, name, subject);
    const published = family.variants.filter(({ config }) => fits(reading, config)).map((variant) => variant.name);
    const open = reading.open.map(({ says }) => says);
    return { ...named, model: open.length === 0 ? model : undefined, open, published };
  }
  const keys = [...weights.keys()].slice(0, SHOWN_KEYS).join(', ');
  throw new InputError(
    `${subject}: its ${weights.size} keys (${keys}${weights.size > SHOWN_KEYS ? ', ...' : ''}) are of no network that is known: ${Object.keys(families).join(', ')}`,
  );
}

/** The published network of this config, or one of the user's own. */
async function modelOf(
  { config }: Reading<ModelConfig>,
  family: Family<ModelConfig>,
  name: string,
  subject: string,
): Promise<Model> {
  const published = variants.find((variant) => sameConfig(variant.config, config));
  if (published !== undefined) {
    return { name: published.name, config: published.config, resolution: published.resolution };
  }
  const checked = await parseConfig(config, `${subject}, as a network`);
  return { name, config: checked, resolution: family.resolution(checked) };
}

/** Whether a config is the one read, but for what is open. */
function fits({ config, open }: Reading<ModelConfig>, other: ModelConfig): boolean {
  const openFields = new Set<string>(open.flatMap(({ fields }) => fields));
  const closed = (given: ModelConfig) =>
    Object.fromEntries(Object.entries(given).filter(([field]) => !openFields.has(field)));
  return sameConfig(closed(config) as never, closed(other) as never) && open.every((one) => one.fits(other));
}

function sameConfig(a: ModelConfig, b: ModelConfig): boolean {
  const entries = (config: ModelConfig) => JSON.stringify(Object.entries(config).sort(([x], [y]) => (x < y ? -1 : 1)));
  return entries(a) === entries(b);
}

/**
 * The network that was recognised.
 * @throws InputError where several fit, listing them
 */
export function soleModel({ model, open, published }: Recognised, subject: string): Model {
  if (model !== undefined) return model;
  const names =
    published.length === 0 ? 'no published network fits' : `published networks that fit: ${published.join(', ')}`;
  throw new InputError(
    `${subject}: several networks have these keys and shapes, which leave open ${open.join('; ')}; ${names}. Say which with --model, by name or as a config (.json)`,
  );
}
