import { InputError } from './errors.ts';

/**
 * The value of a JSON text in which no object holds a key twice.
 * @param where names the text in messages
 * @param remedy what to do about it
 * @throws InputError where it is not JSON, or a key stands twice
 */
export function parseJson(text: string, where: string, remedy: string): unknown {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new InputError(`${where}: not JSON (${error instanceof Error ? error.message : error}); ${remedy}`);
  }
  const duplicate = duplicateKey(text);
  if (duplicate !== undefined) {
    throw new InputError(`${where}: key ${JSON.stringify(duplicate)} stands twice in one object; write the file again`);
  }
  return value;
}

export function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** `an array`, `a string`: for messages. */
export function typeName(value: unknown): string {
  if (value === null || value === undefined) return `${value}`;
  return Array.isArray(value) ? 'an array' : `a ${typeof value}`;
}

/** The first key that an object of this valid JSON text holds twice: JSON.parse would keep the last without a word. */
function duplicateKey(text: string): string | undefined {
  const open: Set<string>[] = [];
  for (let i = 0; i < text.length; i++) {
    const character = text[i];
    if (character === '{') open.push(new Set());
    else if (character === '}') open.pop();
    else if (character === '"') {
      const start = i;
      do i = text.indexOf('"', i + 1);
      while (isEscaped(text, i));
      if (!isFollowedByColon(text, i)) continue;
      const key = String(JSON.parse(text.slice(start, i + 1)));
      if (open.at(-1)?.has(key)) return key;
      open.at(-1)?.add(key);
    }
  }
  return undefined;
}

/** Whether an odd number of backslashes stands before the character. */
function isEscaped(text: string, index: number): boolean {
  let start = index;
  while (text[start - 1] === '\\') start--;
  return (index - start) % 2 === 1;
}

function isFollowedByColon(text: string, index: number): boolean {
  let next = index + 1;
  while (' \t\n\r'.includes(text[next] ?? ':')) next++;
  return text[next] === ':';
}
