import { readFile, stat } from 'node:fs/promises';
import { basename } from 'node:path';
import type { ErrorObject, ValidateFunction } from 'ajv';
import { InputError } from '../network/errors.ts';
import { parseJson } from '../network/json.ts';
import type { Network } from '../network/ops.ts';
import { families, familyNamed, familyOf, type ModelConfig } from './families.ts';
import type { ConfigSchema, Family } from './family.ts';
import type { InputSize } from './size.ts';
import { variants } from './variants.ts';

/** A network to work on: a published one, or a user's own. */
export interface Model {
  /** The published name, or the config file's name without `.json`. */
  readonly name: string;
  readonly config: ModelConfig;
  /** Height and width of the input, in pixels. */
  readonly resolution: number;
}

/** Stands for every published network in a list of models. */
export const ALL = 'all';

/**
 * The train-form network of the config on an input [batch, channels, height, width].
 * @throws InputError where the batch or the size does not fit the network
 */
export function buildNetwork(config: ModelConfig, size: InputSize, name?: string): Network {
  return familyOf(config).build(config, size, name);
}

/** The train form of a small network of the same make, for what is too slow on the config's own. */
export function buildMiniature(config: ModelConfig): Network {
  const { config: small, size } = familyOf(config).miniature(config);
  return buildNetwork(small, size, 'miniature');
}

/** The candidate nearest to a mistyped word, by Levenshtein distance. */
async function nearest(word: string, candidates: readonly string[]): Promise<string> {
  const { closest } = await import('fastest-levenshtein');
  return closest(word, candidates);
}

/** A JSON value as a message shows it, cut where it is long. */
function show(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
}

/** `/embed_dim/2` -> `embed_dim[2]` */
function fieldOf(instancePath: string): string {
  return instancePath.slice(1).replace(/\/(\d+)/g, '[$1]');
}

const relations: Readonly<Record<string, string>> = { '>=': 'at least', '<=': 'at most', '>': 'more than' };

/** What ajv found, as one sentence: field, value, limit. */
async function explain(
  { keyword, params, data, instancePath, parentSchema }: ErrorObject,
  { required, properties }: ConfigSchema,
  synonyms: Family<ModelConfig>['synonyms'],
): Promise<string> {
  const field = fieldOf(instancePath);
  const what = `${field} is ${show(data)}`;
  switch (keyword) {
    case 'required':
      return `${params.missingProperty} is missing; a config needs ${required.join(', ')}`;
    case 'additionalProperties': {
      const unknown: string = params.additionalProperty;
      const fields = Object.keys(properties);
      const meant = synonyms[unknown] ?? (await nearest(unknown, fields));
      return `unknown field ${show(unknown)}; did you mean ${meant}? The fields are ${fields.join(', ')}`;
    }
    case 'type':
      return `${what}; it must be ${params.type === 'integer' ? 'a whole number' : `of type ${[params.type].flat().join(' or ')}`}`;
    case 'not':
      return `${what}; it must be odd, so that the padding is symmetric`;
    case 'uniqueItems':
      return `${what}; each number may stand there once`;
    case 'minItems':
    case 'maxItems':
      if (parentSchema?.minItems === parentSchema?.maxItems) return `${what}; it must have ${params.limit} numbers`;
      return keyword === 'minItems'
        ? `${field} is empty; one number for each stage is needed`
        : `${field} has more than ${params.limit} stages; ${params.limit} is the limit`;
    default:
      return `${what}; it must be ${relations[params.comparison]} ${params.limit}`;
  }
}

/** The family that a config names. */
async function namedFamily(value: unknown, subject: string): Promise<Family<ModelConfig>> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new InputError(`${subject}: the config is ${show(value)}; it must be of type object`);
  }
  const names = Object.keys(families);
  if (!('family' in value))
    throw new InputError(`${subject}: family is missing; it must be one of ${names.join(', ')}`);
  const { family: name } = value;
  const family = typeof name === 'string' ? familyNamed(name) : undefined;
  if (family !== undefined) return family;
  const hint = typeof name === 'string' ? `; did you mean ${await nearest(name.toLowerCase(), names)}?` : '';
  throw new InputError(`${subject}: family is ${show(name)}; it must be one of ${names.join(', ')}${hint}`);
}

interface Validator {
  readonly validate: ValidateFunction<Partial<ModelConfig>>;
  readonly schema: ConfigSchema;
}

const validators = new WeakMap<Family<ModelConfig>, Promise<Validator>>();

