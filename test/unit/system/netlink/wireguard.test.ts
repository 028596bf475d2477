import { describe, expect, it, vi } from 'vitest';
import { parseIpv4, parseSubnet } from '../../../../src/core/address-text.js';
import { NetlinkError } from '../../../../src/system/netlink/error.js';
import { familyOf } from '../../../../src/system/netlink/generic.js';
import type { Message } from '../../../../src/system/netlink/messages.js';
import type { Requests } from '../../../../src/system/netlink/requests.js';
import { createWireguard, decodeDevice, encodeChange, encodeGet } from '../../../../src/system/netlink/wireguard.js';

/** Hexadecimal digits as they stand in the comments of linux/wireguard.h: one attribute in each line. */
const bytes = (...lines: string[]) => Buffer.from(lines.join('').replace(/ /g, ''), 'hex');

const A = Buffer.alloc(32, 0xaa);
const B = Buffer.alloc(32, 0xbb);
const PSK = Buffer.alloc(32, 0x5c);
const SECRET = Buffer.alloc(32, 0x77);
const SUBNET = parseSubnet('10.240.7.0/24')!;

describe('messages to the kernel', () => {
  it('ask for a device', () => {
    // WG_CMD_GET_DEVICE, version 1; WGDEVICE_A_IFINDEX 5
    expect(encodeGet(5)).toEqual(bytes('00 01 0000', '0800 0100 05000000'));
  });

  it('set key, port and mark', () => {
    expect(encodeChange(5, { privateKey: Buffer.from(SECRET), listenPort: 51820, mark: 0 })).toEqual(
      bytes(
        '01 01 0000', // WG_CMD_SET_DEVICE
        '0800 0100 05000000', // WGDEVICE_A_IFINDEX
        `2400 0300 ${SECRET.toString('hex')}`, // WGDEVICE_A_PRIVATE_KEY
        '0600 0600 6cca 0000', // WGDEVICE_A_LISTEN_PORT, in the host's order
        '0800 0700 00000000', // WGDEVICE_A_FWMARK
      ),
    );
  });

  it('set a peer', () => {
    const endpoint = { address: parseIpv4('10.1.1.7')!, port: 51820 };
    expect(encodeChange(5, { peers: [{ publicKey: A, presharedKey: PSK, endpoint, keepaliveSeconds: 25 }] })).toEqual(
      bytes(
        '01 01 0000',
        '0800 0100 05000000',
        '6c00 0880', // WGDEVICE_A_PEERS, nested
        '6800 0080', //   0, nested
        `2400 0100 ${A.toString('hex')}`, //     WGPEER_A_PUBLIC_KEY
        `2400 0200 ${PSK.toString('hex')}`, //     WGPEER_A_PRESHARED_KEY
        '1400 0400 0200 ca6c 0a010107 0000000000000000', //     WGPEER_A_ENDPOINT: AF_INET, port big-endian
        '0600 0500 1900 0000', //     WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL
      ),
    );
  });

  it('give a subnet to a peer that is there, and remove one', () => {
    const peers = [
      { publicKey: A, allowed: [SUBNET], is: 'only if there' },
      { publicKey: B, is: 'removed' },
    ] as const;
    expect(encodeChange(5, { peers })).toEqual(
      bytes(
        '01 01 0000',
        '0800 0100 05000000',
        '8400 0880',
        '5000 0080',
        `2400 0100 ${A.toString('hex')}`,
        '0800 0300 04000000', // WGPEER_A_FLAGS: WGPEER_F_UPDATE_ONLY
        '2000 0980', // WGPEER_A_ALLOWEDIPS, nested
        '1c00 0080',
        '0600 0100 0200 0000', // WGALLOWEDIP_A_FAMILY: AF_INET
        '0800 0200 0af00700', // WGALLOWEDIP_A_IPADDR
        '0500 0300 18 000000', // WGALLOWEDIP_A_CIDR_MASK
        '3000 0080',
        `2400 0100 ${B.toString('hex')}`,
        '0800 0300 01000000', // WGPEER_F_REMOVE_ME
      ),
    );
  });
});

