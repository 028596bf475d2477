import { native } from './native.js';

/** Tells systemd about our state (sd_notify(3)); does nothing when not started by a `Type=notify` unit. */
export type SdNotify = (...lines: string[]) => void;

export function createSdNotify(socket: string | undefined): SdNotify {
  if (socket === undefined || socket === '') return () => undefined;
  return (...lines) => {
    try {
      native.notify(socket, lines.join('\n'));
    } catch {
      // systemd is the only one who could act on it, and it is the one who cannot be reached.
    }
  };
}
