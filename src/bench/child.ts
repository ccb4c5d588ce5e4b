/**
 * Entry of a task's process (see parent.ts): one request in, progress and one reply out, over the IPC channel. Prints
 * nothing; the parent draws.
 */
import { readFile } from 'node:fs/promises';
import { type Engine, EngineUnavailable } from '../engines/engine.ts';
import { openEngine } from '../engines/index.ts';
import { openOnnxruntime } from '../engines/onnxruntime.ts';
import { armsOf, prepareArms, prepareModel } from './prepare.ts';
import { type ProfileSpec, profileArm } from './profile.ts';
import { type SessionProgress, type SessionSpec, timeArms } from './session.ts';
import { type EngineSpec, enginesOf, infosOf, openBoth } from './settings.ts';
import type { ChildMessage, TaskName, TaskRequest, Tasks, VerificationSpec } from './tasks.ts';

function send(message: ChildMessage, sent = () => {}): void {
  process.send?.(message, undefined, {}, sent);
}

function threadsOf({ threads }: { readonly threads: number | undefined }): { readonly threads?: number } {
  return threads === undefined ? {} : { threads };
}

/** The engine as it stands; or one that runs another project's file, as its users run it. */
async function openRaw(spec: SessionSpec): Promise<Engine> {
  if (spec.rawFile === undefined) return openEngine(spec.engine, { ...threadsOf(spec), optimise: false });
  return openOnnxruntime({ ...threadsOf(spec), model: await readFile(spec.rawFile) });
}

async function runSession(spec: SessionSpec): Promise<Tasks['session']['result']> {
  const arms = armsOf(spec.pairs);
  const optimised = await openEngine(spec.engine, threadsOf(spec));
  const raw = arms.includes('reference-raw') ? { raw: await openRaw(spec) } : {};
  const report = (progress: SessionProgress) => send({ kind: 'progress', progress });
  return timeArms({ optimised, ...raw }, prepareArms(spec, arms), spec, report);
}

/** What the machine's peak is measured on. */
async function openPeakEngine({ threads }: Engine['info']): Promise<Engine | undefined> {
  return openEngine('onnxruntime', { threads }).catch((error: unknown) => {
    if (error instanceof EngineUnavailable) return undefined;
    throw error;
  });
}

async function runProfile(spec: ProfileSpec): Promise<Tasks['profile']['result']> {
  const optimise = spec.arm !== 'reference-raw';
  const engine = await openEngine(spec.engine, { ...threadsOf(spec), optimise });
  return profileArm(engine, await openPeakEngine(engine.info), prepareArms(spec, [spec.arm]), spec);
}

async function describeEngine({ engine, threads }: EngineSpec): Promise<Tasks['engine']['result']> {
  return infosOf(await openBoth(engine, threads));
}

async function runVerification(spec: VerificationSpec): Promise<Tasks['verification']['result']> {
  const engines = await openBoth(spec.engine, spec.threads);
  const { verifyModel } = await import('./verify-model.ts'); // sessions need none of it
  return verifyModel(prepareModel(spec), enginesOf(engines), (form, done, total) =>
    send({ kind: 'progress', progress: { form, done, total } }),
  );
}

async function resultOf(request: TaskRequest): Promise<Tasks[TaskName]['result']> {
  switch (request.task) {
    case 'session':
      return runSession(request.spec);
    case 'profile':
      return runProfile(request.spec);
    case 'engine':
      return describeEngine(request.spec);
    case 'verification':
      return runVerification(request.spec);
  }
}

async function answer(request: TaskRequest): Promise<ChildMessage> {
  try {
    return { kind: 'result', result: await resultOf(request) };
  } catch (error) {
    return { kind: 'error', message: error instanceof Error ? error.message : String(error) };
  }
}

// A terminal's ctrl-C goes to every process of its group; the parent decides what becomes of this one.
process.on('SIGINT', () => {});
process.once('message', async (request: TaskRequest) => {
  // Exits by itself: an engine's thread pool may otherwise keep the process alive.
  send(await answer(request), () => process.exit());
});
// Without a parent there is nobody to time for.
process.once('disconnect', () => process.exit());
