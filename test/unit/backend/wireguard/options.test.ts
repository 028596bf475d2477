import { randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { optionsOf } from '../../../../src/backend/wireguard/options.js';
import { parseCommonConfig } from '../../../../src/core/network-config.js';

const PSK = randomBytes(32).toString('base64');
const optionsFor = (Backend: object) =>
  optionsOf(
    parseCommonConfig(JSON.stringify({ Network: '10.240.0.0/16', Backend: { Type: 'wireguard', ...Backend } })),
  );

describe("the options of flannel's wireguard", () => {
  it('have its defaults', () => {
    expect(optionsFor({})).toEqual({
      presharedKey: Buffer.alloc(32),
      port: 51820,
      outerMtu: undefined,
      keepaliveSeconds: 0,
      implementation: 'auto',
      fields: {
        PSK: 'none',
        ListenPort: 51820,
        MTU: "the underlay's",
        Mode: 'separate',
        PersistentKeepaliveInterval: 0,
        Implementation: 'auto',
      },
    });
    expect(optionsFor({ PSK: '', ListenPort: 0 })).toEqual(optionsFor({}));
  });

  it('are read in any case of their names', () => {
    const given = {
      psk: PSK,
      LISTENPORT: 4000,
      ListenPortV6: 4001,
      mtu: 9000,
      mode: 'auto',
      persistentKeepaliveInterval: 25,
      IMPLEMENTATION: 'user',
    };
    expect(optionsFor(given)).toMatchObject({
      presharedKey: Buffer.from(PSK, 'base64'),
      port: 4000,
      outerMtu: 9000,
      keepaliveSeconds: 25,
      implementation: 'user',
    });
  });

  it('tell one preshared key from another, and nothing of either', () => {
    const [one, same, other] = [PSK, PSK, randomBytes(32).toString('base64')].map(
      (key) => optionsFor({ PSK: key }).fields,
    );
    expect(one).toEqual(same);
    expect(one.PSK).not.toBe(other.PSK);
    expect(one.PSK).toMatch(/^a key \([0-9a-f]{8}\)$/);
  });

  it.each([
    [{ PSK: PSK.slice(1) }, /^network config: Backend\.PSK in .* expected a key of 32 bytes in base64/],
    [{ PSK: 7 }, /Backend\.PSK in .* expected a key of 32 bytes/],
    [{ PSK, ListenPort: 70_000 }, /Backend\.ListenPort in .*expected a whole number from 0 to 65535/],
    [{ PSK, MTU: 147 }, /Backend\.MTU in .* from 148 to 65535/],
    [{ PSK, Mode: 'ipv5' }, /Backend\.Mode in .* one of "separate", "auto", "ipv4", "ipv6"/],
    [{ PSK, Implementation: 'go' }, /Backend\.Implementation in .* one of "auto", "kernel", "user"/],
    [{ PSK, PersistentKeepaliveInterval: -1 }, /Backend\.PersistentKeepaliveInterval in .* from 0/],
  ])('%# are refused by name, without the preshared key', (given, message) => {
    let said = '';
    try {
      optionsFor(given);
    } catch (error) {
      said = (error as Error).message;
    }
    expect(said).toMatch(message);
    expect(said).not.toContain(PSK.slice(1, 20));
  });
});
