import { execFile } from 'node:child_process';
import { cp, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { checkFiles, sha256Of } from '../src/golden/folder.ts';
import { type Entry, formatManifest, type Manifest, readManifest } from '../src/golden/manifest.ts';
import { encodeSafetensors, readSafetensors } from '../src/weights/safetensors.ts';
import { FOLDER, goldenNamed, pathOf } from './goldens.ts';

const BIN = pathOf('../bin/fuseproof.js');

/** A folder of three goldens, and one of goldens that were made anew; deleted after each test. */
let root: string;
let folder: string;
const TAPPED = 'repvit_m0_6_20x33';
const NAMES = [TAPPED, 'tiny_one_stage', 'tiny_kernel_7'];

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'fuseproof-pending-'));
  folder = join(root, 'golden');
  await mkdir(join(folder, 'fixtures'), { recursive: true });
  const goldens = NAMES.map(goldenNamed);
  for (const { file } of goldens) await cp(join(FOLDER, file), join(folder, file));
  await writeFile(join(folder, 'manifest.json'), formatManifest({ goldens }));
});
afterEach(() => rm(root, { recursive: true, force: true }));

async function fuseproof(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  try {
    const { stdout, stderr } = await promisify(execFile)(
      process.execPath,
      [BIN, 'golden', ...args, '--folder', folder],
      {
        cwd: root,
        env: { PATH: '/nowhere', HOME: root },
      },
    );
    return { code: 0, stdout, stderr };
  } catch (error) {
    const { code, stdout, stderr } = error as { code: number; stdout: string; stderr: string };
    return { code, stdout, stderr };
  }
}

/** An oracle in place of Python: hands over what `made` holds. */
async function pretendOracle(made: string, list: readonly string[] = NAMES): Promise<string> {
  const script = join(root, 'python');
  const catalogue = JSON.stringify({ names: { repvit: list }, source: 'https://example.org/repmlpnet.py' });
  await writeFile(
    script,
    `#!/bin/sh\nif [ "$2" = --list ]; then echo '${catalogue}'; exit; fi\necho made\n/bin/cp -R '${made}'/. "$3"\n`,
    { mode: 0o755 },
  );
  return script;
}

/** Goldens made anew, with these changes of their tensors. */
async function makeAnew(
  change: (name: string, tensors: Map<string, { shape: readonly number[]; data: Float64Array }>) => void,
  names: readonly string[] = NAMES,
): Promise<string> {
  const made = join(root, 'made');
  await mkdir(join(made, 'fixtures'), { recursive: true });
  const goldens: Entry[] = [];
  for (const name of names) {
    const golden = goldenNamed(name);
    const path = join(made, golden.file);
    await cp(join(FOLDER, golden.file), path);
    const tensors = new Map(
      [...(await readSafetensors(path))].map(([key, { shape, data }]) => [
        key,
        { shape, data: Float64Array.from(data) },
      ]),
    );
    const before = [...tensors].map(([, { data }]) => data.join()).join();
    change(name, tensors);
    if ([...tensors].map(([, { data }]) => data.join()).join() !== before)
      await writeFile(path, encodeSafetensors(tensors));
    goldens.push({ ...golden, sha256: await sha256Of(path), made_by: { ...golden.made_by, torch: '9.9.9' } });
  }
  await writeFile(join(made, 'manifest.json'), formatManifest({ goldens }));
  return made;
}

/** Every file and its bytes. */
async function snapshot(): Promise<ReadonlyMap<string, string>> {
  const files = (await readdir(folder, { recursive: true, withFileTypes: true })).filter((entry) => entry.isFile());
  const paths = files.map((file) => join(file.parentPath, file.name)).sort();
  return new Map(
    await Promise.all(paths.map(async (path) => [path, (await readFile(path)).toString('base64')] as const)),
  );
}

/** One element of one map of one golden is another. */
const oneElement = () =>
  makeAnew((name, tensors) => {
    if (name === TAPPED) tensors.get('train.stages.1')!.data[20]! += 0.25;
  });

