/**
 * Bad usage or bad input: the message says subject, actual value, limit and what to do. Command-line exit code 2.
 * Anything else that is thrown is a fault of fuseproof itself.
 */
export class InputError extends Error {
  override readonly name: string = 'InputError';
}

/**
 * Two files that can be read, and are not the same network: other ops, or weights of other keys or shapes, so that there is
 * nothing to compute. The message names what differs. Command-line exit code 1.
 */
export class MismatchError extends InputError {
  override readonly name = 'MismatchError';
}
