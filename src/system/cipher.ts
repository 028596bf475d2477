import { availableParallelism } from 'node:os';
import { CIPHERS, type Cipher, native } from './native.js';

/** What encrypts on this host. */
export interface CipherInUse {
  readonly code: Cipher;
  /** That help the packet path's worker with large batches. */
  readonly threads: number;
}

/** For the whole process, before its packet path starts. @param wanted portable: the code that runs on any CPU */
export function useCipher(
  wanted: 'auto' | 'portable',
  { cores = availableParallelism(), addon = native }: { cores?: number; addon?: typeof native } = {},
): CipherInUse {
  const code = addon.useCipher(wanted === 'portable' ? CIPHERS.indexOf('portable') : -1);
  return { code: CIPHERS[code], threads: addon.useCipherThreads(threadsFor(cores)) };
}

/** With one or two the worker itself is what a flow waits for, so more would only take cores; on two it needs both itself. */
export function threadsFor(cores: number): number {
  return Math.max(0, Math.min(2, Math.floor(cores / 2) - 1));
}
