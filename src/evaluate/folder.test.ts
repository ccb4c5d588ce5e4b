import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { InputError } from '../network/errors.ts';
import { readImageFolder } from './folder.ts';

let place = '';
beforeAll(() => {
  place = mkdtempSync(join(tmpdir(), 'fuseproof folder '));
});
afterAll(() => rmSync(place, { recursive: true }));

/** A new folder with these files, all of them empty. */
function folder(...files: string[]): string {
  const root = mkdtempSync(join(place, 'data '));
  for (const file of files) {
    mkdirSync(dirname(join(root, file)), { recursive: true });
    writeFileSync(join(root, file), '');
  }
  return root;
}

function map(text: string): string {
  const path = join(mkdtempSync(join(place, 'map ')), 'classes.txt');
  writeFileSync(path, text);
  return path;
}

test('class folders are numbered in their order, images listed in theirs', async () => {
  const root = folder('n02/b.JPEG', 'n02/a.png', 'n01/c.webp', 'n01/readme.txt', 'n01/._c.webp', 'LICENSE');
  const { images, classNames, leftOut } = await readImageFolder(root, { classes: 2 });
  expect(images.map(({ file, label }) => [file, label])).toEqual([
    ['n01/c.webp', 0],
    ['n02/a.png', 1],
    ['n02/b.JPEG', 1],
  ]);
  expect(classNames).toEqual(['n01', 'n02']);
  expect(leftOut).toEqual([]);
});

test('images alone have no labels', async () => {
  const { images, classNames } = await readImageFolder(folder('b.jpg', 'a.jpg'), { classes: 1000 });
  expect(images.map(({ file, label }) => [file, label])).toEqual([
    ['a.jpg', undefined],
    ['b.jpg', undefined],
  ]);
  expect(classNames).toBeUndefined();
});

test('links to folders are followed', async () => {
  const root = folder('a/1.jpg');
  symlinkSync(folder('1.jpg', '2.jpg'), join(root, 'b'));
  expect((await readImageFolder(root, { classes: 2 })).images).toHaveLength(3);
});

test('where torchvision and timm sort otherwise, the user says who', async () => {
  const root = folder('1/x.jpg', '2/x.jpg', '10/x.jpg');
  await expect(readImageFolder(root, { classes: 3 })).rejects.toThrow(
    /class 1 is folder 10 as torchvision sorts, 2 as timm does; say with --class-order/,
  );
  const names = async (classOrder: 'torchvision' | 'timm') =>
    (await readImageFolder(root, { classes: 3, classOrder })).classNames;
  expect(await names('torchvision')).toEqual(['1', '10', '2']);
  expect(await names('timm')).toEqual(['1', '2', '10']);
});

test('a class map says which class a folder is, and may leave folders out', async () => {
  const root = folder('cat/x.jpg', 'dog/x.jpg', 'eel/x.jpg');
  const { images, leftOut } = await readImageFolder(root, { classes: 3, classMap: map('dog\r\n cat \nfox\n\n') });
  expect(images.map(({ file, label }) => [file, label])).toEqual([
    ['cat/x.jpg', 1],
    ['dog/x.jpg', 0],
  ]);
  expect(leftOut).toEqual(['eel']);
});

test.each<[what: string, says: RegExp, files: string[], classes: number, classMap?: string]>([
  [
    'too few folders',
    /2 class folders \(a, b\), but the network has 10 classes; with --class-map/,
    ['a/1.jpg', 'b/1.jpg'],
    10,
  ],
  ['an empty class', /no image in b; remove empty folders/, ['a/1.jpg', 'b/readme.txt'], 2],
  ['nothing', /holds no images; .*<class>\/<image> is needed/, [], 2],
  ['images beside folders of images', /holds images \(1.jpg\) beside folders/, ['1.jpg', 'a/1.jpg'], 1],
  ['folders too deep', /holds folders \(a\); .* give the folder that the class folders are in/, ['val/a/1.jpg'], 1],
  ['a map of other classes', /names 1 classes, but the network has 2/, ['a/1.jpg', 'b/1.jpg'], 2, 'a\n'],
  ['a map of other folders', /names none of the folders in .* \(a, b\), but c, d/, ['a/1.jpg', 'b/1.jpg'], 2, 'c\nd\n'],
  ['a class twice', /line 2 names a again/, ['a/1.jpg'], 2, 'a\na\n'],
  ['an empty line', /line 2 is empty/, ['a/1.jpg'], 3, 'a\n\nb\n'],
  ['a pickle', /is no text; pickled class maps are not read/, ['a/1.jpg'], 1, '\x80\x04\0}'],
  ['a map for images alone', /no class folders; leave --class-map out/, ['1.jpg'], 1, 'a\n'],
])('%s is refused', async (_what, says, files, classes, text) => {
  const refusal = await readImageFolder(folder(...files), {
    classes,
    ...(text !== undefined && { classMap: map(text) }),
  }).catch((error: unknown) => error);
  expect(refusal).toBeInstanceOf(InputError);
  expect((refusal as InputError).message).toMatch(says);
});

test('a folder or a map that is not there is named', async () => {
  await expect(readImageFolder('/nowhere', { classes: 2 })).rejects.toThrow(/^\/nowhere: cannot read it: no such file/);
  await expect(readImageFolder(folder('a/1.jpg'), { classes: 1, classMap: 'no.txt' })).rejects.toThrow(
    /^no.txt: cannot/,
  );
});
