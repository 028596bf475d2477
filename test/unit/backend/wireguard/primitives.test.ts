import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  generateIdentity,
  identityOf,
  isLowOrder,
  parseKeyText,
  privateKeyText,
} from '../../../../src/backend/wireguard/protocol/keys.js';
import {
  dh,
  hash,
  kdf,
  mac16,
  open,
  openX,
  seal,
  sealX,
} from '../../../../src/backend/wireguard/protocol/primitives.js';

const hex = (text: string) => Buffer.from(text.replace(/\s/g, ''), 'hex');
const NOTHING = Buffer.alloc(0);

describe('hash', () => {
  it('is BLAKE2s (RFC 7693, appendix B)', () => {
    const expected = '508c5e8c327c14e2e1a72ba34eeb452f37458b209ed63a294d999b4c86675982';
    expect(hash(Buffer.from('abc')).toString('hex')).toBe(expected);
    expect(hash(Buffer.from('a'), NOTHING, Buffer.from('bc')).toString('hex')).toBe(expected);
  });
});

describe('kdf', () => {
  // Those of wireguard-go, device/kdf_test.go.
  it.each([
    [
      '746573742d6b6579',
      '746573742d696e707574',
      '6f0e5ad38daba1bea8a0d213688736f19763239305e0f58aba697f9ffc41c633',
      'df1194df20802a4fe594cde27e92991c8cae66c366e8106aaa937a55fa371e8a',
      'fac6e2745a325f5dc5d11a5b165aad08b0ada28e7b4e666b7c077934a4d76c24',
    ],
    [
      '776972656775617264',
      '776972656775617264',
      '491d43bbfdaa8750aaf535e334ecbfe5129967cd64635101c566d4caefda96e8',
      '1e71a379baefd8a79aa4662212fcafe19a23e2b609a3db7d6bcba8f560e3d25f',
      '31e1ae48bddfbe5de38f295e5452b1909a1b4e38e183926af3780b0c1e1f0160',
    ],
    [
      '',
      '',
      '8387b46bf43eccfcf349552a095d8315c4055beb90208fb1be23b894bc2ed5d0',
      '58a0e5f6faefccf4807bff1f05fa8a9217945762040bcec2f4b4a62bdfe0e86e',
      '0ce6ea98ec548f8e281e93e32db65621c45eb18dc6f0a7ad94178610a2f7338e',
    ],
  ])('of key %s', (key, input, ...expected) => {
    for (const count of [1, 2, 3]) {
      expect(kdf(hex(key), hex(input), count).map((value) => value.toString('hex'))).toEqual(expected.slice(0, count));
    }
  });
});

describe('dh', () => {
  it('is X25519 (RFC 7748, 6.1)', () => {
    const alice = identityOf(hex('77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a'));
    const bob = identityOf(hex('5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb'));
    expect(alice.publicKey.toString('hex')).toBe('8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a');
    const secret = '4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742';
    expect(dh(alice.privateKey, bob.publicKey)!.toString('hex')).toBe(secret);
    expect(dh(bob.privateKey, alice.publicKey)!.toString('hex')).toBe(secret);
  });

  it('of a key of low order is none, and each of these is known', () => {
    const { privateKey } = generateIdentity();
    const low = [
      '00'.repeat(32),
      `01${'00'.repeat(31)}`,
      `ec${'ff'.repeat(30)}7f`,
      `ed${'ff'.repeat(30)}7f`,
      `ee${'ff'.repeat(31)}`,
    ];
    for (const point of low.map(hex)) {
      expect(dh(privateKey, point)).toBeUndefined();
      expect(isLowOrder(point)).toBe(true);
    }
    expect(isLowOrder(generateIdentity().publicKey)).toBe(false);
  });

  it('and the list agree on random points, and on small ones', () => {
    const { privateKey } = generateIdentity();
    const small = Array.from({ length: 40 }, (_, i) => hex(`${i.toString(16).padStart(2, '0')}${'00'.repeat(31)}`));
    for (const point of [...small, ...Array.from({ length: 20 }, () => randomBytes(32))]) {
      expect(dh(privateKey, point) === undefined).toBe(isLowOrder(point));
    }
  });
});

describe('seal and open', () => {
  it('are ChaCha20-Poly1305 (RFC 8439, 2.8.2)', () => {
    const key = hex('808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f');
    const nonce = hex('070000004041424344454647');
    const aad = hex('50515253c0c1c2c3c4c5c6c7');
    const text =
      "Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen would be it.";
    const sealed = seal(key, Buffer.from(text), aad, nonce);
    expect(sealed.subarray(0, 16).toString('hex')).toBe('d31a8d34648e60db7b86afbc53ef7ec2');
    expect(sealed.subarray(-16).toString('hex')).toBe('1ae10b594f09e26a7e902ecbd0600691');
    expect(open(key, sealed, aad, nonce)!.toString()).toBe(text);
  });

  it('refuse what is changed in any bit, or too short', () => {
    const key = randomBytes(32);
    const sealed = seal(key, Buffer.from('text'), NOTHING);
    for (let bit = 0; bit < sealed.length * 8; bit++) {
      const changed = Buffer.from(sealed);
      changed[bit >> 3] ^= 1 << (bit & 7);
      expect(open(key, changed, NOTHING)).toBeUndefined();
    }
    for (let length = 0; length < sealed.length; length++) {
      expect(open(key, sealed.subarray(0, length), NOTHING)).toBeUndefined();
    }
    expect(open(key, sealed, Buffer.from('x'))).toBeUndefined();
  });
});

describe('sealX', () => {
  it('is XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha-03, A.3.1)', () => {
    const key = hex('808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f');
    const nonce = hex('404142434445464748494a4b4c4d4e4f5051525354555657');
    const aad = hex('50515253c0c1c2c3c4c5c6c7');
    const text =
      "Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen would be it.";
    const sealed = sealX(key, nonce, Buffer.from(text), aad);
    expect(Buffer.from(sealed.subarray(0, 16)).toString('hex')).toBe('bd6d179d3e83d43b9576579493c0e939');
    expect(Buffer.from(sealed.subarray(-16)).toString('hex')).toBe('c0875924c1c7987947deafd8780acf49');
    expect(Buffer.from(openX(key, nonce, sealed, aad)!).toString()).toBe(text);
    expect(openX(key, nonce, sealed, NOTHING)).toBeUndefined();
  });
});

describe('mac16', () => {
  it('is BLAKE2s with a key, of 16 bytes: another function than BLAKE2s cut short', () => {
    const key = hex('000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f');
    const mac = Buffer.from(mac16(key, Buffer.from('message')));
    expect(mac.length).toBe(16);
    expect(mac).not.toEqual(hash(key, Buffer.from('message')).subarray(0, 16));
    expect(mac).not.toEqual(Buffer.from(mac16(key, Buffer.from('messagf'))));
  });
});

describe('keys as text', () => {
  it('are what `wg` writes, and read in that form alone', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 32, maxLength: 32 }), (bytes) => {
        const text = Buffer.from(bytes).toString('base64');
        expect(parseKeyText(text)).toEqual(Buffer.from(bytes));
        expect(privateKeyText(identityOf(bytes))).toBe(text);
      }),
      { numRuns: 20 },
    );
    const text = randomBytes(32).toString('base64');
    for (const other of ['', `${text}\n`, ` ${text}`, text.slice(1), text.replace('=', 'A'), 7, null, undefined, {}]) {
      expect(parseKeyText(other)).toBeUndefined();
    }
    // The last character carries two bits that belong to no byte.
    expect(parseKeyText(`${'A'.repeat(42)}B=`)).toBeUndefined();
  });
});
