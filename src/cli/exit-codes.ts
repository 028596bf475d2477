import type { ErrorCode } from '../core/errors.js';

/** The exit status of every command. docs/troubleshooting.md tells the user what each means. */
export const EXIT_OK = 0;
/** A bug of ours: anything that is no RudderError. */
export const EXIT_INTERNAL = 1;

export const EXIT_CODES: Readonly<Record<ErrorCode, number>> = {
  usage: 2,
  'network-config': 3,
  'registry-refused': 4,
  'registry-unavailable': 5,
  interface: 6,
  device: 7,
  socket: 8,
  file: 9,
  'lease-conflict': 10,
  'data-path': 11,
  lab: 12,
  'not-running': 13,
  'not-ready': 14,
  firewall: 15,
  limit: 16,
  'config-exists': 17,
  renumbering: 18,
};

/** A second signal ends the process at once, with the shell's code for that signal. */
export const EXIT_SIGNAL_BASE = 128;
