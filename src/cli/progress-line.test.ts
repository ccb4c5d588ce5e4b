import { Writable } from 'node:stream';
import { expect, test, vi } from 'vitest';
import { progressLine } from './progress-line.ts';

/** A stream that keeps what is written, as stderr is where it is no terminal. */
function plainStream(): { readonly stream: NodeJS.WriteStream; readonly lines: () => string[] } {
  let text = '';
  const stream = new Writable({
    write(chunk, _encoding, done) {
      text += String(chunk);
      done();
    },
  }) as NodeJS.WriteStream;
  return { stream, lines: () => text.split('\n').slice(0, -1) };
}

test('where there is no terminal, each task gets one plain line when it starts', async () => {
  const { stream, lines } = plainStream();
  const line = await progressLine(stream);
  line.show({ task: 'verify a', done: 0, total: 4, what: 'x' });
  line.show({ task: 'verify a', done: 1, total: 4, what: 'y' });
  line.show({ task: 'time a', done: 0, total: 24, what: 'loading', secondsLeft: 62 });
  line.clear();
  expect(lines()).toEqual(['verify a, 0 %, x', 'time a, 0 %, loading, about 1 min 5 s left']);
});

test('says no time where too little is done to tell it by', async () => {
  const left = async (done: number) => {
    const { stream, lines } = plainStream();
    vi.spyOn(performance, 'now').mockReturnValueOnce(0).mockReturnValueOnce(20_000);
    const line = await progressLine(stream);
    for (const each of [0, done]) line.show({ task: 'verify a', done: each, total: 1000, what: 'x' });
    vi.restoreAllMocks();
    return lines()[1];
  };
  expect(await left(20)).toBe('verify a, 2 %, x');
  expect(await left(21)).toBe('verify a, 2 %, x, about 15 min 35 s left');
});

test('a terminal that is too narrow for the line gets two', async () => {
  const { stream, lines } = plainStream();
  Object.assign(stream, { isTTY: true, columns: 60, rows: 24 });
  const line = await progressLine(stream);
  line.show({
    task: 'time a on b (session 2 of 5)',
    done: 1,
    total: 4,
    what: 'so far 1.500 (1.400 to 1.600), quad 1 of 4',
  });
  line.clear();
  const written = lines().join('\n');
  expect(written).toContain('time a on b (session 2 of 5), 25 %,\n  so far 1.500 (1.400 to 1.600), quad 1 of 4');
});
