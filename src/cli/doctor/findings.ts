import type { Finding } from './host.js';

export const ok = (check: string, detail: string): Finding => ({ check, state: 'ok', detail, remedy: '' });
export const bad = (check: string, detail: string, remedy: string): Finding => ({
  check,
  state: 'problem',
  detail,
  remedy,
});
export const warn = (check: string, detail: string, remedy: string): Finding => ({
  check,
  state: 'warning',
  detail,
  remedy,
});

/** What could not be looked at is neither right nor wrong. */
export const unknown = (check: string, why: string, remedy: string) => warn(check, `could not look: ${why}`, remedy);
