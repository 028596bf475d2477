import { expect, it } from 'vitest';
import { outOfDescriptors, tooFewDescriptors } from '../../../src/cli/descriptor-limit.js';
import { RudderError } from '../../../src/core/errors.js';

const errno = Object.assign(new Error('too many open files'), { code: 'EMFILE' });

it.each([
  ['an errno', errno],
  [
    'a text of a library',
    new Error('14 UNAVAILABLE: No connection established. Last error: connect EMFILE 10.1.1.1:2379'),
  ],
  ['a worker that cannot start', new Error('Worker initialization failure: EMFILE')],
  ['an error of ours around one', new RudderError('file', 'cannot read it', { cause: errno })],
])('knows what came of having no descriptors left by %s', (_, error) => {
  expect(outOfDescriptors(error, 'why')).toMatch(
    /^limit of open files \d+ reached \(why\): expected at least 256; raise it with "ulimit -n 1024", or with LimitNOFILE=1024/,
  );
});

it.each([
  ['another errno', Object.assign(new Error('no'), { code: 'ENOENT' })],
  ['an error that is about something else', new RudderError('usage', 'cannot read it')],
  ['what is no error', 'EMFILE'],
])('says nothing of %s', (_, error) => {
  expect(outOfDescriptors(error, 'why')).toBeUndefined();
});

it('finds the limit of this process', () => {
  expect(tooFewDescriptors(1)).toBeUndefined();
  expect(tooFewDescriptors(2 ** 31)).toMatch(/^limit of open files \d+: expected at least 2147483648; raise it/);
});
