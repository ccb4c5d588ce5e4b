/**
 * Kills fuseproof at random moments, and looks at what is there: `npm run kills -- --kills 100 --seed 1`. Every file must be
 * the old one or the new one, whole; what a killed process left half-written is gone after the next run. Development only.
 *
 * Of a hundred kills 40 are of `fuse` (a file, a checkpoint and a folder, each with its certificate), 30 of `bench` and 30 of
 * `golden update`, which needs Python with golden/oracle/requirements.txt: FUSEPROOF_PYTHON, else .venv/bin/python.
 */
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, watch, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { htmlReport } from '../dist/report/html/page.js';
import { junitXml } from '../dist/report/junit.js';
import { benchMarkdown } from '../dist/report/markdown.js';
import { parseReportFile } from '../dist/report/validate.js';

const PROJECT = resolve(import.meta.dirname, '..');
const FUSEPROOF = join(PROJECT, 'bin/fuseproof.js');
const PYTHON = process.env.FUSEPROOF_PYTHON ?? join(PROJECT, '.venv/bin/python');
/** A run may take longer than the one that was timed. */
const LONGER = 1.1;
/** Files are written in a moment at a command's end: three kills in four come so many milliseconds after it begins to. */
const WRITING_MS = 12;

const { values } = parseArgs({
  options: { kills: { type: 'string', default: '100' }, seed: { type: 'string', default: '1' } },
});
const kills = Number(values.kills);
if (!Number.isInteger(kills) || kills < 1 || !/^\d+$/.test(values.seed)) {
  process.stderr.write(`--kills ${values.kills} --seed ${values.seed}: both are whole numbers, and kills at least 1\n`);
  process.exit(2);
}
const place = mkdtempSync(join(tmpdir(), 'fuseproof-kills-'));
const scratch = join(place, 'tmp');
const at = (...path) => join(place, ...path);

/** A number from 0 to 1, the same on every run with the seed. */
function random(...of) {
  return (
    createHash('sha256')
      .update([values.seed, ...of].join(' '))
      .digest()
      .readUInt32LE() /
    2 ** 32
  );
}

/**
 * Runs a command, and kills it and what it has started: after so many milliseconds, or, where folders are given, so many after
 * something changes in one of them.
 */
async function run(args, after, folders) {
  const started = performance.now();
  const child = spawn(process.execPath, [FUSEPROOF, ...args], {
    cwd: place,
    detached: true,
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { ...process.env, TMPDIR: scratch },
  });
  let text = '';
  child.stderr.on('data', (chunk) => {
    text += chunk;
  });
  let hasEnded = false;
  const ended = new Promise((done) =>
    child.once('exit', (code, signal) => {
      hasEnded = true;
      done({ code, signal });
    }),
  );
  if (after !== undefined) {
    const writing = folders === undefined ? Promise.resolve() : firstChange(folders, ended);
    await Promise.race([writing.then(() => setTimeout(after)), ended]);
    if (!hasEnded) process.kill(-child.pid, 'SIGKILL');
  }
  const { code, signal } = await ended;
  if (signal === null && code !== 0) throw new Error(`${args.join(' ')} ended with ${code}: ${text}`);
  return { milliseconds: performance.now() - started, isKilled: signal !== null };
}

/** Until something changes in one of these folders, or a command ends. */
function firstChange(folders, ended) {
  return new Promise((done) => {
    const watchers = folders.map((folder) => watch(at(folder), finish));
    ended.then(finish);
    function finish() {
      for (const watcher of watchers) watcher.close();
      done();
    }
  });
}

const sha256 = (bytes) => createHash('sha256').update(bytes).digest('hex');

/**
 * A command that is killed: `commands` are run in turn, `prepare` before each; it writes to `folders`; `look` gives what is
 * there, by name; `which` says of each whether it is the old one, the new one, or neither.
 */
function fuseSubject(output, first, second) {
  const options = ['trained.weights.safetensors', '-e', 'onnxruntime', '--size', '64x64', '--force', '-o', output];
  const versions = [];
  const look = () => {
    const certificate = readFileSync(at(`${output}.certificate.json`));
    if (output !== 'fused') return { output: readFileSync(at(output)), certificate };
    const model = readFileSync(at(output, 'model.json'));
    const shards = JSON.parse(model).weightsManifest.flatMap(({ paths }) => paths);
    return { output: Buffer.concat([model, ...shards.map((name) => readFileSync(at(output, name)))]), certificate };
  };
  return {
    name: `fuse -o ${output}`,
    folders: output === 'fused' ? ['.', 'fused'] : ['.'],
    commands: [first, second].map((own) => ['fuse', ...options, ...own]),
    look,
    whole: () => versions.push(look()),
    which: (found, before) =>
      Object.entries(found).map(([part, bytes]) => {
        if (bytes.equals(before[part])) return 'old';
        return versions.some((version) => version[part].equals(bytes)) ? 'new' : 'neither';
      }),
  };
}

const benchSubject = {
  name: 'bench',
  commands: [['bench', '--quick', '-m', 'trained.json', '-e', 'onnxruntime', '--size', '32', '-o', 'reports']],
  folders: ['reports'],
  look: () =>
    Object.fromEntries(
      ['json', 'md', 'html', 'junit.xml'].map((end) => [end, readFileSync(at(`reports/latest.${end}`))]),
    ),
  /** No two runs measure the same; but the report is first, and every other page can be made again from it. */
  which: async (found, before) => {
    const { report } = await parseReportFile(found.json.toString(), 'latest.json');
    const { cpu, cores } = report.environment;
    const made = {
      json: `${JSON.stringify(report, null, 2)}\n`,
      md: benchMarkdown(report),
      html: await htmlReport([{ label: `${cpu}, ${cores} cores`, report }]),
      'junit.xml': junitXml(report),
    };
    return Object.entries(found).map(([part, bytes]) => {
      if (bytes.equals(before[part])) return 'old';
      return bytes.equals(Buffer.from(made[part])) ? 'new' : 'neither';
    });
  },
};

