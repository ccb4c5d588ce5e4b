import { closest } from 'fastest-levenshtein';
import { InputError } from '../network/errors.ts';
import { variants } from '../reference/variants.ts';
import type { Verdict } from '../verify/compare.ts';
import { worstVerdict } from '../verify/verify.ts';
import { type CheckOptions, checkGolden, type GoldenReport } from './check.ts';
import { checkFiles } from './folder.ts';
import { type Golden, isGolden, isNamed, type Manifest, readManifest } from './manifest.ts';
import { pendingChanges } from './pending.ts';

export interface CheckAllOptions extends Omit<CheckOptions, 'onProgress'> {
  /** Only these goldens. */
  readonly names?: readonly string[];
  /** Told of each golden before it is checked. */
  readonly onProgress?: (done: number, total: number, what: string) => void;
  /** Told of each golden's report as soon as it is there. */
  readonly onReport?: (report: GoldenReport) => void | Promise<void>;
}

export interface FolderReport {
  readonly verdict: Verdict;
  /** Listed in the manifest, and of these as it lists them. */
  readonly files: number;
  readonly asListed: number;
  /** What is wrong with files and with the manifest. */
  readonly problems: readonly string[];
  /** Goldens that wait for a review. */
  readonly pending: readonly string[];
  readonly goldens: readonly GoldenReport[];
}

/**
 * Checks a folder of goldens: that its files are those of its manifest, that every published network has goldens, and each
 * golden against this version.
 * @throws InputError where there is no such folder, its manifest or that of the pending is damaged, or a name is unknown
 */
export async function checkAll(folder: string, options: CheckAllOptions = {}): Promise<FolderReport> {
  const { names, onProgress, onReport, ...rest } = options;
  const manifest = await readManifest(folder);
  const all = manifest.goldens.filter(isGolden);
  const chosen = names === undefined ? all : goldensNamed(all, names);
  const pending = (await pendingChanges(folder)).map(({ name }) => name);
  const wrong = await checkFiles(folder, manifest);
  const broken = new Set(wrong.filter(({ kind }) => kind !== 'extra').map(({ file }) => file));
  const problems = [...wrong.map(({ problem }) => problem), ...(names === undefined ? uncovered(manifest) : [])];
  const goldens: GoldenReport[] = [];
  for (const [done, golden] of chosen.entries()) {
    // Of a file that is not the manifest's nothing more is to be said.
    if (filesOf(golden).some((file) => broken.has(file))) continue;
    const progress = (what: string) => onProgress?.(done, chosen.length, `${golden.name}, ${what}`);
    progress('starting');
    const report = await checkGolden(golden, folder, { ...rest, onProgress: progress });
    goldens.push(report);
    await onReport?.(report);
  }
  const verdicts = [...goldens.map(({ verdict }) => verdict), ...(problems.length > 0 ? (['fail'] as const) : [])];
  const files = manifest.goldens.length;
  return { verdict: worstVerdict(verdicts), files, asListed: files - broken.size, problems, pending, goldens };
}

function filesOf({ file, stored }: Golden): readonly string[] {
  return stored === undefined ? [file] : [file, stored.weights, stored.images];
}

/**
 * The goldens of these names, in the manifest's order; a published network's name stands for all of its goldens.
 * @throws InputError where there is none of a name
 */
export function goldensNamed<E extends { readonly name: string; readonly model?: string }>(
  all: readonly E[],
  names: readonly string[],
): readonly E[] {
  for (const wanted of names) {
    if (all.some((golden) => isNamed(golden, wanted))) continue;
    const known = all.map(({ name }) => name);
    const hint = known.length === 0 ? 'the manifest lists none' : `did you mean ${closest(wanted, known)}?`;
    throw new InputError(`there is no golden ${wanted}; ${hint}`);
  }
  return all.filter((golden) => names.some((wanted) => isNamed(golden, wanted)));
}

/** Every published network has a golden at the resolution that it is published at. */
function uncovered({ goldens }: Manifest): readonly string[] {
  const full = new Set(goldens.filter(isGolden).map(({ model, input }) => `${model} ${input.height}x${input.width}`));
  return variants
    .filter(({ name, resolution }) => !full.has(`${name} ${resolution}x${resolution}`))
    .map(
      ({ name, resolution }) => `${name} has no golden at ${resolution}x${resolution}; npm run golden:update makes it`,
    );
}
