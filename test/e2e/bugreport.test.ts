import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { EXIT_CODES } from '../../src/cli/exit-codes.js';
import { etcdctl } from '../../src/lab/etcd.js';
import { createLab, labDown } from '../../src/lab/lab.js';
import { readSubnetEnv, startNode } from '../../src/lab/nodes.js';
import { type LabState, labDirectory } from '../../src/lab/state.js';
import { describeWith } from '../helpers/requires.js';
import { cli, RUDDER } from './cli.js';

const NAME = 'test-bugreport';
const PASSWORD = 'horse-battery-9f3';
const PSK = 'hush-hush-77';

/** The sections of a report by title. */
function sectionsOf(text: string): Map<string, string> {
  return new Map(
    text
      .split(/^===== /m)
      .slice(1)
      .map((section) => [section.slice(0, section.indexOf('\n')), section.slice(section.indexOf('\n') + 1)]),
  );
}

describeWith(['root', 'tun', 'etcd'], 'a bug report of a running node', () => {
  let lab: LabState;
  beforeAll(async () => {
    const config = `{"Network":"10.240.0.0/16","Backend":{"PSK":"${PSK}"}}`;
    lab = await createLab({ name: NAME, nodes: 1, config });
    await etcdctl(lab, 'user', 'add', `root:${PASSWORD}`);
    await etcdctl(lab, 'user', 'grant-role', 'root', 'root');
    await etcdctl(lab, 'auth', 'enable');
    writeFileSync(`${labDirectory(NAME)}/password`, PASSWORD);
    chmodSync(`${labDirectory(NAME)}/password`, 0o600);
    await startNode(lab, lab.nodes[0], ['--etcd-username=root', `--etcd-password-file=${labDirectory(NAME)}/password`]);
  });
  afterAll(() => labDown(NAME));

  it('has everything in it but secrets', async () => {
    const [node] = lab.nodes;
    for (const [i, login] of [
      ['--etcd-username=root', `--etcd-password=${PASSWORD}`],
      ['--etcd-username=root', `--etcd-password-file=${labDirectory(NAME)}/password`],
    ].entries()) {
      const path = `${labDirectory(NAME)}/report-${i}.txt`;
      const { code, stderr } = await cli(lab, node, ...login, 'bugreport', path);
      expect([code, stderr]).toEqual([0, '']);
      const text = readFileSync(path, 'utf8');
      expect(text).not.toMatch(new RegExp(`${PASSWORD}|${PSK}`));
      const sections = sectionsOf(text);
      expect(JSON.parse(sections.get('rudder status --json')!).problems).toEqual([]);
      expect(JSON.parse(sections.get('rudder peers --json')!)).toEqual([]);
      expect(sections.get('rudder leases --json')).toContain(readSubnetEnv(lab, node).RUDDER_SUBNET.split('.')[2]);
      expect(sections.get('rudder config get')).toMatch(/"PSK": "\(hidden\)"[\s\S]*Backend\.Port +8285/);
      expect(sections.get('metrics')).toMatch(/^rudder_/m);
      expect(sections.get('rudder events')).toMatch(/ node\.ready /);
      expect(sections.get('ip -d addr')).toContain('rudder0');
    }
  });
});

describe('a bug report without a daemon', () => {
  let directory: string;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'rudder-bugreport-'));
    chmodSync(directory, 0o777);
  });
  afterEach(() => rmSync(directory, { recursive: true }));

  const report = (...args: string[]) =>
    execa(process.execPath, [RUDDER, 'bugreport', ...args, '--etcd-endpoints', 'http://127.0.0.1:1'], {
      cwd: directory,
      reject: false,
      env: { RUDDERD_SUBNET_FILE: join(directory, 'subnet.env') },
      // Not root, if this is.
      ...(process.getuid?.() === 0 ? { uid: 65534, gid: 65534 } : {}),
    });

  it('is written by anybody, for its user alone, and each section says what failed', async () => {
    const { exitCode, stderr } = await report();
    expect([exitCode, stderr]).toEqual([0, '']);
    const [name] = readdirSync(directory);
    expect(name).toMatch(/^rudder-bugreport-.+-\d{8}T\d{6}Z\.txt$/);
    expect(statSync(join(directory, name)).mode & 0o777).toBe(0o600);
    const sections = sectionsOf(readFileSync(join(directory, name), 'utf8'));
    for (const title of ['rudder status --json', 'rudder peers --json', 'metrics']) {
      expect(sections.get(title)).toMatch(/no rudder answers on /);
    }
    for (const title of ['rudder leases --json', 'rudder config get', 'rudder config history']) {
      expect(sections.get(title)).toMatch(/cannot be reached[^\n]*\n\(exit status 5\)/);
    }
    for (const [title, text] of sections) expect(text.trim(), title).not.toBe('');
  });

  it('overwrites nothing', async () => {
    writeFileSync(join(directory, 'report.txt'), 'mine');
    const { exitCode, stderr } = await report('report.txt');
    expect([exitCode, stderr]).toEqual([
      EXIT_CODES.file,
      expect.stringMatching(/report\.txt is there already: expected/),
    ]);
    expect(readFileSync(join(directory, 'report.txt'), 'utf8')).toBe('mine');
  });
});
