import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { execa } from 'execa';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { EXIT_CODES } from '../../src/cli/exit-codes.js';
import { describeWith } from '../helpers/requires.js';

const LAUNCHER = resolve('rudder');

describeWith(['root'], './rudder in a checkout', () => {
  let directory: string;
  beforeEach(() => {
    directory = realpathSync(mkdtempSync(join(tmpdir(), 'rudder-launcher-')));
  });
  afterEach(() => rmSync(directory, { recursive: true }));

  it('is rudder, from everywhere and by a link', async () => {
    const { stdout: version } = await execa(process.execPath, ['dist/cli/main.js', 'version']);
    const link = join(directory, 'rudder');
    symlinkSync(LAUNCHER, link);
    for (const command of [LAUNCHER, link]) {
      expect((await execa(command, ['version'], { cwd: '/' })).stdout).toBe(version);
    }
    const { exitCode } = await execa(LAUNCHER, ['log-level', 'two words'], { reject: false });
    expect(exitCode).toBe(EXIT_CODES.usage);
  });

  it('that is not built says what to do', async () => {
    const checkout = join(directory, 'my checkout');
    mkdirSync(checkout);
    copyFileSync(LAUNCHER, join(checkout, 'rudder'));
    const { exitCode, stderr } = await execa(join(checkout, 'rudder'), ['status'], { reject: false });
    expect(stderr).toBe(
      `rudder: this checkout is not built: expected ${checkout}/dist; run "npm run setup" in ${checkout}`,
    );
    expect(exitCode).toBe(EXIT_CODES.usage);
  });

  it('hands a signal on to the daemon, being the same process', async () => {
    // A host of its own, with nobody on it.
    const host =
      'ip link set lo up; ip link add eth9 type veth peer eth8; ip link set eth8 up; ip link set eth9 up; ip address add 192.0.2.1/24 dev eth9; ip route add default dev eth9';
    const flags = `--etcd-endpoints=http://127.0.0.1:1 --subnet-file=${directory}/subnet.env --state-dir=${directory}`;
    const daemon = spawn('unshare', ['--net', 'sh', '-c', `${host}; exec ${LAUNCHER} ${flags}`]);
    let log = '';
    const lines = createInterface({ input: daemon.stdout });
    lines.on('line', (line) => {
      log += `${line}\n`;
      if (line.includes('waiting for etcd')) daemon.kill('SIGTERM');
    });
    const [code, signal] = await once(daemon, 'exit');
    expect({ code, signal }, log).toEqual({ code: 0, signal: null });
  });
});
