/**
 * A process that writes is killed at random moments: what is there is the old output or the new one, whole, and what it has
 * left is deleted by the next one.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';

const ARTEFACT = resolve(import.meta.dirname, '../dist/certify/artefact.js');
const KILLS = 15;
/** Bytes of a file: writing takes long enough to be hit. */
const BYTES = 2 ** 22;
const SEED = 20261127;

let folder = '';
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'fuseproof kills '));
  await writeFile(
    join(folder, 'writer.mjs'),
    `import { createHash } from 'node:crypto';
    import { writeArtefact } from ${JSON.stringify(ARTEFACT)};
    const [, , folder] = process.argv;
    for (let i = 0; ; i++) {
      const weights = new Uint8Array(${BYTES}).fill(i % 251);
      const id = createHash('sha256').update(weights).digest('hex').slice(0, 16);
      const shard = \`weights-\${id}-shard1of1.bin\`;
      await writeArtefact(\`\${folder}/graph\`, new Map([[shard, weights], ['model.json', Buffer.from(JSON.stringify({ shard }))]]));
      await writeArtefact(\`\${folder}/file.bin\`, new Map([['', weights]]));
      if (i > 0) continue;
      process.send('first');
      if (process.argv[3] === 'once') break;
    }
    process.disconnect();`,
  );
});
afterAll(() => rm(folder, { recursive: true }));

/** Whole numbers from 0, the same on every run. */
function* random(): Generator<number> {
  for (let i = 0; ; i++) yield createHash('sha256').update(`${SEED} ${i}`).digest().readUInt32LE();
}

function ended(child: ChildProcess): Promise<void> {
  return new Promise((done) => child.once('exit', () => done()));
}

async function temporaries(): Promise<string[]> {
  const found = await readdir(folder, { recursive: true });
  return found.filter((name) => name.endsWith('.tmp'));
}

test(`${KILLS} kills at random moments (seed ${SEED})`, async () => {
  expect(existsSync(ARTEFACT)).toBe(true);
  const moments = random();
  const cut: string[] = [];
  for (let i = 0; i < KILLS; i++) {
    const child = fork(join(folder, 'writer.mjs'), [folder], { stdio: ['ignore', 'ignore', 'inherit', 'ipc'] });
    const end = ended(child);
    await new Promise((first) => child.once('message', first));
    await setTimeout(moments.next().value % 60);
    child.kill('SIGKILL');
    await end;

    const file = await readFile(join(folder, 'file.bin'));
    expect(file.length).toBe(BYTES);
    expect(file.equals(Buffer.alloc(BYTES, file[0]))).toBe(true);
    const { shard } = JSON.parse(await readFile(join(folder, 'graph/model.json'), 'utf8'));
    const weights = await readFile(join(folder, 'graph', shard));
    expect(shard).toContain(createHash('sha256').update(weights).digest('hex').slice(0, 16));
    const left = await temporaries();
    // The next process deletes them, so there are never more than one has made.
    expect(left.length).toBeLessThanOrEqual(1);
    if (left[0] !== undefined) cut.push(left[0]);
  }
  // Else no kill fell into a write, and nothing was tried.
  expect(cut.length).toBeGreaterThan(0);

  // Of a process that runs, of another machine, of another file: none of these is known to be left.
  const [name = ''] = cut;
  const others = [
    name.replace(/-\d+-/, `-${process.pid}-`),
    name.replace(/[0-9a-f]{8}-(?=\d+-)/, '00000000-'),
    'other.bin.00000000-1-0.tmp',
  ];
  for (const other of others) await writeFile(join(folder, other), '');
  await ended(fork(join(folder, 'writer.mjs'), [folder, 'once']));
  expect((await temporaries()).sort()).toEqual(others.sort());
}, 120_000);
