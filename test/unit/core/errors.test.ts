import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { errnoOf, MAX_MESSAGE_LENGTH, messageOf, quote, RudderError } from '../../../src/core/errors.js';

describe('RudderError', () => {
  it('carries code, message and cause', () => {
    const cause = new Error('below');
    const error = new RudderError('file', 'cannot write', { cause });
    expect(error).toBeInstanceOf(Error);
    expect(error).toMatchObject({ name: 'RudderError', code: 'file', message: 'cannot write', cause });
  });
});

describe('messageOf', () => {
  it.each([
    [new Error('plain'), 'plain'],
    [new RudderError('usage', 'no such flag'), 'no such flag'],
    [new Error('two\nlines'), 'two lines'],
    [new Error('three \r\n\n  lines'), 'three lines'],
    ['thrown text', 'thrown text'],
    [undefined, 'undefined'],
    [null, 'null'],
    [7, '7'],
    [Object.create(null), 'object'],
    [new Error('a\u001b[31mred\u202e\u0000'), 'a [31mred '],
  ])('of %o is %j', (thrown, expected) => {
    expect(messageOf(thrown)).toBe(expected);
  });
});

it('messageOf keeps the start and the end of a line that is too long', () => {
  const text = messageOf(new Error(`--mtu ${'9'.repeat(1_000_000)} is invalid; give a number`));
  expect(text).toHaveLength(MAX_MESSAGE_LENGTH);
  expect(text).toMatch(/^--mtu 9+ \.\.\. 9+ is invalid; give a number$/);
});

describe('errnoOf', () => {
  it.each([
    [Object.assign(new Error(), { code: 'ENOENT' }), 'ENOENT'],
    [{ code: 'EIO' }, 'EIO'],
    [Object.assign(new Error(), { code: 5 }), undefined],
    [new Error('none'), undefined],
    ['text', undefined],
    [undefined, undefined],
    [null, undefined],
  ])('of %o is %j', (thrown, expected) => {
    expect(errnoOf(thrown)).toBe(expected);
  });
});

describe('quote', () => {
  it.each([
    ['text', '"text"'],
    ['', '""'],
    ['a\n\t b', '"a b"'],
    [24, '"24"'],
    [null, '"null"'],
    [undefined, '"undefined"'],
    [{ a: [1] }, '"{"a":[1]}"'],
    ['x'.repeat(80), `"${'x'.repeat(80)}"`],
    ['x'.repeat(81), `"${'x'.repeat(77)}..."`],
    ['x'.repeat(1_000_000), `"${'x'.repeat(77)}..."`],
  ])('makes a short line of %#', (value, expected) => {
    expect(quote(value)).toBe(expected);
  });

  it('never gives more than one line of 82 characters', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string({ maxLength: 200, unit: 'binary' }), fc.jsonValue()), (value) => {
        expect(quote(value).length).toBeLessThanOrEqual(82);
        expect(quote(value)).not.toMatch(/[\n\r\u2028\u2029]/);
      }),
    );
  });
});
