import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { expect, it } from 'vitest';
import { native } from '../../../../../src/system/native.js';

/**
 * The fields of records have their names in each file that uses them: imported, each use would cost (docs/design.md). This
 * keeps those names one list, that of native/src/rudder.h.
 */

/** Which fields the records of an array have. */
const PREFIXES: Record<string, string> = {
  tunPackets: 'PACKET_',
  datagrams: 'DATAGRAM_',
  sends: 'SEND_',
  sendIovecs: 'IOVEC_',
  writes: 'WRITE_',
  writeIovecs: 'IOVEC_',
  checksums: 'CHECKSUM_',
  records: 'ECHO_',
};
/** Of a send record, behind what native code reads. */
const OUR_OWN: readonly [string, number][] = [
  ['SEND_PACKETS', 5],
  ['SEND_BYTES', 6],
];

const nameOf = (key: string) => key.replace(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase();
const layout = new Map([
  ...Object.entries(native.layout).map(([key, value]): [string, number] => [nameOf(key), value]),
  ...OUR_OWN,
]);
const isField = (name: string) =>
  Object.values(PREFIXES).some((prefix) => name.startsWith(prefix)) && !name.endsWith('_INTS');

const FOLDER = fileURLToPath(new URL('../../../../../src/backend/packet-path', import.meta.url));
const files = [
  ...readdirSync(FOLDER, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.ts')),
  '../../system/echo.ts',
];

function visitAll(source: ts.SourceFile, visit: (node: ts.Node) => void): void {
  const walk = (node: ts.Node): void => {
    visit(node);
    ts.forEachChild(node, walk);
  };
  walk(source);
}

const parse = (file: string, text: string) => ts.createSourceFile(file, text, ts.ScriptTarget.Latest);
const sources = files.map((file) => parse(file, readFileSync(`${FOLDER}/${file}`, 'utf8')));

/** Constants that have the name of something in the layout, with another value. */
function wrongConstants(source: ts.SourceFile): string[] {
  const wrong: string[] = [];
  visitAll(source, (node) => {
    if (!ts.isVariableDeclaration(node) || node.initializer === undefined) return;
    const [name, value] = [node.name.getText(source), node.initializer.getText(source)];
    if (layout.has(name) && value !== String(layout.get(name)))
      wrong.push(`${name} = ${value}, not ${layout.get(name)}`);
  });
  return wrong;
}

/** Uses of a record's field that do not say which one, or name one of another kind of record. */
function unnamedFields(source: ts.SourceFile): string[] {
  const unnamed: string[] = [];
  visitAll(source, (node) => {
    if (!ts.isElementAccessExpression(node)) return;
    const prefix = PREFIXES[node.expression.getText(source)];
    const index = node.argumentExpression;
    const field = ts.isBinaryExpression(index) ? index.right.getText(source) : '';
    if (prefix !== undefined && !(field.startsWith(prefix) && layout.has(field))) unnamed.push(node.getText(source));
  });
  return unnamed;
}

it.each(sources.map((source) => [source.fileName, source]))('the names in %s are those of native code', (_, source) => {
  expect(wrongConstants(source)).toEqual([]);
  expect(unnamedFields(source)).toEqual([]);
});

it('every field of native code has its name somewhere, but for one that the kernel does not need', () => {
  const used = sources.map((source) => source.text).join('\n');
  const unused = [...layout.keys()].filter((name) => isField(name) && !used.includes(`const ${name} = `));
  // hdr_len is not trustworthy when forwarding (split.ts).
  expect(unused).toEqual(['PACKET_HEADER_LENGTH']);
});

it('the rules find a wrong value, a field without a name, and one of another record', () => {
  const source = parse(
    'a.ts',
    'const SEND_PORT = 2; const x = sends[r] + writes[r + SEND_PORT] + sends[r + SEND_LATER];',
  );
  expect(wrongConstants(source)).toEqual(['SEND_PORT = 2, not 3']);
  expect(unnamedFields(source)).toEqual(['sends[r]', 'writes[r + SEND_PORT]', 'sends[r + SEND_LATER]']);
});
