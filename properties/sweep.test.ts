import { type SpawnOptions, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

const PROJECT = resolve(import.meta.dirname, '..');
const SCRIPT = join(PROJECT, 'scripts', 'properties.js');

const folders: string[] = [];

/** A project of its own, with properties that use this one's seeds, replays and counts. */
function project(properties: Readonly<Record<string, string>>): string {
  const folder = mkdtempSync(join(tmpdir(), 'fuseproof-sweep-'));
  folders.push(folder);
  symlinkSync(join(PROJECT, 'node_modules'), join(folder, 'node_modules'));
  writeFileSync(join(folder, 'vitest.config.mjs'), "export default { test: { include: ['properties/*.prop.ts'] } };\n");
  mkdirSync(join(folder, 'properties'));
  for (const [name, body] of Object.entries(properties)) {
    const text = [
      "import { existsSync } from 'node:fs';",
      "import fc from 'fast-check';",
      "import { describe, expect, test } from 'vitest';",
      `import { expectClean, propertyOptions, seed } from '${PROJECT}/properties/check.ts';`,
      `import { inCompleteForm, networks, regions } from '${PROJECT}/properties/networks.ts';`,
      body,
    ].join('\n');
    writeFileSync(join(folder, 'properties', `${name}.prop.ts`), text);
  }
  return folder;
}

interface Ended {
  readonly status: number | null;
  readonly output: string;
}

/** Runs a command to its end; `watch` sees its output as it comes. */
function run(
  [command, ...arguments_]: readonly [string, ...string[]],
  options: SpawnOptions,
  watch: (output: string, pid: number) => void = () => {},
): Promise<Ended> {
  return new Promise((end, fail) => {
    const child = spawn(command, arguments_, { ...options, stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream?.setEncoding('utf8').on('data', (text: string) => {
        output += text;
        if (child.pid !== undefined) watch(output, child.pid);
      });
    }
    child.on('error', fail);
    child.on('close', (status) => end({ status, output }));
  });
}

const sweep = (cwd: string, ...flags: string[]) => run([process.execPath, SCRIPT, ...flags], { cwd });

/** Draws that a round counts: what the property asks for, three times. */
const REGIONS = 12;
const NETWORKS = 3;

const verified = `
// Activations keep their scale, so that nothing overflows.
const felt = { styles: ['generated'] };
test('regions', () =>
  fc.assert(fc.asyncProperty(regions(felt), (draw) => expectClean('regions', inCompleteForm(draw))), propertyOptions(4)));
test('networks', () =>
  fc.assert(fc.asyncProperty(networks(felt), (draw) => expectClean('networks', inCompleteForm(draw))), propertyOptions(1)));
`;
/** Fails on 1000 and above; its name is awkward to paste. */
const planted = `
describe(\`it's (so) \${seed}\`, () => {
  test('a > $b.*', () => fc.assert(fc.property(fc.nat(), (n) => { expect(n).toBeLessThan(1000); }), propertyOptions(100)));
});
`;

/** A draw that ends the sweep, and comes to its own end when the sweep knows. */
const ending = `
async function endSweep(signal) {
  // The worker gets it as well, as it does from a terminal.
  for (const id of [process.pid, process.ppid]) process.kill(id, signal);
  while (!existsSync(process.env.FUSEPROOF_SWEEP + '/over')) await new Promise((go) => setTimeout(go, 5));
}
`;
/** Draws of a property that is cut short: too few for a bound. */
const CUT_SHORT_AT = 3;
/** Ended in its third draw; what it expects of all draws would fail. */
const cutShort = `${ending}
test('cut short', async ({ task }) => {
  let draws = 0;
  await fc.assert(
    fc.asyncProperty(regions({ styles: ['generated'] }), async (draw) => {
      await expectClean('regions', inCompleteForm(draw));
      if (++draws === ${CUT_SHORT_AT}) await endSweep('SIGTERM');
    }),
    propertyOptions(1000),
  );
  expect(draws).toBe(3000);
});
test('not begun', () => { throw new Error('it was begun'); });
`;
/** Ended while its failure is shrunk. */
const shrinking = `${ending}
test('shrinking', async () => {
  let draws = 0;
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 1000 }), async () => {
      if (++draws === 2) await endSweep('SIGINT');
      throw new Error('always');
    }),
    propertyOptions(100),
  );
});
`;
/** Fails in its second draw, never ends to shrink it, and keeps asking for an end. */
const hanging = `
test('hanging', () => {
  let draws = 0;
  fc.assert(
    fc.property(fc.integer({ min: 1000 }), () => {
      draws++;
      while (draws > 2) {
        process.kill(process.ppid, 'SIGINT');
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 100);
      }
      if (draws === 2) throw new Error('at once');
    }),
    propertyOptions(100),
  );
});
`;

let sound = '';
let failing = '';

beforeAll(() => {
  sound = project({ verified });
  failing = project({ verified, planted });
});

afterAll(() => {
  for (const folder of folders) rmSync(folder, { recursive: true });
});

/** A project whose shards have left these reports. */
function reported(reports: Readonly<Record<string, string>>, properties = {}): string {
  const folder = project(properties);
  mkdirSync(join(folder, '.vitest-reports'));
  for (const [name, text] of Object.entries(reports)) writeFileSync(join(folder, '.vitest-reports', name), text);
  return folder;
}

describe.concurrent('npm run properties', () => {
  test('counts what was verified until Ctrl-C, and gives the bound of 3 over it', async () => {
    let told = false;
    const { status, output } = await run(
      [process.execPath, SCRIPT, '--minutes', '60', '--seed', '41'],
      // A group of its own, all of which a terminal's Ctrl-C would reach.
      { cwd: sound, detached: true },
      (text, pid) => {
        if (told || !text.includes('round 2,')) return;
        told = true;
        process.kill(-pid, 'SIGINT');
      },
    );
    expect(output).toContain(`round 1, seed 41: ${REGIONS} regions and ${NETWORKS} networks verified so far`);
    expect(output).toContain(`round 2, seed 42: ${2 * REGIONS} regions and ${2 * NETWORKS} networks verified so far`);
    for (const [subject, perRound] of [
      ['regions', REGIONS],
      ['networks', NETWORKS],
    ] as const) {
      const found = new RegExp(`^(\\d+) right ${subject} verified\n.* fewer than (.*) % of such ${subject}`, 'm').exec(
        output,
      );
      const [, clean, percent] = (found ?? []).map(Number);
      // Of a third round as much as had been done.
      expect(clean).toBeGreaterThanOrEqual(2 * perRound);
      expect(clean).toBeLessThanOrEqual(3 * perRound);
      expect(percent).toBe(Number((300 / clean!).toPrecision(2)));
    }
    expect(output).toMatch(/\nno failure\n$/);
    expect(status).toBe(130);
  });

  test('prints a command that repeats a failure, from its smallest counterexample, and gives no bound', async () => {
    const { status, output } = await sweep(failing, '--rounds', '1', '--seed', '7');
    expect(output).toContain("FAIL properties/planted.prop.ts > it's (so) 7 > a > $b.*");
    expect(output).toContain('Counterexample: [1000]');
    expect(output).toContain('Caused by: expected 1000 to be less than 1000');
    expect(output).toContain(`${REGIONS} right regions verified\n${NETWORKS} right networks verified\n`);
    expect(output).not.toContain('3/N');
    expect(output).toMatch(/\n1 failed, see above\n$/);
    expect(status).toBe(1);
    const [, replay = ''] = /^Replay: (.*)$/m.exec(output) ?? [];
    const again = await run(['bash', '-c', replay], { cwd: failing });
    expect(again.output).toContain('Property failed after 1 tests');
    expect(again.output).toContain('Counterexample: [1000]');
    expect(again.output).toMatch(/Tests .*1 failed/);
    expect(again.status).toBe(1);
  });

  test('is split into shards, whose reports are merged', async () => {
    // What a sweep before has left of one of them is replaced.
    const sharded = reported({ 'ab-seed9-shard1of2-round3.json': 'garbage' }, { verified, planted });
    const shards = await Promise.all(
      ['1/2', '2/2'].map((shard) => sweep(sharded, '--rounds', '1', '--seed', '5', '--shard', shard)),
    );
    expect(shards.map(({ status }) => status).toSorted()).toEqual([0, 1]);
    const { status, output } = await sweep(sharded, '--merge');
    expect(output).toContain('FAIL properties/planted.prop.ts > ');
    expect(output).toContain(`${REGIONS + NETWORKS} draws in 3 tests, seeds 5\n`);
    expect(output).toContain(`${REGIONS} right regions verified\n${NETWORKS} right networks verified\n1 failed`);
    expect(status).toBe(1);
  });

  test('a shard that draws and verifies nothing is no shortage: the others may verify', async () => {
    const drawn = "test('drawn', () => fc.assert(fc.property(fc.integer(), () => {}), propertyOptions(1)));";
    const { status, output } = await sweep(project({ drawn }), '--rounds', '1', '--seed', '5', '--shard', '1/1');
    expect(output).toMatch(/draws in 1 tests, seeds 5; .*\nno failure\n$/);
    expect(status).toBe(0);
  });

  test('a property that is cut short counts what it drew, and is asked for no more', async () => {
    const { status, output } = await sweep(project({ cutShort }), '--rounds', '1', '--seed', '3');
    expect(output).toContain(`${CUT_SHORT_AT} draws in 1 tests (1 of them cut short), seeds 3;`);
    expect(output).toMatch(new RegExp(`\n${CUT_SHORT_AT} right regions verified\nno failure\n$`));
    expect(status).toBe(143);
  });

  test('a failure that was being shrunk at the end is a failure', async () => {
    const { status, output } = await sweep(project({ shrinking }), '--rounds', '1', '--seed', '3');
    expect(output).toContain('FAIL properties/shrinking.prop.ts > shrinking');
    for (const line of ['Property failed after 1 tests', 'Shrunk 1 time(s)', 'Caused by: always']) {
      expect(output.split('\n')).toContain(line);
    }
    expect(output).toMatch(/\n1 failed, see above\n$/);
    expect(status).toBe(1);
  });

  test('even where shrinking hangs: its process is ended, and the failure can be repeated', async () => {
    const { status, output } = await sweep(project({ hanging }), '--seed', '3');
    expect(output).toContain('did not end in time, nothing of it is counted: properties/hanging.prop.ts');
    expect(output).toMatch(
      /^FAIL properties\/hanging.prop.ts > hanging\nFailed, and not shrunk: \[\d+\]\nError: at once\nReplay: FUSEPROOF_SEED=3 FUSEPROOF_DRAWS=3 FUSEPROOF_PATH=1 npx /,
    );
    expect(output).toMatch(/\n1 failed, see above\n$/);
    expect(status).toBe(1);
  });

  test('a sweep that has verified nothing is inconclusive', async () => {
    const { status, output } = await sweep(sound, '--minutes', '0.001');
    expect(output).toMatch(/\n0 draws in 0 tests, seeds none; .*\nnothing was verified, so nothing is shown; .*\n$/);
    expect(status).toBe(3);
  });

  test('--help names every default', async () => {
    const { status, output } = await sweep(sound, '--help');
    expect(output).toContain('at most so many (default: as many as there is time for)');
    expect(output).not.toContain('null');
    expect(status).toBe(0);
  });

  test.each([
    ['no report', {}, 'there is no report in .vitest-reports to merge'],
    ['garbage', { 'ab-seed1-shard1of1-round1.json': 'garbage' }, '.vitest-reports cannot be merged: '],
    ['no report of a shard', { 'blob.json': '[]' }, '.vitest-reports/blob.json is no report of a shard'],
    [
      'two shards missing',
      { 'ab-seed1-shard2of4-round1.json': '', 'ab-seed1-shard4of4-round1.json': '' },
      '.vitest-reports lacks shard 1, 3 of 4',
    ],
    [
      'another seed',
      { 'ab-seed1-shard1of2-round1.json': '', 'ab-seed2-shard2of2-round1.json': '' },
      'different sweeps: ab-seed1 in 2 shards, ab-seed2 in 2 shards;',
    ],
    [
      'other sources',
      { 'ab-seed1-shard1of2-round1.json': '', 'cd-seed1-shard2of2-round1.json': '' },
      'different sweeps: ab-seed1 in 2 shards, cd-seed1 in 2 shards;',
    ],
  ])('--merge of %s is refused in one line', async (_name, reports, reason) => {
    const { status, output } = await sweep(reported(reports), '--merge');
    expect(output).toContain(reason);
    expect(output.trim().split('\n')).toHaveLength(1);
    expect(status).toBe(2);
  });

  test.each([
    ['--minutes', '0', 'a number above 0, up to 10000'],
    ['--seed', '-1', 'a whole number from 0 to 2147483647'],
    ['--shard', '3/2', 'I/N, such as 1/4, with I from 1 to N'],
    ['--rounds', '1.5', 'a whole number above 0'],
  ])('%s %s is refused in one line', async (flag, value, limit) => {
    const { status, output } = await sweep(sound, `${flag}=${value}`);
    expect(output.trim().split('\n')).toHaveLength(1);
    expect(output).toContain(`'${value}' is invalid. It must be ${limit}.`);
    expect(status).toBe(2);
  });

  test.each([
    ['--frequency', "unknown option '--frequency'"],
    ['properties/none.prop.ts', 'properties/none.prop.ts is no file of properties'],
    ['properties', 'properties is no file of properties'],
    ['vitest.config.mjs', 'vitest.config.mjs is no file of properties'],
    ['--merge', 'there is no report in .vitest-reports to merge'],
    ['--shard=2/2', 'there are 1 files of properties; give at most 1 shards'],
  ])('%s is refused where it means nothing', async (argument, reason) => {
    const { status, output } = await sweep(sound, argument);
    expect(output).toContain(reason);
    expect(output.trim().split('\n')).toHaveLength(1);
    expect(status).toBe(2);
  });
});
