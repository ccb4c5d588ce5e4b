/** What a child process may be asked for, and what it answers. */
import type { ProfileResult, ProfileSkip, ProfileSpec } from './profile.ts';
import type { SessionProgress, SessionResult, SessionSkip, SessionSpec } from './session.ts';

/** A request and its answer, by the task's name. */
export interface Tasks {
  readonly session: { readonly spec: SessionSpec; readonly result: SessionResult | SessionSkip };
  readonly profile: { readonly spec: ProfileSpec; readonly result: ProfileResult | ProfileSkip };
}

export type TaskName = keyof Tasks;

export type TaskRequest = { [Name in TaskName]: { readonly task: Name; readonly spec: Tasks[Name]['spec'] } }[TaskName];

/** What a child says to its parent. */
export type ChildMessage =
  | { readonly kind: 'progress'; readonly progress: SessionProgress }
  | { readonly kind: 'result'; readonly result: Tasks[TaskName]['result'] }
  | { readonly kind: 'error'; readonly message: string };
