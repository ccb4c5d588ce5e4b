import { randomUUID } from 'node:crypto';
import { rename, rm, writeFile } from 'node:fs/promises';
import { InputError } from '../network/errors.ts';
import { messageOfSystemError } from './system-error.ts';

/**
 * Writes a file whole or not at all: beside its place first, then renamed. What stood there before is replaced.
 * @throws InputError where the folder is missing or cannot be written; nothing is left behind
 */
export async function writeFileAtomically(path: string, data: string | Uint8Array): Promise<void> {
  const temporary = `${path}.${randomUUID()}.tmp`;
  try {
    await writeFile(temporary, data, { flag: 'wx' });
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => undefined);
    throw new InputError(
      `${path}: ${messageOfSystemError(error, 'write')}; give a file in a folder that exists and can be written`,
    );
  }
}