describe('golden update', () => {
  it('writes what changed beside the accepted, which stay as they are; check then exits 5', async () => {
    const before = await snapshot();
    const { code, stdout, stderr } = await fuseproof('update', '--python', await pretendOracle(await oneElement()));
    expect([code, stderr]).toEqual([0, 'made\n']);
    expect(stdout).toBe(
      `2 files are as accepted, 1 pending\n  ${TAPPED}\nNext: fuseproof golden diff; then golden accept or golden reject\n`,
    );
    const after = await snapshot();
    for (const [path, bytes] of before) expect(after.get(path), path).toBe(bytes);
    expect([...after.keys()].filter((path) => !before.has(path))).toEqual([
      join(folder, 'pending/fixtures', `${TAPPED}.safetensors`),
      join(folder, 'pending/manifest.json'),
    ]);

    const check = await fuseproof('check', '--quick', 'tiny_one_stage');
    expect(check.code).toBe(5);
    expect(check.stdout).toMatch(`1 pending: ${TAPPED}. "fuseproof golden diff" shows what changes`);
  });

  it('that makes an accepted golden no more', async () => {
    await fuseproof('update', '--python', await pretendOracle(await makeAnew(() => {}, NAMES.slice(0, 2))));
    expect((await fuseproof('diff')).stdout).toBe('tiny_kernel_7: removed (fixtures/tiny_kernel_7.safetensors)\n\n');
    expect((await fuseproof('accept', '--all')).stdout).toBe('accepted: tiny_kernel_7 (removed)\n');
    expect(await checkFiles(folder, await readManifest(folder))).toEqual([]);
    expect((await readManifest(folder)).goldens.map(({ name }) => name)).toEqual(NAMES.slice(0, 2));
  });

  it('of some by name says nothing of the others', async () => {
    const made = await makeAnew(() => {}, ['tiny_one_stage']);
    const { stdout } = await fuseproof('update', 'tiny_one_stage', '--python', await pretendOracle(made));
    expect(stdout).toBe('1 file is as accepted, 0 pending\n');
  });

  it('into a folder that cannot be written: one error, and nothing changes', async () => {
    await writeFile(join(folder, 'pending'), 'in the way');
    const before = await snapshot();
    const { code, stderr } = await fuseproof('update', '--python', await pretendOracle(await oneElement()));
    expect([code, stderr.split('\n')[1]]).toEqual([
      2,
      `error: ${folder}: cannot write it: a part of its path is not a folder; give a file in a folder that exists and can be written`,
    ]);
    expect(await snapshot()).toEqual(before);
  });

  it('without Python: says how to get it, and leaves nothing behind', async () => {
    const before = await snapshot();
    const { code, stderr } = await fuseproof('update');
    expect(code).toBe(2);
    expect(stderr).toMatch(
      '.venv/bin/python: no such program; new goldens are computed in PyTorch, and only that needs Python',
    );
    expect(stderr).toMatch(`  .venv/bin/python -m pip install -r ${join(folder, 'oracle/requirements.txt')}`);
    expect(await snapshot()).toEqual(before);
  });

  it('with an oracle that fails: its last words, and nothing pending', async () => {
    const before = await snapshot();
    const script = await pretendOracle('/nowhere');
    const { code, stderr } = await fuseproof('update', '--python', script);
    expect([code, stderr.includes('the oracle failed: ')]).toEqual([2, true]);
    expect(await snapshot()).toEqual(before);
  });
});

describe('golden diff', () => {
  it('shows the table, the worst elements and a picture of the map', async () => {
    await fuseproof('update', '--python', await pretendOracle(await oneElement()));
    const { code, stdout } = await fuseproof('diff', TAPPED);
    expect(code).toBe(0);
    expect(stdout).toContain(`${TAPPED}: changed (fixtures/${TAPPED}.safetensors)\n`);
    expect(stdout).toMatch(/ {2}torch: .* -> 9\.9\.9\n/);
    // [1, 80, 3, 5]: element 20 is row 1, column 0 of channel 1.
    expect(stdout).toMatch(/ {2}train\.stages\.1 +1 of 1,200 +2\.50e-1 /);
    expect(stdout).toContain('21 tensors are the same\n  the worst elements of train.stages.1:\n    [0, 1, 1, 0]: ');
    expect(stdout).toContain(
      '    +----------+\n    |          |\n    |██        |\n    |          |\n    +----------+\n',
    );
    for (const line of stdout.split('\n')) expect(line.length).toBeLessThanOrEqual(100);
  });
});

