import fc from 'fast-check';
import { expect, it } from 'vitest';
import { parseEnvironmentFile } from '../../../src/cli/environment-file.js';

const parse = (text: string) => Object.fromEntries(parseEnvironmentFile(text));

it.each<[string, string, Record<string, string>]>([
  ['a plain value', 'A=1\nB=x y\n', { A: '1', B: 'x y' }],
  ['no newline at the end', 'A=1', { A: '1' }],
  ['comments, and lines that are nothing', '# A=1\n  ; B=2\n\nrubbish\nexport C=3\nD=4\n', { D: '4' }],
  ['a # inside of a value', 'A=1 # one\n', { A: '1 # one' }],
  ['blanks around name and value', '  A =  1 \t\r\nB=2', { A: '1', B: '2' }],
  ['double quotes', 'A="x \\"y\\" \\z"\n', { A: 'x "y" \\z' }],
  ['single quotes, in which nothing is special', 'A=\'x "y" \\\'\n', { A: 'x "y" \\' }],
  ['quotes that follow each other', 'A="x" \'y\'z\n', { A: 'xyz' }],
  ['a quote in the middle, which is none', 'A=x"y"\n', { A: 'x"y"' }],
  ['a line break in quotes', 'A="x\ny"\nB=1\n', { A: 'x\ny', B: '1' }],
  ['a line that goes on', 'A=x\\\ny\nB="x\\\ny"\n', { A: 'xy', B: 'xy' }],
  ['an escaped blank', 'A=x\\ y\\ \n', { A: 'x y ' }],
  ['nothing expanded', 'A=$HOME `x` $(y)\n', { A: '$HOME `x` $(y)' }],
  ['an empty value', 'A=\nB=""\n', { A: '', B: '' }],
  ['the last of several', 'A=1\nA=2\n', { A: '2' }],
  ['a quote that nobody closes', 'A="x', { A: 'x' }],
  ['a backslash at the end', 'A=x\\', { A: 'x' }],
  ['an equals sign in a value', 'A=x=y', { A: 'x=y' }],
])('reads %s as systemd does', (_, text, expected) => {
  expect(parse(text)).toEqual(expected);
});

it('comes to an end with any text', () => {
  const text = fc.string({ unit: fc.constantFrom('A', '=', '"', "'", '\\', '\n', ' ', '#', '$', '\r'), maxLength: 60 });
  fc.assert(fc.property(text, (any) => parse(any) !== undefined));
});
