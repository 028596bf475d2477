import { TAG_BYTES } from './primitives.js';

/** Messages on the wire: whole numbers are little-endian, the type is one byte and three of zero. */
export const INITIATION = 1;
export const RESPONSE = 2;
export const COOKIE_REPLY = 3;
export const DATA = 4;

export const DATA_HEADER_BYTES = 16;
/** Around each packet, beside IP and UDP headers. */
export const DATA_OVERHEAD_BYTES = DATA_HEADER_BYTES + TAG_BYTES;

/** Where a field begins and ends. */
type Field = readonly [start: number, end: number];

/** Both kinds of message end in mac1 and mac2. */
export const MAC_BYTES = 16;

export const initiation = {
  size: 148,
  sender: 4,
  ephemeral: [8, 40],
  static: [40, 88],
  timestamp: [88, 116],
} as const satisfies Layout;

export const response = {
  size: 92,
  sender: 4,
  receiver: 8,
  ephemeral: [12, 44],
  empty: [44, 60],
} as const satisfies Layout;

export const cookieReply = {
  size: 64,
  receiver: 4,
  nonce: [8, 32],
  cookie: [32, 64],
} as const satisfies Layout;

type Layout = Readonly<Record<string, number | Field>>;

export const fieldOf = (message: Buffer, [start, end]: Field): Buffer => message.subarray(start, end);

/** @param size of the whole message, which its type says */
export function createMessage(type: number, size: number): Buffer {
  const message = Buffer.alloc(size);
  message.writeUInt32LE(type, 0);
  return message;
}

/** The type of a message of a handshake that has the size of its type; undefined: it is none, and of no interest. */
export function handshakeTypeOf(message: Buffer): 1 | 2 | 3 | undefined {
  if (message.length < 4) return undefined;
  const type = message.readUInt32LE(0);
  if (type === INITIATION && message.length === initiation.size) return INITIATION;
  if (type === RESPONSE && message.length === response.size) return RESPONSE;
  if (type === COOKIE_REPLY && message.length === cookieReply.size) return COOKIE_REPLY;
  return undefined;
}
