/** Where a task stands. */
export interface Progress {
  /** Changes with each network verified and each session. */
  readonly task: string;
  readonly done: number;
  readonly total: number;
  readonly what: string;
  /** Where the caller knows better than by the rate so far. */
  readonly secondsLeft?: number;
}

export interface ProgressLine {
  show(progress: Progress): void;
  /** Leaves the terminal as it was found. */
  clear(): void;
}

/** How often a terminal's line is drawn at most, in milliseconds: drawing is not the work. */
const REDRAW = 50;

/** How often a task that goes on gets another plain line, in milliseconds. */
const REPEAT = 10_000;

/** Share of the work that has to be done before its rate says when the rest will be. */
const TELLING = 0.02;

/** `1 min 20 s`, in steps of 5 s: it is an estimate. */
function duration(seconds: number): string {
  const rounded = Math.ceil(seconds / 5) * 5;
  const minutes = Math.floor(rounded / 60);
  return minutes === 0 ? `${rounded} s` : `${minutes} min ${rounded % 60} s`;
}

/** In one line where there is room, else in two. */
function fitted(text: string, width: number): string {
  if (text.length <= width) return text;
  const end = text.lastIndexOf(', ', width - 1);
  if (end < 0) return text.slice(0, width);
  return `${text.slice(0, end + 1)}\n${`  ${text.slice(end + 2)}`.slice(0, width)}`;
}

/** Progress on stderr: one line that is repainted in a terminal, plain lines elsewhere. */
export async function progressLine(stream: NodeJS.WriteStream = process.stderr): Promise<ProgressLine> {
  // A terminal that says it has no columns cannot be repainted.
  const draw = stream.isTTY && stream.columns > 0 ? (await import('log-update')).createLogUpdate(stream) : undefined;
  let current = '';
  let started = 0;
  let drawn = Number.NEGATIVE_INFINITY;
  return {
    show({ task, done, total, what, secondsLeft }) {
      const now = performance.now();
      const isNew = task !== current;
      if (isNew) started = now;
      if (!isNew && now - drawn < (draw === undefined ? REPEAT : REDRAW)) return;
      current = task;
      drawn = now;
      const left = secondsLeft ?? (done > TELLING * total ? ((now - started) / 1000) * (total / done - 1) : undefined);
      const parts = [task, `${Math.floor((100 * done) / total)} %`, what];
      if (left !== undefined) parts.push(`about ${duration(left)} left`);
      const text = parts.join(', ');
      if (draw === undefined) stream.write(`${text}\n`);
      else draw(fitted(text, stream.columns - 1));
    },
    clear() {
      draw?.clear();
      draw?.done();
    },
  };
}
