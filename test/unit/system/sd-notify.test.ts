import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createSdNotify } from '../../../src/system/sd-notify.js';
import { describeWith } from '../../helpers/requires.js';

const PYTHON = 'python3';

/** Binds as systemd does, prints "bound", then each datagram in hex on a line of its own. */
const RECEIVER = `
import socket, sys
name = sys.argv[1]
receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
receiver.bind('\\0' + name[1:] if name.startswith('@') else name)
print('bound', flush=True)
while True:
    print('got ' + receiver.recv(65536).hex(), flush=True)
`;

let directory: string;
let child: ChildProcessByStdio<null, Readable, null> | undefined;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'rudder-notify-'));
});
afterEach(async () => {
  if (child !== undefined && child.exitCode === null) {
    child.kill('SIGKILL');
    await once(child, 'exit');
  }
  child = undefined;
  rmSync(directory, { recursive: true });
});

/** Starts a receiver; the function it returns waits for the next datagram. */
async function receiveAt(name: string): Promise<() => Promise<string>> {
  child = spawn(PYTHON, ['-c', RECEIVER, name], { stdio: ['ignore', 'pipe', 'inherit'] });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const next = async (): Promise<string> => (await lines.next()).value;
  expect(await next()).toBe('bound');
  return async () => Buffer.from((await next()).replace(/^got /, ''), 'hex').toString();
}

describeWith(['python3'], 'sd_notify to a real socket', () => {
  const names = [
    ['a path', () => join(directory, 'notify')],
    ['an abstract name', () => `@rudder-test-${process.pid}-${directory.slice(-6)}`],
  ] as const;

  it.each(names)('reaches %s, all lines of a call in one datagram', async (_, name) => {
    const received = await receiveAt(name());
    const notify = createSdNotify(name());
    notify('READY=1', 'STATUS=Subnet 10.240.26.0/24');
    notify('STOPPING=1');
    expect(await received()).toBe('READY=1\nSTATUS=Subnet 10.240.26.0/24');
    expect(await received()).toBe('STOPPING=1');
  });

  it('sends text beyond ASCII', async () => {
    const path = join(directory, 'notify');
    const received = await receiveAt(path);
    createSdNotify(path)('STATUS=größer → 1472');
    expect(await received()).toBe('STATUS=größer → 1472');
  });
});

describe('sd_notify without a receiver', () => {
  it.each([
    ['no NOTIFY_SOCKET', () => undefined],
    ['an empty one', () => ''],
    ['a missing path', () => join(directory, 'missing')],
    ['an abstract name that nobody bound', () => `@rudder-test-nobody-${process.pid}`],
    ['a path longer than a socket address', () => join(directory, 'x'.repeat(300))],
    ['a name that is neither', () => 'relative'],
  ])('is silent for %s', (_, socket) => {
    expect(() => createSdNotify(socket())('READY=1')).not.toThrow();
  });
});
