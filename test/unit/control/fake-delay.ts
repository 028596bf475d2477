/**
 * `setTimeout` of node:timers/promises on top of the global one, because vitest's fake clock moves only that.
 * Use: `vi.mock('node:timers/promises', () => import('./fake-delay.js'))`.
 */
export { delay as setTimeout };

function delay<T>(ms: number, value?: T, { signal }: { signal?: AbortSignal } = {}): Promise<T | undefined> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(aborted(signal));
    const timer = globalThis.setTimeout(() => {
      signal?.removeEventListener('abort', onAbort);
      resolve(value);
    }, ms);
    function onAbort(): void {
      clearTimeout(timer);
      reject(aborted(signal!));
    }
    signal?.addEventListener('abort', onAbort, { once: true });
  });
}

/** Node rejects with an error of its own, whose cause is the signal's reason. */
function aborted(signal: AbortSignal): Error {
  return Object.assign(new Error('The operation was aborted', { cause: signal.reason }), {
    name: 'AbortError',
    code: 'ABORT_ERR',
  });
}
