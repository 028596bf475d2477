import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { basename, dirname, join, normalize } from 'node:path';
import { describe, expect, it } from 'vitest';
import { anchorsOf, linksOf } from '../helpers/markdown.js';

const PAGES = ['README.md', ...readdirSync('docs').flatMap((file) => (file.endsWith('.md') ? `docs/${file}` : []))];
const read = (path: string) => readFileSync(path, 'utf8');
const filesBelow = (folder: string) =>
  readdirSync(folder, { recursive: true, encoding: 'utf8' }).map((file) => `${folder}/${file}`);
const SOURCES = ['src', 'test', 'native/src', 'scripts', 'docs'].flatMap(filesBelow);

describe.each(PAGES)('%s', (page) => {
  const text = read(page);

  it('has no link that leads nowhere', () => {
    const dead = linksOf(text).filter((link) => {
      const [file, anchor] = link.split('#');
      const target = file === '' ? page : normalize(join(dirname(page), file));
      return !existsSync(target) || (anchor !== undefined && !anchorsOf(read(target)).includes(anchor));
    });
    expect(dead).toEqual([]);
  });

  it('names files of the source and scripts of npm that there are', () => {
    const named = [...text.matchAll(/(?<![\w.-])[\w.-]+(?:\/[\w.-]+)*\.(?:ts|c|h)\b/g)].map(([name]) => name);
    const ends = named.map((name) => `/${name.replace(/^(\.\.\/)+/, '')}`);
    expect(ends.filter((end) => !SOURCES.some((file) => `/${file}`.endsWith(end)))).toEqual([]);
    const { scripts } = JSON.parse(read('package.json')) as { scripts: Record<string, string> };
    const run = [...text.matchAll(/npm run ([\w:-]+)/g)].map(([, name]) => name);
    expect(run.filter((name) => scripts[name] === undefined)).toEqual([]);
  });
});

it('README names every page', () => {
  const linked = linksOf(read('README.md')).map((link) => basename(link.split('#')[0]));
  expect(PAGES.slice(1).filter((page) => !linked.includes(basename(page)))).toEqual([]);
});

it('every test that stands for a promise is there', () => {
  const KINDS = 'unit|contract|native|kernel|e2e|faults|machines';
  const names = [...read('docs/reliability.md').matchAll(new RegExp(`\`((?:${KINDS})/[\\w/-]+)\``, 'g'))].map(
    ([, name]) => name,
  );
  expect(names.length).toBeGreaterThan(50);
  expect(names.filter((name) => !existsSync(`test/${name}.test.ts`) && !existsSync(`test/${name}`))).toEqual([]);
});