/** Compiled once for each family. */
function validatorOf(family: Family<ModelConfig>): Promise<Validator> {
  const compile = async (): Promise<Validator> => {
    const [{ Ajv }, schema] = await Promise.all([import('ajv'), family.schema()]);
    const ajv = new Ajv({ verbose: true, allErrors: true, allowUnionTypes: true });
    return { validate: ajv.compile(schema), schema };
  };
  const validator = validators.get(family) ?? compile();
  validators.set(family, validator);
  return validator;
}

/**
 * Checks a config and fills in the defaults of its family's original.
 * @param subject what the messages call it: its path, say
 * @throws InputError naming the field, its value and the limit
 */
export async function parseConfig(value: unknown, subject: string): Promise<ModelConfig> {
  const family = await namedFamily(value, subject);
  const { validate, schema } = await validatorOf(family);
  if (!validate(value)) {
    const errors = validate.errors ?? [];
    // A mistyped required field is also a missing one; the typing error is the one to name.
    const error = errors.find(({ keyword }) => keyword === 'additionalProperties') ?? errors[0];
    if (error === undefined) throw new Error('ajv refused a config without a reason');
    throw new InputError(`${subject}: ${await explain(error, schema, family.synonyms)}`);
  }
  const config = family.complete(value);
  family.check(config, subject);
  return config;
}

/** A config has some hundred bytes; JSON takes up to 30 times its bytes in memory. */
export const MAX_CONFIG_BYTES = 2 ** 20;

/**
 * Reads a user's own network from a JSON file.
 * @throws InputError where the file is missing, is not JSON, or is no config
 */
export async function loadConfig(path: string): Promise<ModelConfig> {
  let text: string;
  try {
    const found = await stat(path);
    if (found.size > MAX_CONFIG_BYTES || !(found.isFile() || found.isDirectory())) {
      throw new InputError(
        `${path}: ${found.isFile() ? `${found.size} bytes` : 'is no regular file'}; a config is a file of at most ${MAX_CONFIG_BYTES} bytes`,
      );
    }
    text = await readFile(path, 'utf8');
  } catch (error) {
    if (error instanceof InputError) throw error;
    const { code } = error as NodeJS.ErrnoException;
    const reason = code === 'ENOENT' ? 'no such file' : `cannot be read (${code})`;
    throw new InputError(`${path}: ${reason}; give the path of a JSON config`);
  }
  return parseConfigText(text, path);
}

/**
 * The config of a JSON text.
 * @param subject what the messages call it: its path, say
 * @throws InputError where it is not JSON, or is no config
 */
export async function parseConfigText(text: string, subject: string): Promise<ModelConfig> {
  return parseConfig(parseJson(text, subject, 'a config is one JSON object'), subject);
}

/**
 * Finds one network: a published name, or a path that ends in `.json`.
 * @throws InputError where the name is unknown or the config is bad
 */
export async function resolveModel(nameOrPath: string): Promise<Model> {
  if (nameOrPath.endsWith('.json')) {
    const config = await loadConfig(nameOrPath);
    return { name: basename(nameOrPath, '.json'), config, resolution: familyOf(config).resolution(config) };
  }
  const variant = variants.find(({ name }) => name === nameOrPath);
  if (variant === undefined) {
    const names = variants.map(({ name }) => name);
    throw new InputError(
      `unknown model ${show(nameOrPath)}; did you mean ${await nearest(nameOrPath, names)}? "fuseproof models" lists all; a network of your own is a path that ends in .json`,
    );
  }
  const { name, config, resolution } = variant;
  return { name, config, resolution };
}

/**
 * Finds several networks, each once, in the order given; `all`, or none given, is every published one.
 * @throws InputError as {@link resolveModel}, and where two config files share a name
 */
export async function resolveModels(namesOrPaths: readonly string[] = [ALL]): Promise<readonly Model[]> {
  const given = namesOrPaths.length === 0 ? [ALL] : namesOrPaths;
  const expanded = given.flatMap((name) => (name === ALL ? variants.map((variant) => variant.name) : [name]));
  const models = new Map<string, { readonly from: string; readonly model: Model }>();
  for (const from of new Set(expanded)) {
    const model = await resolveModel(from);
    const other = models.get(model.name);
    if (other !== undefined) {
      throw new InputError(`${other.from} and ${from} are both called ${model.name}; rename one of them`);
    }
    models.set(model.name, { from, model });
  }
  return [...models.values()].map(({ model }) => model);
}
