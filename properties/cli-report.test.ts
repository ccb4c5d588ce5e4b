/** `audit` and `report` of the built command: what they print and write, exit codes, one clear error for bad input. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { sampleReport } from './sample-report.ts';

const PROJECT = resolve(import.meta.dirname, '..');
const EXPORTED = join(PROJECT, 'golden', 'fixtures', 'tiny_one_stage.onnx');

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'fuseproof report '));
});
afterAll(() => rmSync(folder, { recursive: true }));

function run(arguments_: readonly string[], env: NodeJS.ProcessEnv = {}) {
  const { status, stdout, stderr } = spawnSync(process.execPath, ['bin/fuseproof.js', ...arguments_], {
    cwd: PROJECT,
    encoding: 'utf8',
    env: { ...process.env, GITHUB_STEP_SUMMARY: '', ...env },
  });
  return { status, stdout, stderr };
}

function file(name: string, content: unknown): string {
  const path = join(folder, name);
  writeFileSync(path, typeof content === 'string' ? content : JSON.stringify(content));
  return path;
}

describe('audit', () => {
  test('counts as tools do, and says why', () => {
    const { status, stdout } = run(['audit', '-m', 'repvit_m0_9', '--convention', 'thop,ptflops-aten']);
    expect(status).toBe(0);
    expect(stdout).toContain('847,050,816');
    expect(stdout).toContain('821,782,928');
    expect(stdout).toContain('Batch norms count 4 for each element');
    expect(Math.max(...stdout.split('\n').map((line) => line.length))).toBeLessThanOrEqual(80);
  });

  test('counts layers, and a tool beside them', () => {
    const arguments_ = [
      'audit',
      '-m',
      'repvit_m0_9',
      '--layers',
      '--form',
      'deploy',
      '--convention',
      'fvcore',
      '--json',
    ];
    const [report, ...others] = JSON.parse(run(arguments_).stdout) as { layers: { counts: { fvcore: number } }[] }[];
    expect(others).toEqual([]);
    expect(report!.layers.reduce((sum, { counts }) => sum + counts.fvcore, 0)).toBe(815_617_344);
  });

  test('counts an ONNX file', () => {
    const { status, stdout } = run(['audit', EXPORTED]);
    expect({ status, line: stdout.split('\n')[2] }).toEqual({
      status: 0,
      line: '  initialisers: 3,777 elements in 54 tensors',
    });
  });

  test.each<[what: string, says: RegExp, ...arguments_: string[]]>([
    ['an unknown tool', /--convention fvcor: no tool of that name; give fvcore, /, 'audit', '--convention', 'fvcor'],
    ['a form without layers', /--form chooses among the tables of --layers/, 'audit', '--form', 'deploy'],
    [
      'a form that is not there',
      /none of repvit_m1 has it/,
      'audit',
      '-m',
      'repvit_m1',
      '--layers',
      '--form',
      'deploy-official',
    ],
    [
      'options of networks beside a file',
      /--model is of networks, not of ONNX files/,
      'audit',
      EXPORTED,
      '-m',
      'repvit_m1',
    ],
    ['a file that is not ONNX', /not an ONNX model/, 'audit', 'package.json'],
    ['a file that is not there', /cannot read it/, 'audit', 'nothing.onnx'],
  ])('refuses %s', (_, says, ...arguments_) => {
    const { status, stdout, stderr } = run(arguments_);
    expect({ status, stdout }).toEqual({ status: 2, stdout: '' });
    expect(stderr).toMatch(says);
  });
});

describe('report', () => {
  test('puts two machines on one page and into the job summary, and exits as the worst of them', () => {
    const sample = sampleReport();
    const other = { ...sample, verdict: 'pass', environment: { ...sample.environment, cpu: 'Other CPU' } };
    const summary = join(folder, 'summary.md');
    const out = join(folder, 'out');
    const paths = [file('a.json', sample), file('b.json', other)];
    const { status, stdout } = run(['report', ...paths, '--out', out], { GITHUB_STEP_SUMMARY: summary });
    expect(status).toBe(1);
    expect(stdout).toBe('Some CPU, 2 cores: fail\nOther CPU, 2 cores: pass\n');
    expect(readdirSync(out).sort()).toEqual(['merged.html', 'merged.md']);
    expect(readFileSync(join(out, 'merged.html'), 'utf8')).toContain('Other CPU, 2 cores');
    expect(readFileSync(summary, 'utf8')).toBe(`${readFileSync(join(out, 'merged.md'), 'utf8')}\n`);
  });

  test('takes a kill matrix', () => {
    const kills = { isCalledFor: true, draws: 2, killed: 2, margin: 3 };
    const fault = { id: 'bn-eps-tf', title: 'title', group: 'g', killed: true, defaultInit: { hidden: 1, of: 1 } };
    const matrix = { seed: 1, draws: 2, killed: 1, faults: [{ ...fault, tiers: { basis: kills } }], clean: [] };
    const out = join(folder, 'matrix');
    const paths = [file('a.json', sampleReport()), file('faults.json', matrix)];
    expect(run(['report', ...paths, '--out', out, '--name', 'page']).status).toBe(1);
    expect(readFileSync(join(out, 'page.html'), 'utf8')).toContain('1 of 1 planted faults are killed');
  });

  test.each<[what: string, says: RegExp, content: unknown]>([
    ['what is not JSON', /x\.json: not JSON/, '{'],
    ['another JSON', /x\.json: no report: it must have required property/, {}],
    ['an older version', /a report of version 1, and this fuseproof reads version 2/, { schemaVersion: 1 }],
    [
      'a field that is wrong',
      /\/verdict must be equal to one of the allowed values/,
      { ...sampleReport(), verdict: 'ok' },
    ],
    ['a field too many', /must NOT have additional properties, such as extra/, { ...sampleReport(), extra: 1 }],
    ['half a kill matrix', /no kill matrix/, { faults: [{}], clean: [] }],
    ['a kill matrix alone', /no report among/, { seed: 1, draws: 2, killed: 0, faults: [], clean: [] }],
  ])('refuses %s, and writes nothing', (_, says, content) => {
    const out = join(folder, 'refused');
    const { status, stdout, stderr } = run(['report', file('x.json', content), '--out', out]);
    expect({ status, stdout }).toEqual({ status: 2, stdout: '' });
    expect(stderr).toMatch(says);
    expect(existsSync(out)).toBe(false);
  });

  test.each(['.', '..', '', 'a/b'])('refuses %j as a name of files', (name) => {
    const out = join(folder, 'unnamed');
    const { status, stderr } = run(['report', file('a.json', sampleReport()), '--out', out, '--name', name]);
    expect(status).toBe(2);
    expect(stderr).toContain(`--name ${name}: it names files`);
    expect(existsSync(out)).toBe(false);
  });
});

test.each<[what: string, says: RegExp, ...arguments_: string[]]>([
  ['is not there', /cannot read it.*give a baseline that/, '--baseline', 'nothing.json'],
  ['is another JSON', /no baseline: it must have/, '--baseline', 'package.json'],
])('bench refuses a baseline that %s before it runs anything', (_, says, ...arguments_) => {
  const { status, stderr } = run(['bench', '--out', join(folder, 'bench'), ...arguments_]);
  expect(status).toBe(2);
  expect(stderr).toMatch(says);
  expect(existsSync(join(folder, 'bench'))).toBe(false);
});
