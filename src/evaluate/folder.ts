/** A folder of images: FOLDER/<class>/<image>, or unlabelled FOLDER/<image>. */
import { readdir, readFile, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { InputError } from '../network/errors.ts';
import { messageOfSystemError } from '../weights/system-error.ts';

/** What torchvision's ImageFolder takes for an image. */
const EXTENSIONS = ['.jpg', '.jpeg', '.png', '.ppm', '.bmp', '.pgm', '.tif', '.tiff', '.webp'];

/** A class map has a line for each class; ImageNet-21k has 21 841. */
const MAX_CLASS_MAP_BYTES = 2 ** 24;

/** Names that a message shows of several. */
const SHOWN = 3;

/** Who sorts the class folders: torchvision by code points (1, 10, 2), timm by natural order (1, 2, 10). */
export type ClassOrder = 'torchvision' | 'timm';

export const CLASS_ORDERS: readonly ClassOrder[] = ['torchvision', 'timm'];

export interface FolderOptions {
  /** The network's. */
  readonly classes: number;
  /** timm's: a text file, the folder of class 0 in the first line. */
  readonly classMap?: string;
  /** Needed only where the two differ. */
  readonly classOrder?: ClassOrder;
}

export interface LabelledImage {
  readonly path: string;
  /** From the folder on, for reports. */
  readonly file: string;
  /** Index of its class; undefined where the folder has none. */
  readonly label: number | undefined;
}

export interface ImageFolder {
  readonly images: readonly LabelledImage[];
  /** The class folders' names by index; undefined where the images are unlabelled. */
  readonly classNames: readonly string[] | undefined;
  /** Class folders that the class map does not name. */
  readonly leftOut: readonly string[];
}

/**
 * Lists the images, and finds their labels.
 * @throws InputError where there are no images, or the class folders are not the network's classes
 */
export async function readImageFolder(folder: string, options: FolderOptions): Promise<ImageFolder> {
  const { files, folders } = await list(folder);
  const direct = files.filter(isImage);
  const found = new Map<string, readonly string[]>();
  for (const name of folders) {
    const inside = await list(join(folder, name));
    const images = inside.files.filter(isImage);
    const deeper = inside.folders.filter((other) => !other.startsWith('.'));
    if (deeper.length > 0) {
      throw new InputError(
        `${join(folder, name)}: holds folders (${some(deeper)}); ${folder}/<class>/<image> is needed, so give the folder that the class folders are in`,
      );
    }
    found.set(name, images);
  }
  const labelled = [...found.values()].some((images) => images.length > 0);
  if (direct.length > 0 && labelled) {
    throw new InputError(
      `${folder}: holds images (${some(direct)}) beside folders of images (${some([...found.keys()])}); give one with ${folder}/<class>/<image>, or one of images alone`,
    );
  }
  if (direct.length === 0 && !labelled) {
    throw new InputError(
      `${folder}: holds no images; ${folder}/<class>/<image> is needed, or images alone, named ${EXTENSIONS.join(', ')}`,
    );
  }
  if (!labelled) {
    if (options.classMap !== undefined) {
      throw new InputError(`${folder}: holds images alone, no class folders; leave --class-map out`);
    }
    const images = direct.sort(byCodePoints).map((file) => ({ path: join(folder, file), file, label: undefined }));
    return { images, classNames: undefined, leftOut: [] };
  }
  const classNames = await classesOf(folder, found, options);
  const indices = new Map(classNames.map((name, index) => [name, index]));
  const images = [...found.keys()].sort(byCodePoints).flatMap((name) => {
    const label = indices.get(name);
    if (label === undefined) return [];
    const sorted = [...found.get(name)!].sort(byCodePoints);
    return sorted.map((file) => ({ path: join(folder, name, file), file: `${name}/${file}`, label }));
  });
  if (images.length === 0) {
    throw new InputError(
      `${options.classMap}: names none of the folders in ${folder} (${some([...found.keys()])}), but ${some(classNames)}; give the map of these folders`,
    );
  }
  return { images, classNames, leftOut: [...found.keys()].filter((name) => !indices.has(name)) };
}

/** The folder of each class, by index. */
async function classesOf(
  folder: string,
  found: ReadonlyMap<string, readonly string[]>,
  { classes, classMap, classOrder }: FolderOptions,
): Promise<readonly string[]> {
  if (classMap !== undefined) {
    const names = await readClassMap(classMap, folder);
    if (names.length === classes) return names;
    throw new InputError(`${classMap}: names ${names.length} classes, but the network has ${classes}`);
  }
  const names = [...found.keys()];
  const empty = names.filter((name) => found.get(name)!.length === 0);
  // timm would leave it out, and number the classes behind it otherwise than torchvision, which refuses it.
  if (empty.length > 0) {
    throw new InputError(
      `${folder}: no image in ${some(empty)}; remove empty folders, or say with --class-map which class each folder is`,
    );
  }
  if (names.length !== classes) {
    throw new InputError(
      `${folder}: ${names.length} class folders (${some(names)}), but the network has ${classes} classes; with --class-map FILE, a folder's name in each line, they may be some of them`,
    );
  }
  const orders = { torchvision: names.toSorted(byCodePoints), timm: names.toSorted(naturally) };
  if (classOrder !== undefined) return orders[classOrder];
  const at = orders.torchvision.findIndex((name, index) => name !== orders.timm[index]);
  if (at >= 0) {
    throw new InputError(
      `${folder}: class ${at} is folder ${orders.torchvision[at]} as torchvision sorts, ${orders.timm[at]} as timm does; say with --class-order which the network was trained with`,
    );
  }
  return orders.torchvision;
}

/** timm's text format: line by line the class folder of index 0, 1, ... */
async function readClassMap(path: string, folder: string): Promise<readonly string[]> {
  // As timm does, also from within the folder.
  const isThere = await stat(path).then(
    () => true,
    () => false,
  );
  const actual = isThere ? path : join(folder, path);
  let text: string;
  try {
    const { size } = await stat(actual);
    if (size > MAX_CLASS_MAP_BYTES) {
      throw new InputError(`${path}: ${size} bytes; a class map has at most ${MAX_CLASS_MAP_BYTES}`);
    }
    text = await readFile(actual, 'utf8');
  } catch (error) {
    if (error instanceof InputError) throw error;
    throw new InputError(
      `${path}: ${messageOfSystemError(error, 'read')}; give a text file with a class folder's name in each line`,
    );
  }
  const names = text
    .replace(/^\uFEFF/, '')
    .trimEnd()
    .split(/\r\n|\r|\n/)
    .map((line) => line.trim());
  const seen = new Set<string>();
  for (const [index, name] of names.entries()) {
    if (name === '') throw new InputError(`${path}: line ${index + 1} is empty; a class folder's name is needed`);
    if (name.includes('\0')) throw new InputError(`${path}: is no text; pickled class maps are not read`);
    if (seen.has(name)) throw new InputError(`${path}: line ${index + 1} names ${name} again; each class has one line`);
    seen.add(name);
  }
  return names;
}

async function list(folder: string): Promise<{ readonly files: string[]; readonly folders: string[] }> {
  try {
    const files: string[] = [];
    const folders: string[] = [];
    for (const entry of await readdir(folder, { withFileTypes: true })) {
      const isFolder =
        entry.isDirectory() ||
        (entry.isSymbolicLink() &&
          (await stat(join(folder, entry.name)).then(
            (found) => found.isDirectory(),
            () => false,
          )));
      (isFolder ? folders : files).push(entry.name);
    }
    return { files, folders };
  } catch (error) {
    throw new InputError(`${folder}: ${messageOfSystemError(error, 'read')}; give a folder of images`);
  }
}

function isImage(file: string): boolean {
  const name = basename(file).toLowerCase();
  // macOS leaves such files beside others: they have the name of an image, but are none.
  return !name.startsWith('._') && EXTENSIONS.some((extension) => name.endsWith(extension));
}

/** Python's order of strings. */
function byCodePoints(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}

/** timm's `natural_key`: runs of digits by their value, the rest in lower case. */
function naturally(a: string, b: string): number {
  const parts = (name: string) => name.toLowerCase().split(/(\d+)/);
  const [left, right] = [parts(a), parts(b)];
  for (let i = 0; i < Math.min(left.length, right.length); i++) {
    const [x, y] = [left[i]!, right[i]!];
    const order = i % 2 === 1 ? Number(BigInt(x) - BigInt(y)) : byCodePoints(x, y);
    if (order !== 0) return order;
  }
  return left.length - right.length || byCodePoints(a, b);
}

function some(names: readonly string[]): string {
  const shown = names.slice(0, SHOWN).join(', ');
  return names.length > SHOWN ? `${shown} and ${names.length - SHOWN} more` : shown;
}
