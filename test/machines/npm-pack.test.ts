import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { deadLinks } from '../helpers/links.js';

const INSTALL_DEADLINE_MS = 300_000;

/** In the suite of machines, since it installs all dependencies anew. */
describe('npm pack', () => {
  let directory: string;
  let files: string[];

  beforeAll(async () => {
    directory = mkdtempSync(join(tmpdir(), 'rudder-npm-pack-'));
    const { stdout } = await execa('npm', ['pack', '--json', '--pack-destination', directory]);
    const [packed] = JSON.parse(stdout) as { filename: string; files: { path: string }[] }[];
    files = packed.files.map(({ path }) => path);
    await execa('npm', ['init', '--yes'], { cwd: directory });
    await execa('npm', ['install', '--no-audit', '--no-fund', join(directory, packed.filename)], { cwd: directory });
  }, INSTALL_DEADLINE_MS);
  afterAll(() => rmSync(directory, { recursive: true, force: true }));

  const rudder = (...args: string[]) =>
    execa(join(directory, 'node_modules/.bin/rudder'), args, { cwd: directory, reject: false });

  it('installed elsewhere runs rudder, with its native part', async () => {
    const { version } = JSON.parse(readFileSync('package.json', 'utf8')) as { version: string };
    expect(await rudder('--version')).toMatchObject({ exitCode: 0, stdout: version, stderr: '' });
    // Its version is told without the addon, a node is not.
    const addon = join(directory, 'node_modules/rudder/native/build/Release/rudder_native.node');
    const names = await execa(process.execPath, ['-p', `Object.keys(require(${JSON.stringify(addon)})).length > 0`]);
    expect(names.stdout).toBe('true');
  });

  it('holds the units and the documentation, and nothing of tests and benchmarks', () => {
    expect(files).toEqual(expect.arrayContaining(['systemd/rudder.service', 'docs/running.md', 'docs/rudder.8']));
    expect(deadLinks(files, (file) => readFileSync(file, 'utf8'))).toEqual([]);
    expect(files.filter((path) => /^(test|src|scripts|\.ci|dist\/bench)\//.test(path))).toEqual([]);
  });
});
