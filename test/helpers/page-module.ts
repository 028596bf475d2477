import { vi } from 'vitest';

/** A module of the live page, outside a browser: what it asks of one when it is loaded is stood in for. */
// biome-ignore lint/suspicious/noExplicitAny: the page is plain JavaScript
export async function pageModule(name: string): Promise<any> {
  vi.stubGlobal('matchMedia', () => ({ matches: false, addEventListener: () => undefined }));
  return import(new URL(`../../src/ops/page/${name}`, import.meta.url).href);
}
