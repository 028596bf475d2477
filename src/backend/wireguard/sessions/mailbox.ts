import type { SealedMemory } from '../../../system/native.js';
import {
  HEADER_MAIL_HEAD,
  HEADER_MAIL_TAIL,
  MAIL_ADDRESS,
  MAIL_BYTES,
  MAIL_INTS,
  MAIL_LENGTH,
  MAIL_PORT,
  MAILBOX_SIZE,
} from '../../packet-path/tables/session-layout.js';
import type { Endpoint } from '../protocol/sessions.js';

/** A message of a handshake as it was received: of the right size, and for us if its mac1 says so. */
export interface Mail {
  readonly bytes: Uint8Array;
  readonly source: Endpoint;
}

export const MAILBOX_ROOM = MAILBOX_SIZE;

/** Messages that wait. */
export function waitingMail({ sessions }: SealedMemory): number {
  return (Atomics.load(sessions, HEADER_MAIL_TAIL) - sessions[HEADER_MAIL_HEAD]) | 0;
}

export function takeMail(memory: SealedMemory): Mail | undefined {
  const { sessions, mailbox } = memory;
  if (waitingMail(memory) === 0) return undefined;
  const head = sessions[HEADER_MAIL_HEAD];
  const at = (head & (MAILBOX_SIZE - 1)) * MAIL_INTS;
  const length = mailbox[at + MAIL_LENGTH];
  const bytes = new Uint8Array(mailbox.buffer, mailbox.byteOffset + 4 * (at + MAIL_BYTES), length).slice();
  const source = { address: mailbox[at + MAIL_ADDRESS], port: mailbox[at + MAIL_PORT] };
  // From now on its place may be another's.
  Atomics.store(sessions, HEADER_MAIL_HEAD, (head + 1) | 0);
  return { bytes, source };
}
