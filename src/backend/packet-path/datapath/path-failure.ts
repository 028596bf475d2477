import { getSystemErrorName } from 'node:util';

/** Forwarding cannot go on: the device or the socket is gone. Thrown out of the loop, it ends the worker. */
export class PathFailure extends Error {
  /** @param result what the batch call returned: -errno */
  constructor(call: string, result: number) {
    super(`${call} failed for good: ${errnoName(result)}`);
  }
}

function errnoName(result: number): string {
  try {
    return getSystemErrorName(result);
  } catch {
    return `errno ${-result}`;
  }
}