/** As the kernel writes its first message: device, then one peer. */
const first = () =>
  bytes(
    '00 01 0000',
    '0600 0600 6cca 0000', // WGDEVICE_A_LISTEN_PORT
    '0800 0700 00000000', // WGDEVICE_A_FWMARK
    '0800 0100 05000000', // WGDEVICE_A_IFINDEX
    '0e00 0200 7275646465722d776700 0000', // WGDEVICE_A_IFNAME: rudder-wg
    `2400 0300 ${SECRET.toString('hex')}`, // WGDEVICE_A_PRIVATE_KEY
    `2400 0400 ${B.toString('hex')}`, // WGDEVICE_A_PUBLIC_KEY
    'c000 0880', // WGDEVICE_A_PEERS
    'bc00 0080',
    `2400 0100 ${A.toString('hex')}`,
    `2400 0200 ${PSK.toString('hex')}`,
    '1400 0600 00943577 00000000 80b2e60e 00000000', // WGPEER_A_LAST_HANDSHAKE_TIME: 2,000,000,000 s and 250 ms
    '0600 0500 1900 0000',
    '0c00 0800 2202000000000000', // WGPEER_A_TX_BYTES
    '0c00 0700 0000000001000000', // WGPEER_A_RX_BYTES: 2^32
    '0800 0a00 01000000', // WGPEER_A_PROTOCOL_VERSION
    '1400 0400 0200 ca6c 0a010107 0000000000000000',
    '2000 0980',
    '1c00 0080',
    '0500 0300 18 000000',
    '0600 0100 0200 0000',
    '0800 0200 0af00700',
  );

/** The same peer goes on with a subnet of IPv6 and one of IPv4, and another follows, which was never heard. */
const second = () =>
  bytes(
    '00 01 0000',
    '0e00 0200 7275646465722d776700 0000',
    'dc00 0880',
    '7000 0080',
    `2400 0100 ${A.toString('hex')}`,
    '4800 0980',
    '2800 0080',
    '0500 0300 40 000000',
    '0600 0100 0a00 0000', // AF_INET6
    '1400 0200 fd000000000000000000000000000000',
    '1c00 0080',
    '0500 0300 18 000000',
    '0600 0100 0200 0000',
    '0800 0200 0af00800',
    '6800 0080',
    `2400 0100 ${B.toString('hex')}`,
    `2400 0200 ${'00'.repeat(32)}`,
    '1400 0600 0000000000000000 0000000000000000',
    '0600 0500 0000 0000',
  );

describe('messages of the kernel', () => {
  it('say what a device is, over several messages', () => {
    const device = decodeDevice([first(), second()]);
    expect(device).toMatchObject({ publicKey: B, listenPort: 51820, mark: 0 });
    expect(device.peers).toHaveLength(2);
    expect(device.peers[0]).toEqual({
      publicKey: A,
      presharedKey: PSK,
      endpoint: { address: parseIpv4('10.1.1.7'), port: 51820 },
      keepaliveSeconds: 25,
      handshakeAt: 2_000_000_000_250,
      inBytes: 2 ** 32,
      outBytes: 546,
      allowed: [SUBNET, parseSubnet('10.240.8.0/24')],
    });
    expect(device.peers[1]).toMatchObject({ publicKey: B, endpoint: undefined, handshakeAt: undefined, allowed: [] });
  });

  it('are rid of the private key once they were read', () => {
    const message = first();
    decodeDevice([message]);
    expect(message.includes(SECRET)).toBe(false);
  });

  it('say that a device has no key and no peers', () => {
    const device = decodeDevice([bytes('00 01 0000', '0600 0600 0000 0000', '0800 0700 07000000')]);
    expect(device).toEqual({ publicKey: undefined, listenPort: 0, mark: 7, peers: [] });
  });
});

