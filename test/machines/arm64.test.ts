import { createCipheriv } from 'node:crypto';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { describeWith } from '../helpers/requires.js';

const GCC = 'aarch64-linux-gnu-gcc';
const FLAGS = ['-std=c11', '-O2', '-Wall', '-Wextra', '-Werror', '-D_GNU_SOURCE', '-DNAPI_VERSION=8'];
const SOURCES = fileURLToPath(new URL('../../native/src', import.meta.url));
const HEADERS = join(dirname(dirname(process.execPath)), 'include/node');

/** As test/machines/cipher.c reads it, with what node:crypto makes of it. */
function packet(length: number, seed: number): Buffer {
  const key = Buffer.alloc(32, (seed >> 2) + 1);
  const counter = Buffer.alloc(8);
  counter.writeBigUInt64LE(BigInt(seed) * 2n ** 30n);
  const text = Buffer.from(Uint8Array.from({ length }, (_, i) => i * 7 + seed));
  const nonce = Buffer.concat([Buffer.alloc(4), counter]);
  const cipher = createCipheriv('chacha20-poly1305', key, nonce, { authTagLength: 16 });
  const sealed = Buffer.concat([cipher.update(text), cipher.final(), cipher.getAuthTag()]);
  const size = Buffer.alloc(4);
  size.writeUInt32LE(length);
  return Buffer.concat([size, key, counter, text, sealed]);
}

describeWith(['arm64'], 'on arm64, emulated', () => {
  let directory: string;
  beforeAll(() => {
    directory = mkdtempSync(join(tmpdir(), 'rudder-arm64-'));
  });
  afterAll(() => rmSync(directory, { recursive: true }));

  it('the addon compiles', { timeout: 120_000 }, async () => {
    for (const file of readdirSync(SOURCES).filter((name) => name.endsWith('.c'))) {
      const target = join(directory, `${file}.o`);
      await execa(GCC, [...FLAGS, '-I', HEADERS, '-c', join(SOURCES, file), '-o', target]);
    }
  });

  it('the cipher seals and opens as node:crypto does, and the MAC is as elsewhere', { timeout: 120_000 }, async () => {
    const program = join(directory, 'cipher');
    const sources = ['aead.c', 'aead-crew.c', 'blake2s.c'].map((file) => join(SOURCES, file));
    const main = fileURLToPath(new URL('cipher.c', import.meta.url));
    await execa(GCC, [...FLAGS, '-static', main, ...sources, '-o', program]);
    const lengths = Array.from({ length: 201 }, (_, i) => i).concat(
      [...Array(40).fill(1420)],
      [1000, 1440, 1500, 2048],
    );
    const input = Buffer.concat(lengths.map(packet));
    const { stdout } = await execa('qemu-aarch64', [program], { input });
    const [cipher, mac] = stdout.split('\n');
    expect(cipher).toBe(`portable: ${lengths.length} packets, 0 wrong`);
    expect(mac).toBe('6283f66d67d8e27c9f3d03fda766d0e5');
  });
});
