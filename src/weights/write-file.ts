import { randomUUID } from 'node:crypto';
import { rename, rm, writeFile } from 'node:fs/promises';
import { InputError } from '../network/errors.ts';
import { messageOfSystemError } from './system-error.ts';

/**
 * Writes a file whole or not at all: beside its place first, then renamed. What stood there before is replaced.
 * @throws InputError where the folder is missing or cannot be written; nothing is left behind
 */
export async function writeFileAtomically(path: string, data: string | Uint8Array): Promise<void> {
  await writeFilesAtomically([[path, data]]);
}

/**
 * Writes files that belong together: all of them beside their places first, so that a full disk replaces none, then renamed
 * in this order.
 * @throws InputError where one cannot be written; nothing is left behind
 */
export async function writeFilesAtomically(
  files: readonly (readonly [path: string, data: string | Uint8Array])[],
): Promise<void> {
  const staged: { readonly path: string; readonly temporary: string }[] = [];
  let current = '';
  try {
    for (const [path, data] of files) {
      current = path;
      const temporary = `${path}.${randomUUID()}.tmp`;
      staged.push({ path, temporary });
      await writeFile(temporary, data, { flag: 'wx' });
    }
    for (const { path, temporary } of staged) {
      current = path;
      await rename(temporary, path);
    }
  } catch (error) {
    for (const { temporary } of staged) await rm(temporary, { force: true }).catch(() => undefined);
    throw new InputError(
      `${current}: ${messageOfSystemError(error, 'write')}; give a file in a folder that exists and can be written`,
    );
  }
}