describe('the family', () => {
  it('is asked for by its name', async () => {
    let asked: Buffer | undefined;
    const ask: Requests['ask'] = async (_, type, body) => {
      expect(type).toBe(0x10); // GENL_ID_CTRL
      asked = body;
      return {
        type,
        sequence: 1,
        port: 7,
        body: bytes('01 02 0000', '0e00 0200 776972656775617264 00 0000', '0600 0100 1d00 0000'),
      };
    };
    expect(await familyOf({ ask }, 'wireguard')).toBe(0x1d);
    expect(asked).toEqual(bytes('03 01 0000', '0e00 0200 776972656775617264 00 0000')); // CTRL_CMD_GETFAMILY, "wireguard"
  });

  it('is asked for before each request, and what is sent is wiped', async () => {
    const sent: Buffer[] = [];
    const types: number[] = [];
    const requests: Requests = {
      port: 7,
      ask: async () => ({ type: 0x10, sequence: 1, port: 7, body: bytes('01 02 0000', '0600 0100 2100 0000') }),
      dump: async () => undefined,
      change: async (_, type, __, body) => {
        types.push(type);
        expect(body.includes(SECRET)).toBe(true);
        sent.push(body);
      },
      close: () => undefined,
    };
    await createWireguard(requests, () => requests).change(5, { privateKey: Buffer.from(SECRET) });
    expect(types).toEqual([0x21]);
    expect(sent[0].includes(SECRET)).toBe(false);
  });

  it('leaves no copy of a key in what a message was made of', () => {
    const made: Buffer[] = [];
    const concat = Buffer.concat.bind(Buffer);
    vi.spyOn(Buffer, 'concat').mockImplementation((list, length) => {
      const bytes = concat(list, length);
      made.push(bytes);
      return bytes;
    });
    const body = encodeChange(5, { privateKey: SECRET, peers: [{ publicKey: A, presharedKey: PSK }] });
    vi.restoreAllMocks();
    expect(made.filter((bytes) => bytes.includes(SECRET) || bytes.includes(PSK))).toEqual([body]);
    expect(body.includes(SECRET) && body.includes(PSK)).toBe(true);
  });

  it('leaves no key of a list that ends half way', async () => {
    const message = first();
    const requests = {
      ask: async () => ({ type: 0x10, sequence: 1, port: 7, body: bytes('01 02 0000', '0600 0100 2100 0000') }),
      dump: async (_what: string, type: number, _body: Buffer, handle: (message: Message) => void) => {
        handle({ type, sequence: 1, port: 7, body: message });
        throw new NetlinkError('netlink: look at a WireGuard link: ENODEV', 'ENODEV');
      },
    } as unknown as Requests;
    await expect(createWireguard(requests, () => requests).read(5)).rejects.toThrow('ENODEV');
    expect(message.every((byte) => byte === 0)).toBe(true);
  });

  it('is not asked for to make a device, whose module is loaded by that', async () => {
    const made: [number, number, Buffer][] = [];
    const route: Pick<Requests, 'change'> = {
      change: async (_, type, flags, body) => void made.push([type, flags, body]),
    };
    const never = () => {
      throw new NetlinkError('netlink: look up wireguard: Request rejected: ENOENT', 'ENOENT');
    };
    await createWireguard(route, never).create('rudder-wg', 1420);
    const [[type, flags, body]] = made;
    expect([type, flags]).toEqual([16, 0x600]); // RTM_NEWLINK; NLM_F_CREATE, NLM_F_EXCL
    expect(body.subarray(16)).toEqual(
      bytes(
        '0e00 0300 7275646465722d776700 0000', // IFLA_IFNAME
        '0800 0400 8c050000', // IFLA_MTU
        '1800 1200', // IFLA_LINKINFO
        '0e00 0100 776972656775617264 00 0000', // IFLA_INFO_KIND
        '0400 0200', // IFLA_INFO_DATA
      ),
    );
  });
});
