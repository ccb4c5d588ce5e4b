/**
 * Kills fuseproof at random moments, and looks at what is there: `npm run kills -- --kills 100 --seed 1`. Every output must be
 * the old one or the new one, whole. fuse replaces files and a folder; bench replaces its report. Development only.
 */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { parseArgs } from 'node:util';

const PROJECT = resolve(import.meta.dirname, '..');
const FUSEPROOF = join(PROJECT, 'bin/fuseproof.js');

const { values } = parseArgs({
  options: { kills: { type: 'string', default: '100' }, seed: { type: 'string', default: '1' } },
});
const kills = Number(values.kills);
const place = mkdtempSync(join(tmpdir(), 'fuseproof-kills-'));
for (const part of ['json', 'weights.safetensors']) {
  cpSync(join(PROJECT, 'golden/examples', `repvit_two_heads.${part}`), join(place, `trained.${part}`));
}

const FUSE = ['fuse', 'trained.weights.safetensors', '-e', 'onnxruntime', '--size', '64x64', '--force'];
/** Each command in two versions that write different bytes. */
const COMMANDS = [
  ['fused.onnx', [...FUSE, '-o', 'fused.onnx', '--opset', '17'], [...FUSE, '-o', 'fused.onnx', '--opset', '18']],
  ['fused', [...FUSE, '-o', 'fused'], [...FUSE, '-o', 'fused', '--input-name', 'image']],
  ['fused.pth', [...FUSE, '-o', 'fused.pth'], [...FUSE, '-o', 'fused.pth', '--seed', '2']],
];

/** A number from 0 to 1, the same on every run with the seed. */
function random(i) {
  return createHash('sha256').update(`${values.seed} ${i}`).digest().readUInt32LE() / 2 ** 32;
}

/** Runs a command, and kills it after so many milliseconds; returns how long it ran. */
async function run(args, after) {
  const started = performance.now();
  const child = spawn(process.execPath, [FUSEPROOF, ...args], { cwd: place, stdio: ['ignore', 'ignore', 'pipe'] });
  let text = '';
  child.stderr.on('data', (chunk) => {
    text += chunk;
  });
  const ended = new Promise((done) => child.once('exit', (code, signal) => done({ code, signal })));
  if (after !== undefined) {
    await Promise.race([setTimeout(after), ended]);
    child.kill('SIGKILL');
  }
  const { code, signal } = await ended;
  if (signal === null && code !== 0) throw new Error(`${args.join(' ')} ended with ${code}: ${text}`);
  return performance.now() - started;
}

/** What is there of an output: its certificate, and its file or what its model.json names. */
function found(output) {
  const certificate = readFileSync(join(place, `${output}.certificate.json`));
  if (output !== 'fused') return { certificate, output: readFileSync(join(place, output)) };
  const model = readFileSync(join(place, output, 'model.json'));
  const shards = JSON.parse(model).weightsManifest.flatMap(({ paths }) => paths);
  return {
    certificate,
    output: Buffer.concat([model, ...shards.map((name) => readFileSync(join(place, output, name)))]),
  };
}

try {
  let broken = 0;
  let old = 0;
  let killed = 0;
  const whole = new Map();
  for (const [output, first, second] of COMMANDS) {
    const versions = [];
    let milliseconds = 0;
    for (const args of [first, second]) {
      milliseconds = await run(args);
      versions.push(found(output));
    }
    whole.set(output, { versions, milliseconds });
  }
  for (let i = 0; i < kills; i++) {
    const [output, ...both] = COMMANDS[i % COMMANDS.length];
    const { versions, milliseconds } = whole.get(output);
    await run(both[Math.floor(i / COMMANDS.length) % 2], random(i) * milliseconds * 1.1);
    killed++;
    for (const part of ['certificate', 'output']) {
      const now = found(output)[part];
      const which = versions.findIndex((version) => version[part].equals(now));
      if (which < 0) broken++;
      if (which === 0) old++;
    }
  }
  const left = readdirSync(place, { recursive: true }).filter((name) => name.endsWith('.tmp')).length;
  process.stdout.write(
    `${killed} kills (seed ${values.seed}): ${2 * killed} outputs looked at, ${broken} neither old nor new; ${old} of the first version, ${left} temporary files left\n`,
  );
  if (broken > 0 || killed === 0) process.exitCode = 1;
} finally {
  rmSync(place, { recursive: true, force: true });
}
