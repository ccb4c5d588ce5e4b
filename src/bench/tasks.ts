/** What a child process may be asked for, and what it answers. */
import type { Arm, ModelSpec } from './prepare.ts';
import type { ProfileResult, ProfileSkip, ProfileSpec } from './profile.ts';
import type { SessionProgress, SessionResult, SessionSkip, SessionSpec } from './session.ts';
import type { EngineInfos, EngineSpec, VerifiedModel } from './settings.ts';

export interface VerificationSpec extends ModelSpec, EngineSpec {}

/** What a verification says while it runs, piece by piece. */
export interface VerificationProgress {
  readonly form: Arm;
  readonly done: number;
  readonly total: number;
}

interface Task<Spec, Result, Progress = never> {
  readonly spec: Spec;
  readonly progress: Progress;
  readonly result: Result;
}

/** A request, what is said meanwhile, and its answer, by the task's name. */
export interface Tasks {
  readonly session: Task<SessionSpec, SessionResult | SessionSkip, SessionProgress>;
  readonly profile: Task<ProfileSpec, ProfileResult | ProfileSkip>;
  /** What the engine says of itself. */
  readonly engine: Task<EngineSpec, EngineInfos>;
  readonly verification: Task<VerificationSpec, VerifiedModel, VerificationProgress>;
}

export type TaskName = keyof Tasks;

export type TaskRequest = { [Name in TaskName]: { readonly task: Name; readonly spec: Tasks[Name]['spec'] } }[TaskName];

/** What a child says to its parent. */
export type ChildMessage =
  | { readonly kind: 'progress'; readonly progress: Tasks[TaskName]['progress'] }
  | { readonly kind: 'result'; readonly result: Tasks[TaskName]['result'] }
  | { readonly kind: 'error'; readonly message: string };
