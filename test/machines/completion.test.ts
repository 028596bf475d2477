import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { RUDDER } from '../e2e/cli.js';
import { describeWith } from '../helpers/requires.js';

/** A zsh at a terminal of its own, in which somebody types what $LINE says and Tab; its screen is printed. */
const ZSH = `
zmodload zsh/zpty
zpty shell env TERM=dumb zsh -f -i
zpty -w shell 'PS1=; setopt no_beep; LISTMAX=0; fpath=('$FOLDER' $fpath); autoload -U compinit; compinit -u -D; echo rea''dy'
zpty -m -r shell text '*ready*' || exit 1
zpty -w -n shell $LINE$'\\t'
zpty -r -m shell text "*$EXPECTED*"
print -rn -- $text
zpty -d shell
`;

/** The completions of the other shells; that of bash is tested by test/e2e. */
describeWith(['shells'], 'completion', () => {
  let directory: string;

  beforeAll(async () => {
    directory = mkdtempSync(join(tmpdir(), 'rudder-completion-'));
    for (const [shell, file] of [
      ['zsh', '_rudder'],
      ['fish', 'rudder.fish'],
    ]) {
      writeFileSync(join(directory, file), (await execa(process.execPath, [RUDDER, 'completion', shell])).stdout);
    }
  });
  afterAll(() => rmSync(directory, { recursive: true }));

  it.each([
    ['rudder le', ['leases']],
    ['rudder leases re', ['release', 'reserve']],
    ['rudder leases reserve --f', ['--for']],
    ['rudder --log-level w', ['warn']],
    ['rudder --log-level=w', ['--log-level=warn']],
    ['rudder --iface lab st', ['status']],
    ['rudder lab node pa', ['partition', 'pause']],
    ['rudder bogus', []],
  ])('in fish of "%s" offers %j', async (line, expected) => {
    const env = { HOME: directory, LINE: line };
    const { stdout, stderr } = await execa('fish', ['--no-config', '-c', 'source rudder.fish; complete -C "$LINE"'], {
      cwd: directory,
      env,
    });
    expect(stderr).toBe('');
    const words = stdout.split('\n').filter((text) => text !== '');
    expect(words.map((text) => text.split('\t')[0]).sort()).toEqual(expected);
  });

  it.each([
    ['rudder le', 'rudder leases '],
    ['rudder leases reserve --f', 'rudder leases reserve --for '],
    ['rudder --log-level w', 'rudder --log-level warn '],
    ['rudder --log-level=w', 'rudder --log-level=warn '],
    ['rudder --iface lab sta', 'rudder --iface lab status '],
  ])('in zsh makes of "%s" "%s"', async (line, expected) => {
    const env = { FOLDER: directory, LINE: line, EXPECTED: expected };
    const { stdout } = await execa('zsh', ['-f', '-c', ZSH], { env, timeout: 20_000 });
    expect(stdout).toContain(expected);
  });
});
