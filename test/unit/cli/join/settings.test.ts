import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { parseEnvironmentFile } from '../../../../src/cli/environment-file.js';
import { changesTo, withChanges } from '../../../../src/cli/join/settings.js';
import { settingsFile } from '../../../../src/cli/reference.js';

const edit = (text: string, wanted: Record<string, string | undefined>) =>
  withChanges(text, changesTo(text, new Map(Object.entries(wanted))));

describe('an edit of the settings', () => {
  it.each<[string, string, Record<string, string | undefined>, string]>([
    ['an empty file', '', { A: 'x' }, 'A=x\n'],
    ['one without a last newline', 'B=1', { A: 'x' }, 'B=1\nA=x\n'],
    ['a value where it is', '# why\nA=1\nB=2\n', { A: 'x' }, '# why\nA=x\nB=2\n'],
    ['below the comment of its default', '# help\n#A=0\n\n#B=\n', { A: 'x' }, '# help\n#A=0\nA=x\n\n#B=\n'],
    ['the one that counts of several', 'A=1\nB=2\nA=3\n', { A: 'x' }, 'B=2\nA=x\n'],
    ['quotes and lines that go on', 'A="1\n2" \\\n3\nB=2\n', { A: 'x' }, 'A=x\nB=2\n'],
    ['one that is to go', 'A=1\n# b\nB=2\n', { A: undefined }, '# b\nB=2\n'],
    ['one that is not there', 'B=2\n', { A: undefined }, 'B=2\n'],
    ['one that is empty', 'A=\nB=2\n', { A: undefined }, 'A=\nB=2\n'],
    ['one that is so already', 'A="x"  \nB=2\n', { A: 'x' }, 'A="x"  \nB=2\n'],
    ['indented', '  A=1\n B=2\n', { A: 'x' }, '  A=x\n B=2\n'],
    ['a name in another one, and in a comment', 'XA=1\n; A=2\nA_B=3\n', { A: 'x' }, 'XA=1\n; A=2\nA_B=3\nA=x\n'],
  ])('%s', (_, text, wanted, expected) => {
    expect(edit(text, wanted)).toBe(expected);
  });

  it.each(['/a b', 'a"b', "a'b", '$HOME', '`id`', '\\', 'a\\b', '#x', '', 'ä'])('reads back %s as it was', (value) => {
    expect(parseEnvironmentFile(edit('B=1\n', { A: value })).get('A') ?? '').toBe(value);
  });

  it('of the file that the package brings leaves every line of it', () => {
    const before = settingsFile(readFileSync('systemd/rudder.service', 'utf8'));
    const after = edit(before, { RUDDERD_ETCD_ENDPOINTS: 'http://10.1.1.10:2379', RUDDERD_ETCD_PREFIX: '/x' });
    const added = after.split('\n').filter((line) => !before.split('\n').includes(line));
    expect(added).toEqual(['RUDDERD_ETCD_ENDPOINTS=http://10.1.1.10:2379', 'RUDDERD_ETCD_PREFIX=/x']);
    expect(after.split('\n').filter((line) => !added.includes(line))).toEqual(before.split('\n'));
    expect(after).toContain('#RUDDERD_ETCD_PREFIX=/coreos.com/network\nRUDDERD_ETCD_PREFIX=/x\n');
  });
});
