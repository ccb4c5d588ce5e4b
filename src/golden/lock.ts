/** A folder of goldens is changed by one process at a time: what several read, change and write would lose one's work. */
import { createHash } from 'node:crypto';
import { readFile, realpath, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { InputError } from '../network/errors.ts';
import { isRunning } from '../weights/write-file.ts';

/** A change takes moments; whoever takes longer is stuck. */
const PATIENCE_MS = 10_000;
const AGAIN_MS = 20;

/**
 * Does work while no other process of this machine does any in the folder.
 * @throws InputError where another does for long
 */
export async function alone<T>(folder: string, work: () => Promise<T>): Promise<T> {
  // In the folder it would be one more file of the repository.
  const place = createHash('sha256')
    .update(await realpath(folder))
    .digest('hex');
  const lock = join(tmpdir(), `fuseproof-goldens-${place.slice(0, 16)}.lock`);
  await take(lock, folder);
  try {
    return await work();
  } finally {
    await rm(lock, { force: true });
  }
}

async function take(lock: string, folder: string): Promise<void> {
  for (const until = performance.now() + PATIENCE_MS; ; await setTimeout(AGAIN_MS)) {
    try {
      return await writeFile(lock, String(process.pid), { flag: 'wx' });
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error;
    }
    const holder = Number(await readFile(lock, 'utf8').catch(() => ''));
    // It was killed.
    if (holder > 0 && !isRunning(holder)) await rm(lock, { force: true });
    else if (performance.now() > until) {
      throw new InputError(`${folder}: process ${holder} is changing it; wait for it, or delete ${lock} if it is not`);
    }
  }
}
