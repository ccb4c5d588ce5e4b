import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { InputError } from '../network/errors.ts';
import type { ModelConfig } from '../reference/families.ts';
import type { InputSize } from '../reference/size.ts';
import { messageOfSystemError } from '../weights/system-error.ts';

export const MANIFEST = 'manifest.json';

/** What a file was made by: the script, the version of the portable generator, the tools' versions. */
export type MadeBy = Readonly<Record<string, string | number>> & { readonly generator: number };

/** A file of the goldens, as the manifest lists it. */
export interface Entry {
  /** Unique. */
  readonly name: string;
  /** From the folder of the goldens; unique. */
  readonly file: string;
  readonly what: string;
  readonly sha256: string;
  readonly made_by: MadeBy;
  /** The published network that it is of. */
  readonly model?: string;
  /** Of weights and input, where they are generated. */
  readonly seed?: number;
  readonly config?: ModelConfig;
  readonly input?: InputSize;
  /** Files with weights and a tensor `input`, where they are stored. */
  readonly stored?: { readonly weights: string; readonly images: string };
}

/** An entry whose file holds what networks compute: logits `train` and `deploy`, and stages, `train.stages.0` and so on. */
export interface Golden extends Entry {
  readonly config: ModelConfig;
  readonly input: InputSize;
}

export interface Manifest {
  readonly goldens: readonly Entry[];
  /** Of pending ones: accepted goldens that the oracle makes no more. */
  readonly removed?: readonly string[];
}

export function isGolden(entry: Entry): entry is Golden {
  return entry.config !== undefined && entry.input !== undefined;
}

/** Whether an entry is meant by a name: its own, or that of its published network, which stands for all of its goldens. */
export function isNamed({ name, model }: Pick<Entry, 'name' | 'model'>, wanted: string): boolean {
  return name === wanted || model === wanted;
}

/** What to do about a manifest that cannot be used. */
export interface ManifestRemedy {
  readonly absent: string;
  readonly damaged: string;
}

const RESTORE: ManifestRemedy = {
  absent: 'goldens come with the repository, not with the package: give their folder with --folder',
  damaged: 'restore the file',
};

/**
 * Reads the manifest of a folder of goldens.
 * @throws InputError where there is none, or it is damaged
 */
export async function readManifest(folder: string, remedy = RESTORE): Promise<Manifest> {
  const path = join(folder, MANIFEST);
  let value: unknown;
  try {
    value = JSON.parse(await readFile(path, 'utf8'));
  } catch (error) {
    if (error instanceof SyntaxError) throw new InputError(`${path}: not JSON (${error.message}); ${remedy.damaged}`);
    throw new InputError(`${path}: ${messageOfSystemError(error, 'read')}; ${remedy.absent}`);
  }
  await checkManifest(value, path, remedy);
  const { goldens, removed } = value as Manifest;
  const twice = standingTwice(goldens);
  if (twice !== undefined) {
    throw new InputError(`${path}: ${twice.value} stands there twice; each ${twice.key} is unique`);
  }
  return { goldens, ...(removed && { removed }) };
}

/** The first name or file that two entries have; undefined where each has its own. */
export function standingTwice(
  goldens: readonly Entry[],
): { readonly key: 'name' | 'file'; readonly value: string } | undefined {
  for (const key of ['name', 'file'] as const) {
    const seen = new Set<string>();
    for (const { [key]: value } of goldens) {
      if (seen.has(value)) return { key, value };
      seen.add(value);
    }
  }
  return undefined;
}

async function checkManifest(value: unknown, path: string, { damaged }: ManifestRemedy): Promise<void> {
  const [{ Ajv }, { default: schema }] = await Promise.all([
    import('ajv'),
    import('./manifest.schema.json', { with: { type: 'json' } }),
  ]);
  const validate = new Ajv().compile(schema);
  if (validate(value)) return;
  const [error] = validate.errors ?? [];
  throw new InputError(`${path}: ${error?.instancePath ?? ''} ${error?.message}; ${damaged}`);
}

/** As the project's formatter writes JSON: lists of numbers on one line. */
export function formatManifest(manifest: Manifest): string {
  const text = JSON.stringify(manifest, null, 2);
  return `${text.replace(/\[([\d,\s]+)\]/g, (_, items: string) => `[${items.trim().split(/\s+/).join(' ')}]`)}\n`;
}
