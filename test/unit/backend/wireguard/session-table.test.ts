import { expect, it } from 'vitest';
import {
  HEADER_INTS,
  LINE_HEAD_INTS,
  LINE_INTS,
  SLOT_INTS,
  SLOT_RECEIVE_KEY,
  SLOT_SEND_KEY,
} from '../../../../src/backend/packet-path/tables/session-layout.js';
import { createSessionTable } from '../../../../src/backend/wireguard/sessions/session-table.js';

it('takes keys from buffers of any kind, also those that are a part of another one', () => {
  const table = createSessionTable(4);
  const { sessions } = table.memory;
  // Of Node's pool, which is larger than the key.
  const [sendKey, receiveKey] = [1, 2].map((byte) => Buffer.from(new Uint8Array(32).fill(byte)));
  expect(sendKey.buffer.byteLength).toBeGreaterThan(32);
  table.configure({ mtu: 1420, rejectAfterMs: 1, macKey: sendKey });
  const line = table.addPeer();
  const index = table.reserve(line);
  table.install(index, { remoteIndex: 5, sendKey, receiveKey, bornAt: 1, role: 'next' });
  const slot = HEADER_INTS + line * LINE_INTS + LINE_HEAD_INTS + (index & 3) * SLOT_INTS;
  const ints = (at: number) => [...sessions.subarray(slot + at, slot + at + 8)];
  expect([ints(SLOT_SEND_KEY), ints(SLOT_RECEIVE_KEY)]).toEqual([Array(8).fill(0x01010101), Array(8).fill(0x02020202)]);
  // They are copied, and stay as they were.
  expect([sendKey[31], receiveKey[31]]).toEqual([1, 2]);
});
