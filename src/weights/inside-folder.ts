import { realpath } from 'node:fs/promises';
import { dirname, isAbsolute, join, relative, sep } from 'node:path';
import { InputError } from '../network/errors.ts';
import { messageOfSystemError } from './system-error.ts';

/**
 * The path of a file that another one names: beside that or below, links followed.
 * @param path of the file that names it
 * @param what begins the message: `m.onnx: external data`
 * @throws InputError where it is not there, or lies outside of that file's folder
 */
export async function insideFolder(name: string, path: string, what: string): Promise<string> {
  const where = `${what} ${JSON.stringify(name)}`;
  const outside = () =>
    new InputError(`${where} lies outside of the file's folder; put the file itself there, not a link or a path to it`);
  const leaves = (from: string, to: string) => {
    const way = relative(from, to);
    return way === '' || way === '..' || way.startsWith(`..${sep}`) || isAbsolute(way);
  };
  const folder = dirname(path);
  const named = join(folder, name);
  // Before the file system is asked: not even the existence of other files is told.
  if (name.includes('\0') || isAbsolute(name) || leaves(folder, named)) throw outside();
  try {
    const [realFolder, real] = await Promise.all([realpath(folder), realpath(named)]);
    if (leaves(realFolder, real)) throw outside();
    return real;
  } catch (error) {
    if (error instanceof InputError) throw error;
    throw new InputError(`${where}: ${messageOfSystemError(error, 'read')}; put it beside the file that names it`);
  }
}
