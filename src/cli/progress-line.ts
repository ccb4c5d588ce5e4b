export interface ProgressLine {
  show(task: string, done: number, total: number, what: string): void;
  /** Leaves the terminal as it was found. */
  clear(): void;
}

/** How often a terminal's line is drawn at most, in milliseconds: drawing is not the work. */
const REDRAW = 50;

/** Progress on stderr: one line that is repainted in a terminal, one plain line per task elsewhere. */
export async function progressLine(stream: NodeJS.WriteStream = process.stderr): Promise<ProgressLine> {
  if (!stream.isTTY) {
    let last = '';
    return {
      show(task) {
        if (task !== last) stream.write(`${task}\n`);
        last = task;
      },
      clear() {},
    };
  }
  const { createLogUpdate } = await import('log-update');
  const update = createLogUpdate(stream);
  let drawn = Number.NEGATIVE_INFINITY;
  return {
    show(task, done, total, what) {
      if (performance.now() - drawn < REDRAW) return;
      drawn = performance.now();
      update(`${task}  ${Math.floor((100 * done) / total)} %  ${what}`);
    },
    clear() {
      update.clear();
      update.done();
    },
  };
}
