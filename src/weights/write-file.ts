import { createHash } from 'node:crypto';
import { readdir, rename, rm, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { InputError } from '../network/errors.ts';
import { messageOfSystemError, remedyOf } from './system-error.ts';

/** `NAME.HOST-PROCESS-COUNT.tmp`: what is being written of NAME, and by which process. */
const TEMPORARY = /^(?<name>.+)\.(?<host>[0-9a-f]{8})-(?<process>\d+)-\d+\.tmp$/;

/** Of this machine, so that a folder may be shared with others, whose processes cannot be seen. */
const HOST = createHash('sha256').update(hostname()).digest('hex').slice(0, 8);

let count = 0;

function temporaryOf(path: string): string {
  return `${path}.${HOST}-${process.pid}-${count++}.tmp`;
}

/** The file that a name is the beginnings of; undefined of any other name. */
export function fileOfTemporary(name: string): string | undefined {
  return TEMPORARY.exec(name)?.groups?.name;
}

/** Whether a process of this machine is alive. */
export function isRunning(id: number): boolean {
  try {
    process.kill(id, 0);
    return true;
  } catch (error) {
    // A process of somebody else is one all the same.
    return error instanceof Error && 'code' in error && error.code === 'EPERM';
  }
}

/**
 * Deletes what processes that were killed have left of files in a folder.
 * @param isOurs whether a file is one to look at, by its name
 */
export async function removeLeft(folder: string, isOurs: (name: string) => boolean): Promise<void> {
  for (const entry of await readdir(folder).catch(() => [])) {
    const { name, host, process: id } = TEMPORARY.exec(entry)?.groups ?? {};
    if (name === undefined || !isOurs(name) || host !== HOST || isRunning(Number(id))) continue;
    await rm(join(folder, entry), { force: true }).catch(() => undefined);
  }
}

/**
 * Writes a file whole or not at all: beside its place first, then renamed. What stood there before is replaced.
 * @throws InputError where the folder is missing or cannot be written; nothing is left behind
 */
export async function writeFileAtomically(path: string, data: string | Uint8Array): Promise<void> {
  await writeFilesAtomically([[path, data]]);
}

/**
 * Writes files that belong together: all of them beside their places first, so that a full disk replaces none, then renamed
 * in this order. What killed processes have left of them is deleted.
 * @throws InputError where one cannot be written; nothing is left behind
 */
export async function writeFilesAtomically(
  files: readonly (readonly [path: string, data: string | Uint8Array])[],
): Promise<void> {
  const staged: { readonly path: string; readonly temporary: string }[] = [];
  let current = '';
  const folders = new Set(files.map(([path]) => dirname(path)));
  for (const folder of folders) {
    const names = new Set(files.filter(([path]) => dirname(path) === folder).map(([path]) => basename(path)));
    await removeLeft(folder, (name) => names.has(name));
  }
  try {
    for (const [path, data] of files) {
      current = path;
      const temporary = temporaryOf(path);
      staged.push({ path, temporary });
      await writeFile(temporary, data, { flag: 'wx' });
    }
    for (const { path, temporary } of staged) {
      current = path;
      await rename(temporary, path);
    }
  } catch (error) {
    for (const { temporary } of staged) await rm(temporary, { force: true }).catch(() => undefined);
    throw new InputError(`${current}: ${messageOfSystemError(error, 'write')}; ${remedyOf(error)}`);
  }
}
