import { writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { expect, test } from 'vitest';
import { InputError } from '../network/errors.ts';
import { resolveModel } from '../reference/config.ts';
import type { Job } from './verify-job.ts';
import { runJobs } from './verify-pool.ts';

/** A child that answers with the job's own form, the slower the smaller the network. */
const CHILD = `
process.on('message', (job) => {
  if (job.form === 'dies') process.exit(3);
  if (job.form === 'bad') return process.send({ kind: 'error', isInput: true, message: 'the file is bad' });
  if (job.form === 'broken') return process.send({ kind: 'error', isInput: false, message: 'a fault' });
  process.send({ kind: 'progress', done: 1, total: 2, what: String(process.pid) });
  setTimeout(() => process.send({ kind: 'result', report: { form: job.form } }), 40 - job.weightCount);
});
process.once('disconnect', () => process.exit());
`;

const file = join(tmpdir(), `verify-pool-${process.pid}.mjs`);
await writeFile(file, CHILD);
const { href } = pathToFileURL(file);
const model = await resolveModel('repvit_m0_9');

const job = (form: string, weightCount = 1): Job => ({
  model,
  weightCount,
  form,
  engines: [],
  tiers: undefined,
  options: {},
});

async function run(jobs: readonly Job[], processes: number) {
  const forms: string[] = [];
  const told: { job: number; what: string }[] = [];
  const tell = (index: number) => ({
    progress: (_done: number, _total: number, what: string) => told.push({ job: index, what }),
    note: () => {},
  });
  for await (const { form } of runJobs(jobs, processes, tell, new URL(href))) forms.push(form);
  return { forms, told };
}

test('reports come in the order of the jobs, whichever is done first', async () => {
  const { forms, told } = await run([job('a', 1), job('b', 30), job('c', 20), job('d', 10)], 2);
  expect(forms).toEqual(['a', 'b', 'c', 'd']);
  // Each job is told of once, and two processes share them.
  expect(told.map((each) => each.job).toSorted()).toEqual([0, 1, 2, 3]);
  expect(new Set(told.map(({ what }) => what)).size).toBe(2);
});

test('the largest is begun first', async () => {
  const { forms, told } = await run([job('a', 1), job('b', 30), job('c', 20)], 1);
  expect(forms).toEqual(['a', 'b', 'c']);
  expect(told.map((each) => each.job)).toEqual([1, 2, 0]);
});

test('bad input in a job is bad input here, and reports before it are not lost', async () => {
  const forms: string[] = [];
  const reports = runJobs(
    [job('a', 9), job('bad', 1)],
    2,
    () => ({ progress: () => {}, note: () => {} }),
    new URL(href),
  );
  const all = (async () => {
    for await (const { form } of reports) forms.push(form);
  })();
  await expect(all).rejects.toThrow(new InputError('the file is bad'));
  expect(forms).toEqual(['a']);
});

test.each([
  ['dies', 'the process that verified repvit_m0_9 ended with code 3 before it had a result'],
  ['broken', 'a fault'],
])('a job that is %s is an error', async (form, message) => {
  await expect(run([job('a'), job(form)], 1)).rejects.toThrow(message);
});
