/**
 * Bad usage or bad input: the message says subject, actual value, limit and what to do. Command-line exit code 2.
 * Anything else that is thrown is a fault of fuseproof itself.
 */
export class InputError extends Error {
  override readonly name = 'InputError';
}