describe('golden accept and reject', () => {
  it('accept makes it the accepted one, and check holds it against this version', async () => {
    await fuseproof('update', '--python', await pretendOracle(await oneElement()));
    expect(await fuseproof('accept', TAPPED)).toEqual({
      code: 0,
      stdout: `accepted: ${TAPPED} (changed)\n`,
      stderr: '',
    });
    const manifest = await readManifest(folder);
    expect(await checkFiles(folder, manifest)).toEqual([]);
    expect(manifest.goldens.map(({ name, made_by }) => [name, made_by.torch === '9.9.9'])).toEqual([
      [TAPPED, true],
      ['tiny_one_stage', false],
      ['tiny_kernel_7', false],
    ]);
    expect(await readdir(folder)).not.toContain('pending');
    const check = await fuseproof('check', '--quick', TAPPED);
    expect(check.code).toBe(1);
    expect(check.stdout.replace(/\s+/g, ' ')).toMatch('repvit_m0_6 at 20x33, train form, stages.1: relative error ');
  });

  it('reject leaves everything as it was before', async () => {
    const before = await snapshot();
    await fuseproof('update', '--python', await pretendOracle(await oneElement()));
    expect((await fuseproof('reject', '--all')).stdout).toBe(`rejected: ${TAPPED} (changed)\n`);
    expect(await snapshot()).toEqual(before);
  });

  it('a pending file that was altered is not accepted, and nothing changes', async () => {
    await fuseproof('update', '--python', await pretendOracle(await oneElement()));
    await writeFile(join(folder, 'pending/fixtures', `${TAPPED}.safetensors`), 'other');
    const before = await snapshot();
    const { code, stderr } = await fuseproof('accept', '--all');
    expect([code, stderr.includes('is not what pending/manifest.json says')]).toEqual([2, true]);
    expect(await snapshot()).toEqual(before);
  });

  it('an accept that was cut short before the manifest was written goes on', async () => {
    await fuseproof('update', '--python', await pretendOracle(await oneElement()));
    await cp(
      join(folder, 'pending/fixtures', `${TAPPED}.safetensors`),
      join(folder, 'fixtures', `${TAPPED}.safetensors`),
    );
    await rm(join(folder, 'pending/fixtures', `${TAPPED}.safetensors`));
    const before = await snapshot();
    for (const args of [['reject', '--all'], ['diff']]) {
      const { code, stderr } = await fuseproof(...args);
      expect([code, stderr.includes('an accept was cut short')]).toEqual([2, true]);
    }
    expect(await snapshot()).toEqual(before);
    expect((await fuseproof('accept', '--all')).code).toBe(0);
    expect(await checkFiles(folder, await readManifest(folder))).toEqual([]);
  });

  it.each([
    [['accept'], 'golden accept: say what by name, or --all; nothing is pending'],
    [['reject', 'nonesuch'], 'nonesuch is not pending; nothing is'],
    [['accept', '--all', 'nonesuch'], '--all and nonesuch: give one of them'],
  ])('%s is bad usage', async (args, message) => {
    const { code, stderr } = await fuseproof(...args);
    expect([code, stderr]).toEqual([2, `error: ${message}\n`]);
  });
});

describe('golden check of a folder whose files are not those of the manifest', () => {
  const file = `fixtures/${TAPPED}.safetensors`;

  it('altered, by one bit: an error, and nothing is said of its values', async () => {
    const bytes = await readFile(join(folder, file));
    bytes[bytes.length - 1]! ^= 1;
    await writeFile(join(folder, file), bytes);
    const { code, stdout } = await fuseproof('check', '--quick');
    expect(code).toBe(1);
    expect(stdout).toMatch(`${file} was altered: SHA-256`);
    expect(stdout).not.toMatch(/^repvit_m0_6_20x33 /m);
  });

  it('missing and extra', async () => {
    await rm(join(folder, file));
    await writeFile(join(folder, 'fixtures', 'other.safetensors'), '');
    await mkdir(join(folder, 'elsewhere', 'deep'), { recursive: true });
    for (const extra of ['elsewhere/deep/other.txt', 'notes.txt']) await writeFile(join(folder, extra), '');
    const { code, stdout } = await fuseproof('check', '--quick', 'tiny_one_stage');
    expect(code).toBe(1);
    expect(stdout).toMatch('elsewhere/deep/other.txt is extra');
    expect(stdout).toMatch('notes.txt is extra');
    expect(stdout).toMatch(`${file} is missing; restore it`);
    expect(stdout).toMatch('fixtures/other.safetensors is extra: the manifest does not list it');
  });

  it('a folder without a manifest', async () => {
    await rm(join(folder, 'manifest.json'));
    const { code, stderr } = await fuseproof('check');
    expect([code, stderr.includes('goldens come with the repository, not with the package')]).toEqual([2, true]);
  });

  it.each([
    ['no JSON', '{', 'not JSON'],
    [
      'a path that leaves the folder',
      JSON.stringify({ goldens: [{ ...goldenNamed(TAPPED), file: '../x' }] }),
      '/goldens/0/file',
    ],
    [
      'a name twice',
      JSON.stringify({ goldens: [goldenNamed(TAPPED), goldenNamed(TAPPED)] } satisfies Manifest),
      'stands there twice; each name is unique',
    ],
    [
      'a file twice',
      JSON.stringify({
        goldens: [goldenNamed(TAPPED), { ...goldenNamed(TAPPED), name: 'other' }],
      } satisfies Manifest),
      'stands there twice; each file is unique',
    ],
    [
      'weights outside the folder',
      JSON.stringify({ goldens: [{ ...goldenNamed(TAPPED), stored: { weights: '../../x', images: 'a/b' } }] }),
      '/goldens/0/stored/weights',
    ],
  ])('a manifest of %s', async (_what, text, message) => {
    await writeFile(join(folder, 'manifest.json'), text);
    const { code, stderr } = await fuseproof('check');
    expect([code, stderr.includes(message)]).toEqual([2, true]);
  });
});
