import { describe, expect, it } from 'vitest';
import { EXIT_CODES, EXIT_INTERNAL, EXIT_OK, EXIT_SIGNAL_BASE } from '../../../src/cli/exit-codes.js';

describe('exit codes', () => {
  // Scripts and units rely on the numbers: a new error gets a new one, and none is ever changed.
  it('are these', () => {
    expect({ EXIT_OK, EXIT_INTERNAL, ...EXIT_CODES }).toEqual({
      EXIT_OK: 0,
      EXIT_INTERNAL: 1,
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
    });
  });

  it('are all different', () => {
    const all = [EXIT_OK, EXIT_INTERNAL, ...Object.values(EXIT_CODES)];
    expect(new Set(all).size).toBe(all.length);
  });

  it.each(
    Object.entries({ internal: EXIT_INTERNAL, ...EXIT_CODES }),
  )('of %s is neither success nor a code of the shell', (_, code) => {
    expect(Number.isInteger(code)).toBe(true);
    expect(code).toBeGreaterThan(0);
    expect(code).toBeLessThan(126); // 126: not executable, 127: not found
  });

  it("leave the shell's range to signals", () => {
    expect(EXIT_SIGNAL_BASE).toBe(128);
  });
});
