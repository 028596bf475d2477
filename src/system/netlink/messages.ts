/**
 * How netlink messages lie in memory, for what is read many thousand times: a host may have 100,000 routes, and the
 * package makes some kilobytes of objects of each. All numbers are in the host's order; we run on little-endian hosts.
 *
 *     | length 32 | type 16 | flags 16 | sequence 32 | port 32 |  body ...      padded to 4 bytes   (struct nlmsghdr)
 *     body:  a header of the type's own, then attributes:  | length 16 | type 16 | value ... |      padded to 4 bytes
 */
export interface Message {
  readonly type: number;
  readonly sequence: number;
  /** Of an answer, and of what the kernel tells all that listen: the socket that has asked for it; 0: not said. */
  readonly port: number;
  /** View of the received bytes, behind the message's header. */
  readonly body: Buffer;
}

/** linux/socket.h: family of what a message is about. */
export const AF_INET = 2;

const HEADER_BYTES = 16;
const ATTRIBUTE_HEADER_BYTES = 4;
/** The two highest bits of an attribute's type are flags (NLA_TYPE_MASK). */
const ATTRIBUTE_TYPE = 0x3fff;

/** Linux asks for it in families that check strictly, and elsewhere lets it be (NLA_F_NESTED). */
const NESTED = 0x8000;

const padded = (length: number) => (length + 3) & ~3;

/** Calls `handle` for each message of what one read returned. */
export function eachMessage(bytes: Buffer, handle: (message: Message) => void): void {
  for (let at = 0; at + HEADER_BYTES <= bytes.length; ) {
    const length = bytes.readUInt32LE(at);
    if (length < HEADER_BYTES || at + length > bytes.length) return;
    handle({
      type: bytes.readUInt16LE(at + 4),
      sequence: bytes.readUInt32LE(at + 8),
      port: bytes.readUInt32LE(at + 12),
      body: bytes.subarray(at + HEADER_BYTES, at + length),
    });
    at += padded(length);
  }
}

/** The attributes behind a body's own header of `headerBytes`, by their types: of several of one type the last. */
export const attributesOf = (body: Buffer, headerBytes: number): Map<number, Buffer> =>
  new Map(attributeList(body, headerBytes));

/** All of them, for lists, whose items have no types of their own. */
export function attributeList(body: Buffer, headerBytes = 0): [type: number, value: Buffer][] {
  const attributes: [number, Buffer][] = [];
  for (let at = headerBytes; at + ATTRIBUTE_HEADER_BYTES <= body.length; ) {
    const length = body.readUInt16LE(at);
    if (length < ATTRIBUTE_HEADER_BYTES || at + length > body.length) break;
    const type = body.readUInt16LE(at + 2) & ATTRIBUTE_TYPE;
    attributes.push([type, body.subarray(at + ATTRIBUTE_HEADER_BYTES, at + length)]);
    at += padded(length);
  }
  return attributes;
}

/** One attribute, padded, of a value in one or more pieces. There is no other copy of them. */
export function attribute(type: number, ...value: readonly Buffer[]): Buffer {
  const header = Buffer.alloc(ATTRIBUTE_HEADER_BYTES);
  const length = value.reduce((sum, piece) => sum + piece.length, 0);
  header.writeUInt16LE(ATTRIBUTE_HEADER_BYTES + length, 0);
  header.writeUInt16LE(type, 2);
  return Buffer.concat([header, ...value, Buffer.alloc(-length & 3)]);
}

/** One attribute that consists of others; its type has the high bit set. */
export const nest = (type: number, ...parts: readonly Buffer[]) => attribute(NESTED | type, ...parts);

/** A whole request. */
export function request(type: number, flags: number, sequence: number, body: Buffer): Buffer {
  const header = Buffer.alloc(HEADER_BYTES);
  header.writeUInt32LE(HEADER_BYTES + body.length, 0);
  header.writeUInt16LE(type, 4);
  header.writeUInt16LE(flags, 6);
  header.writeUInt32LE(sequence, 8);
  return Buffer.concat([header, body]);
}

/** A number as the value of an attribute. */
export function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

export function uint16(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16LE(value);
  return bytes;
}

/** Text as the kernel reads it: up to a zero. */
export const text = (value: string) => Buffer.from(`${value}\0`);

/** A hardware address such as "0e:1f:00:a1:b2:c3": in lower case, so that equal ones are equal texts. */
export type Mac = string;

export const macFromBytes = (bytes: Uint8Array): Mac =>
  Buffer.from(bytes)
    .toString('hex')
    .replace(/..(?=.)/g, '$&:');
export const macToBytes = (mac: Mac): Buffer => Buffer.from(mac.replaceAll(':', ''), 'hex');
