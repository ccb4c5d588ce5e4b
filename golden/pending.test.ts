import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { cp, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { checkAll } from '../src/golden/check-all.ts';
import { differenceOf } from '../src/golden/diff.ts';
import { checkFiles, sha256Of } from '../src/golden/folder.ts';
import { type Entry, formatManifest, type Manifest, readManifest } from '../src/golden/manifest.ts';
import { accept, addPending, pendingChanges, reject } from '../src/golden/pending.ts';
import { differenceText } from '../src/report/golden-table.ts';
import { encodeSafetensors, readSafetensors } from '../src/weights/safetensors.ts';
import { FOLDER, goldenNamed, manifest, pathOf } from './goldens.ts';

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

  it.each([
    ['prints something else', 'echo Python'],
    ['prints nothing', 'exit'],
  ])('with a Python that %s', async (_what, program) => {
    const script = join(root, 'python');
    await writeFile(script, `#!/bin/sh\n${program}\n`, { mode: 0o755 });
    const { code, stderr } = await fuseproof('update', '--python', script);
    expect([code, stderr.split(';')[0]]).toEqual([2, `error: ${script}: it does not run Python scripts`]);
  });

  it('of a name in another case: the name that was meant', async () => {
    const script = await pretendOracle('/nowhere');
    const { code, stderr } = await fuseproof('update', 'Tiny_One_Stage', '--python', script);
    expect([code, stderr]).toEqual([
      2,
      'error: the oracle makes no golden Tiny_One_Stage; did you mean tiny_one_stage?\n',
    ]);
  });

  it('that a signal ends leaves no Python and no file behind', async () => {
    const before = await snapshot();
    const script = join(root, 'python');
    const list = JSON.stringify({ names: { repvit: NAMES }, source: '' });
    // `exec`: what is killed is what sleeps.
    await writeFile(
      script,
      `#!/bin/sh\nif [ "$2" = --list ]; then echo '${list}'; exit; fi\necho "$$ $3"\nexec /bin/sleep 600\n`,
      { mode: 0o755 },
    );
    const child = spawn(process.execPath, [BIN, 'golden', 'update', '--python', script, '--folder', folder]);
    const [line] = (await once(child.stderr, 'data')) as [Buffer];
    const [oracle, made] = String(line).trim().split(' ') as [string, string];
    expect(await readdir(made)).toEqual([]);
    child.kill('SIGTERM');
    expect(await once(child, 'close')).toEqual([null, 'SIGTERM']);
    expect(() => process.kill(Number(oracle), 0)).toThrow('ESRCH');
    await expect(readdir(made)).rejects.toThrow('ENOENT');
    expect(await snapshot()).toEqual(before);
  });

  describe('takes nothing of a folder', () => {
    const file = `fixtures/${TAPPED}.safetensors`;
    it.each([
      ['that is not there', (made: string) => rm(made, { recursive: true }), 'give a folder that a script'],
      ['where a file is missing', (made: string) => rm(join(made, file)), `${file} is missing, or not what`],
      [
        'where a file was altered',
        (made: string) => writeFile(join(made, file), ''),
        `${file} is missing, or not what`,
      ],
    ])('%s', async (_what, spoil, message) => {
      const made = await oneElement();
      await spoil(made);
      const before = await snapshot();
      await expect(addPending(folder, made, true)).rejects.toThrow(message);
      expect(await snapshot()).toEqual(before);
    });

    it('where a value is no number', async () => {
      const made = await makeAnew((name, tensors) => {
        if (name === TAPPED) tensors.get('train')!.data[5] = Number.NaN;
      });
      const before = await snapshot();
      await expect(addPending(folder, made, true)).rejects.toThrow('tensor "train": NaN at index 5');
      expect(await snapshot()).toEqual(before);
    });
  });

  it('clears out nothing behind a link', async () => {
    const elsewhere = join(root, 'elsewhere');
    await mkdir(join(elsewhere, 'deep'), { recursive: true });
    await writeFile(join(elsewhere, 'deep', 'file'), 'mine');
    await symlink(elsewhere, join(folder, 'pending'));
    await expect(addPending(folder, await oneElement(), true)).rejects.toThrow('pending is a link');
    await expect(reject(folder, undefined)).rejects.toThrow('pending is a link');
    expect(await readFile(join(elsewhere, 'deep', 'file'), 'utf8')).toBe('mine');
  });

  it('of another version of the generator waits for a review, even where all values are the same', async () => {
    const made = await makeAnew(() => {});
    const { goldens } = await readManifest(made);
    const next = goldens.map((entry) => ({ ...entry, made_by: { ...entry.made_by, generator: 2 } }));
    await writeFile(join(made, 'manifest.json'), formatManifest({ goldens: next }));
    expect(await addPending(folder, made, true)).toEqual({ pending: NAMES, same: 0 });
    const [change] = await pendingChanges(folder);
    expect(differenceText(await differenceOf(folder, change!))).toContain('  generator: 1 -> 2\n');
    await accept(folder, undefined);
    expect((await readManifest(folder)).goldens.map(({ made_by }) => made_by.generator)).toEqual([2, 2, 2]);
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
    for (const line of stdout.split('\n')) expect(line.length).toBeLessThanOrEqual(80);
  });

  it('shows a map as a list in JSON', async () => {
    await addPending(folder, await oneElement(), true);
    const { stdout } = await fuseproof('diff', '--json');
    const [{ tensors }] = JSON.parse(stdout).differences;
    const { picture } = tensors.find(({ key }: { key: string }) => key === 'train.stages.1');
    expect(picture).toMatchObject({ rows: 3, columns: 5 });
    expect(picture.values.map((value: number) => value > 0)).toEqual(Array.from({ length: 15 }, (_, i) => i === 5));
  });

  it('keeps to 80 columns where names are long', () => {
    const key = 'stages.2.blocks.0.token_mixer.conv1.with.a.name.that.fills.a.line';
    const values = new Float64Array([0, 1]);
    const picture = { image: 0, rows: 1, columns: 2, values };
    const worst = [{ index: 1, accepted: -1 / 7, pending: -8 / 7 }];
    const sums = { shape: [1, 1, 1, 2], differing: 1, elements: 2, maxAbsolute: 1, relative: 8, worst, picture };
    const tensors = [{ key, kind: 'changed' as const, ...sums }];
    const text = differenceText({ name: 'n', kind: 'changed', file: 'fixtures/n', facts: [], tensors, lines: [] });
    for (const line of text.split('\n')) expect(line.length).toBeLessThanOrEqual(80);
  });

  it('names the value of JSON that changes, although others of its lines stand there already', async () => {
    const conventions = manifest.goldens.find(({ name }) => name === 'conventions')!;
    const keys = manifest.goldens.find(({ name }) => name === 'repvit_m1.fused-keys')!;
    await writeFile(join(folder, 'manifest.json'), formatManifest({ goldens: [conventions, keys] }));
    const made = join(root, 'made');
    for (const { file } of [conventions, keys]) {
      await cp(join(FOLDER, file), join(folder, file));
      await cp(join(FOLDER, file), join(made, file));
    }
    const networks = JSON.parse(await readFile(join(made, conventions.file), 'utf8'));
    networks[1].config.in_chans = 1;
    await writeFile(join(made, conventions.file), JSON.stringify(networks));
    const [first, second, ...rest] = (await readFile(join(made, keys.file), 'utf8')).split('\n');
    await writeFile(join(made, keys.file), [second, second, ...rest].join('\n'));
    const goldens = await Promise.all(
      [conventions, keys].map(async (entry) => ({ ...entry, sha256: await sha256Of(join(made, entry.file)) })),
    );
    await writeFile(join(made, 'manifest.json'), formatManifest({ goldens }));
    await addPending(folder, made, false);
    const differences = await Promise.all((await pendingChanges(folder)).map((change) => differenceOf(folder, change)));
    expect(differences.map(({ lines }) => lines)).toEqual([
      [`${networks[1].name}.config.in_chans: 3 -> 1`],
      [`- ${first}`, `+ ${second}`],
    ]);
  });

  it('is not of an accepted file that was altered', async () => {
    await addPending(folder, await oneElement(), true);
    await writeFile(join(folder, 'fixtures', `${TAPPED}.safetensors`), 'other');
    const [change] = await pendingChanges(folder);
    await expect(differenceOf(folder, change!)).rejects.toThrow('was altered since it was accepted');
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

  it("a published network's name stands for all of its goldens", async () => {
    await addPending(folder, await oneElement(), true);
    await expect(accept(folder, ['repvit_m0_9'])).rejects.toThrow(`repvit_m0_9 is not pending; pending: ${TAPPED}`);
    expect((await accept(folder, ['repvit_m0_6'])).map(({ name }) => name)).toEqual([TAPPED]);
  });

  it('several at once lose nothing', async () => {
    const made = await makeAnew((_name, tensors) => {
      tensors.get('train')!.data[0]! += 1;
    });
    await addPending(folder, made, true);
    await Promise.all(NAMES.map((name) => accept(folder, [name])));
    expect(await checkFiles(folder, await readManifest(folder))).toEqual([]);
    expect(await readdir(folder)).not.toContain('pending');
  });

  it('that would give two goldens one file is refused, and nothing changes', async () => {
    const made = await makeAnew(() => {});
    const entry = { ...goldenNamed('tiny_one_stage'), name: 'another' };
    await writeFile(join(made, 'manifest.json'), formatManifest({ goldens: [entry] }));
    await addPending(folder, made, false);
    const before = await snapshot();
    await expect(accept(folder, undefined)).rejects.toThrow('would be the file of two goldens');
    expect(await snapshot()).toEqual(before);
  });

  it('what is pending with a damaged manifest: how to be rid of it, before anything is computed', async () => {
    await addPending(folder, await oneElement(), true);
    await writeFile(join(folder, 'pending', 'manifest.json'), '{"goldens": [');
    const { code, stdout, stderr } = await fuseproof('check', '--quick');
    expect([code, stdout]).toEqual([2, '']);
    expect(stderr).toMatch(`delete ${join(folder, 'pending')}, and make them again with golden update`);
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
    expect(stdout).toMatch('1 of 1 goldens pass; 2 of 3 files are as listed: fail');
  });

  it('a value that is no number, or a network that cannot be built: a failure of that golden alone', async () => {
    const made = await makeAnew((name, tensors) => {
      if (name === TAPPED) tensors.get('train')!.data[5] = Number.NaN;
    });
    const { goldens } = await readManifest(made);
    const wrong = goldens.map((entry) =>
      entry.name === 'tiny_one_stage' ? ({ ...entry, config: { family: 'repvot' } } as unknown as Entry) : entry,
    );
    await writeFile(join(made, 'manifest.json'), formatManifest({ goldens: wrong }));
    const { goldens: reports } = await checkAll(made, { crossChecks: false });
    expect(reports.map(({ verdict }) => verdict)).toEqual(['fail', 'fail', 'pass']);
    expect(reports[0]!.problems.join()).toMatch('tensor "train": NaN at index 5');
    expect(reports[1]!.problems.join()).toMatch('tiny_one_stage, train form, tiny_one_stage: family is "repvot"');
  });

  it('a manifest without goldens has none of a name', async () => {
    await writeFile(join(folder, 'manifest.json'), formatManifest({ goldens: [] }));
    await expect(checkAll(folder, { names: [TAPPED] })).rejects.toThrow(
      `there is no golden ${TAPPED}; the manifest lists none`,
    );
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
