import { readdirSync, readFileSync } from 'node:fs';
import { dirname, extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { HttpAnswer } from './http-request.js';

const TYPES: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.svg': 'image/svg+xml',
};

/** It may load its own scripts and styles, ask us, and nothing else. */
const POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

/**
 * The live page, by path. Read once: it does not change while we run, and reading it must not depend on how many ask for it.
 * The library that draws its curves comes from where npm has put it.
 */
export function readPage(): [path: string, told: HttpAnswer][] {
  const own = fileURLToPath(new URL('./page', import.meta.url));
  const library = dirname(fileURLToPath(import.meta.resolve('uplot')));
  const files = [
    ...readdirSync(own).map((name) => join(own, name)),
    ...['uPlot.iife.min.js', 'uPlot.min.css'].map((name) => join(library, name)),
  ];
  return files.map((file) => {
    const name = file.slice(file.lastIndexOf('/') + 1);
    return [name === 'index.html' ? '/' : `/${name}`, fileAnswer(file)];
  });
}

function fileAnswer(file: string): HttpAnswer {
  const headers = {
    'content-security-policy': POLICY,
    'x-content-type-options': 'nosniff',
    'cache-control': 'no-cache',
  };
  return { code: 200, type: TYPES[extname(file)], body: readFileSync(file), headers };
}
