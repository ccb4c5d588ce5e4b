const REASONS: Readonly<Record<string, string>> = {
  ENOENT: 'no such file or folder',
  ENOTDIR: 'a part of its path is not a folder',
  EISDIR: 'it is a folder',
  EACCES: 'permission denied',
  EPERM: 'permission denied',
  EROFS: 'the file system is read-only',
  ENOSPC: 'no space left on the device',
  EDQUOT: 'no space left to this user',
};

/** Of a disk that is full: what helps there and nowhere else. */
const FULL = ['ENOSPC', 'EDQUOT'];

/** What to do where a file could not be written. */
export function remedyOf(error: unknown): string {
  const isFull = error instanceof Error && 'code' in error && FULL.includes(String(error.code));
  return isFull
    ? 'free some, or give a file on another disk'
    : 'give a file in a folder that exists and can be written';
}

/** `cannot read it: no such file or folder`: why the file system refused, in words. */
export function messageOfSystemError(error: unknown, verb: 'read' | 'write'): string {
  const code = error instanceof Error && 'code' in error ? String(error.code) : '';
  const reason = REASONS[code] ?? (error instanceof Error ? error.message : String(error));
  return `cannot ${verb} it: ${reason}`;
}