/** One golden of which another version is accepted, and a third one pending. */
const GOLDEN = 'tiny_kernel_1';
const goldenFile = `fixtures/${GOLDEN}.safetensors`;
const goldenSubject = {
  name: 'golden update',
  commands: [['golden', 'update', GOLDEN, '--folder', 'golden', '--python', PYTHON]],
  folders: ['golden/pending', 'golden/pending/fixtures'],
  prepare: () => {
    const { goldens } = JSON.parse(readFileSync(join(PROJECT, 'golden/manifest.json')));
    const entry = goldens.find(({ name }) => name === GOLDEN);
    for (const [folder, last] of [
      ['golden', 1],
      ['golden/pending', 2],
    ]) {
      const bytes = readFileSync(join(PROJECT, 'golden', goldenFile));
      bytes[bytes.length - 1] ^= last;
      mkdirSync(at(folder, 'fixtures'), { recursive: true });
      writeFileSync(at(folder, goldenFile), bytes);
      writeFileSync(at(folder, 'manifest.json'), JSON.stringify({ goldens: [{ ...entry, sha256: sha256(bytes) }] }));
    }
  },
  look: () =>
    Object.fromEntries(
      ['golden', 'golden/pending'].flatMap((folder) =>
        [goldenFile, 'manifest.json'].map((name) => [`${folder}/${name}`, readFileSync(at(folder, name))]),
      ),
    ),
  whole: function () {
    this.made = this.look();
  },
  which: function (found, before) {
    return Object.entries(found).map(([part, bytes]) => {
      if (bytes.equals(before[part])) return 'old';
      return bytes.equals(this.made[part]) ? 'new' : 'neither';
    });
  },
};

/** Half-written files. */
function temporaries() {
  return readdirSync(place, { recursive: true }).filter((name) => name.endsWith('.tmp')).length;
}

/** @returns whether nothing was lost */
async function tryKills(subject, count) {
  const { commands, folders, prepare, look } = subject;
  const milliseconds = [];
  for (const args of commands) {
    prepare?.();
    milliseconds.push((await run(args)).milliseconds);
    subject.whole?.();
  }
  const seen = { old: 0, new: 0, neither: 0 };
  let killed = 0;
  let most = 0;
  for (let i = 0; i < count; i++) {
    const which = Math.floor(i / 2) % commands.length;
    prepare?.();
    const before = look();
    const moment = random(subject.name, i);
    const isAnywhere = i % 4 === 0;
    const after = moment * (isAnywhere ? LONGER * milliseconds[which] : WRITING_MS);
    if ((await run(commands[which], after, isAnywhere ? undefined : folders)).isKilled) killed++;
    for (const version of await subject.which(look(), before)) seen[version]++;
    most = Math.max(most, temporaries());
  }
  prepare?.();
  await run(commands[0]);
  const left = temporaries();
  process.stdout.write(
    `${subject.name}: ${count} runs, ${killed} killed before their end; of the files ${seen.old} old, ${seen.new} new, ${seen.neither} neither; half-written at most ${most}, after the next run ${left}\n`,
  );
  return seen.neither === 0 && left === 0 && killed > 0 && seen.old + seen.new > 0;
}

try {
  mkdirSync(scratch);
  for (const part of ['json', 'weights.safetensors']) {
    cpSync(join(PROJECT, 'golden/examples', `repvit_two_heads.${part}`), at(`trained.${part}`));
  }
  cpSync(join(PROJECT, 'golden/oracle'), at('golden/oracle'), { recursive: true });
  const fuses = [
    fuseSubject('fused.onnx', ['--opset', '17'], ['--opset', '18']),
    fuseSubject('fused', [], ['--input-name', 'image']),
    fuseSubject('fused.pth', [], ['--seed', '2']),
  ];
  const benches = Math.round(0.3 * kills);
  const oracle = spawnSync(PYTHON, [join(PROJECT, 'golden/oracle/make.py'), '--list'], { encoding: 'utf8' });
  const hasPython = oracle.status === 0;
  const all = [
    ...fuses.map((subject, i) => [subject, Math.floor((kills - 2 * benches + i) / fuses.length)]),
    [benchSubject, benches],
    ...(hasPython ? [[goldenSubject, benches]] : []),
  ];
  process.stdout.write(`seed ${values.seed}\n`);
  let isWhole = true;
  for (const [subject, count] of all) {
    if (count > 0) isWhole = (await tryKills(subject, count)) && isWhole;
  }
  const tried = all.reduce((sum, [, count]) => sum + count, 0);
  if (!hasPython) {
    const why = oracle.error?.message ?? oracle.stderr.trim().split('\n').at(-1);
    process.stdout.write(
      `golden update: not tried, ${benches} kills fewer: ${why}; FUSEPROOF_PYTHON names a Python with golden/oracle/requirements.txt\n`,
    );
  }
  process.stdout.write(`${tried} of ${kills} kills: ${isWhole ? 'nothing lost' : 'NOT every file is whole'}\n`);
  if (!isWhole) process.exitCode = 1;
} finally {
  rmSync(place, { recursive: true, force: true, maxRetries: 5 });
}
