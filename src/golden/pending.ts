/**
 * New goldens wait for a review in the folder `pending`, beside the accepted ones, under the same paths and with a manifest
 * of their own. Nothing here needs Python.
 */
import { constants } from 'node:fs';
import { access, lstat, mkdir, readdir, readFile, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { InputError } from '../network/errors.ts';
import { parseJson } from '../network/json.ts';
import { readSafetensors } from '../weights/safetensors.ts';
import { messageOfSystemError, remedyOf } from '../weights/system-error.ts';
import { writeFileAtomically } from '../weights/write-file.ts';
import { PENDING, sha256Of } from './folder.ts';
import { alone } from './lock.ts';
import {
  type Entry,
  formatManifest,
  isNamed,
  MANIFEST,
  type Manifest,
  readManifest,
  standingTwice,
} from './manifest.ts';

/** One golden that waits for a review. */
export type Change =
  | { readonly kind: 'new'; readonly name: string; readonly pending: Entry }
  | { readonly kind: 'changed'; readonly name: string; readonly pending: Entry; readonly accepted: Entry }
  | { readonly kind: 'removed'; readonly name: string; readonly accepted: Entry };

/**
 * Does what changes the goldens' folder, and while nothing else does.
 * @throws InputError where that cannot be written, or is being changed for long
 */
async function changing<T>(folder: string, work: () => Promise<T>): Promise<T> {
  const pending = join(folder, PENDING);
  // What lies behind a link is not ours to clear out.
  if ((await lstat(pending).catch(() => undefined))?.isSymbolicLink()) {
    throw new InputError(`${pending} is a link; pending goldens are in a folder of their own, so delete the link`);
  }
  try {
    return await alone(folder, work);
  } catch (error) {
    if (!(error instanceof Error && 'syscall' in error)) throw error;
    throw new InputError(`${folder}: ${messageOfSystemError(error, 'write')}; ${remedyOf(error)}`);
  }
}

/**
 * Before any work: that goldens may be put into a folder.
 * @throws InputError where they may not
 */
export async function checkWritable(folder: string): Promise<void> {
  await changing(folder, () => access(folder, constants.W_OK));
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

/** The pending goldens' manifest; empty where none are pending. */
async function readPending(folder: string): Promise<Manifest> {
  const pending = join(folder, PENDING);
  const remedy = `delete ${pending}, and make them again with golden update`;
  if (await exists(join(pending, MANIFEST))) return readManifest(pending, { absent: remedy, damaged: remedy });
  return { goldens: [] };
}

/**
 * What waits for a review, in the order that it was made in.
 * @throws InputError where a manifest is damaged
 */
export async function pendingChanges(folder: string): Promise<readonly Change[]> {
  const [{ goldens: accepted }, { goldens, removed = [] }] = await Promise.all([
    readManifest(folder),
    readPending(folder),
  ]);
  const named = (name: string) => accepted.find((entry) => entry.name === name);
  const made = goldens.map((pending): Change => {
    const before = named(pending.name);
    const { name } = pending;
    return before === undefined ? { kind: 'new', name, pending } : { kind: 'changed', name, pending, accepted: before };
  });
  const gone = removed.flatMap((name): Change[] => {
    const before = named(name);
    return before === undefined ? [] : [{ kind: 'removed', name, accepted: before }];
  });
  return [...made, ...gone];
}

function isMeant(change: Change, wanted: string): boolean {
  return isNamed(change.kind === 'removed' ? change.accepted : change.pending, wanted);
}

/**
 * The changes of these names, or all; a published network's name stands for all of its goldens.
 * @throws InputError where nothing of a name is pending
 */
export function changesNamed(changes: readonly Change[], names: readonly string[] | undefined): readonly Change[] {
  if (names === undefined) return changes;
  const unknown = names.find((name) => !changes.some((change) => isMeant(change, name)));
  if (unknown !== undefined) {
    const pending = changes.length === 0 ? 'nothing is' : `pending: ${changes.map(({ name }) => name).join(', ')}`;
    throw new InputError(`${unknown} is not pending; ${pending}`);
  }
  return changes.filter((change) => names.some((name) => isMeant(change, name)));
}

/** Whether the entries are of the same golden. Which tools made it does not matter; the generator's version is checked. */
function isSame({ made_by: a, ...one }: Entry, { made_by: b, ...other }: Entry): boolean {
  return a.generator === b.generator && isDeepStrictEqual(one, other);
}

/** @throws InputError where a file that was made is missing, not what its manifest says, or damaged */
async function checkMade(made: string, { file, sha256 }: Entry): Promise<void> {
  const path = join(made, file);
  if (!(await isThere(path, sha256))) {
    throw new InputError(`${path} is missing, or not what ${join(made, MANIFEST)} says; make it again`);
  }
  if (file.endsWith('.safetensors')) await readSafetensors(path);
  if (file.endsWith('.json')) parseJson(await readFile(path, 'utf8'), path, 'make it again');
}

/**
 * Puts goldens that were made in a folder of their own among the pending ones; those that are the same as the accepted ones
 * are left out. Nothing that is accepted is touched.
 * @param complete whether they are all that the oracle makes: accepted ones of the same scripts that are not among them are
 * then to be removed
 * @returns names of what is pending now because of it, and how many are as accepted
 * @throws InputError where one that was made is not as its manifest says, or cannot be read; nothing is pending of it then
 */
export async function addPending(folder: string, made: string, complete: boolean): Promise<Added> {
  const remedy = { absent: 'give a folder that a script of golden/oracle has filled', damaged: 'make it again' };
  const { goldens } = await readManifest(made, remedy);
  return changing(folder, () => addAll(folder, made, goldens, complete));
}

interface Added {
  readonly pending: readonly string[];
  readonly same: number;
}

async function addAll(folder: string, made: string, goldens: readonly Entry[], complete: boolean): Promise<Added> {
  const [accepted, before] = await Promise.all([readManifest(folder), readPending(folder)]);
  const isNew = (entry: Entry) => !accepted.goldens.some((other) => isSame(other, entry));
  const changed = goldens.filter(isNew);
  for (const entry of changed) await checkMade(made, entry);
  const scripts = new Set(goldens.map(({ made_by }) => made_by.script));
  const remade = new Set(goldens.map(({ name }) => name));
  const removed = complete
    ? accepted.goldens.filter(({ name, made_by }) => scripts.has(made_by.script) && !remade.has(name))
    : [];
  const pending = join(folder, PENDING);
  for (const { file } of changed) {
    await mkdir(dirname(join(pending, file)), { recursive: true });
    await writeFileAtomically(join(pending, file), await readFile(join(made, file)));
  }
  // What was pending and is made again as accepted needs no review any more.
  const kept = before.goldens.filter(({ name }) => !remade.has(name));
  const gone = [...new Set([...(before.removed ?? []), ...removed.map(({ name }) => name)])].filter(
    (name) => !remade.has(name),
  );
  await writePending(folder, { goldens: [...kept, ...changed], removed: gone });
  return {
    pending: [...changed.map(({ name }) => name), ...removed.map(({ name }) => name)],
    same: goldens.length - changed.length,
  };
}

/** Writes the manifest of what is pending, and deletes every other file there; the folder, too, where nothing is. */
async function writePending(folder: string, manifest: Manifest): Promise<void> {
  const pending = join(folder, PENDING);
  const { goldens, removed = [] } = manifest;
  if (goldens.length === 0 && removed.length === 0) {
    await rm(pending, { recursive: true, force: true });
    return;
  }
  await mkdir(pending, { recursive: true });
  await writeFileAtomically(
    join(pending, MANIFEST),
    formatManifest({ goldens, ...(removed.length > 0 && { removed }) }),
  );
  const listed = new Set(goldens.map(({ file }) => file));
  for (const entry of await readdir(pending, { withFileTypes: true })) {
    if (!entry.isDirectory()) continue;
    for (const file of await readdir(join(pending, entry.name))) {
      if (!listed.has(`${entry.name}/${file}`)) await rm(join(pending, entry.name, file), { recursive: true });
    }
  }
}

/** Whether a file is there, and is the one with this SHA-256. */
export async function isThere(path: string, sha256: string): Promise<boolean> {
  return (await exists(path)) && (await sha256Of(path)) === sha256;
}

/**
 * Where a pending golden's file is: among the pending, or at its place already where an accept was cut short.
 * @throws InputError where it is at neither, or altered
 */
export async function placeOf(folder: string, { file, sha256 }: Entry): Promise<'pending' | 'accepted'> {
  const from = join(folder, PENDING, file);
  if (await isThere(from, sha256)) return 'pending';
  if (await isThere(join(folder, file), sha256)) return 'accepted';
  throw new InputError(
    `${from} is not what ${PENDING}/${MANIFEST} says; make it again with golden update, or reject it`,
  );
}

/** What to say of a pending golden that is at its place already. */
export function cutShort(folder: string, { file, name }: Entry): InputError {
  return new InputError(
    `${join(folder, file)}: an accept was cut short and has put the pending file there; accept ${name} again, or restore the file from the repository and reject it then`,
  );
}

/**
 * Makes the pending goldens of these names the accepted ones, or all.
 * @throws InputError where nothing of a name is pending, a pending file is missing or not what its manifest says, or two
 * goldens would have one name or file; nothing is changed then
 */
export function accept(folder: string, names: readonly string[] | undefined): Promise<readonly Change[]> {
  return changing(folder, async () => {
    const changes = changesNamed(await pendingChanges(folder), names);
    await access(folder, constants.W_OK);
    await acceptAll(folder, changes);
    return changes;
  });
}

async function acceptAll(folder: string, changes: readonly Change[]): Promise<void> {
  const manifest = await readManifest(folder);
  const byName = new Map(changes.map((change) => [change.name, change]));
  const stay = manifest.goldens.flatMap((entry): Entry[] => {
    const change = byName.get(entry.name);
    if (change === undefined) return [entry];
    return change.kind === 'removed' ? [] : [change.pending];
  });
  const goldens = [...stay, ...changes.flatMap((change) => (change.kind === 'new' ? [change.pending] : []))];
  const twice = standingTwice(goldens);
  if (twice !== undefined) {
    throw new InputError(
      `${twice.value} would be the ${twice.key} of two goldens; accept what is pending of both, or reject`,
    );
  }
  const moves: { readonly from: string; readonly to: string }[] = [];
  for (const change of changes) {
    if (change.kind === 'removed') continue;
    const { file } = change.pending;
    if ((await placeOf(folder, change.pending)) === 'pending') {
      moves.push({ from: join(folder, PENDING, file), to: join(folder, file) });
    }
  }
  for (const { from, to } of moves) {
    await mkdir(dirname(to), { recursive: true });
    await rename(from, to);
  }
  await writeFileAtomically(join(folder, MANIFEST), formatManifest({ goldens }));
  // A file that an accepted golden has left.
  const listed = new Set(goldens.map(({ file }) => file));
  for (const change of changes) {
    if (change.kind !== 'new' && !listed.has(change.accepted.file))
      await rm(join(folder, change.accepted.file), { force: true });
  }
  await forget(folder, changes);
}

/**
 * Deletes the pending goldens of these names, or all; the accepted ones stay.
 * @throws InputError where nothing of a name is pending, or an accept that was cut short has replaced an accepted one
 * already; nothing is changed then
 */
export function reject(folder: string, names: readonly string[] | undefined): Promise<readonly Change[]> {
  return changing(folder, async () => {
    const changes = changesNamed(await pendingChanges(folder), names);
    await rejectAll(folder, changes);
    return changes;
  });
}

async function rejectAll(folder: string, changes: readonly Change[]): Promise<void> {
  for (const change of changes) {
    if (change.kind === 'removed') continue;
    const { file, sha256 } = change.pending;
    if (!(await exists(join(folder, PENDING, file))) && (await isThere(join(folder, file), sha256))) {
      throw cutShort(folder, change.pending);
    }
  }
  await forget(folder, changes);
}

async function forget(folder: string, changes: readonly Change[]): Promise<void> {
  const names = new Set(changes.map(({ name }) => name));
  const { goldens, removed = [] } = await readPending(folder);
  const left = {
    goldens: goldens.filter(({ name }) => !names.has(name)),
    removed: removed.filter((name) => !names.has(name)),
  };
  await writePending(folder, left);
}
